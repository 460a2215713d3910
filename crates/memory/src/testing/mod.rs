//! Memory settings of a simulated machine and its zram devices, modelled on the kernel sources.
//!
//! The effects of a write are taken from Linux 6.1 and 7.2: `mm/huge_memory.c` and `mm/khugepaged.c`
//! (words, ranges, effect on `vm.min_free_kbytes`), `mm/hugetlb.c` (fewer pages than requested, surplus),
//! `drivers/block/zram/zram_drv.c` and `mm/swapfile.c`. All state is in the files of the machine, so a copy
//! of the files is a copy of the machine.

mod hugepages;
mod transparent;
mod zram;

pub use hugepages::{PAGES_THAT_FIT, PAGES_THAT_FIT_COMPACTED, take_hugepages, with_hugepages};
pub use transparent::with_transparent_hugepages;
pub use zram::{MemoryZram, ZramKernel, with_zram};

use hosttune_core::testing::{Behaviour, Tree};

const ENOMEM: i32 = 12;
const EBUSY: i32 = 16;
const ENODEV: i32 = 19;
const EINVAL: i32 = 22;

/// Memory of the machine in KiB: one GiB.
pub const TOTAL: u64 = 1 << 20;

/// Returns a `meminfo` with only `MemTotal`.
fn meminfo() -> String {
    format!("MemTotal:       {TOTAL} kB")
}

/// Creates a behaviour that depends only on the tree and the value.
fn answering(
    answer: impl Fn(&mut Tree, &str) -> Result<(), i32> + Send + Sync + 'static,
) -> Behaviour {
    Behaviour::new(move |tree, _, value| answer(tree, value))
}

fn number(tree: &Tree, path: &str) -> u64 {
    let text = tree.get(path).unwrap_or_default();
    text.trim().parse().unwrap_or_default()
}

/// Selects another word of a list. The kernel compares the whole value, so a value with an extra blank does
/// not match (`sysfs_streq`).
fn choose(tree: &mut Tree, path: &str, value: &str) -> Result<(), i32> {
    let text = tree.get(path).ok_or(EINVAL)?;
    let bare = |word: &str| word.trim_matches(['[', ']']).to_owned();
    let words: Vec<String> = text.split_whitespace().map(bare).collect();
    if !words.iter().any(|word| word == value) {
        return Err(EINVAL);
    }
    let shown = words.iter().map(|word| {
        if word == value {
            format!("[{word}]")
        } else {
            word.clone()
        }
    });
    tree.set(path, &shown.collect::<Vec<_>>().join(" "));
    Ok(())
}
