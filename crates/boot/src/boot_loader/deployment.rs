//! The line of the deployment that an ostree system starts at its next boot.

use hosttune_core::{Host, HostError, HostErrorKind};

use super::entries::ENTRIES;
use super::entry::LoaderEntry;
use super::serialized::Serialized;
use crate::command_line::KernelCommandLine;

/// What a command of this boot has prepared: the entry of a staged deployment is written at the shutdown,
/// and until then its line is only here. A dictionary of GLib (`ostree_sysroot_stage_tree_with_options` in
/// `src/libostree/ostree-sysroot-deploy.c`).
const STAGED: &str = "/run/ostree/staged-deployment";

/// The key of an entry with the parameters that a program has set through
/// `bootc loader-entries set-options-for-source` (bootc 1.15.2 and ostree 2026.1).
const OF_SOURCE: &str = "x-options-source-";

/// The line of the next boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NextLine {
    /// The line.
    pub(super) line: KernelCommandLine,
    /// Those of its parameters that bootc keeps for the source.
    pub(super) of_source: Option<String>,
}

/// The line of the next boot, or why it is not known. `source` is a name that bootc keeps parameters for.
pub(super) fn next_line(host: &Host, source: &str) -> Result<Result<NextLine, String>, HostError> {
    let key = format!("{OF_SOURCE}{source}");
    match host.read(STAGED) {
        Err(error) if *error.kind() == HostErrorKind::Missing => {}
        Err(error) if *error.kind() == HostErrorKind::Denied => {
            return Ok(Err(format!("only root can read {STAGED}")));
        }
        staged => {
            let staged = staged?;
            let Some(values) = Serialized::dictionary(&staged) else {
                return Ok(Err(format!(
                    "{STAGED} has another format than is known here"
                )));
            };
            let value = |name: &str| {
                let mut values = values.iter();
                values.find(|(known, _)| known == name).map(|found| found.1)
            };
            // Without them the deployment keeps those of the one before.
            if let Some(arguments) = value("kargs").and_then(|value| value.strings()) {
                let sources = value("bootconfig-extra").and_then(|value| value.pairs());
                let mut sources = sources.unwrap_or_default().into_iter();
                let of_source = sources.find(|(known, _)| *known == key);
                return Ok(Ok(NextLine {
                    line: KernelCommandLine::parse(arguments.join(" ")),
                    of_source: of_source.and_then(|(_, options)| some_text(&options)),
                }));
            }
        }
    }
    of_entries(host, &key)
}

/// What bootc keeps; an empty text is how it marks that there is nothing any more.
fn some_text(text: &str) -> Option<String> {
    (!text.trim().is_empty()).then(|| text.to_owned())
}

/// The line of the entry that is first in the menu: ostree numbers them by `version`, and the highest is the
/// default deployment.
fn of_entries(host: &Host, key: &str) -> Result<Result<NextLine, String>, HostError> {
    let [directory, ..] = ENTRIES;
    let names = match host.list_if_there(directory) {
        Err(error) if *error.kind() == HostErrorKind::Denied => {
            return Ok(Err(format!("only root can read {directory}")));
        }
        names => names?,
    };
    let mut first: Option<(u64, NextLine)> = None;
    for name in names.iter().filter(|name| name.ends_with(".conf")) {
        let path = format!("{directory}/{name}");
        let bytes = match host.read(&*path) {
            Err(error) if *error.kind() == HostErrorKind::Denied => {
                return Ok(Err(format!("only root can read {path}")));
            }
            Err(error) if *error.kind() == HostErrorKind::Missing => continue,
            bytes => bytes?,
        };
        let entry = LoaderEntry::parse(&String::from_utf8_lossy(&bytes));
        let line = entry.line();
        let version = entry.last("version").and_then(|text| text.parse().ok());
        let (true, Some(version)) = (line.has("ostree"), version) else {
            continue;
        };
        if first.as_ref().is_none_or(|(highest, _)| version > *highest) {
            let of_source = entry.last(key).and_then(some_text);
            first = Some((version, NextLine { line, of_source }));
        }
    }
    Ok(match first {
        Some((_, next)) => Ok(next),
        None => Err(format!("no entry in {directory} is of a deployment")),
    })
}
