//! Which program builds the initramfs of a host. It is shown to people and never run.

use hosttune_core::{Host, HostError};

/// A file that only the configuration of one program has, and the command that rebuilds every
/// image. mkinitcpio and dracut can be installed beside another one without being used, so their
/// configuration files are the evidence and not the programs.
const PROGRAMS: [(&str, &str); 4] = [
    ("/etc/initramfs-tools", "update-initramfs -u -k all"),
    ("/etc/mkinitcpio.conf", "mkinitcpio -P"),
    ("/etc/dracut.conf.d", "dracut --regenerate-all --force"),
    ("/etc/dracut.conf", "dracut --regenerate-all --force"),
];

/// The command that rebuilds the initramfs, which has its own copy of modprobe.d; `None` if no
/// program that builds one is known here.
///
/// # Errors
/// Any error from the host.
pub fn rebuild_command(host: &Host) -> Result<Option<&'static str>, HostError> {
    for (evidence, command) in PROGRAMS {
        if host.exists(evidence)? {
            return Ok(Some(command));
        }
    }
    Ok(None)
}
