//! What brings a machine back if a trial does not come up, and what does not.

use hosttune_core::{Host, HostError, HostErrorKind};

use super::watchdog;
use hosttune_modules::initramfs::InitramfsGenerator;

/// Notes for the plan of a trial.
///
/// # Errors
/// Any error from the host.
pub(super) fn notes(
    host: &Host,
    generator: Option<InitramfsGenerator>,
) -> Result<Vec<String>, HostError> {
    let mut notes = vec![
        "a kernel that panics on the trial restarts after 10 seconds, with the old line".to_owned(),
    ];
    notes.push(match watchdog::armed(host)? {
        Some(place) => format!(
            "a trial that hangs is reset by the watchdog ({place}) once systemd has started; before that nothing resets it"
        ),
        None => "nothing resets a trial that hangs without a panic: it takes a person at the switch, or RuntimeWatchdogSec= in /etc/systemd/system.conf with a hardware watchdog".to_owned(),
    });
    notes.push(match generator {
        Some(InitramfsGenerator::InitramfsTools) => {
            "a root file system that is not found restarts the machine, because initramfs-tools obeys panic=10".to_owned()
        }
        Some(InitramfsGenerator::Dracut) => {
            "a root file system that is not found restarts the machine after dracut's timeout of minutes (rd.shell=0 rd.emergency=reboot); a root= that dracut cannot read may switch it off".to_owned()
        }
        Some(InitramfsGenerator::Mkinitcpio) | None => {
            "a root file system that is not found is not covered: the initramfs waits in a shell".to_owned()
        }
    });
    notes.push(
        "a boot that ends in emergency.target or rescue.target is not covered: it waits for a person"
            .to_owned(),
    );
    if let Some(place) = tpm(host)? {
        notes.push(format!(
            "{place}: a TPM that measures the command line does not release the key for another line, so the trial asks for the passphrase"
        ));
    }
    notes.push(
        "install no kernel while the trial runs: some systems copy the running line into the new entry"
            .to_owned(),
    );
    Ok(notes)
}

/// The evidence that a disk is unlocked by a TPM.
fn tpm(host: &Host) -> Result<Option<String>, HostError> {
    let table = text(host, "/etc/crypttab")?.unwrap_or_default();
    let mut lines = table
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    if lines.any(|line| line.contains("tpm2-device=")) {
        return Ok(Some("/etc/crypttab has tpm2-device=".to_owned()));
    }
    let has_clevis = host.exists("/usr/bin/clevis-luks-unlock")? && !table.trim().is_empty();
    Ok(has_clevis.then(|| "clevis is installed".to_owned()))
}

/// The text of a file; `None` if it does not exist or cannot be read by this user.
pub(super) fn text(host: &Host, file: &str) -> Result<Option<String>, HostError> {
    match host.read(file) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if matches!(error.kind(), HostErrorKind::Missing | HostErrorKind::Denied) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
