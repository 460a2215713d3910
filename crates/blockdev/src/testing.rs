//! Block devices over the files of a machine in memory, as the kernel has them.
//!
//! They are no kinder than the kernel: a scheduler that is switched resets what hangs on it, values
//! are rounded, clamped, refused, or taken and passed over, and a name that begins with `none` is
//! `none`. That they are so is shown by the same random writes to both, in
//! `crates/blockdev/tests/real_kernel.rs`.
//!
//! What the kernel keeps and does not show stands beneath [`UNSEEN`].

use std::path::{Path, PathBuf};

use hosttune_core::testing::{Behaviour, Memory, Tree};

use crate::name::DiskName;

/// Where the double keeps what the kernel does not show: whoever compares pictures of a machine leaves
/// it out.
pub const UNSEEN: &str = "/unseen";

const EINVAL: i32 = 22;
const ERANGE: i32 = 34;

/// Whose behaviour it is, where kernels differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Linux {
    /// As of 6.1.
    V6_1,
    /// As of 7.2.
    V7_2,
}

/// A disk of a machine in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryDisk {
    /// Its kernel name.
    pub name: String,
    /// Its place beneath `/sys/devices`, the name included.
    pub device: String,
    /// Model, with a file for it.
    pub model: Option<String>,
    /// World-wide name, with a file for it.
    pub wwid: Option<String>,
    /// The kernel's count.
    pub diskseq: u64,
    /// In sectors of 512 bytes.
    pub sectors: u64,
    /// Whether it says that it rotates.
    pub rotational: bool,
    /// Requests that the device has by itself; nothing where it is bio-based.
    pub tags: Option<u64>,
    /// `max_hw_sectors_kb`.
    pub max_hw_sectors_kb: u64,
    /// `max_sectors_kb` as it comes up.
    pub max_sectors_kb: u64,
    /// `read_ahead_kb` as it comes up.
    pub read_ahead_kb: u64,
    /// What is best to read at a time, in KiB; 0 where the device does not say.
    pub optimal_io_kb: u64,
    /// The scheduler as it comes up.
    pub scheduler: &'static str,
}

impl MemoryDisk {
    /// A disk of a SCSI or ATA host.
    pub fn scsi(name: &str, segment: &str, rotational: bool, diskseq: u64) -> Self {
        Self {
            name: name.to_owned(),
            device: format!("pci0000:00/0000:00:1f.2/{segment}/target1:0:0/1:0:0:0/block/{name}"),
            model: Some("QEMU HARDDISK".to_owned()),
            wwid: Some(format!("t10.ATA     QEMU HARDDISK {diskseq}")),
            diskseq,
            sectors: 131_072,
            rotational,
            tags: Some(32),
            max_hw_sectors_kb: 32_767,
            max_sectors_kb: 1280,
            read_ahead_kb: 128,
            optimal_io_kb: 0,
            scheduler: "mq-deadline",
        }
    }

    /// An NVMe namespace that is not multipath.
    pub fn nvme(name: &str, diskseq: u64) -> Self {
        Self {
            device: format!("pci0000:00/0000:05:00.0/nvme/nvme0/{name}"),
            model: Some("QEMU NVMe Ctrl".to_owned()),
            wwid: Some(format!("nvme.1b36-{diskseq}")),
            tags: Some(1023),
            max_hw_sectors_kb: 512,
            max_sectors_kb: 512,
            scheduler: "none",
            ..Self::scsi(name, "", false, diskseq)
        }
    }

    /// What software makes: bio-based.
    pub fn bio_based(name: &str, diskseq: u64) -> Self {
        Self {
            device: format!("virtual/block/{name}"),
            model: None,
            wwid: None,
            tags: None,
            ..Self::scsi(name, "", false, diskseq)
        }
    }

    fn directory(&self) -> PathBuf {
        Path::new("/sys/devices").join(&self.device)
    }

    /// A path of a multipath NVMe namespace is.
    fn is_hidden(&self) -> bool {
        let name: Result<DiskName, _> = self.name.parse();
        name.is_ok_and(|name| name.head().is_some())
    }
}

/// The machine with a disk.
#[must_use]
pub fn with_disk(memory: Memory, linux: Linux, disk: &MemoryDisk) -> Memory {
    let kernel = Kernel {
        linux,
        queue: disk.directory().join("queue"),
        unseen: Path::new(UNSEEN).join(&disk.name),
        tags: disk.tags.unwrap_or(128),
        rotational: disk.rotational,
        max_hw_sectors_kb: disk.max_hw_sectors_kb,
        max_sectors_kb: disk.max_sectors_kb,
        optimal_io_kb: disk.optimal_io_kb,
    };
    let directory = disk.directory();
    let all = Behaviour::takes_all;
    let mut memory = memory
        .link(
            format!("/sys/block/{}", disk.name),
            Path::new("../devices").join(&disk.device),
        )
        .link(
            format!("/sys/class/block/{}", disk.name),
            Path::new("../../devices").join(&disk.device),
        )
        .link(directory.join("subsystem"), "/sys/class/block")
        .file(directory.join("size"), &disk.sectors.to_string(), all())
        .file(
            directory.join("hidden"),
            if disk.is_hidden() { "1" } else { "0" },
            Behaviour::refuses(13),
        )
        .file(
            directory.join("uevent"),
            &format!(
                "MAJOR=8\nMINOR={0}\nDEVNAME={1}\nDEVTYPE=disk\nDISKSEQ={0}",
                disk.diskseq,
                disk.name.replace('!', "/")
            ),
            all(),
        )
        .file(
            directory.join("queue/rotational"),
            if disk.rotational { "1" } else { "0" },
            all(),
        )
        .file(
            directory.join("queue/max_hw_sectors_kb"),
            &disk.max_hw_sectors_kb.to_string(),
            Behaviour::refuses(13),
        );
    for (file, value) in [("device/model", &disk.model), ("wwid", &disk.wwid)] {
        if let Some(value) = value {
            memory = memory.file(directory.join(file), value, all());
        }
    }
    let requests = disk.tags.is_some();
    let mut files = vec![
        (File::ReadAhead, disk.read_ahead_kb.to_string()),
        (File::MaxSectors, disk.max_sectors_kb.to_string()),
        (File::Nomerges, "0".to_owned()),
        (File::Switch("add_random"), "0".to_owned()),
        (File::Switch("iostats"), "1".to_owned()),
    ];
    if requests {
        memory = memory.directory(directory.join("mq/0"));
        files.extend([
            (File::NrRequests, kernel.tags.to_string()),
            (File::RqAffinity, "1".to_owned()),
            (File::WbtLatUsec, kernel.wbt_default().to_string()),
            (File::Scheduler, String::new()),
        ]);
        if linux >= Linux::V7_2 {
            files.push((File::AsyncDepth, kernel.tags.to_string()));
        }
    } else if linux == Linux::V6_1 {
        // It has the file, and takes whatever is written to it, to no effect.
        memory = memory.file(
            kernel.queue.join("scheduler"),
            "none",
            Behaviour::new(|_, _, _| Ok(())),
        );
    }
    for (file, value) in files {
        let kernel = kernel.clone();
        let path = kernel.queue.join(file.name());
        memory = memory.file(
            path,
            &value,
            Behaviour::new(move |tree, _, value| kernel.write(tree, file, value)),
        );
    }
    if requests {
        for scheduler in SCHEDULERS {
            for (name, _, kind) in tunables(scheduler, linux) {
                // Each is there while its scheduler is, and takes what that one takes.
                let kernel = kernel.clone();
                let path = kernel.queue.join("iosched").join(name);
                memory = memory.behaving(
                    path,
                    Behaviour::new(move |tree, _, value| kernel.tune(tree, name, kind, value)),
                );
            }
        }
        memory.change(|tree| {
            tree.set(kernel.unseen.join("modules"), "mq-deadline bfq kyber");
            kernel.switch(tree, "none");
            kernel.switch(tree, disk.scheduler);
        });
    }
    memory
}

/// Which schedulers the kernel of a disk has; by default all.
pub fn offer(memory: &Memory, disk: &str, schedulers: &[&str]) {
    memory.change(|tree| {
        let unseen = Path::new(UNSEEN).join(disk);
        tree.set(unseen.join("modules"), &schedulers.join(" "));
        let Some(queue) = tree.get(unseen.join("queue")) else {
            return;
        };
        let active = tree.get(unseen.join("active")).unwrap_or_default();
        let text = list(schedulers, &active, true);
        tree.set(Path::new(&queue).join("scheduler"), &text);
    });
}

/// The disk has gone, with all that it had.
pub fn unplug(memory: &Memory, disk: &MemoryDisk) {
    let directory = disk.directory();
    let all: Vec<String> = memory.picture().into_keys().collect();
    memory.change(|tree| {
        for path in all {
            if Path::new(&path).starts_with(&directory) {
                tree.remove(&path);
            }
        }
        tree.remove(format!("/sys/block/{}", disk.name));
        tree.remove(format!("/sys/class/block/{}", disk.name));
    });
}

const SCHEDULERS: [&str; 3] = ["mq-deadline", "bfq", "kyber"];

/// As kernels write it: since 6.12 `none` is the first, before that it is so only while it is active.
fn list(schedulers: &[&str], active: &str, none_first: bool) -> String {
    let mut names: Vec<&str> = schedulers.to_vec();
    if none_first {
        names.insert(0, "none");
    } else {
        names.push("none");
    }
    let shown = names.iter().map(|name| {
        if *name == active {
            format!("[{name}]")
        } else {
            (*name).to_owned()
        }
    });
    shown.collect::<Vec<_>>().join(" ")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum File {
    Scheduler,
    NrRequests,
    AsyncDepth,
    ReadAhead,
    MaxSectors,
    RqAffinity,
    Nomerges,
    WbtLatUsec,
    Switch(&'static str),
}

impl File {
    fn name(self) -> &'static str {
        match self {
            Self::Scheduler => "scheduler",
            Self::NrRequests => "nr_requests",
            Self::AsyncDepth => "async_depth",
            Self::ReadAhead => "read_ahead_kb",
            Self::MaxSectors => "max_sectors_kb",
            Self::RqAffinity => "rq_affinity",
            Self::Nomerges => "nomerges",
            Self::WbtLatUsec => "wbt_lat_usec",
            Self::Switch(name) => name,
        }
    }
}

/// What a tunable makes of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `int`, with a least value.
    Integer(i64),
    /// `int`, 0 or 1.
    Switch,
    /// Milliseconds, kept in jiffies of 4 ms, with a least number of them.
    Jiffies(i64),
    /// `unsigned long` up to `INT_MAX`, with a least value.
    Unsigned(u64),
    /// `unsigned long`, 0 or 1.
    UnsignedSwitch,
    /// `unsigned long` in ms, kept in jiffies of 4 ms, at least one.
    UnsignedJiffies,
    /// `u64`.
    Long,
    /// bfq's idling in ms or µs, one value.
    SliceIdle,
    SliceIdleMicroseconds,
}

type Tunable = (&'static str, &'static str, Kind);

fn tunables(scheduler: &str, linux: Linux) -> Vec<Tunable> {
    match scheduler {
        "mq-deadline" => {
            let mut all = vec![
                ("fifo_batch", "16", Kind::Integer(0)),
                ("front_merges", "1", Kind::Switch),
                ("prio_aging_expire", "10000", Kind::Jiffies(0)),
                ("read_expire", "500", Kind::Jiffies(0)),
                ("write_expire", "5000", Kind::Jiffies(0)),
                ("writes_starved", "2", Kind::Integer(i64::from(i32::MIN))),
            ];
            if linux < Linux::V7_2 {
                all.push(("async_depth", "", Kind::Integer(1)));
            }
            all
        }
        "kyber" => vec![
            ("read_lat_nsec", "2000000", Kind::Long),
            ("write_lat_nsec", "10000000", Kind::Long),
        ],
        "bfq" => vec![
            ("back_seek_max", "16384", Kind::Unsigned(0)),
            ("back_seek_penalty", "2", Kind::Unsigned(1)),
            ("fifo_expire_async", "250", Kind::Unsigned(1)),
            ("fifo_expire_sync", "125", Kind::Unsigned(1)),
            ("low_latency", "1", Kind::UnsignedSwitch),
            ("max_budget", "0", Kind::Unsigned(0)),
            ("slice_idle", "8", Kind::SliceIdle),
            ("slice_idle_us", "8000", Kind::SliceIdleMicroseconds),
            ("strict_guarantees", "0", Kind::UnsignedSwitch),
            ("timeout_sync", "124", Kind::UnsignedJiffies),
        ],
        _ => Vec::new(),
    }
}

/// What answers writes to the queue of one disk.
#[derive(Debug, Clone)]
struct Kernel {
    linux: Linux,
    queue: PathBuf,
    unseen: PathBuf,
    tags: u64,
    rotational: bool,
    max_hw_sectors_kb: u64,
    max_sectors_kb: u64,
    optimal_io_kb: u64,
}

/// `kstrtoul` and what the queue's own reader adds: no blanks, decimal, no more than 32 bits.
fn unsigned(text: &str) -> Result<u64, i32> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(EINVAL);
    }
    digits
        .parse()
        .ok()
        .filter(|number| *number <= u64::from(u32::MAX))
        .ok_or(EINVAL)
}

impl Kernel {
    fn wbt_default(&self) -> u64 {
        if self.rotational { 75_000 } else { 2_000 }
    }

    fn number(&self, tree: &Tree, file: &str) -> u64 {
        let text = tree.get(self.queue.join(file)).unwrap_or_default();
        text.parse().unwrap_or_default()
    }

    fn set(&self, tree: &mut Tree, file: &str, value: u64) {
        tree.set(self.queue.join(file), &value.to_string());
    }

    fn active(&self, tree: &Tree) -> String {
        tree.get(self.unseen.join("active"))
            .unwrap_or_else(|| "none".to_owned())
    }

    fn write(&self, tree: &mut Tree, file: File, value: &str) -> Result<(), i32> {
        match file {
            File::Scheduler => return self.choose(tree, value),
            File::NrRequests => {
                let wanted = unsigned(value)?.max(4);
                let none = self.active(tree) == "none";
                if wanted > if none { self.tags } else { 2048 } {
                    return Err(EINVAL);
                }
                self.resize(tree, wanted);
            }
            File::AsyncDepth => {
                let wanted = unsigned(value)?;
                if self.active(tree) == "none" || wanted == 0 {
                    return Err(EINVAL);
                }
                let most = self.number(tree, "nr_requests");
                self.set(tree, "async_depth", wanted.min(most));
            }
            File::ReadAhead => self.set(tree, "read_ahead_kb", unsigned(value)? / 4 * 4),
            File::MaxSectors => {
                let wanted = unsigned(value)?;
                let most = self.max_hw_sectors_kb;
                let made = match self.linux {
                    Linux::V6_1 if wanted < 4 || wanted > most => return Err(EINVAL),
                    Linux::V6_1 => wanted,
                    Linux::V7_2 if wanted == 0 => self.max_sectors_kb,
                    Linux::V7_2 if wanted < 4 => return Err(EINVAL),
                    Linux::V7_2 => wanted.min(most),
                };
                self.set(tree, "max_sectors_kb", made);
                self.limits_changed(tree);
            }
            File::RqAffinity => {
                // Greater ones are taken and change nothing.
                if let wanted @ 0..=2 = unsigned(value)? {
                    self.set(tree, "rq_affinity", wanted);
                }
            }
            File::Nomerges => {
                let made = match unsigned(value)? {
                    0 => 0,
                    2 => 2,
                    _ => 1,
                };
                self.set(tree, "nomerges", made);
            }
            File::WbtLatUsec => {
                let wanted: i64 = value.parse().map_err(|_| EINVAL)?;
                match u64::try_from(wanted) {
                    Ok(wanted) => {
                        self.set(tree, "wbt_lat_usec", wanted);
                        tree.set(self.unseen.join("wbt"), "manual");
                    }
                    Err(_) if wanted == -1 => {
                        self.set(tree, "wbt_lat_usec", self.wbt_default());
                        tree.set(self.unseen.join("wbt"), "manual");
                    }
                    Err(_) => return Err(EINVAL),
                }
            }
            File::Switch(name) => {
                let wanted = unsigned(value)?;
                self.set(tree, name, u64::from(wanted != 0));
                self.limits_changed(tree);
            }
        }
        Ok(())
    }

    /// Newer kernels work the limits out as a whole, whether anything has changed or not, and raise
    /// read-ahead to twice what is best to read at a time: the largest request where the disk rotates.
    fn limits_changed(&self, tree: &mut Tree) {
        if self.linux >= Linux::V7_2 {
            let best = match self.optimal_io_kb {
                0 if self.rotational => self.number(tree, "max_sectors_kb"),
                best => best,
            };
            let ahead = self.number(tree, "read_ahead_kb");
            self.set(tree, "read_ahead_kb", ahead.max(2 * best / 4 * 4).max(128));
        }
    }

    /// The kernel compares only the first four letters of `none`, up to 6.1 before blanks are taken off.
    fn choose(&self, tree: &mut Tree, value: &str) -> Result<(), i32> {
        let stripped = value.trim();
        let first = match self.linux {
            Linux::V6_1 => value,
            Linux::V7_2 => stripped,
        };
        let name = match stripped {
            _ if first.starts_with("none") => "none",
            "deadline" => "mq-deadline",
            other => other,
        };
        let modules = tree.get(self.unseen.join("modules")).unwrap_or_default();
        let known = name == "none" && first.starts_with("none")
            || name != "none" && modules.split(' ').any(|one| one == name);
        if !known {
            return Err(EINVAL);
        }
        // Newer kernels go through all of a switch from none to none, and reset what hangs on it.
        if self.active(tree) != name || self.linux >= Linux::V7_2 && name == "none" {
            self.switch(tree, name);
        }
        Ok(())
    }

    fn switch(&self, tree: &mut Tree, name: &str) {
        let before = self.active(tree);
        for (tunable, ..) in tunables(&before, self.linux) {
            tree.remove(self.queue.join("iosched").join(tunable));
        }
        tree.remove(self.queue.join("iosched"));
        tree.set(self.unseen.join("active"), name);
        tree.set(self.unseen.join("queue"), &self.queue.display().to_string());
        let modules = tree.get(self.unseen.join("modules")).unwrap_or_default();
        let modules: Vec<&str> = modules.split(' ').collect();
        let none_first = self.linux >= Linux::V7_2 || name == "none";
        tree.set(
            self.queue.join("scheduler"),
            &list(&modules, name, none_first),
        );
        // None has the tags themselves, a scheduler twice as many, up to 256; one that comes in
        // another's place takes over what there is of the default.
        let requests = if name == "none" {
            self.tags
        } else {
            2 * self.tags.min(128)
        };
        self.set(tree, "nr_requests", requests);
        if self.linux >= Linux::V7_2 {
            let depth = match name {
                "bfq" | "kyber" => requests * 3 / 4,
                _ => requests,
            };
            self.set(tree, "async_depth", depth);
            // bfq has its own way; what nobody has set comes back with the next one.
            let manual = tree.get(self.unseen.join("wbt")).as_deref() == Some("manual");
            if !manual {
                let wanted = if name == "bfq" { 0 } else { self.wbt_default() };
                self.set(tree, "wbt_lat_usec", wanted);
            }
        }
        for (tunable, value, _) in tunables(name, self.linux) {
            let value = if tunable == "async_depth" {
                requests.to_string()
            } else {
                value.to_owned()
            };
            tree.set(self.queue.join("iosched").join(tunable), &value);
        }
    }

    fn resize(&self, tree: &mut Tree, wanted: u64) {
        let was = self.number(tree, "nr_requests");
        if was == wanted {
            return;
        }
        self.set(tree, "nr_requests", wanted);
        if self.linux >= Linux::V7_2 {
            let depth = self.number(tree, "async_depth");
            self.set(tree, "async_depth", (depth * wanted / was).max(1));
        } else if self.active(tree) == "mq-deadline" {
            // It is told before the number is changed, and takes the one that was.
            self.set(tree, "iosched/async_depth", was);
        }
    }

    fn tune(&self, tree: &mut Tree, name: &str, kind: Kind, value: &str) -> Result<(), i32> {
        let signed = |value: &str| -> Result<i64, i32> {
            let number = value.parse::<i64>().map_err(|_| EINVAL)?;
            i32::try_from(number).map(i64::from).map_err(|_| ERANGE)
        };
        let plain = |value: &str| -> Result<u64, i32> { value.parse().map_err(|_| EINVAL) };
        let jiffies = |milliseconds: i64| (milliseconds + 3) / 4 * 4;
        let most = u64::from(i32::MAX.unsigned_abs());
        let made = match kind {
            Kind::Integer(least) => signed(value)?.max(least).to_string(),
            Kind::Switch => i64::from(signed(value)? > 0).to_string(),
            Kind::Jiffies(least) => jiffies(signed(value)?.max(least)).to_string(),
            Kind::Unsigned(least) => plain(value)?.clamp(least, most).to_string(),
            Kind::UnsignedSwitch => plain(value)?.min(1).to_string(),
            Kind::UnsignedJiffies => {
                let wanted = i64::try_from(plain(value)?.min(most)).unwrap_or(i64::MAX);
                jiffies(wanted.max(1)).to_string()
            }
            Kind::Long => plain(value)?.to_string(),
            Kind::SliceIdle => {
                let wanted = plain(value)?.min(4293);
                self.set(tree, "iosched/slice_idle_us", wanted * 1000);
                wanted.to_string()
            }
            Kind::SliceIdleMicroseconds => {
                let wanted = plain(value)?.min(4_294_966);
                self.set(tree, "iosched/slice_idle", wanted / 1000);
                wanted.to_string()
            }
        };
        tree.set(self.queue.join("iosched").join(name), &made);
        if name == "strict_guarantees"
            && made == "1"
            && self.number(tree, "iosched/slice_idle_us") < 8000
        {
            self.set(tree, "iosched/slice_idle_us", 8000);
            self.set(tree, "iosched/slice_idle", 8);
        }
        Ok(())
    }
}
