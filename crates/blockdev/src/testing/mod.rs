//! Block devices over the files of a machine in memory, as the kernel has them.
//!
//! They are no kinder than the kernel: a scheduler that is switched resets what hangs on it, values
//! are rounded, clamped, refused, or taken and passed over, and a name that begins with `none` is
//! `none`. That they are so is shown by the same random writes to both, in
//! `crates/blockdev/tests/suite/real_kernel`.
//!
//! What the kernel keeps and does not show stands beneath [`UNSEEN`].

mod queue;
mod tunables;

use std::path::{Path, PathBuf};

use hosttune_core::testing::{Behaviour, Memory};

use crate::name::DiskName;
use queue::{File, Queue, list};
use tunables::{SCHEDULERS, tunables};

/// Where the double keeps what the kernel does not show: whoever compares pictures of a machine leaves
/// it out.
pub const UNSEEN: &str = "/unseen";

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
    /// What `queue/zoned` says: `none`, `host-aware`, `host-managed`.
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
        // It has the file, and takes whatever is written to it, to no effect.
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
                // Each is there while its scheduler is, and takes what that one takes.
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
