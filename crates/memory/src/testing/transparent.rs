//! Transparent hugepages and their effect on `vm.min_free_kbytes`.

use hosttune_core::testing::{Behaviour, Memory, Tree};

use super::{EINVAL, answering, choose, number};

const DIRECTORY: &str = "/sys/kernel/mm/transparent_hugepage";
const MIN_FREE: &str = "/proc/sys/vm/min_free_kbytes";

/// The last value written by a user; missing if there was none.
const USERS: &str = "/kept-by-the-kernel/user_min_free_kbytes";

/// Values of a machine with one GiB, with hugepages and without.
const RECOMMENDED: u64 = 45056;
const CALCULATED: u64 = 3828;

/// Creates a machine with transparent hugepages, optionally with per-size settings as since Linux 6.8.
#[must_use]
pub fn with_transparent_hugepages(memory: Memory, sizes: bool) -> Memory {
    let list = |file: &str| {
        let path = format!("{DIRECTORY}/{file}");
        answering(move |tree, value| {
            choose(tree, &path, value)?;
            start_or_stop(tree);
            Ok(())
        })
    };
    let defrag = answering(|tree, value| choose(tree, &format!("{DIRECTORY}/defrag"), value));
    let add = |memory: Memory, file: &str, value: &str, behaviour| {
        memory.file(format!("{DIRECTORY}/{file}"), value, behaviour)
    };
    let u32_from = |least: i64| Behaviour::integer(least..=i64::from(u32::MAX));
    let mut memory = add(memory, "enabled", "[always] madvise never", list("enabled"));
    memory = add(
        memory,
        "defrag",
        "always defer defer+madvise [madvise] never",
        defrag,
    );
    memory = add(
        memory,
        "shmem_enabled",
        "always within_size advise [never] deny force",
        list("shmem_enabled"),
    );
    memory = add(memory, "use_zero_page", "1", Behaviour::integer(0..=1));
    for (file, value, behaviour) in [
        ("defrag", "1", Behaviour::integer(0..=1)),
        ("pages_to_scan", "4096", u32_from(1)),
        ("scan_sleep_millisecs", "10000", u32_from(0)),
        ("alloc_sleep_millisecs", "60000", u32_from(0)),
        ("max_ptes_none", "511", Behaviour::integer(0..=511)),
        ("max_ptes_swap", "64", Behaviour::integer(0..=511)),
        ("max_ptes_shared", "256", Behaviour::integer(0..=511)),
    ] {
        memory = add(memory, &format!("khugepaged/{file}"), value, behaviour);
    }
    if sizes {
        for (size, value) in [
            ("64", "always inherit madvise [never]"),
            ("2048", "always [inherit] madvise never"),
        ] {
            let file = format!("hugepages-{size}kB/enabled");
            let behaviour = list(&file);
            memory = add(memory, &file, value, behaviour);
        }
    }
    let min_free = answering(|tree, value| {
        let wanted: u64 = value.trim().parse().map_err(|_| EINVAL)?;
        tree.set(MIN_FREE, &wanted.to_string());
        tree.set(USERS, &wanted.to_string());
        Ok(())
    });
    memory.file(MIN_FREE, &RECOMMENDED.to_string(), min_free)
}

fn chosen(tree: &Tree, file: &str) -> String {
    let text = tree.get(format!("{DIRECTORY}/{file}")).unwrap_or_default();
    let word = text.split_whitespace().find(|word| word.starts_with('['));
    word.unwrap_or_default().trim_matches(['[', ']']).to_owned()
}

/// `start_stop_khugepaged` and `set_recommended_min_free_kbytes`: raises the value to the recommended one
/// if hugepages are enabled, recalculates it if not, and never goes below a value set by a user.
fn start_or_stop(tree: &mut Tree) {
    let all = chosen(tree, "enabled") != "never";
    let on = match chosen(tree, "hugepages-2048kB/enabled").as_str() {
        "" | "inherit" => all,
        "never" => false,
        _ => true,
    };
    let now = number(tree, MIN_FREE);
    let next = if on {
        now.max(RECOMMENDED)
    } else {
        let users = number(tree, USERS);
        if CALCULATED > users { CALCULATED } else { now }
    };
    tree.set(MIN_FREE, &next.to_string());
}
