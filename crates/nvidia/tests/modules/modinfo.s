# The section .modinfo of a module, as the kernel's MODULE_* macros make it.
.section .modinfo,"a",@progbits
.asciz "license=Dual MIT/GPL"
.asciz "version=595.45.04"
.asciz "parmtype=NVreg_EnableMSI:int"
.asciz "parm=modeset:Enable atomic kernel modesetting (1 = enable (default), 0 = disable)"
.asciz "parmtype=modeset:bool"
.asciz "vermagic=6.12.0 SMP preempt mod_unload modversions "
.text
nop
