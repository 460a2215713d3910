//! Whether the running kernel has a module, from what depmod, the kernel's build and the kernel
//! itself say. Reading only: nothing is loaded.

use hosttune_core::host::RootKind;
use hosttune_core::{Host, HostError, HostErrorKind};

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
/// have no modules at all, its own symbols tell whether it has the code.
///
/// A kernel that can have modules may find them where this process cannot look: in a container
/// `/lib/modules` is often empty, and the kernel starts modprobe outside of it. So the symbols are
/// asked only where there is no `/proc/modules`, once for all that are sought: reading them takes
/// some 60 ms. Their names are shown whatever `kernel.kptr_restrict` says. An image has none.
///
/// # Errors
/// As [`find`].
pub fn find_all(host: &Host, sought: &[Sought<'_>]) -> Result<Vec<Availability>, HostError> {
    let mut lists = None;
    let mut found = sought
        .iter()
        .map(|sought| find_in(host, &mut lists, sought.name))
        .collect::<Result<Vec<_>, _>>()?;
    let open = sought.iter().zip(&found);
    let names: Vec<&str> = open
        .filter(|(_, found)| **found == Availability::Unknown)
        .filter_map(|(sought, _)| sought.symbol)
        .collect();
    if names.is_empty() || host.root_kind() == RootKind::Image || host.exists("/proc/modules")? {
        return Ok(found);
    }
    let symbols = match host.read(symbol::FILE) {
        Ok(symbols) => symbols,
        // Built without, or not for everybody to read.
        Err(error) if is_no_answer(&error) => return Ok(found),
        Err(error) => return Err(error),
    };
    let there = symbol::those_in(&symbols, &names);
    if symbol::is_list(&symbols) {
        for (sought, found) in sought.iter().zip(&mut found) {
            if let (Availability::Unknown, Some(symbol)) = (&*found, sought.symbol) {
                *found = if there.contains(symbol) {
                    Availability::Present
                } else {
                    Availability::Absent
                };
            }
        }
    }
    Ok(found)
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
    use hosttune_core::Host;
    use hosttune_core::testing::{Behaviour, Fate, Memory};

    use super::*;

    const CAKE: Sought<'static> = Sought {
        name: "sch_cake",
        symbol: Some("cake_enqueue"),
    };
    const TBF: Sought<'static> = Sought {
        name: "sch_tbf",
        symbol: Some("tbf_enqueue"),
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
