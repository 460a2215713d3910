//! Swap on zram.

use hosttune_core::testing::laws::{self, Verb};
use hosttune_core::testing::{Behaviour, CrashPoint, Failure, Memory, Moment, World};
use hosttune_core::{Error, Host, NotRevertedReason, Session, Tuning, UnsupportedKind};
use hosttune_memory::swap::NoteUnlessZram;
use hosttune_memory::testing::{ZramKernel, with_zram};
use hosttune_memory::zram::{Size, SwapHeader, ZramSwap};
use hosttune_modules::ModuleLoader;
use hosttune_modules::testing::MemoryModules;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::machine::{Machine, cases, deaths};

const KERNELS: [ZramKernel; 2] = [ZramKernel::WithCrypto, ZramKernel::ByItself];

fn machine(kernel: ZramKernel) -> Machine {
    Machine::new(with_zram(Memory::new(), kernel))
}

/// Another process has loaded the module and created these devices.
fn having(kernel: ZramKernel, devices: &[Option<u64>]) -> Machine {
    let machine = machine(kernel);
    let mut modules = MemoryModules::new(machine.memory.clone(), machine.zram());
    modules.load("zram", &["num_devices=0".to_owned()]).unwrap();
    for device in devices {
        let mut zram = machine.zram();
        match device {
            Some(size) => drop(zram.somebodys(*size, None).unwrap()),
            None => drop(hosttune_memory::zram::ZramDevices::add(&mut zram).unwrap()),
        }
    }
    machine
}

fn header(label: &str, pages: u32) -> SwapHeader {
    SwapHeader {
        label: label.to_owned(),
        uuid: [7; 16],
        last_page: pages - 1,
    }
}

prop_compose! {
    fn tuning()(
        percent in 1u16..200,
        algorithm in select(vec!["zstd", "lz4"]),
        limit in option::of(1u16..50),
        priority in 0u16..200,
        label in select(vec!["hosttune", "hosttune", "other"]),
    ) -> ZramSwap {
        let mut wanted = ZramSwap::new(Size::Percent(percent))
            .algorithm(algorithm)
            .priority(priority)
            .label(label);
        wanted.limit = limit.map(Size::Percent);
        wanted
    }
}

prop_compose! {
    fn world()(
        kernel in select(&KERNELS[..]),
        loaded in any::<bool>(),
        devices in proptest::collection::vec(option::of(1u64..1 << 24), 0..3),
    ) -> Machine {
        if loaded { having(kernel, &devices) } else { machine(kernel) }
    }
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn apply_verify_plan_and_revert(
        world in world(),
        wanted in proptest::collection::vec(tuning(), 1..4),
        change in 0u64..12,
        after in any::<bool>(),
    ) {
        for wanted in &wanted {
            laws::apply_then_verify(&world, wanted)?;
            laws::apply_then_plan(&world, wanted)?;
            laws::plan_writes_nothing(&world, wanted)?;
            laws::what_is_offered_is_applied(&world, wanted)?;
            let moment = if after { Moment::After } else { Moment::Before };
            laws::failing_step(&world, wanted, change, moment)?;
        }
        laws::apply_then_revert(&world, &wanted)?;
    }

    #[test]
    fn dying_anywhere(
        world in world(),
        wanted in proptest::collection::vec(tuning(), 1..4),
        deaths in deaths(),
    ) {
        laws::die_anywhere(&world, &wanted, &deaths)?;
        let last = wanted.last().unwrap();
        laws::die_then_recover(&world, &wanted[0], last, &deaths)?;
    }
}

fn session(machine: &Machine) -> Session {
    machine.session(&CrashPoint::lives()).unwrap()
}

#[test]
fn it_is_set_up_in_order_and_taken_down_in_reverse() {
    for kernel in KERNELS {
        let machine = machine(kernel);
        let was = machine.snapshot();
        let wanted = ZramSwap::new(Size::Percent(50)).limit(Size::Percent(25));
        let plan = wanted.plan(&session(&machine)).unwrap();
        let knobs: Vec<&str> = plan
            .steps
            .iter()
            .map(|step| step.knob.text.as_str())
            .collect();
        let (modules, rest) = knobs.split_at(knobs.len() - 4);
        assert_eq!(
            rest,
            [
                "zram0",
                "zram0 configuration",
                "zram0 swap header",
                "zram0 as swap"
            ]
        );
        let crypto = kernel == ZramKernel::WithCrypto;
        assert_eq!(modules.contains(&"module zstd"), crypto, "{modules:?}");
        assert!(
            modules.contains(&"module zram num_devices=0"),
            "{modules:?}"
        );
        machine.apply(&wanted);
        assert_eq!(
            machine.get("/sys/block/zram0/disksize"),
            (512u64 << 20).to_string()
        );
        assert!(machine.get("/proc/swaps").contains("/dev/zram0"));
        assert!(
            machine
                .get("/sys/block/zram0/mm_stat")
                .contains("268435456")
        );
        assert!(machine.revert().not_reverted.is_empty());
        assert_eq!(machine.snapshot(), was);
    }
}

#[test]
fn another_size_is_made_way_for_and_the_first_one_comes_back() {
    for kernel in KERNELS {
        let machine = machine(kernel);
        let first = ZramSwap::new(Size::Percent(50));
        machine.apply(&first);
        let was = machine.snapshot();
        let second = ZramSwap::new(Size::Percent(30))
            .algorithm("lz4")
            .priority(7);
        let mut other = machine.session_of("other", &CrashPoint::lives()).unwrap();
        let _ = second.apply(&mut other).unwrap();
        assert!(second.verify(&other).unwrap().is_as_wanted());
        assert!(
            machine
                .get("/sys/block/zram0/comp_algorithm")
                .contains("[lz4]")
        );
        assert!(other.revert().unwrap().not_reverted.is_empty());
        assert_eq!(machine.snapshot(), was, "{kernel:?}");
        assert!(machine.revert().not_reverted.is_empty());
    }
}

#[test]
fn what_is_somebody_elses_is_left_alone() {
    for kernel in KERNELS {
        let machine = having(kernel, &[]);
        let theirs = machine
            .zram()
            .somebodys(1 << 24, Some(&header("theirs", 4096)));
        assert_eq!(theirs.unwrap(), 0);
        let was = machine.snapshot();
        let wanted = ZramSwap::new(Size::Percent(50));
        let unsupported = machine.unsupported(&wanted);
        assert_eq!(unsupported.kind, UnsupportedKind::Managed);
        assert!(unsupported.why.contains("/dev/zram0"), "{unsupported}");
        machine.refuses(&wanted.clone().required());
        // With `beside_others`, a device with another number is created, and theirs is not touched.
        let theirs = |machine: &Machine| {
            let mut snapshot = machine.snapshot();
            snapshot.retain(|path, _| path.contains("zram0"));
            snapshot
        };
        let before = theirs(&machine);
        machine.apply(&wanted.beside_others());
        assert_eq!(theirs(&machine), before);
        assert!(machine.get("/proc/swaps").contains("/dev/zram1"));
        assert!(machine.revert().not_reverted.is_empty());
        assert_eq!(machine.snapshot(), was);
    }
}

/// Another process removes our device and creates its own in its place.
#[test]
fn a_device_that_somebody_made_in_its_place_stays() {
    for kernel in KERNELS {
        let machine = machine(kernel);
        machine.apply(&ZramSwap::new(Size::Bytes(1 << 24)));
        let mut zram = machine.zram();
        hosttune_memory::zram::ZramDevices::swap_off(&mut zram, 0).unwrap();
        machine.memory.write("/sys/block/zram0/reset", "1").unwrap();
        machine
            .memory
            .write("/sys/class/zram-control/hot_remove", "0")
            .unwrap();
        let number = zram
            .somebodys(1 << 24, Some(&header("hosttune", 4096)))
            .unwrap();
        assert_eq!(number, 0);
        let theirs = machine.snapshot();
        let reverted = machine.revert();
        assert!(!reverted.not_reverted.is_empty());
        assert!(
            machine.get("/proc/swaps").contains("/dev/zram0"),
            "{reverted:#?}"
        );
        let mut now = machine.snapshot();
        // Modules are left out, because the other process may use them. Nothing of the device is touched.
        now.retain(|path, _| !path.starts_with("/sys/module"));
        assert!(
            now.iter()
                .all(|(path, node)| theirs.get(path) == Some(node))
        );
    }
}

#[test]
fn swap_that_does_not_fit_into_memory_is_left_as_in_use() {
    let machine = machine(ZramKernel::ByItself);
    let was = machine.snapshot();
    machine.apply(&ZramSwap::new(Size::Percent(50)));
    machine.zram().swap_out(4096);
    let reverted = machine.revert();
    assert!(reverted.is_complete(), "{reverted:#?}");
    let swap = reverted
        .not_reverted
        .iter()
        .find(|left| left.knob.text == "zram0 as swap");
    assert!(
        matches!(swap.unwrap().reason, NotRevertedReason::InUse(_)),
        "{reverted:#?}"
    );
    assert!(machine.get("/proc/swaps").contains("/dev/zram0"));
    machine.zram().swap_out(0);
    let reverted = machine.revert();
    assert!(reverted.not_reverted.is_empty(), "{reverted:#?}");
    let mut now = machine.snapshot();
    now.remove("/kept-by-the-kernel/swapped-out");
    assert_eq!(now, was);
}

#[test]
fn bad_input_is_refused() {
    let machine = machine(ZramKernel::WithCrypto);
    for (wanted, why) in [
        (ZramSwap::new(Size::Percent(201)), "too large"),
        (ZramSwap::new(Size::Bytes(u64::MAX)), "too large"),
        (ZramSwap::new(Size::Percent(0)), "too small"),
        (ZramSwap::new(Size::Bytes(4096)), "too small"),
        (
            ZramSwap::new(Size::Percent(50)).algorithm("no such"),
            "is not an algorithm name",
        ),
        (
            ZramSwap::new(Size::Percent(50)).algorithm(""),
            "is not an algorithm name",
        ),
        (ZramSwap::new(Size::Percent(50)).label(""), "label"),
        (
            ZramSwap::new(Size::Percent(50)).label("sixteen bytes!!!"),
            "label",
        ),
        (
            ZramSwap::new(Size::Percent(50)).priority(32768),
            "is not a swap priority",
        ),
        (
            ZramSwap::new(Size::Percent(50)).limit(Size::Bytes(0)),
            "no limit",
        ),
    ] {
        let error = machine.refuses(&wanted);
        assert!(error.to_string().contains(why), "{error}");
    }
    // The kernel shows which algorithms it supports only once the device exists.
    let error = machine.refuses(&ZramSwap::new(Size::Percent(50)).algorithm("brotli"));
    assert!(matches!(error, Error::RolledBack { .. }));
    assert!(
        error.hint().unwrap().contains("use one of these"),
        "{error}"
    );
}

#[test]
fn who_else_makes_zram_is_noted() {
    let files = [
        (
            "/usr/lib/systemd/zram-generator.conf",
            "[zram0]\nzram-size = ram / 2\n",
        ),
        ("/etc/systemd/zram-generator.conf.d/a.conf", "[zram1]\n"),
        ("/etc/default/zramswap", "ALGO=zstd\n"),
    ];
    let wanted = ZramSwap::new(Size::Percent(50));
    for (path, text) in files {
        let mut machine = machine(ZramKernel::ByItself);
        machine.memory = machine.memory.file(path, text, Behaviour::takes_all());
        let notes = machine.notes(&wanted);
        assert!(notes[0].contains(path), "{notes:?}");
    }
    let mut quiet = machine(ZramKernel::ByItself);
    let (path, _) = files[0];
    quiet.memory = quiet
        .memory
        .file(path, "# [zram0]\n", Behaviour::takes_all());
    assert!(quiet.notes(&wanted).is_empty());
}

#[test]
fn what_is_right_only_with_zram_is_noted_where_none_is_and_none_is_planned() {
    let machine = machine(ZramKernel::ByItself);
    let note = || NoteUnlessZram {
        note: "swappiness is too high".to_owned(),
    };
    assert_eq!(machine.notes(&note()).len(), 1);
    let planned: Vec<Box<dyn Tuning>> =
        vec![Box::new(ZramSwap::new(Size::Percent(50))), Box::new(note())];
    assert!(machine.notes(&planned).is_empty());
    machine.apply(&planned);
    assert!(machine.notes(&note()).is_empty());
}

#[test]
fn without_the_wire_it_is_said() {
    let machine = machine(ZramKernel::ByItself);
    let host = Host::new(machine.memory.host(&CrashPoint::lives()));
    let session = Session::new(
        host,
        "laws",
        hosttune_core::testing::MemoryStore::new(),
        "boot",
    );
    let session = session.unwrap().with(hosttune_memory::knobs);
    let plan = ZramSwap::new(Size::Percent(50)).plan(&session).unwrap();
    assert!(plan.steps.is_empty());
    assert!(
        plan.findings
            .iter()
            .any(|finding| finding.to_string().contains("creates zram"))
    );
}

#[test]
fn a_tuning_is_plain_data() {
    let text = r#"{"size": {"percent": 50}}"#;
    let wanted: ZramSwap = serde_json::from_str(text).unwrap();
    assert_eq!(wanted, ZramSwap::new(Size::Percent(50)));
    assert!(serde_json::from_str::<ZramSwap>(r#"{"size": "50%"}"#).is_err());
}

/// The kernel uses the swap of the highest priority first, so a zram below another is used last.
#[test]
fn swap_that_is_used_before_ours_is_said_in_plan_and_verify() {
    let notes = |areas: &[(&str, i32)], priority: u16| {
        let machine = machine(ZramKernel::ByItself);
        machine.memory.change(|tree| {
            let mut list = tree.get("/proc/swaps").unwrap();
            for (path, priority) in areas {
                let path = path.replace(' ', "\\040");
                list.push_str(&format!("\n{path} partition\t1048572\t0\t{priority}"));
            }
            tree.set("/proc/swaps", &list);
        });
        let wanted = ZramSwap::new(Size::Percent(50)).priority(priority);
        let session = session(&machine);
        let planned = wanted.plan(&session).unwrap().notes;
        assert_eq!(wanted.verify(&session).unwrap().notes, planned);
        planned
    };
    assert_eq!(notes(&[], 100), Vec::<String>::new());
    // Priorities that the kernel assigns by itself are below ours.
    assert_eq!(notes(&[("/dev/sda2", -2)], 0), Vec::<String>::new());
    assert_eq!(notes(&[("/dev/sda2", 99)], 100), Vec::<String>::new());
    assert_eq!(
        notes(&[("/dev/sda2", 200), ("/swap", -2)], 100),
        [
            "zram0 as swap, priority 100, is used only when /dev/sda2 (priority 200) is full; give zram a priority above 200, or run swapoff on the other"
        ]
    );
    let beside = notes(&[("/dev/sda2", 5)], 5);
    assert!(beside[0].contains("alternates between them"), "{beside:?}");
    let highest = notes(&[("/swap file", 32767)], 32766);
    assert!(highest[0].contains("swapon -p"), "{highest:?}");
}

proptest! {
    #![proptest_config(cases(2000))]

    /// After at most one apply. After two with different sizes, if the swap cannot be read during the revert,
    /// the device is removed first, and the swap is then reported as not reverted although it no longer
    /// exists.
    #[test]
    fn what_is_said_is_what_the_host_shows(
        world in world(), applied in proptest::collection::vec(tuning(), 0..2), tuning in tuning(),
        verb in 0..Verb::<()>::KINDS, (call, kind) in (0..150_u64, 0..Failure::KINDS),
    ) {
        let verb = Verb::of_kind(verb, tuning);
        laws::told_as_it_is(&world, &applied, &verb, Failure::of_kind(call, kind))?;
    }
}
