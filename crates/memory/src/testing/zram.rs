//! zram devices over the files of a simulated machine.

use hosttune_core::testing::{Behaviour, Memory, Tree};
use hosttune_core::{HostError, Operation};
use hosttune_modules::testing::{Beside, Described, RELEASE, with_modules};

use super::{EBUSY, EINVAL, ENODEV, ENOMEM, answering, meminfo, number};
use crate::swap::LIST;
use crate::zram::{SwapHeader, ZramDevices};

const CONTROL: &str = "/sys/class/zram-control";
const TITLE: &str = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority";
const PAGE: u64 = 4096;

/// KiB that the next `swapoff` must find room for; set by a test.
const SWAPPED_OUT: &str = "/kept-by-the-kernel/swapped-out";

/// Number of devices that answer; a test never creates more.
const MOST: u32 = 4;

/// The two implementations of zram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZramKernel {
    /// Compresses with the crypto API and keeps the algorithm across a reset: Linux 6.1.
    WithCrypto,
    /// Compresses itself, and a reset restores the default algorithm: since Linux 6.12.
    ByItself,
}

impl ZramKernel {
    /// Returns the kernel release.
    pub fn release(self) -> &'static str {
        match self {
            Self::WithCrypto => "6.1.0-56-amd64",
            Self::ByItself => "7.2.12+deb13-amd64",
        }
    }

    fn modules(self) -> Vec<Described> {
        let needing = |name, needs, parameters| Described {
            name,
            needs,
            parameters,
        };
        let zstd = needing("zstd", &["zstd_compress"], &[]);
        match self {
            Self::WithCrypto => vec![
                needing("zram", &["zsmalloc"], &["num_devices"]),
                Described::alone("zsmalloc"),
                zstd,
                Described::alone("zstd_compress"),
            ],
            Self::ByItself => vec![
                needing("zram", &["lz4hc_compress"], &["num_devices"]),
                Described::alone("lz4hc_compress"),
                zstd,
                Described::alone("zstd_compress"),
            ],
        }
    }

    fn offers(self) -> &'static [&'static str] {
        match self {
            Self::WithCrypto => &["lzo", "lzo-rle", "lz4", "lz4hc", "zstd"],
            Self::ByItself => &["lz4hc", "lz4", "zstd", "deflate"],
        }
    }

    fn default(self) -> &'static str {
        match self {
            Self::WithCrypto => "lzo-rle",
            Self::ByItself => "lz4",
        }
    }

    fn shown(self, chosen: &str) -> String {
        let word = |word: &&str| {
            if *word == chosen {
                format!("[{word}]")
            } else {
                (*word).to_owned()
            }
        };
        self.offers().iter().map(word).collect::<Vec<_>>().join(" ")
    }
}

fn file(number: u32, name: &str) -> String {
    format!("/sys/block/zram{number}/{name}")
}

fn node(number: u32) -> String {
    format!("/dev/zram{number}")
}

/// Where the simulated machine keeps what is on a device after its first page.
fn after_first_page(number: u32) -> String {
    format!("/kept-by-the-kernel/zram{number}-after-first-page")
}

fn is_there(tree: &Tree, number: u32) -> bool {
    tree.get(file(number, "disksize")).is_some()
}

fn is_swap(tree: &Tree, number: u32) -> bool {
    let list = tree.get(LIST).unwrap_or_default();
    let node = format!("{} ", node(number));
    list.lines().any(|line| line.starts_with(&node))
}

/// Creates a machine whose zram module is not loaded yet.
#[must_use]
pub fn with_zram(memory: Memory, kernel: ZramKernel) -> Memory {
    let all = Behaviour::takes_all;
    let memory = with_modules(memory, &kernel.modules(), &[]);
    // The module lists are found by the release.
    memory.change(|tree| {
        tree.set("/proc/sys/kernel/osrelease", kernel.release());
        for list in ["modules.dep", "modules.builtin", "modules.alias"] {
            let text = tree.get(format!("/lib/modules/{RELEASE}/{list}"));
            let path = format!("/lib/modules/{}/{list}", kernel.release());
            tree.set(path, &text.unwrap_or_default());
        }
    });
    let mut memory = memory
        .directory("/sys/block")
        .directory("/dev")
        .file("/proc/meminfo", &meminfo(), all())
        .file(
            "/proc/sys/kernel/random/boot_id",
            "0f4a5a4e-8f1a-4d0e-9b51-0d3c5a1f7e42",
            Behaviour::refuses(EINVAL),
        )
        .file(LIST, TITLE, Behaviour::refuses(EINVAL));
    memory = memory.behaving(
        format!("{CONTROL}/hot_remove"),
        answering(|tree, value| {
            let number: u32 = value.trim().parse().map_err(|_| EINVAL)?;
            if !is_there(tree, number) {
                return Err(ENODEV);
            }
            if is_swap(tree, number) {
                return Err(EBUSY);
            }
            remove(tree, number);
            Ok(())
        }),
    );
    for number in 0..MOST {
        memory = device(memory, number, kernel);
    }
    memory.change(|tree| tree.set("/kept-by-the-kernel/zram", kernel.release()));
    memory
}

fn kernel(tree: &Tree) -> ZramKernel {
    match tree.get("/kept-by-the-kernel/zram").as_deref() {
        Some("6.1.0-56-amd64") => ZramKernel::WithCrypto,
        _ => ZramKernel::ByItself,
    }
}

fn counts(tree: &mut Tree, number: u32, limit: u64) {
    tree.set(
        file(number, "mm_stat"),
        &format!(
            "       0        0        0 {limit:>8}        0        0        0        0        0"
        ),
    );
}

/// Sets how the files of a device answer while it exists.
fn device(memory: Memory, at: u32, kernel: ZramKernel) -> Memory {
    let configured = move |tree: &Tree| number(tree, &file(at, "disksize")) > 0;
    memory
        .behaving(
            file(at, "comp_algorithm"),
            answering(move |tree, value| {
                if configured(tree) {
                    return Err(EBUSY);
                }
                if !kernel.offers().contains(&value.trim()) {
                    return Err(EINVAL);
                }
                tree.set(file(at, "comp_algorithm"), &kernel.shown(value.trim()));
                Ok(())
            }),
        )
        .behaving(
            file(at, "mem_limit"),
            answering(move |tree, value| {
                let limit: u64 = value.trim().parse().map_err(|_| EINVAL)?;
                counts(tree, at, limit.next_multiple_of(PAGE));
                tree.set(file(at, "mem_limit"), "");
                Ok(())
            }),
        )
        .behaving(
            file(at, "disksize"),
            answering(move |tree, value| {
                let size: u64 = value.trim().parse().map_err(|_| EINVAL)?;
                if size == 0 {
                    return Err(EINVAL);
                }
                if configured(tree) {
                    return Err(EBUSY);
                }
                let chosen = tree.get(file(at, "comp_algorithm")).unwrap_or_default();
                if kernel == ZramKernel::WithCrypto && chosen.contains("[zstd]") {
                    // The crypto API loads the modules it needs and never unloads them.
                    for module in ["zstd_compress", "zstd"] {
                        tree.set(format!("/sys/module/{module}/initstate"), "live");
                    }
                }
                let size = size.next_multiple_of(PAGE);
                tree.set(file(at, "disksize"), &size.to_string());
                tree.set(file(at, "initstate"), "1");
                Ok(())
            }),
        )
        .behaving(
            file(at, "reset"),
            answering(move |tree, value| {
                if value.trim().parse::<u16>().map_err(|_| EINVAL)? == 0 {
                    return Err(EINVAL);
                }
                if is_swap(tree, at) {
                    return Err(EBUSY);
                }
                if configured(tree) {
                    blank(tree, at);
                }
                Ok(())
            }),
        )
}

/// `zram_reset_device`.
fn blank(tree: &mut Tree, at: u32) {
    let kernel = kernel(tree);
    counts(tree, at, 0);
    tree.set(file(at, "disksize"), "0");
    tree.set(file(at, "initstate"), "0");
    tree.set(node(at), "");
    tree.remove(after_first_page(at));
    if kernel == ZramKernel::ByItself {
        tree.set(file(at, "comp_algorithm"), &kernel.shown(kernel.default()));
    }
}

const FILES: [&str; 6] = [
    "comp_algorithm",
    "disksize",
    "initstate",
    "mem_limit",
    "mm_stat",
    "reset",
];

/// `zram_add`.
fn add(tree: &mut Tree, at: u32) {
    let kernel = kernel(tree);
    for name in FILES {
        tree.set(file(at, name), "");
    }
    tree.set(file(at, "comp_algorithm"), &kernel.shown(kernel.default()));
    blank(tree, at);
}

fn remove(tree: &mut Tree, at: u32) {
    for name in FILES {
        tree.remove(file(at, name));
    }
    tree.remove(format!("/sys/block/zram{at}"));
    tree.remove(node(at));
    tree.remove(after_first_page(at));
}

/// The devices of a simulated machine, and the zram side of the module loader.
#[derive(Debug)]
pub struct MemoryZram(pub Memory);

impl MemoryZram {
    fn refused(operation: Operation, number: u32, errno: i32) -> HostError {
        HostError::from_errno(operation, node(number), errno)
    }

    /// Creates a device as another process, with a size, and as swap if a header is given.
    ///
    /// # Errors
    /// Returns the kernel's error.
    pub fn somebodys(&mut self, size: u64, header: Option<&SwapHeader>) -> Result<u32, HostError> {
        let number = self.add()?;
        let written = self.0.write(file(number, "disksize"), &size.to_string());
        written.map_err(|errno| Self::refused(Operation::Write, number, errno))?;
        if let Some(header) = header {
            let page = header.to_page(usize::try_from(PAGE).unwrap_or_default());
            self.write_first_page(number, &page)?;
            self.swap_on(number, 5)?;
        }
        Ok(number)
    }

    /// Writes data after the first page, as another process.
    pub fn write_after_first_page(&self, number: u32, data: &str) {
        self.0
            .change(|tree| tree.set(after_first_page(number), data));
    }

    /// Makes programs swap out this many KiB that do not fit into memory.
    pub fn swap_out(&self, kilobytes: u64) {
        self.0
            .change(|tree| tree.set(SWAPPED_OUT, &kilobytes.to_string()));
    }
}

impl ZramDevices for MemoryZram {
    fn add(&mut self) -> Result<u32, HostError> {
        self.0.change(|tree| {
            if tree.get(format!("{CONTROL}/hot_remove")).is_none() {
                return Err(HostError::from_errno(Operation::Create, CONTROL, 2));
            }
            let free = (0..MOST).find(|number| !is_there(tree, *number));
            let number = free.ok_or_else(|| Self::refused(Operation::Create, MOST, ENOMEM))?;
            add(tree, number);
            Ok(number)
        })
    }

    fn page_size(&self) -> usize {
        usize::try_from(PAGE).unwrap_or_default()
    }

    fn first_page(&self, number: u32) -> Result<Vec<u8>, HostError> {
        self.0.change(|tree| {
            if !is_there(tree, number) {
                return Err(Self::refused(Operation::Read, number, 2));
            }
            if super::number(tree, &file(number, "disksize")) == 0 {
                return Ok(Vec::new());
            }
            let digits = tree.get(node(number)).unwrap_or_default();
            let mut page: Vec<u8> = digits
                .as_bytes()
                .chunks(2)
                .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
                .collect();
            page.resize(usize::try_from(PAGE).unwrap_or_default(), 0);
            Ok(page)
        })
    }

    fn has_data_after_first_page(&self, number: u32) -> Result<bool, HostError> {
        self.0.change(|tree| {
            if !is_there(tree, number) {
                return Err(Self::refused(Operation::Read, number, 2));
            }
            Ok(tree.get(after_first_page(number)).is_some())
        })
    }

    fn erase(&mut self, number: u32) -> Result<(), HostError> {
        self.write_first_page(number, &[])?;
        self.0.change(|tree| tree.remove(after_first_page(number)));
        Ok(())
    }

    fn write_first_page(&mut self, number: u32, page: &[u8]) -> Result<(), HostError> {
        self.0.change(|tree| {
            if super::number(tree, &file(number, "disksize")) == 0 {
                // The write is beyond the end of the device.
                return Err(Self::refused(Operation::Write, number, 28));
            }
            let digits: String = if page.iter().all(|byte| *byte == 0) {
                String::new()
            } else {
                page.iter().map(|byte| format!("{byte:02x}")).collect()
            };
            tree.set(node(number), &digits);
            Ok(())
        })
    }

    fn swap_on(&mut self, number: u32, priority: u16) -> Result<(), HostError> {
        let page = self.first_page(number)?;
        self.0.change(|tree| {
            let refused = |errno| Self::refused(Operation::Backend, number, errno);
            if is_swap(tree, number) {
                return Err(refused(EBUSY));
            }
            let header = SwapHeader::of_page(&page).ok_or_else(|| refused(EINVAL))?;
            let size = super::number(tree, &file(number, "disksize")) / PAGE;
            if u64::from(header.last_page) >= size {
                return Err(refused(EINVAL));
            }
            let list = tree.get(LIST).unwrap_or_default();
            let line = format!(
                "{} \tpartition\t{}\t\t0\t\t{priority}",
                node(number),
                u64::from(header.last_page) * PAGE / 1024
            );
            tree.set(LIST, &format!("{list}\n{line}"));
            Ok(())
        })
    }

    fn swap_off(&mut self, number: u32) -> Result<(), HostError> {
        self.0.change(|tree| {
            if !is_swap(tree, number) {
                return Err(Self::refused(Operation::Backend, number, EINVAL));
            }
            if super::number(tree, SWAPPED_OUT) > 0 {
                return Err(Self::refused(Operation::Backend, number, ENOMEM)
                    .with_kind(hosttune_core::HostErrorKind::Busy)
                    .with_hint("end some programs"));
            }
            let list = tree.get(LIST).unwrap_or_default();
            let start = format!("{} ", node(number));
            let others = list.lines().filter(|line| !line.starts_with(&start));
            tree.set(LIST, &others.collect::<Vec<_>>().join("\n"));
            Ok(())
        })
    }
}

impl Beside for MemoryZram {
    /// A device in use holds a reference to the module.
    fn uses(&self, module: &str) -> usize {
        self.0.change(|tree| match module {
            "zram" => (0..MOST).filter(|number| is_swap(tree, *number)).count(),
            "zstd" => (0..MOST)
                .filter(|number| {
                    let chosen = tree.get(file(*number, "comp_algorithm"));
                    super::number(tree, &file(*number, "disksize")) > 0
                        && kernel(tree) == ZramKernel::WithCrypto
                        && chosen.unwrap_or_default().contains("[zstd]")
                })
                .count(),
            _ => 0,
        })
    }

    fn loaded(&mut self, module: &str, parameters: &[String]) {
        if module != "zram" {
            return;
        }
        self.0
            .change(|tree| tree.set(format!("{CONTROL}/hot_remove"), ""));
        let says = parameters
            .iter()
            .find_map(|one| one.strip_prefix("num_devices="));
        let devices = says.and_then(|number| number.parse().ok()).unwrap_or(1);
        for _ in 0..devices {
            let _ = self.add();
        }
    }

    fn unloaded(&mut self, module: &str) {
        if module != "zram" {
            return;
        }
        self.0.change(|tree| {
            for number in 0..MOST {
                if is_there(tree, number) {
                    remove(tree, number);
                }
            }
            tree.remove(format!("{CONTROL}/hot_remove"));
            tree.remove(CONTROL);
            tree.remove("/sys/class");
        });
    }
}
