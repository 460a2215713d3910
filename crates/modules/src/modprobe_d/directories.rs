//! The files of modprobe.d(5) on a host: which are read, in which order, and which are masked.

use std::collections::BTreeMap;
use std::path::Path;

use hosttune_core::host::EntryKind;
use hosttune_core::{Host, HostError, HostErrorKind};

use super::document::Document;

/// The directories, in descending precedence. `/lib` is a separate directory only on systems where
/// it is not a link to `/usr/lib`.
pub const DIRECTORIES: [&str; 5] = [
    "/etc/modprobe.d",
    "/run/modprobe.d",
    "/usr/local/lib/modprobe.d",
    "/usr/lib/modprobe.d",
    "/lib/modprobe.d",
];

/// `EISDIR`: a link to a directory. kmod does not read it.
const IS_A_DIRECTORY: i32 = 21;

/// One file of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigurationFile {
    /// The absolute path.
    pub path: String,
    /// The content; empty for a link to `/dev/null`, which masks files of the same name.
    pub document: Document,
    /// The files of the same name in directories of lower precedence, which are not read.
    pub masks: Vec<String>,
}

/// A file to read as if it had another content.
#[derive(Clone, Copy, Debug)]
pub(super) struct Overlay<'o> {
    pub(super) path: &'o str,
    /// `None`: as if it did not exist.
    pub(super) bytes: Option<&'o [u8]>,
}

/// The files in the order in which modprobe reads them: by base name, whatever their directory.
pub(super) fn files(
    host: &Host,
    overlay: Option<Overlay<'_>>,
) -> Result<Vec<ConfigurationFile>, HostError> {
    let mut by_name: BTreeMap<String, ConfigurationFile> = BTreeMap::new();
    for directory in DIRECTORIES {
        if directory == "/lib/modprobe.d" && is_link(host, "/lib")? {
            continue;
        }
        for name in names(host, directory, overlay)? {
            let path = format!("{directory}/{name}");
            let Some(document) = content(host, &path, overlay)? else {
                continue;
            };
            add(&mut by_name, name, path, document);
        }
    }
    Ok(by_name.into_values().collect())
}

fn add(
    by_name: &mut BTreeMap<String, ConfigurationFile>,
    name: String,
    path: String,
    document: Document,
) {
    match by_name.get_mut(&name) {
        Some(higher) => higher.masks.push(path),
        None => {
            let masks = Vec::new();
            let file = ConfigurationFile {
                path,
                document,
                masks,
            };
            by_name.insert(name, file);
        }
    }
}

/// Files with these paths and contents, in descending precedence, in the order in which modprobe reads them.
#[cfg(feature = "initramfs")]
pub(super) fn given<'f>(
    files: impl IntoIterator<Item = (&'f str, &'f [u8])>,
) -> Vec<ConfigurationFile> {
    let mut by_name = BTreeMap::new();
    for (path, bytes) in files {
        let name = path.rsplit('/').next().unwrap_or(path).to_owned();
        add(&mut by_name, name, path.to_owned(), Document::parse(bytes));
    }
    by_name.into_values().collect()
}

fn is_link(host: &Host, path: &str) -> Result<bool, HostError> {
    let entry = host.entry(path)?;
    Ok(entry.is_some_and(|entry| matches!(entry.kind, EntryKind::Link(_))))
}

fn names(
    host: &Host,
    directory: &str,
    overlay: Option<Overlay<'_>>,
) -> Result<Vec<String>, HostError> {
    let mut names = host.list_if_there(directory)?;
    if let Some(Overlay { path, .. }) = overlay
        && let Some((parent, name)) = path.rsplit_once('/')
        && parent == directory
        && !names.iter().any(|known| known == name)
    {
        names.push(name.to_owned());
    }
    // A name that is only the ending is not read either.
    names.retain(|name| !name.starts_with('.') && name.ends_with(".conf") && name.len() > 5);
    Ok(names)
}

/// `None` if modprobe does not read the file at all: a directory, or a link that leads nowhere. Such
/// a link masks nothing, unlike one to `/dev/null`.
fn content(
    host: &Host,
    path: &str,
    overlay: Option<Overlay<'_>>,
) -> Result<Option<Document>, HostError> {
    if let Some(overlay) = overlay
        && overlay.path == path
    {
        return Ok(overlay.bytes.map(Document::parse));
    }
    match host.entry(path)?.map(|entry| entry.kind) {
        Some(EntryKind::Link(target)) if target == Path::new("/dev/null") => {
            return Ok(Some(Document::default()));
        }
        Some(EntryKind::File | EntryKind::Link(_)) => {}
        _ => return Ok(None),
    }
    match host.read(path) {
        Ok(bytes) => Ok(Some(Document::parse(bytes))),
        Err(error)
            if *error.kind() == HostErrorKind::Missing || error.errno() == Some(IS_A_DIRECTORY) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
