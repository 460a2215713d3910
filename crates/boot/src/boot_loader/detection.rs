//! Which boot loader keeps the kernel command line of a host, with the evidence.

use std::fmt;

use hosttune_core::{Host, HostError, HostErrorKind};

use super::limine_files;
use super::start::Start;
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
    /// Another one, which is not known here: a loader that names itself, the firmware, kexec.
    Other,
}

impl fmt::Display for BootLoader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Grub => "GRUB",
            Self::KernelInstall => "kernel-install (systemd-boot)",
            Self::Limine => "Limine",
            Self::Ostree => "rpm-ostree or bootc",
            Self::NixOs => "NixOS",
            Self::Other => "a loader that is not known here",
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

/// Where the variables of the firmware are.
const VARIABLES: &str = "/sys/firmware/efi/efivars";

/// What GRUB puts before the line of a Linux that it starts under Xen, instead of `BOOT_IMAGE=`
/// (`/etc/grub.d/20_linux_xen`).
const UNDER_XEN: &[u8] = b"placeholder";

/// Files that are there only where a loader is installed. Debian with systemd-boot keeps GRUB's
/// files, so they count only where nothing tells what booted.
const FILES: [(BootLoader, &str); 6] = [
    (BootLoader::Grub, "/boot/grub/grub.cfg"),
    (BootLoader::Grub, "/boot/grub2/grub.cfg"),
    (BootLoader::KernelInstall, "/etc/kernel/cmdline"),
    (BootLoader::KernelInstall, "/efi/loader/loader.conf"),
    (BootLoader::KernelInstall, "/boot/loader/loader.conf"),
    (BootLoader::KernelInstall, "/boot/efi/loader/loader.conf"),
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
    let is_running = host.exists(RUNNING_LINE)?;
    let has_variables = !host.list_if_there(VARIABLES)?.is_empty();
    let mut installed: Vec<(BootLoader, String)> = Vec::new();
    for (loader, file) in FILES {
        let is_known = installed.iter().any(|(known, _)| *known == loader);
        if !is_known && host.exists(file)? {
            installed.push((loader, format!("{file} is there")));
        }
    }
    if let [file, ..] = &of_limine(host)?[..] {
        installed.push((BootLoader::Limine, format!("{file} is there")));
    }
    let installed = installed.into_iter().map(|(loader, evidence)| {
        // What these two leave in every boot is not there, so another loader has booted.
        let missing = match loader {
            BootLoader::Grub if is_running => Some("BOOT_IMAGE= in /proc/cmdline, which GRUB adds"),
            BootLoader::KernelInstall if is_running && has_variables => {
                Some("the EFI variable LoaderInfo, which systemd-boot sets")
            }
            _ => None,
        };
        match missing {
            None => Candidate { loader, evidence },
            Some(missing) => Candidate {
                loader: BootLoader::Other,
                evidence: format!("{evidence}, but not {missing}"),
            },
        }
    });
    Ok(decided(installed.collect()))
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
    let mut unknown = None;
    let start = Start::read(host)?;
    if let Some(name) = &start.loader {
        let evidence = format!("the EFI variable LoaderInfo is '{name}'");
        match name.split([' ', '-']).next().map(str::to_ascii_lowercase) {
            Some(word) if word == "systemd" => add(BootLoader::KernelInstall, evidence),
            Some(word) if word == "limine" => add(BootLoader::Limine, evidence),
            Some(word) if word == "grub" => add(BootLoader::Grub, evidence),
            _ => unknown = Some(evidence),
        }
    }
    if let Some(evidence) = start.unified_image() {
        // The firmware or any loader can start the image, which kernel-install and others make.
        add(BootLoader::KernelInstall, evidence);
    }
    if let Some(line) = optional(host, RUNNING_LINE)? {
        let line = KernelCommandLine::parse(line);
        let first = line.arguments().next();
        if let Some(image) = line.last("BOOT_IMAGE") {
            let text = String::from_utf8_lossy(image.text()).into_owned();
            // GRUB has the path from the root of a device; SYSLINUX and LILO have what is in their files.
            let is_path = image
                .value()
                .is_some_and(|value| value.starts_with(['/', '(']));
            match is_path {
                true => add(BootLoader::Grub, format!("{text} in {RUNNING_LINE}")),
                false => unknown = Some(format!("{text} in {RUNNING_LINE} is not from GRUB")),
            }
        } else if first.is_some_and(|first| first.text() == UNDER_XEN) {
            let evidence = format!("{RUNNING_LINE} begins as GRUB begins it under Xen");
            add(BootLoader::Grub, evidence);
        }
    }
    if let (true, Some(evidence)) = (booted.is_empty(), unknown) {
        booted.push(Candidate {
            loader: BootLoader::Other,
            evidence,
        });
    }
    Ok(booted)
}

/// The configurations of Limine; none if this user cannot read the boot partition.
fn of_limine(host: &Host) -> Result<Vec<String>, HostError> {
    match limine_files::configurations(host) {
        Err(error) if *error.kind() == HostErrorKind::Denied => Ok(Vec::new()),
        files => files,
    }
}

fn optional(host: &Host, path: &str) -> Result<Option<Vec<u8>>, HostError> {
    match host.read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if *error.kind() == HostErrorKind::Missing => Ok(None),
        Err(error) => Err(error),
    }
}
