//! Fake block devices: sysfs files in memory that behave as the kernel's do.
//!
//! They reproduce the kernel's pitfalls: switching the scheduler resets other attributes; values
//! are rounded, clamped, refused, or accepted and ignored; and any name that begins with `none` is
//! `none`. `crates/blockdev/tests/suite/real_kernel` verifies this by making the same random writes
//! to the fake and to a real kernel.
//!
//! State that the kernel keeps but does not show is beneath [`UNSEEN`].

mod queue;
mod tunables;

use std::path::{Path, PathBuf};

use hosttune_core::testing::{Behaviour, Memory};

use crate::name::DiskName;
use queue::{File, Queue, list};
use tunables::{SCHEDULERS, tunables};

/// Where the fake keeps state that the kernel does not show; leave it out when comparing snapshots
/// of a machine.
pub const UNSEEN: &str = "/unseen";

/// The kernel release to imitate, where releases differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Linux {
    /// As of 6.1.
    V6_1,
    /// As of 7.2.
    V7_2,
}

/// A fake disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryDisk {
    /// Its kernel name.
    pub name: String,
    /// Its path beneath `/sys/devices`, including the name.
    pub device: String,
    /// The model; `None` for no `model` file.
    pub model: Option<String>,
    /// The world-wide name; `None` for no `wwid` file.
    pub wwid: Option<String>,
    /// The kernel's sequence number of the disk.
    pub diskseq: u64,
    /// The size in sectors of 512 bytes.
    pub sectors: u64,
    /// Whether it reports itself as rotational.
    pub rotational: bool,
    /// The number of tags of the device; `None` if it is bio-based.
    pub tags: Option<u64>,
    /// `max_hw_sectors_kb`.
    pub max_hw_sectors_kb: u64,
    /// The initial `max_sectors_kb`.
    pub max_sectors_kb: u64,
    /// The initial `read_ahead_kb`.
    pub read_ahead_kb: u64,
    /// The optimal I/O size in KiB; 0 if the device does not report one.
    pub optimal_io_kb: u64,
    /// The initial scheduler.
    pub scheduler: &'static str,
    /// The contents of `queue/zoned`: `none`, `host-aware`, `host-managed`.
    pub zoned: &'static str,
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
            zoned: "none",
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

    /// A bio-based software disk.
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

    /// Paths of a multipath NVMe namespace are hidden.
    fn is_hidden(&self) -> bool {
        let name: Result<DiskName, _> = self.name.parse();
        name.is_ok_and(|name| name.head().is_some())
    }
}

/// Adds a disk to a machine.
#[must_use]
pub fn with_disk(memory: Memory, linux: Linux, disk: &MemoryDisk) -> Memory {
    let queue = Queue {
        linux,
        directory: disk.directory().join("queue"),
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
            directory.join("queue/zoned"),
            disk.zoned,
            Behaviour::refuses(13),
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
            (File::NrRequests, queue.tags.to_string()),
            (File::RqAffinity, "1".to_owned()),
            (File::WbtLatUsec, queue.wbt_default().to_string()),
            (File::Scheduler, String::new()),
        ]);
        if linux >= Linux::V7_2 {
            files.push((File::AsyncDepth, queue.tags.to_string()));
        }
    } else if linux == Linux::V6_1 {
        // On 6.1 a bio-based disk has the file, accepts any write and ignores it.
        memory = memory.file(
            queue.directory.join("scheduler"),
            "none",
            Behaviour::new(|_, _, _| Ok(())),
        );
    }
    for (file, value) in files {
        let queue = queue.clone();
        let path = queue.directory.join(file.name());
        memory = memory.file(
            path,
            &value,
            Behaviour::new(move |tree, _, value| queue.write(tree, file, value)),
        );
    }
    if requests {
        for scheduler in SCHEDULERS {
            for (name, _, kind) in tunables(scheduler, linux) {
                // Each file exists only while its scheduler is active, and accepts what that
                // scheduler accepts.
                let queue = queue.clone();
                let path = queue.directory.join("iosched").join(name);
                memory = memory.behaving(
                    path,
                    Behaviour::new(move |tree, _, value| queue.tune(tree, name, kind, value)),
                );
            }
        }
        memory.change(|tree| {
            tree.set(queue.unseen.join("modules"), "mq-deadline bfq kyber");
            queue.switch(tree, "none");
            queue.switch(tree, disk.scheduler);
        });
    }
    memory
}

/// Sets which schedulers the kernel of a disk has; by default all.
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

/// Removes a disk and all its files.
pub fn unplug(memory: &Memory, disk: &MemoryDisk) {
    let directory = disk.directory();
    let all: Vec<String> = memory.snapshot().into_keys().collect();
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
