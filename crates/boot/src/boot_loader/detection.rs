//! Which boot loader keeps the kernel command line of a host, with the evidence.

use std::fmt;

use hosttune_core::{Host, HostError, HostErrorKind};

use crate::command_line::{KernelCommandLine, RUNNING_LINE};

/// What keeps the kernel command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum BootLoader {
    /// GRUB, with `/etc/default/grub` and `grub-mkconfig`.
    Grub,
    /// systemd-boot or another loader of entries that kernel-install makes, with
    /// `/etc/kernel/cmdline`.
    KernelInstall,
    /// Limine, with `limine.conf`.
    Limine,
    /// rpm-ostree or bootc, which keep the line with each deployment.
    Ostree,
    /// NixOS, which generates the line from its configuration.
    NixOs,
}

impl fmt::Display for BootLoader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Grub => "GRUB",
            Self::KernelInstall => "kernel-install (systemd-boot)",
            Self::Limine => "Limine",
            Self::Ostree => "rpm-ostree or bootc",
            Self::NixOs => "NixOS",
        })
    }
}

/// A loader, and what on the host speaks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Candidate {
    /// The loader.
    pub loader: BootLoader,
    /// The evidence, for people.
    pub evidence: String,
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.loader, self.evidence)
    }
}

/// The result of looking for the loader.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Detection {
    /// One loader.
    Found(Candidate),
    /// Several, between which nothing on the host decides. None of them may be changed.
    Several(Vec<Candidate>),
    /// None that is known here.
    None,
}

/// The EFI variable in which a loader names itself: four bytes of attributes, then UTF-16.
const LOADER_INFO: &str =
    "/sys/firmware/efi/efivars/LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

/// Files that are there only where a loader is installed. Debian with systemd-boot keeps GRUB's
/// files, so they count only where nothing tells what booted.
const FILES: [(BootLoader, &str); 9] = [
    (BootLoader::Grub, "/boot/grub/grub.cfg"),
    (BootLoader::Grub, "/boot/grub2/grub.cfg"),
    (BootLoader::KernelInstall, "/etc/kernel/cmdline"),
    (BootLoader::KernelInstall, "/efi/loader/loader.conf"),
    (BootLoader::KernelInstall, "/boot/loader/loader.conf"),
    (BootLoader::KernelInstall, "/boot/efi/loader/loader.conf"),
    (BootLoader::Limine, "/boot/limine.conf"),
    (BootLoader::Limine, "/boot/limine/limine.conf"),
    (BootLoader::Limine, "/limine.conf"),
];

/// Looks for the loader: first for what the running system was booted with, then for files.
///
/// # Errors
/// If something exists and cannot be read.
pub fn detect(host: &Host) -> Result<Detection, HostError> {
    // These two generate the files of a loader, so they come before any loader.
    if host.exists("/etc/NIXOS")? {
        return Ok(found(BootLoader::NixOs, "/etc/NIXOS is there"));
    }
    if host.exists("/run/ostree-booted")? {
        return Ok(found(BootLoader::Ostree, "/run/ostree-booted is there"));
    }
    let booted = booted(host)?;
    if !booted.is_empty() {
        return Ok(decided(booted));
    }
    let mut installed: Vec<Candidate> = Vec::new();
    for (loader, file) in FILES {
        let is_known = installed.iter().any(|known| known.loader == loader);
        if !is_known && host.exists(file)? {
            installed.push(Candidate {
                loader,
                evidence: format!("{file} is there"),
            });
        }
    }
    Ok(decided(installed))
}

fn found(loader: BootLoader, evidence: &str) -> Detection {
    Detection::Found(Candidate {
        loader,
        evidence: evidence.to_owned(),
    })
}

fn decided(mut candidates: Vec<Candidate>) -> Detection {
    match (candidates.pop(), candidates.is_empty()) {
        (None, _) => Detection::None,
        (Some(one), true) => Detection::Found(one),
        (Some(last), false) => {
            candidates.push(last);
            Detection::Several(candidates)
        }
    }
}

/// What booted the running system.
fn booted(host: &Host) -> Result<Vec<Candidate>, HostError> {
    let mut booted: Vec<Candidate> = Vec::new();
    let mut add = |loader, evidence: String| {
        if !booted.iter().any(|known| known.loader == loader) {
            booted.push(Candidate { loader, evidence });
        }
    };
    if let Some(bytes) = optional(host, LOADER_INFO)? {
        let name = utf16(bytes.get(4..).unwrap_or_default());
        let evidence = format!("the EFI variable LoaderInfo is '{name}'");
        match name.split([' ', '-']).next().map(str::to_ascii_lowercase) {
            Some(word) if word == "systemd" => add(BootLoader::KernelInstall, evidence),
            Some(word) if word == "limine" => add(BootLoader::Limine, evidence),
            Some(word) if word == "grub" => add(BootLoader::Grub, evidence),
            _ => {}
        }
    }
    if let Some(line) = optional(host, RUNNING_LINE)?
        && let line = KernelCommandLine::parse(line)
        && let Some(image) = line.last("BOOT_IMAGE")
    {
        let text = String::from_utf8_lossy(image.text()).into_owned();
        add(BootLoader::Grub, format!("{text} in {RUNNING_LINE}"));
    }
    Ok(booted)
}

fn optional(host: &Host, path: &str) -> Result<Option<Vec<u8>>, HostError> {
    match host.read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if *error.kind() == HostErrorKind::Missing => Ok(None),
        Err(error) => Err(error),
    }
}

/// Text of an EFI variable, up to its NUL.
fn utf16(bytes: &[u8]) -> String {
    let units = bytes
        .chunks_exact(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
        .take_while(|unit| *unit != 0);
    char::decode_utf16(units)
        .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}
