//! A machine with a disk of each kind.

use hosttune_blockdev::testing::{Linux, MemoryDisk, UNSEEN, with_disk};
use hosttune_blockdev::{Attribute, Rule, SchedulerName};
use hosttune_core::testing::{
    Behaviour, CrashPoint, Machine, Memory, MemoryStore, Snapshot, World,
};
use hosttune_core::{Error, Host, Session};

/// The machine without the state that the kernel does not show.
#[derive(Debug, Clone)]
pub(crate) struct Seen(pub(crate) Machine);

impl World for Seen {
    fn fork(&self) -> Self {
        Self(self.0.fork())
    }

    fn session_of(&self, owner: &str, crash_point: &CrashPoint) -> Result<Session, Error> {
        self.0.session_of(owner, crash_point)
    }

    fn snapshot(&self) -> Snapshot {
        let mut snapshot = self.0.snapshot();
        snapshot.retain(|path, _| !path.starts_with(UNSEEN));
        snapshot
    }

    fn store(&self) -> &MemoryStore {
        self.0.store()
    }
}

pub(crate) fn disks(linux: Linux) -> Vec<MemoryDisk> {
    let mut head = MemoryDisk::bio_based("nvme1n1", 6);
    head.device = "virtual/nvme-subsystem/nvme-subsys1/nvme1n1".to_owned();
    let mut file = MemoryDisk::scsi("loop0", "", true, 7);
    file.device = "virtual/block/loop0".to_owned();
    file.model = None;
    file.scheduler = "none";
    let mut rotating = MemoryDisk::scsi("sda", "ata1/host1", true, 2);
    if linux == Linux::V7_2 {
        rotating.max_sectors_kb = 4096;
        rotating.read_ahead_kb = 8192;
    }
    vec![
        MemoryDisk::nvme("nvme0n1", 1),
        rotating,
        MemoryDisk::scsi("sdb", "ata2/host2", false, 3),
        MemoryDisk::nvme("nvme1c0n1", 4),
        head,
        MemoryDisk::bio_based("dm-0", 5),
        file,
    ]
}

pub(crate) fn memory(linux: Linux) -> Memory {
    let memory = Memory::new()
        .directory("/proc/sys")
        .file(
            "/proc/sys/kernel/osrelease",
            "6.12.0-double",
            Behaviour::takes_all(),
        )
        .link("/dev/disk/by-id/ata-ROTATING", "../../sda")
        .link("/dev/disk/by-id/ata-ROTATING-part1", "../../sda1")
        .link(
            "/sys/class/block/sda1",
            "../../devices/pci0000:00/0000:00:1f.2/ata1/host1/target1:0:0/1:0:0:0/block/sda/sda1",
        );
    disks(linux)
        .iter()
        .fold(memory, |memory, disk| with_disk(memory, linux, disk))
}

pub(crate) fn machine(linux: Linux) -> Seen {
    Seen(Machine::new(memory(linux), hosttune_blockdev::knobs))
}

pub(crate) fn host(memory: &Memory) -> Host {
    Host::new(memory.host(&CrashPoint::lives()))
}

pub(crate) fn scheduler(name: &str) -> SchedulerName {
    name.parse().unwrap()
}

/// A rule that sets several attributes of every hardware disk.
pub(crate) fn everywhere() -> Rule {
    Rule::new("everywhere")
        .scheduler(scheduler("bfq"))
        .queue(Attribute::NrRequests, 64)
        .queue(Attribute::ReadAheadKb, 5)
        .queue(Attribute::MaxSectorsKb, 999_999)
        .queue(Attribute::RqAffinity, 2)
        .tunable("low_latency", 0)
        .why("tested")
}
