//! Which program builds the initramfs of a host. It is shown to people and never run.

use hosttune_core::{Host, HostError};

/// A program that builds initramfs images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InitramfsGenerator {
    InitramfsTools,
    Mkinitcpio,
    Dracut,
}

impl InitramfsGenerator {
    /// The command that rebuilds every image.
    fn rebuild_command(self) -> &'static str {
        match self {
            Self::InitramfsTools => "update-initramfs -u -k all",
            Self::Mkinitcpio => "mkinitcpio -P",
            Self::Dracut => "dracut --regenerate-all --force",
        }
    }
}

/// A file that only the configuration of one program has. mkinitcpio and dracut can be installed
/// beside another one without being used, so their configuration files are the evidence and not the
/// programs.
const PROGRAMS: [(&str, InitramfsGenerator); 4] = [
    ("/etc/initramfs-tools", InitramfsGenerator::InitramfsTools),
    ("/etc/mkinitcpio.conf", InitramfsGenerator::Mkinitcpio),
    ("/etc/dracut.conf.d", InitramfsGenerator::Dracut),
    ("/etc/dracut.conf", InitramfsGenerator::Dracut),
];

/// The program that builds the initramfs; `None` if no such program is known here.
///
/// # Errors
/// Any error from the host.
pub(crate) fn generator(host: &Host) -> Result<Option<InitramfsGenerator>, HostError> {
    for (evidence, generator) in PROGRAMS {
        if host.exists(evidence)? {
            return Ok(Some(generator));
        }
    }
    Ok(None)
}

/// The command that rebuilds the initramfs, which has its own copy of modprobe.d; `None` if no
/// program that builds one is known here.
///
/// # Errors
/// Any error from the host.
pub fn rebuild_command(host: &Host) -> Result<Option<&'static str>, HostError> {
    Ok(generator(host)?.map(InitramfsGenerator::rebuild_command))
}
