//! Memory settings of a machine in memory, and its zram devices, as the kernel's sources have them.
//!
//! What a write does is taken from Linux 6.1 and 7.2: `mm/huge_memory.c` and `mm/khugepaged.c`
//! (words, ranges, what happens to `vm.min_free_kbytes`), `mm/hugetlb.c` (fewer pages than asked
//! for, surplus), `drivers/block/zram/zram_drv.c` and `mm/swapfile.c`. All state lies in the files
//! of the machine: a copy of them is a copy of it.

mod hugepages;
mod transparent;
mod zram;

pub use hugepages::{PAGES_THAT_FIT, take_hugepages, with_hugepages};
pub use transparent::with_transparent_hugepages;
pub use zram::{MemoryZram, ZramKernel, with_zram};

use hosttune_core::testing::{Behaviour, Tree};

const ENOMEM: i32 = 12;
const EBUSY: i32 = 16;
const ENODEV: i32 = 19;
const EINVAL: i32 = 22;

/// How much memory the machine has, in KiB: one GiB.
pub const TOTAL: u64 = 1 << 20;

/// `MemTotal` and nothing else.
fn meminfo() -> String {
    format!("MemTotal:       {TOTAL} kB")
}

/// What a behaviour does that looks at nothing but the tree and the value.
fn answering(
    answer: impl Fn(&mut Tree, &str) -> Result<(), i32> + Send + Sync + 'static,
) -> Behaviour {
    Behaviour::new(move |tree, _, value| answer(tree, value))
}

fn number(tree: &Tree, path: &str) -> u64 {
    let text = tree.get(path).unwrap_or_default();
    text.trim().parse().unwrap_or_default()
}

/// Of a list in which one word is chosen: chooses another one. The kernel compares the whole
/// value, so a blank too many is no word (`sysfs_streq`).
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
