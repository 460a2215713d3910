//! Which program builds the initramfs images of a host.

use hosttune_core::{Host, HostError, HostErrorKind};
use serde::{Deserialize, Serialize};

use crate::image::Builder;

/// A program that builds initramfs images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InitramfsGenerator {
    /// `update-initramfs` of initramfs-tools (Debian, Ubuntu).
    InitramfsTools,
    /// `mkinitcpio` (Arch).
    Mkinitcpio,
    /// `dracut` (Fedora).
    Dracut,
}

impl InitramfsGenerator {
    /// The name of the program that makes one image.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InitramfsTools => "mkinitramfs",
            Self::Mkinitcpio => "mkinitcpio",
            Self::Dracut => "dracut",
        }
    }

    /// The mark that its images have.
    pub fn builder(self) -> Builder {
        match self {
            Self::InitramfsTools => Builder::InitramfsTools,
            Self::Mkinitcpio => Builder::Mkinitcpio,
            Self::Dracut => Builder::Dracut,
        }
    }

    /// The command that rebuilds every image.
    pub(crate) fn rebuild_command(self) -> &'static str {
        match self {
            Self::InitramfsTools => "update-initramfs -u -k all",
            Self::Mkinitcpio => "mkinitcpio -P",
            Self::Dracut => "dracut --regenerate-all --force",
        }
    }
}

/// A program with its configuration and its own files, of which one is enough.
struct Program {
    generator: InitramfsGenerator,
    configuration: &'static [&'static str],
    program: &'static [&'static str],
}

/// Neither is enough by itself: mkinitcpio and dracut can be installed beside another one without being used,
/// and a Debian package that was removed leaves its configuration behind until it is purged.
const PROGRAMS: [Program; 3] = [
    Program {
        generator: InitramfsGenerator::InitramfsTools,
        configuration: &["/etc/initramfs-tools"],
        program: &["/usr/sbin/update-initramfs", "/usr/bin/update-initramfs"],
    },
    Program {
        generator: InitramfsGenerator::Mkinitcpio,
        configuration: &["/etc/mkinitcpio.conf"],
        program: &["/usr/bin/mkinitcpio"],
    },
    Program {
        generator: InitramfsGenerator::Dracut,
        configuration: &["/etc/dracut.conf.d", "/etc/dracut.conf"],
        program: &["/usr/bin/dracut", "/usr/sbin/dracut"],
    },
];

fn has_one(host: &Host, paths: &[&str]) -> Result<bool, HostError> {
    for path in paths {
        if host.exists(path)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The program that builds the initramfs, for certain; `None` if no such program is known here, or it is not
/// installed any more.
///
/// # Errors
/// Any error from the host.
pub fn installed_generator(host: &Host) -> Result<Option<InitramfsGenerator>, HostError> {
    for one in PROGRAMS {
        if !has_one(host, one.configuration)? || !has_one(host, one.program)? {
            continue;
        }
        // The package dracut can have a command of this name too, which calls dracut.
        let is_of_another = one.generator == InitramfsGenerator::InitramfsTools
            && (!has_text(host, one.program, "mkinitramfs")?
                || has_text(host, one.program, "dracut")?);
        if !is_of_another {
            return Ok(Some(one.generator));
        }
    }
    Ok(None)
}

fn has_text(host: &Host, paths: &[&str], text: &str) -> Result<bool, HostError> {
    for path in paths {
        match host.read(path) {
            Ok(bytes) => return Ok(String::from_utf8_lossy(&bytes).contains(text)),
            Err(error)
                if matches!(error.kind(), HostErrorKind::Missing | HostErrorKind::Denied) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// The command that rebuilds the initramfs, which has its own copy of modprobe.d; `None` if no
/// program that builds one is known here. Where no program is installed, as in a captured tree of `/etc`, the
/// configuration tells.
///
/// # Errors
/// Any error from the host.
pub fn rebuild_command(host: &Host) -> Result<Option<&'static str>, HostError> {
    let mut generator = installed_generator(host)?;
    for one in PROGRAMS {
        if generator.is_none() && has_one(host, one.configuration)? {
            generator = Some(one.generator);
        }
    }
    Ok(generator.map(InitramfsGenerator::rebuild_command))
}
