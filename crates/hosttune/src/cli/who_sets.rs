//! Which file and line sets a sysctl on this host.

use hosttune_core::{Error, Host};
use hosttune_sysctl::{Key, Loader, OnHost, Place, Setting, Sources};

use super::failure::Failure;
use super::other_writers::{OtherWriter, other_writers};

/// What who-sets answers.
#[derive(Debug)]
pub(super) struct WhoSets {
    pub(super) key: String,
    /// What the host shows now; `None` where it cannot be read.
    pub(super) seen: Option<String>,
    /// In systemd's order, with what systemd makes of each.
    pub(super) settings: Vec<Setting>,
    /// The line that wins for procps, which also reads `/etc/sysctl.conf`.
    pub(super) procps_winner: Option<Place>,
    /// What else sets it.
    pub(super) others: Vec<OtherWriter>,
}

impl WhoSets {
    /// The line that wins at boot.
    pub(super) fn winner(&self) -> Option<&Place> {
        winner(&self.settings)
    }
}

fn winner(settings: &[Setting]) -> Option<&Place> {
    let winner = settings.iter().find(|setting| setting.is_winner());
    winner.map(|setting| &setting.place)
}

/// Reads every file that sets sysctls, in the order of the program that reads them at boot.
pub(super) fn who_sets(host: &Host, text: &str) -> Result<WhoSets, Failure> {
    let key: Key = text.parse().map_err(|error| {
        Failure::usage(
            format!("'{text}' is no sysctl key: {error}"),
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
            "write it like vm.swappiness; the keys of this kernel are the files beneath /proc/sys",
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
