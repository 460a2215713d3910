//! From where the line of a kernel that is installed later comes, and what makes entries and unified kernel
//! images anew from it.

use hosttune_core::{Host, HostError, Unsupported, UnsupportedKind};

use super::entries::KERNEL_INSTALL;
use crate::command_line::RUNNING_LINE;

/// What kernel-install reads without a line of this host, before it takes that of the running kernel.
const OF_THE_VENDOR: &str = "/usr/lib/kernel/cmdline";

/// Where mkinitcpio is told which images it makes.
const PRESETS: &str = "/etc/mkinitcpio.d";

/// The partitions to which proxmox-boot-tool copies kernels and entries.
const PROXMOX: &str = "/etc/kernel/proxmox-boot-uuids";

/// What to type so that entries or unified kernel images are made anew, for people.
fn command(host: &Host) -> Result<&'static str, HostError> {
    if host.exists(PROXMOX)? {
        return Ok("run proxmox-boot-tool refresh");
    }
    for name in host.list_if_there(PRESETS)? {
        if !name.ends_with(".preset") {
            continue;
        }
        // A preset that cannot be read is none.
        let text = host.read(format!("{PRESETS}/{name}")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let mut lines = text.lines().map(str::trim_start);
        if lines.any(|line| !line.starts_with('#') && line.contains("_uki=")) {
            return Ok("run mkinitcpio -P");
        }
    }
    Ok("run kernel-install add for each kernel")
}

/// What there is to do where a unified kernel image was started, or why nothing can be changed there.
pub(super) fn of_image(
    host: &Host,
    evidence: &str,
    has_line: bool,
    kept: &[String],
) -> Result<Result<Vec<String>, Unsupported>, HostError> {
    let command = command(host)?;
    if !has_line {
        let why = format!(
            "this host was started with a unified kernel image ({evidence}), which contains its line, and {KERNEL_INSTALL} is not there"
        );
        let hint = format!("add them to what the image is made from, then {command}");
        return Ok(Err(
            Unsupported::new(UnsupportedKind::Missing, why).hint(hint)
        ));
    }
    let mut notes = vec![format!(
        "this host was started with a unified kernel image ({evidence}), which contains its line: {command}, so that it is made anew from {KERNEL_INSTALL}, then reboot"
    )];
    if !kept.is_empty() {
        notes.push(format!(
            "entries that are kept as they are, because the image was started and not they: {}",
            kept.join(", ")
        ));
    }
    Ok(Ok(notes))
}

/// What there is to do for kernels whose entries are not changed.
pub(super) fn note(
    host: &Host,
    has_line: bool,
    has_entries: bool,
) -> Result<Option<String>, HostError> {
    Ok(match (has_line, has_entries) {
        (true, true) => None,
        (true, false) => Some(format!(
            "no entry files of this system were found, so that only new entries and unified kernel images get the parameters: {}, then reboot",
            command(host)?
        )),
        (false, _) if host.exists(OF_THE_VENDOR)? => Some(format!(
            "the entry of a kernel that is installed later does not have the parameters: kernel-install takes its line from {OF_THE_VENDOR}"
        )),
        (false, _) => Some(format!(
            "the entry of a kernel that is installed later is made with the line of the running kernel ({RUNNING_LINE}), because {KERNEL_INSTALL} is not there: reboot before a kernel is installed, and again after a revert"
        )),
    })
}
