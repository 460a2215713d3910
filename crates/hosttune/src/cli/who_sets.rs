//! Which file and line sets a sysctl on this host.

use std::path::{Component, Path, PathBuf};

use hosttune_core::host::EntryKind;
use hosttune_core::{Host, HostError, HostErrorKind, Operation};
use hosttune_sysctl::{Content, Directories, Key, Loader, Place, Setting, Sources};

use super::failure::Failure;

/// How many symbolic links one path may go through, as in the kernel (MAXSYMLINKS).
const MOST_LINKS: usize = 40;

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
        Ok(Sources::collect(&OnHost(host), loader)?.who_sets(&key))
    };
    Ok(WhoSets {
        key: key.to_string(),
        seen: host
            .read_text(key.path())
            .ok()
            .map(|seen| seen.split_whitespace().collect::<Vec<_>>().join(" ")),
        settings: settings(Loader::Systemd)?,
        procps_winner: winner(&settings(Loader::Procps)?).cloned(),
    })
}

/// The directories of a host, through the host: beneath its root and never outside.
#[derive(Debug)]
struct OnHost<'h>(&'h Host);

impl Directories for OnHost<'_> {
    type Error = HostError;

    fn names(&self, directory: &str) -> Result<Vec<String>, HostError> {
        match self.0.list(directory) {
            Err(error) if *error.kind() == HostErrorKind::Missing => Ok(Vec::new()),
            other => other,
        }
    }

    fn content(&self, path: &str) -> Result<Content, HostError> {
        let resolved = follow(self.0, Path::new(path))?;
        if resolved == Path::new("/dev/null") {
            return Ok(Content::Masked);
        }
        match self.0.entry(&resolved)? {
            None => Ok(Content::Missing),
            Some(_) => self.0.read(&resolved).map(Content::Bytes),
        }
    }

    fn resolved(&self, path: &str) -> Result<String, HostError> {
        follow(self.0, Path::new(path)).map(|path| path.display().to_string())
    }
}

/// The path after every symbolic link in it was followed. What does not exist is kept as it is:
/// a link to nothing still has a place it leads to.
fn follow(host: &Host, path: &Path) -> Result<PathBuf, HostError> {
    let mut resolved = PathBuf::from("/");
    let mut ahead: Vec<PathBuf> = segments(path);
    let mut links = 0;
    while let Some(segment) = ahead.pop() {
        if segment == Path::new("..") {
            resolved.pop();
            continue;
        }
        let next = resolved.join(&segment);
        let kind = host.entry(&next)?.map(|entry| entry.kind);
        let Some(EntryKind::Link(target)) = kind else {
            resolved = next;
            continue;
        };
        links += 1;
        if links > MOST_LINKS {
            return Err(HostError::new(
                Operation::Read,
                path.display().to_string(),
                HostErrorKind::Malformed,
            )
            .detail("its symbolic links lead in a circle")
            .with_hint("remove one of them"));
        }
        if target.is_absolute() {
            resolved = PathBuf::from("/");
        }
        ahead.extend(segments(&target));
    }
    Ok(resolved)
}

/// The names in a path, the last first.
fn segments(path: &Path) -> Vec<PathBuf> {
    path.components()
        .rev()
        .filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir))
        .map(|part| PathBuf::from(part.as_os_str()))
        .collect()
}
