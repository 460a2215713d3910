//! Memory settings on stock kernels: transparent hugepages, hugepages, and swap on zram.

use std::path::{Path, PathBuf};

use hosttune_core::testing::{CrashPoint, MemoryStore, Moment};
use hosttune_core::{Error, Host, LinuxHost, Session, State, Tuning, UnsupportedKind};
use hosttune_memory::hugepages::Hugepages;
use hosttune_memory::swap::Area;
use hosttune_memory::transparent::{
    Defrag, Enabled, ShmemEnabled, SizeEnabled, TransparentHugepages,
};
use hosttune_memory::zram::{Size, Zram, ZramSwap};
use hosttune_modules::Modules;
use hosttune_test_machine::{Snapshot, Subtree, inside_stock_kernels, is_one_in, tell};

fn get(path: &str) -> String {
    std::fs::read_to_string(path).unwrap().trim().to_owned()
}

fn set(path: &str, value: &str) {
    std::fs::write(path, value).unwrap();
}

fn live() -> Host {
    let host = Host::new(LinuxHost::at("/").unwrap());
    host.with_backend(Modules::live())
        .with_backend(Zram::live())
}

fn process(store: &MemoryStore, crash_point: &CrashPoint) -> Session {
    let host = live().gated(crash_point.clone());
    let session = Session::new(host, "memory-test", store.of(crash_point), "boot").unwrap();
    session.with(hosttune_memory::knobs)
}

fn alone() -> (MemoryStore, Session) {
    let store = MemoryStore::new();
    let session = process(&store, &CrashPoint::lives());
    (store, session)
}

const SUBTREES: [Subtree; 3] = [Subtree::Memory, Subtree::BlockDevices, Subtree::Modules];

/// What these tests change, and the files around it.
#[derive(Debug)]
struct Whole(Snapshot, String, String);

impl Whole {
    fn take() -> Self {
        let free = get("/proc/sys/vm/min_free_kbytes");
        Self(Snapshot::of(&SUBTREES), get("/proc/swaps"), free)
    }

    #[track_caller]
    fn is_still(&self, when: &str) {
        let now = Self::take();
        self.0.is_still(&now.0, when);
        assert_eq!(self.1, now.1, "{when}");
        assert_eq!(self.2, now.2, "{when}");
    }
}

const TRANSPARENT: &str = "/sys/kernel/mm/transparent_hugepage";

fn is_newer() -> bool {
    Path::new(&format!("{TRANSPARENT}/hugepages-2048kB")).exists()
}

fn transparent_hugepages_are_changed_and_taken_back() {
    let before = Whole::take();
    // Below the kernel's recommendation. Enabling hugepages raises it to that.
    set("/proc/sys/vm/min_free_kbytes", "3000");
    let lowered = Whole::take();
    let mut all = vec![
        TransparentHugepages::new().enabled(Enabled::Never),
        TransparentHugepages::new().enabled(Enabled::Madvise),
        TransparentHugepages::new()
            .enabled(Enabled::Madvise)
            .defrag(Defrag::DeferMadvise)
            .shmem_enabled(ShmemEnabled::Advise)
            .use_zero_page(false)
            .khugepaged("pages_to_scan", 8192)
            .khugepaged("scan_sleep_millisecs", 1)
            .khugepaged("alloc_sleep_millisecs", 2)
            .khugepaged("max_ptes_none", 0)
            .khugepaged("max_ptes_swap", 511)
            .khugepaged("max_ptes_shared", 5)
            .khugepaged("defrag", 0),
    ];
    if is_newer() {
        all.push(
            TransparentHugepages::new()
                .enabled(Enabled::Never)
                .size(64, SizeEnabled::Madvise)
                .size(2048, SizeEnabled::Always),
        );
    }
    for wanted in all {
        let (store, mut session) = alone();
        let wanted = wanted.required();
        let _ = wanted.apply(&mut session).unwrap();
        assert!(wanted.verify(&session).unwrap().is_as_wanted());
        assert!(wanted.plan(&session).unwrap().steps.is_empty());
        println!("min_free_kbytes {}", get("/proc/sys/vm/min_free_kbytes"));
        let reverted = session.revert().unwrap();
        assert!(reverted.not_reverted.is_empty(), "{reverted:#?}");
        lowered.is_still(&format!("{wanted:?}"));
        assert!(store.is_empty());
    }
    set("/proc/sys/vm/min_free_kbytes", &before.2);
    let wanted = TransparentHugepages::new().size(64, SizeEnabled::Always);
    if !is_newer() {
        let (_, session) = alone();
        let plan = wanted.plan(&session).unwrap();
        assert!(
            plan.findings[0]
                .to_string()
                .contains("does not have this setting")
        );
    }
    for (name, number) in [("max_ptes_none", 512), ("pages_to_scan", 0), ("nothing", 1)] {
        let (store, mut session) = alone();
        let wanted = TransparentHugepages::new()
            .enabled(Enabled::Never)
            .khugepaged(name, number)
            .required();
        let error = wanted.apply(&mut session).unwrap_err();
        println!("{error}");
        before.is_still(name);
        assert!(store.is_empty());
    }
}

const POOL: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB";

fn hugepages_are_set_aside_as_far_as_they_go() {
    let before = Whole::take();
    let (store, mut session) = alone();
    let some = Hugepages::of_size(2048, 16).overcommit(3).required();
    let _ = some.apply(&mut session).unwrap();
    assert_eq!(get(&format!("{POOL}/nr_hugepages")), "16");
    assert!(some.verify(&session).unwrap().is_as_wanted());
    // A larger pool that another process has set survives. Once it is ours again, it is reverted.
    set(&format!("{POOL}/nr_hugepages"), "20");
    let reverted = session.revert().unwrap();
    assert_eq!(reverted.not_reverted.len(), 1, "{reverted:#?}");
    set(&format!("{POOL}/nr_hugepages"), "16");
    assert!(session.revert().unwrap().not_reverted.is_empty());
    before.is_still("hugepages");
    assert!(store.is_empty());

    // All of the memory but one page: more than there is contiguous memory for.
    let total: u64 = tell("awk '/MemTotal/ {print $2}' /proc/meminfo")
        .parse()
        .unwrap();
    let most = total / 2048 - 1;
    let (store, mut session) = alone();
    let applied = Hugepages::of_size(2048, most).apply(&mut session).unwrap();
    println!(
        "{:#?}",
        applied
            .findings
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    );
    assert!(matches!(
        applied.findings[0].state,
        State::NotApplicable { .. }
    ));
    before.is_still("too few are given back");
    drop(session);
    let mut session = process(&store, &CrashPoint::lives());
    assert!(session.revert().unwrap().is_complete());
    let least = Hugepages::of_size(2048, most).at_least(8).required();
    let _ = least.apply(&mut session).unwrap();
    let report = least.verify(&session).unwrap();
    println!("{}", report.items[0]);
    assert_eq!(report.items[0].state, State::Rounded);
    assert!(least.plan(&session).unwrap().steps.is_empty());
    assert!(session.revert().unwrap().is_complete());
    before.is_still("at least");

    let error = Hugepages::of_size(2048, 1 << 20)
        .required()
        .apply(&mut session)
        .unwrap_err();
    assert!(
        error.to_string().contains("exceed the total memory"),
        "{error}"
    );
    before.is_still("more than the memory");
    assert!(store.is_empty());
}

/// A hugetlbfs file uses two of them during the revert.
fn hugepages_in_use_are_told_and_go_with_their_users() {
    let before = Whole::take();
    let (store, mut session) = alone();
    let _ = Hugepages::of_size(2048, 8)
        .on_node(0)
        .apply(&mut session)
        .unwrap();
    tell(
        "mkdir -p /run/huge && mount -t hugetlbfs none /run/huge && fallocate -l 4M /run/huge/file",
    );
    let reverted = session.revert().unwrap();
    println!("{:?}", reverted.notes);
    assert!(reverted.not_reverted.is_empty(), "{reverted:#?}");
    assert!(
        reverted.notes[0].contains("2 pages"),
        "{:?}",
        reverted.notes
    );
    assert_eq!(get(&format!("{POOL}/nr_hugepages")), "2");
    assert_eq!(get(&format!("{POOL}/surplus_hugepages")), "2");
    tell("umount /run/huge && rmdir /run/huge");
    before.is_still("let go of");
    assert!(store.is_empty());
}

fn none() {
    tell("modprobe -qra zram zstd lz4 lz4hc || true");
    assert!(!Path::new("/sys/module/zram").exists(), "zram is used");
}

fn swap() -> ZramSwap {
    ZramSwap::new(Size::Percent(50)).limit(Size::Percent(30))
}

fn zram_is_set_up_and_taken_down() {
    none();
    let before = Whole::take();
    for wanted in [
        swap(),
        ZramSwap::new(Size::Bytes(10_000_001))
            .algorithm("lz4")
            .priority(7)
            .label("a b"),
    ] {
        let (store, mut session) = alone();
        let wanted = wanted.required();
        let plan = wanted.plan(&session).unwrap();
        before.is_still("planned");
        println!(
            "{:#?}",
            plan.steps
                .iter()
                .map(|step| &step.knob.text)
                .collect::<Vec<_>>()
        );
        let _ = wanted.apply(&mut session).unwrap();
        println!(
            "{}\n{}",
            get("/proc/swaps"),
            tell("zramctl; blkid -p /dev/zram0")
        );
        let areas = Area::all(&live()).unwrap();
        assert_eq!(areas.len(), 1);
        assert_eq!(areas[0].priority, i32::from(wanted.priority));
        let chosen = format!("[{}]", wanted.algorithm);
        assert!(get("/sys/block/zram0/comp_algorithm").contains(&chosen));
        assert!(tell("blkid -p /dev/zram0").contains(&format!("LABEL=\"{}\"", wanted.label)));
        assert!(wanted.verify(&session).unwrap().is_as_wanted());
        assert!(wanted.plan(&session).unwrap().steps.is_empty());
        let reverted = session.revert().unwrap();
        assert!(reverted.not_reverted.is_empty(), "{reverted:#?}");
        before.is_still("taken down");
        assert!(store.is_empty());
    }
}

/// The swap gets another size, and then its first one again.
fn zram_in_use_is_changed_and_changed_back() {
    none();
    let before = Whole::take();
    let (_theirs, mut session) = alone();
    let _ = swap().apply(&mut session).unwrap();
    let first = Whole::take();
    let (_ours, mut other) = alone();
    let second = ZramSwap::new(Size::Percent(20))
        .algorithm("lz4")
        .priority(3)
        .required();
    let _ = second.apply(&mut other).unwrap();
    assert!(get("/proc/swaps").contains("\t3"), "{}", get("/proc/swaps"));
    assert!(get("/sys/block/zram0/comp_algorithm").contains("[lz4]"));
    assert!(other.revert().unwrap().not_reverted.is_empty());
    first.is_still("changed back");
    assert!(session.revert().unwrap().not_reverted.is_empty());
    before.is_still("taken down");
}

fn looked_at() -> Vec<PathBuf> {
    [
        "/proc/swaps",
        "/sys/block/zram0/disksize",
        "/sys/class/zram-control/hot_remove",
        "/sys/kernel/mm/transparent_hugepage/enabled",
        "/proc/sys/vm/min_free_kbytes",
        "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages",
    ]
    .map(PathBuf::from)
    .to_vec()
}

fn everything() -> Vec<Box<dyn Tuning>> {
    vec![
        Box::new(ZramSwap::new(Size::Bytes(16 << 20)).required()),
        Box::new(TransparentHugepages::new().enabled(Enabled::Never)),
        Box::new(Hugepages::of_size(2048, 4)),
    ]
}

/// A crash after one write leaves the same state as a crash before the next one, so `Before` is tried only
/// for the first write. Module loading is not included: crates/boot tests crashes during it.
fn killed_before_and_after_every_write() {
    none();
    tell("modprobe zram num_devices=0; modprobe zstd");
    let before = Whole::take();
    let files = looked_at();
    let narrow = Snapshot::of_files(&files);
    for reverting in [false, true] {
        let first = [(Moment::Before, 0)];
        for (moment, write) in first.into_iter().chain(
            (0..)
                .filter(|write| is_one_in(2, *write))
                .map(|write| (Moment::After, write)),
        ) {
            let when = format!("{moment:?} write {write}, reverting {reverting}");
            let store = MemoryStore::new();
            let crash_point = CrashPoint::dies_at(write, moment);
            if reverting {
                let _ = everything()
                    .apply(&mut process(&store, &CrashPoint::lives()))
                    .unwrap();
                let _ = process(&store, &crash_point).revert();
            } else {
                let _ = everything().apply(&mut process(&store, &crash_point));
            }
            let reverted = process(&store, &CrashPoint::lives()).revert().unwrap();
            assert!(
                reverted.not_reverted.is_empty(),
                "{when}: {:#?}",
                reverted.not_reverted
            );
            narrow.is_still(&Snapshot::of_files(&files), &when);
            assert!(store.is_empty(), "{when}: a journal is left");
            if !crash_point.is_dead() {
                println!("{write} writes, reverting {reverting}");
                assert!(write > 6, "{when}: only so many writes?");
                break;
            }
        }
    }
    before.is_still("killed at every write");
    none();
}

fn a_zram_of_somebody_else_is_left_alone() {
    none();
    let before = Whole::take();
    tell(
        "modprobe zram num_devices=1 && echo 64M >/sys/block/zram0/disksize && mkswap /dev/zram0 && swapon /dev/zram0",
    );
    let theirs = Whole::take();
    let (_store, mut session) = alone();
    let error = swap().required().apply(&mut session).unwrap_err();
    println!("{error} ({:?})", error.hint());
    let Error::NotApplicable(findings) = &error else {
        panic!("{error}");
    };
    let State::NotApplicable { unsupported } = &findings[0].state else {
        panic!("{findings:#?}");
    };
    assert_eq!(unsupported.kind, UnsupportedKind::Managed);
    theirs.is_still("refused");
    // Another device beside it, with its own number.
    let beside = swap().beside_others().required();
    let _ = beside.apply(&mut session).unwrap();
    assert!(get("/proc/swaps").contains("/dev/zram1"));
    assert!(session.revert().unwrap().not_reverted.is_empty());
    theirs.is_still("one beside it, and gone");
    tell("swapoff /dev/zram0 && modprobe -r zram");
    before.is_still("theirs gone");
    // Another process replaces our device by one that differs only in the header.
    let _ = beside.apply(&mut session).unwrap();
    let size = get("/sys/block/zram0/disksize");
    tell(&format!(
        "swapoff /dev/zram0; echo 1 >/sys/block/zram0/reset; echo zstd >/sys/block/zram0/comp_algorithm; echo {size} >/sys/block/zram0/disksize; mkswap -L hosttune /dev/zram0; swapon -p 100 /dev/zram0"
    ));
    let reverted = session.revert().unwrap();
    println!(
        "{:#?}",
        reverted
            .not_reverted
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    );
    assert!(get("/proc/swaps").contains("/dev/zram0"), "{reverted:#?}");
    assert_eq!(get("/sys/block/zram0/disksize"), size);
    tell("swapoff /dev/zram0; echo 1 >/sys/block/zram0/reset");
    let reverted = session.revert().unwrap();
    println!(
        "{:#?}",
        reverted
            .not_reverted
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    );
    none();
    before.is_still("all gone");
}

fn data_of_another_process_stays_on_our_device() {
    none();
    let before = Whole::take();
    let (store, mut session) = alone();
    let _ = swap().required().apply(&mut session).unwrap();
    tell("swapoff /dev/zram0 && mkswap -L theirs /dev/zram0");
    let theirs = Whole::take();
    let reverted = session.revert().unwrap();
    let left: Vec<_> = reverted
        .not_reverted
        .iter()
        .map(ToString::to_string)
        .collect();
    println!("{left:#?}");
    let says = |knob: &str, why: &str| {
        let mut of_knob = left.iter().filter(|left| left.starts_with(knob));
        of_knob.any(|left| left.contains(why))
    };
    assert!(says("zram0 swap header", "another process has set it"));
    assert!(says(
        "zram0 configuration",
        "it waits for zram0 swap header"
    ));
    assert!(reverted.is_complete());
    theirs.is_still("reverted");
    assert!(tell("blkid -p /dev/zram0").contains("theirs"));
    // The first page is zero, and the data is where btrfs has its superblock.
    tell("mkswap -f /dev/zram0 && dd if=/dev/zero of=/dev/zram0 bs=4096 count=1 conv=fsync");
    tell("printf _BHRfS_M | dd of=/dev/zram0 bs=1 seek=65600 conv=notrunc,fsync");
    assert!(!session.revert().unwrap().not_reverted.is_empty());
    theirs.is_still("reverted with data at 64 KiB");
    session.force(true);
    assert_eq!(session.revert().unwrap().not_reverted, []);
    none();
    before.is_still("forced");
    assert!(store.is_empty());
}

fn bad_input_is_an_error_and_everything_is_as_before() {
    none();
    let before = Whole::take();
    for (wanted, why) in [
        (swap().algorithm("brotli"), "could not be"),
        (ZramSwap::new(Size::Percent(300)), "too large"),
        (ZramSwap::new(Size::Bytes(0)), "too small"),
    ] {
        let (store, mut session) = alone();
        let error = wanted.required().apply(&mut session).unwrap_err();
        println!(
            "{error}: {:?} ({:?})",
            std::error::Error::source(&error),
            error.hint()
        );
        assert!(error.to_string().contains(why) || matches!(error, Error::RolledBack { .. }));
        assert!(error.hint().is_some());
        before.is_still(why);
        assert!(store.is_empty());
    }
}

inside_stock_kernels!(
    a_zram_of_somebody_else_is_left_alone,
    bad_input_is_an_error_and_everything_is_as_before,
    data_of_another_process_stays_on_our_device,
    hugepages_are_set_aside_as_far_as_they_go,
    hugepages_in_use_are_told_and_go_with_their_users,
    killed_before_and_after_every_write,
    transparent_hugepages_are_changed_and_taken_back,
    zram_in_use_is_changed_and_changed_back,
    zram_is_set_up_and_taken_down,
);
