//! A network namespace of the test's own, in the test machine.

use hosttune_qos::Netlink;
pub(crate) use hosttune_test_machine::tell;

/// The calling thread is in a new network namespace from here on; whatever the kernel may load by
/// itself is loaded, so that no snapshot sees it come.
pub(crate) fn enter() {
    tell("modprobe -a ifb numifbs=0 2>/dev/null || modprobe ifb numifbs=0");
    tell("modprobe -qa act_mirred cls_matchall cls_u32 sch_ingress sch_cake || true");
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
    tell("ip link set lo up");
}

/// The wire of this namespace.
pub(crate) fn backend() -> Netlink {
    Netlink::open().unwrap()
}
