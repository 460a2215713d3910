//! Whether the running kernel has a module, from what depmod, the kernel's build and the kernel
//! itself say. Reading only: nothing is loaded.

use hosttune_core::host::RootKind;
use hosttune_core::{Host, HostError, HostErrorKind};

use crate::configuration;
use crate::list;
use crate::symbol;

/// What is known of a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Availability {
    /// Loaded, or part of the kernel.
    Present,
    /// It lies among the running kernel's modules.
    Loadable,
    /// The running kernel has no such module.
    Absent,
    /// Nothing on this host tells.
    Unknown,
}

/// A module that is looked for, and how it is known where it is part of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sought<'a> {
    /// Its name; in names `-` and `_` are the same.
    pub name: &'a str,
    /// A function that is in it and nowhere else, one that is called by its address, so that no
    /// compiler leaves it out: a queueing discipline's `enqueue`, a link's `xmit`.
    pub symbol: Option<&'a str>,
    /// The option of the kernel's build that it is there by, without `CONFIG_`.
    pub option: Option<&'a str>,
}

/// Looks for a module of the running kernel.
///
/// `modules.dep` and `modules.builtin` of its release tell, in `/lib/modules` or
/// `/usr/lib/modules`. Where there are none, nothing does; see [`find_all`].
///
/// # Errors
/// Where a list is there and cannot be read.
pub fn find(host: &Host, name: &str) -> Result<Availability, HostError> {
    find_in(host, &mut None, name)
}

/// `lists` are read where they are needed, and kept.
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

/// What the kernel has.
struct Lists {
    built_in: String,
    loadable: String,
}

impl Lists {
    /// Nothing where there are none.
    fn read(host: &Host) -> Result<Option<Self>, HostError> {
        let Some(directory) = list::directory(host)? else {
            return Ok(None);
        };
        let read = |list| Ok(list::read(host, &directory, list)?.unwrap_or_default());
        Ok(Some(Self {
            built_in: read(list::BUILT_IN)?,
            loadable: read(list::DEPENDENCIES)?,
        }))
    }
}

/// As [`find`], for several, in their order; and where there are no lists because the kernel can
/// have no modules at all, the kernel itself tells whether it has the code.
///
/// It does so by the configuration that it was built with (`/proc/config.gz`), and where it does
/// not have that with it, by its symbols (`/proc/kallsyms`): reading those takes some 60 ms and
/// 1,300 system calls. Their names are shown whatever `kernel.kptr_restrict` says.
///
/// A kernel that can have modules may find them where this process cannot look: in a container
/// `/lib/modules` is often empty, and the kernel starts modprobe outside of it. So the kernel is
/// asked only where there is no `/proc/modules`, once for all that are sought. An image has none.
///
/// # Errors
/// As [`find`].
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
    for ask in [by_configuration, by_symbols] {
        if is_open(&found) {
            ask(host, sought, &mut found)?;
        }
    }
    Ok(found)
}

/// The names by which those are known of which nothing is known yet.
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

/// Notes what was found out of those of which nothing is known yet.
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

/// What the kernel says of itself, unless nothing is asked, it was built without saying it, or it
/// does not say it to everybody.
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

/// Whether it is part of the kernel, as far as anything tells.
pub(crate) fn is_built_in(host: &Host, name: &str) -> Result<bool, HostError> {
    // A part of the kernel is shown there only where it has parameters or a version.
    if host.exists(of_loaded(name))? {
        return Ok(true);
    }
    let Some(directory) = list::directory(host)? else {
        return Ok(false);
    };
    let built_in = list::read(host, &directory, list::BUILT_IN)?;
    Ok(built_in.is_some_and(|list| list::line_of(&list, name).is_some()))
}

/// Where the kernel shows a module.
pub(crate) fn of_loaded(name: &str) -> String {
    format!("/sys/module/{}", canonical(name))
}

/// The name as the kernel has it.
pub(crate) fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

#[cfg(test)]
#[cfg(feature = "testing")]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use hosttune_core::testing::{Behaviour, Fate, Memory};
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
        let host = Host::new(memory.host(&Fate::lives()));
        find_all(&host, &[CAKE, TBF]).unwrap()
    }

    #[test]
    fn without_lists_and_modules_the_symbols_tell() {
        let both = [Availability::Absent, Availability::Present];
        assert_eq!(found(&running()), both);
        // Without a symbol nothing does.
        let host = Host::new(running().host(&Fate::lives()));
        let nameless = Sought {
            symbol: None,
            ..CAKE
        };
        assert_eq!(
            find_all(&host, &[nameless, TBF]).unwrap(),
            [Availability::Unknown, Availability::Present]
        );
    }

    /// In a captured tree, since the machine in memory has no file that is no text.
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
        // The symbols say otherwise.
        let both = [Availability::Present, Availability::Absent];
        assert_eq!(find_all(&host, &sought).unwrap(), both);
        // Of what has no option the symbols still tell.
        let mixed = [sought[0], TBF];
        let both = [Availability::Present, Availability::Present];
        assert_eq!(find_all(&host, &mixed).unwrap(), both);
    }

    /// In a container the kernel's modules lie outside.
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
        // The symbols say otherwise.
        let both = [Availability::Loadable, Availability::Absent];
        assert_eq!(found(&memory), both);
    }
}
