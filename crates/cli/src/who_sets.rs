//! Finds the file and the line that set a sysctl on this host.

use hosttune_core::{Error, Host};
use hosttune_sysctl::{Key, Loader, OnHost, Place, Setting, Sources, catalogue};

use super::failure::Failure;
use super::other_writers::{OtherWriter, other_writers};

/// The answer of `who-sets`.
#[derive(Debug)]
pub(super) struct WhoSets {
    pub(super) key: String,
    /// The current value; `None` if it cannot be read.
    pub(super) seen: Option<String>,
    /// All settings of the key in systemd's order, each with its effect.
    pub(super) settings: Vec<Setting>,
    /// The winning line for procps, which also reads `/etc/sysctl.conf`.
    pub(super) procps_winner: Option<Place>,
    /// Other programs that set the key.
    pub(super) others: Vec<OtherWriter>,
}

impl WhoSets {
    /// The winning line at boot.
    pub(super) fn winner(&self) -> Option<&Place> {
        winner(&self.settings)
    }
}

fn winner(settings: &[Setting]) -> Option<&Place> {
    let winner = settings.iter().find(|setting| setting.is_winner());
    winner.map(|setting| &setting.place)
}

/// Reads every file that sets sysctls, in the order in which they are loaded at boot.
pub(super) fn who_sets(host: &Host, text: &str) -> Result<WhoSets, Failure> {
    let key: Key = text.parse().map_err(|error| {
        Failure::usage(
            format!("'{text}' is not a sysctl key: {error}"),
            "write it like vm.swappiness or vm/swappiness",
        )
    })?;
    let settings = |loader| -> Result<Vec<Setting>, Failure> {
        Ok(Sources::collect(&OnHost::new(host), loader)?.who_sets(&key))
    };
    let (systemd, procps) = (settings(Loader::Systemd)?, settings(Loader::Procps)?);
    let others = other_writers(host, &key).map_err(Error::from)?;
    if others.is_empty()
        && systemd.is_empty()
        && procps.is_empty()
        && let Some(unknown) = hosttune_sysctl::unknown(host, &key).map_err(Error::from)?
    {
        return Err(Failure::usage(
            unknown.to_string(),
            "write it like vm.swappiness; the files under /proc/sys are the keys of this kernel",
        ));
    }
    // The directory of the key is missing too. On a kernel that shows its keys an answer would say of
    // any word with a dot that no file sets it.
    let exists = |path: &str| host.exists(path).map_err(Error::from);
    if others.is_empty()
        && systemd.is_empty()
        && procps.is_empty()
        && catalogue::find(&key).is_none()
        && exists("/proc/sys/kernel")?
        && !exists(&key.path())?
    {
        return Err(Failure::usage(
            format!("'{key}' is no sysctl of this kernel, and no file sets one of this name"),
            "write it like vm.swappiness; for a key of a module, load the module first",
        ));
    }
    Ok(WhoSets {
        key: key.to_string(),
        seen: host
            .read_text(key.path())
            .ok()
            .map(|seen| seen.split_whitespace().collect::<Vec<_>>().join(" ")),
        settings: systemd,
        procps_winner: winner(&procps).cloned(),
        others,
    })
}
