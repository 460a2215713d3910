//! Whether the running kernel has a module, according to the lists of depmod and of the kernel's
//! build, and to the kernel itself. This only reads and loads nothing.

use hosttune_core::host::RootKind;
use hosttune_core::{Host, HostError, HostErrorKind};

#[cfg(feature = "configuration")]
use crate::configuration;
use crate::list;
use crate::symbol;

/// Whether the running kernel has a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Availability {
    /// It is loaded or built in.
    Present,
    /// It is among the modules of the running kernel.
    Loadable,
    /// The running kernel has no such module.
    Absent,
    /// This cannot be determined on this host.
    Unknown,
}

/// A module to look for, and how to recognize it if it is built in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sought<'a> {
    /// The name of the module; `-` and `_` are the same in names.
    pub name: &'a str,
    /// A function that only this module contains. It must be called through its address, so that no
    /// compiler removes it: the `enqueue` of a qdisc, the `xmit` of an interface.
    pub symbol: Option<&'a str>,
    /// The kernel configuration option that enables the module, without `CONFIG_`.
    pub option: Option<&'a str>,
}

/// Looks for a module of the running kernel.
///
/// The answer comes from `modules.dep` and `modules.builtin` of the kernel's release, in
/// `/lib/modules` or `/usr/lib/modules`. Without them it is [`Availability::Unknown`] unless the
/// module is loaded; see [`find_all`].
///
/// # Errors
/// When a list exists but cannot be read.
pub fn find(host: &Host, name: &str) -> Result<Availability, HostError> {
    find_in(host, &mut None, name)
}

/// Reads `lists` when they are first needed.
fn find_in(
    host: &Host,
    lists: &mut Option<Option<Lists>>,
    name: &str,
) -> Result<Availability, HostError> {
    if host.exists(of_loaded(name))? {
        return Ok(Availability::Present);
    }
    let lists = match lists {
        Some(lists) => lists,
        None => lists.insert(Lists::read(host)?),
    };
    let Some(lists) = lists else {
        return Ok(Availability::Unknown);
    };
    Ok(if list::line_of(&lists.built_in, name).is_some() {
        Availability::Present
    } else if list::line_of(&lists.loadable, name).is_some() {
        Availability::Loadable
    } else {
        Availability::Absent
    })
}

/// The lists of the kernel's modules.
struct Lists {
    built_in: String,
    loadable: String,
}

impl Lists {
    /// `None` if the host has no lists.
    fn read(host: &Host) -> Result<Option<Self>, HostError> {
        let Some(directory) = list::directory(host)? else {
            return Ok(None);
        };
        let read =
            |list| Ok::<_, HostError>(list::read(host, &directory, list)?.unwrap_or_default());
        Ok(Some(Self {
            built_in: read(list::BUILT_IN)?,
            loadable: read(list::DEPENDENCIES)?,
        }))
    }
}

/// Looks for several modules like [`find`], and returns the answers in the same order. If there are
/// no lists because the kernel does not support modules, the kernel itself tells whether it contains
/// the code.
///
/// The source is the kernel's build configuration (`/proc/config.gz`) or, if that is missing or this crate is built
/// without the feature `configuration`, its symbols (`/proc/kallsyms`), which take some 60 ms and 1,300 system calls to read. The names of
/// symbols are visible whatever `kernel.kptr_restrict` is.
///
/// A kernel with module support may find modules where this process cannot: in a container
/// `/lib/modules` is often empty, and the kernel starts modprobe outside of it. So these files are
/// read only if there is no `/proc/modules`, once for all modules, and never on an image.
///
/// # Errors
/// The same as for [`find`].
pub fn find_all(host: &Host, sought: &[Sought<'_>]) -> Result<Vec<Availability>, HostError> {
    let mut lists = None;
    let mut found = sought
        .iter()
        .map(|sought| find_in(host, &mut lists, sought.name))
        .collect::<Result<Vec<_>, _>>()?;
    let is_open = |found: &[Availability]| found.contains(&Availability::Unknown);
    if !is_open(&found) || host.root_kind() == RootKind::Image || host.exists("/proc/modules")? {
        return Ok(found);
    }
    #[cfg(feature = "configuration")]
    by_configuration(host, sought, &mut found)?;
    if is_open(&found) {
        by_symbols(host, sought, &mut found)?;
    }
    Ok(found)
}

/// The names (options or symbols) of the modules whose availability is still unknown.
fn open<'a>(
    sought: &[Sought<'a>],
    found: &[Availability],
    name: impl Fn(&Sought<'a>) -> Option<&'a str>,
) -> Vec<&'a str> {
    let both = sought.iter().zip(found);
    both.filter(|(_, found)| **found == Availability::Unknown)
        .filter_map(|(sought, _)| name(sought))
        .collect()
}

/// Records the availability of modules for which it is still unknown.
fn note<'a>(
    sought: &[Sought<'a>],
    found: &mut [Availability],
    is_there: impl Fn(&Sought<'a>) -> Option<bool>,
) {
    for (sought, found) in sought.iter().zip(found) {
        if *found != Availability::Unknown {
            continue;
        }
        *found = match is_there(sought) {
            Some(true) => Availability::Present,
            Some(false) => Availability::Absent,
            None => continue,
        };
    }
}

#[cfg(feature = "configuration")]
fn by_configuration(
    host: &Host,
    sought: &[Sought<'_>],
    found: &mut [Availability],
) -> Result<(), HostError> {
    let names = open(sought, found, |sought| sought.option);
    let Some(compressed) = told(host, configuration::FILE, &names)? else {
        return Ok(());
    };
    if let Some(options) = configuration::options(&compressed, &names) {
        note(sought, found, |sought| options.get(sought.option?).copied());
    }
    Ok(())
}

fn by_symbols(
    host: &Host,
    sought: &[Sought<'_>],
    found: &mut [Availability],
) -> Result<(), HostError> {
    let names = open(sought, found, |sought| sought.symbol);
    let Some(symbols) = told(host, symbol::FILE, &names)? else {
        return Ok(());
    };
    let there = symbol::those_in(&symbols, &names);
    if symbol::is_list(&symbols) {
        note(sought, found, |sought| Some(there.contains(sought.symbol?)));
    }
    Ok(())
}

/// The content of a file in which the kernel describes itself. `None` if there are no names to look
/// up, the kernel was built without the file, or this process may not read it.
fn told(host: &Host, file: &str, names: &[&str]) -> Result<Option<Vec<u8>>, HostError> {
    if names.is_empty() {
        return Ok(None);
    }
    match host.read(file) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if is_no_answer(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_no_answer(error: &HostError) -> bool {
    matches!(error.kind(), HostErrorKind::Missing | HostErrorKind::Denied)
}

/// Whether the running kernel contains a module, so that nothing in modprobe.d acts on it: its
/// parameters are set as `module.parameter=value` on the kernel command line. False if that cannot
/// be determined.
///
/// # Errors
/// When the list of built-in modules exists but cannot be read.
pub fn is_built_in(host: &Host, name: &str) -> Result<bool, HostError> {
    // A module that was loaded has this file, and one that is built in has not.
    let shown = of_loaded(name);
    if host.exists(&shown)? {
        return Ok(!host.exists(format!("{shown}/initstate"))?);
    }
    is_listed_as_built_in(host, name)
}

/// The file of a loadable module of the running kernel, as an absolute path; `None` if the kernel has
/// no such module or the host has no list of modules.
///
/// # Errors
/// When the list exists but cannot be read.
pub fn file_of(host: &Host, name: &str) -> Result<Option<String>, HostError> {
    let Some(directory) = list::directory(host)? else {
        return Ok(None);
    };
    let needed = list::read(host, &directory, list::DEPENDENCIES)?.unwrap_or_default();
    let line = list::line_of(&needed, name);
    let path = line.and_then(|line| line.split(':').next());
    Ok(path.map(|path| absolute(&directory, path)))
}

/// A loadable module of the running kernel and its file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModuleFile {
    /// The name that the file has, as it is spelled there. Options are looked up by it; the kernel can
    /// show the module under another name.
    pub name: String,
    /// The absolute path.
    pub path: String,
}

/// The files of the loadable modules of the running kernel whose names begin with `prefix`, in the
/// order of their names; empty if the host has no list of modules. `-` and `_` are the same.
///
/// # Errors
/// When the list exists but cannot be read.
pub fn files_of(host: &Host, prefix: &str) -> Result<Vec<ModuleFile>, HostError> {
    let Some(directory) = list::directory(host)? else {
        return Ok(Vec::new());
    };
    let needed = list::read(host, &directory, list::DEPENDENCIES)?.unwrap_or_default();
    let prefix = canonical(prefix);
    let mut files: Vec<ModuleFile> = list::files(&needed)
        .filter(|(name, _)| canonical(name).starts_with(&prefix))
        .map(|(name, path)| ModuleFile {
            name: name.to_owned(),
            path: absolute(&directory, path),
        })
        .collect();
    files.sort_by(|one, other| one.name.cmp(&other.name));
    files.dedup_by(|one, other| canonical(&one.name) == canonical(&other.name));
    Ok(files)
}

fn absolute(directory: &str, path: &str) -> String {
    if path.starts_with('/') {
        return path.to_owned();
    }
    format!("{directory}/{path}")
}

pub(crate) fn is_listed_as_built_in(host: &Host, name: &str) -> Result<bool, HostError> {
    let Some(directory) = list::directory(host)? else {
        return Ok(false);
    };
    let built_in = list::read(host, &directory, list::BUILT_IN)?;
    Ok(built_in.is_some_and(|list| list::line_of(&list, name).is_some()))
}

/// The directory in which the kernel shows a module.
pub(crate) fn of_loaded(name: &str) -> String {
    format!("/sys/module/{}", canonical(name))
}

/// The kernel's spelling of a module name.
pub(crate) fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

#[cfg(test)]
#[cfg(feature = "testing")]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use hosttune_core::testing::{Behaviour, CrashPoint, Memory};
    use hosttune_core::{Host, LinuxHost};

    use super::*;

    const CAKE: Sought<'static> = Sought {
        name: "sch_cake",
        symbol: Some("cake_enqueue"),
        option: None,
    };
    const TBF: Sought<'static> = Sought {
        name: "sch_tbf",
        symbol: Some("tbf_enqueue"),
        option: None,
    };

    fn running() -> Memory {
        let all = Behaviour::takes_all;
        Memory::new()
            .file("/proc/sys/kernel/osrelease", "6.18.0", all())
            .file(
                symbol::FILE,
                "0000000000000000 T _text\n0000000000000000 t tbf_enqueue",
                all(),
            )
    }

    fn found(memory: &Memory) -> Vec<Availability> {
        let host = Host::new(memory.host(&CrashPoint::lives()));
        find_all(&host, &[CAKE, TBF]).unwrap()
    }

    #[test]
    fn without_lists_and_modules_the_symbols_tell() {
        let both = [Availability::Absent, Availability::Present];
        assert_eq!(found(&running()), both);
        // A module without a symbol stays unknown.
        let host = Host::new(running().host(&CrashPoint::lives()));
        let nameless = Sought {
            symbol: None,
            ..CAKE
        };
        assert_eq!(
            find_all(&host, &[nameless, TBF]).unwrap(),
            [Availability::Unknown, Availability::Present]
        );
    }

    /// This uses a captured tree, because the machine in memory supports only text files.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "the tree is made for this")]
    fn the_configuration_tells_and_then_the_symbols_are_not_read() {
        let tree = tempfile::tempdir().unwrap();
        let proc = tree.path().join("proc");
        std::fs::create_dir_all(proc.join("sys/kernel")).unwrap();
        std::fs::write(proc.join("sys/kernel/osrelease"), "6.18.0\n").unwrap();
        let symbols = "0000000000000000 T _text\n0000000000000000 t tbf_enqueue\n";
        std::fs::write(proc.join("kallsyms"), symbols).unwrap();
        let compressed = std::fs::File::create(proc.join("config.gz")).unwrap();
        let mut encoder = GzEncoder::new(compressed, Compression::default());
        let options = "CONFIG_NET_SCH_CAKE=y\n# CONFIG_NET_SCH_TBF is not set\n";
        encoder.write_all(options.as_bytes()).unwrap();
        encoder.finish().unwrap();

        let host = Host::new(LinuxHost::at(tree.path()).unwrap());
        let named = |sought: Sought<'static>, option| Sought {
            option: Some(option),
            ..sought
        };
        let sought = [named(CAKE, "NET_SCH_CAKE"), named(TBF, "NET_SCH_TBF")];
        // The symbols say the opposite.
        let both = [Availability::Present, Availability::Absent];
        assert_eq!(find_all(&host, &sought).unwrap(), both);
        // For a module without an option the symbols are still used.
        let mixed = [sought[0], TBF];
        let both = [Availability::Present, Availability::Present];
        assert_eq!(find_all(&host, &mixed).unwrap(), both);
    }

    /// In a container the kernel's modules are outside.
    #[test]
    fn a_kernel_that_can_have_modules_is_not_told_by_its_symbols() {
        let memory = running().file("/proc/modules", "", Behaviour::takes_all());
        assert_eq!(found(&memory), [Availability::Unknown; 2]);
    }

    #[test]
    fn symbols_that_are_hidden_tell_nothing() {
        let memory = running();
        memory.change(|tree| tree.remove(symbol::FILE));
        assert_eq!(found(&memory), [Availability::Unknown; 2]);
        let empty = running().file(symbol::FILE, "", Behaviour::takes_all());
        assert_eq!(found(&empty), [Availability::Unknown; 2]);
    }

    #[test]
    fn where_there_are_lists_they_tell_and_the_symbols_are_not_read() {
        let all = Behaviour::takes_all;
        let memory = running()
            .file(
                "/lib/modules/6.18.0/modules.dep",
                "kernel/net/sched/sch_cake.ko.zst:",
                all(),
            )
            .file("/lib/modules/6.18.0/modules.builtin", "", all());
        // The symbols say the opposite.
        let both = [Availability::Loadable, Availability::Absent];
        assert_eq!(found(&memory), both);
    }
}
