//! Modules of stock kernels: loaded, unloaded, in use, refused; and what the running kernel contains.

use std::path::Path;
use std::time::Instant;

use hosttune_core::testing::{CrashPoint, MemoryStore, Moment};
use hosttune_core::{Error, Host, LinuxHost, NotRevertedReason, Planner, Session, Tuning};
use hosttune_modules::module::{Sought, find, find_all};
use hosttune_modules::{Availability, KernelModule, ModuleState, Modules};
use hosttune_test_machine::{
    Snapshot, Subtree, inside, inside_stock_kernels, is_shared_out, tell, wait_until,
};

fn live() -> Host {
    Host::new(LinuxHost::at("/").unwrap())
}

/// Requests these modules with their dependencies.
struct Wanted(&'static [&'static str]);

/// The modules that a shaper needs.
const SHAPER: Wanted = Wanted(&["ifb", "sch_cake", "act_mirred", "cls_matchall", "cls_u32"]);

impl Tuning for Wanted {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        for name in self.0 {
            let mut module = KernelModule::new(name);
            if *name == "ifb" {
                module = module.parameter("numifbs=0");
            }
            for module in module.with_dependencies(at.host())? {
                let request = at.want(&module, &ModuleState::Loaded);
                request.why("tested").required();
            }
        }
        Ok(())
    }
}

fn snapshot() -> Snapshot {
    Snapshot::of(&[Subtree::Modules, Subtree::Links])
}

/// Unloads them all.
fn none() {
    tell(
        "modprobe -qra ifb sch_cake sch_ingress cls_matchall cls_u32 act_mirred sch_tbf dummy bonding || true",
    );
    for module in SHAPER.0 {
        let shown = format!("/sys/module/{module}");
        assert!(!Path::new(&shown).exists(), "{module} is used");
    }
}

fn process(store: &MemoryStore, crash_point: &CrashPoint) -> Session {
    let host = live()
        .with_backend(Modules::live())
        .gated(crash_point.clone());
    let session = Session::new(host, "boot-test", store.of(crash_point), "boot").unwrap();
    session.with(hosttune_modules::knobs)
}

fn chain(error: &Error) -> String {
    let mut said = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        said = format!("{said}: {cause}");
        source = cause.source();
    }
    said
}

fn loaded_and_unloaded() {
    none();
    for wanted in [SHAPER, Wanted(&["bonding"])] {
        let before = snapshot();
        let store = MemoryStore::new();
        let mut session = process(&store, &CrashPoint::lives());
        let plan = wanted.plan(&session).unwrap();
        before.is_still(&snapshot(), "planned");
        println!(
            "{:?}",
            plan.steps
                .iter()
                .map(|step| &step.knob.text)
                .collect::<Vec<_>>()
        );
        assert!(plan.steps.len() >= wanted.0.len());
        let _ = wanted.apply(&mut session).unwrap();
        assert!(wanted.verify(&session).unwrap().is_as_wanted());
        assert!(wanted.plan(&session).unwrap().steps.is_empty());
        for module in wanted.0 {
            let state = format!("/sys/module/{module}/initstate");
            assert_eq!(std::fs::read_to_string(state).unwrap().trim(), "live");
        }
        let links = Snapshot::of(&[Subtree::Links]);
        if wanted.0.contains(&"ifb") {
            assert!(links.get("link ifb0").is_none(), "numifbs=0");
            assert!(!tell("ip -o link").contains("ifb0"));
        }
        let reverted = wanted.revert(&mut session).unwrap();
        assert!(
            reverted.not_reverted.is_empty(),
            "{:#?}",
            reverted.not_reverted
        );
        before.is_still(&snapshot(), "reverted");
        assert!(store.is_empty());
    }
}

/// Our parameter follows those of modprobe.d, and the kernel uses the last one.
fn what_modprobe_d_says_of_parameters_does_not_beat_ours() {
    none();
    tell("mkdir -p /run/modprobe.d && echo 'options ifb numifbs=3' >/run/modprobe.d/test.conf");
    let store = MemoryStore::new();
    let mut session = process(&store, &CrashPoint::lives());
    let _ = SHAPER.apply(&mut session).unwrap();
    let links = tell("ip -o link");
    assert!(SHAPER.revert(&mut session).unwrap().is_complete());
    // Without ours, the parameter of modprobe.d applies.
    tell("modprobe ifb");
    let said = tell("ip -o link");
    tell("rm /run/modprobe.d/test.conf; modprobe -r ifb");
    assert!(!links.contains("ifb0"), "{links}");
    assert!(said.contains("ifb2"), "{said}");
}

/// A crash after one write leaves the same state as a crash before the next one, so `Before` is tried only for the
/// first write.
fn killed_before_and_after_every_write() {
    // With a module that depends on another one.
    let wanted = Wanted(&["ifb", "bonding"]);
    none();
    let before = snapshot();
    for reverting in [false, true] {
        let first = [(Moment::Before, 0)];
        let after = (0..)
            .filter(|write| is_shared_out(*write))
            .map(|write| (Moment::After, write));
        for (moment, write) in first.into_iter().chain(after) {
            let when = format!("{moment:?} write {write}, reverting {reverting}");
            let store = MemoryStore::new();
            let crash_point = CrashPoint::dies_at(write, moment);
            if reverting {
                let mut session = process(&store, &CrashPoint::lives());
                let _ = wanted.apply(&mut session).unwrap();
                let _ = process(&store, &crash_point).revert();
            } else {
                let _ = wanted.apply(&mut process(&store, &crash_point));
            }
            let reverted = process(&store, &CrashPoint::lives()).revert().unwrap();
            assert!(
                reverted.not_reverted.is_empty(),
                "{when}: {:#?}",
                reverted.not_reverted
            );
            before.is_still(&snapshot(), &when);
            assert!(store.is_empty(), "{when}: a journal is left");
            if !crash_point.is_dead() {
                assert!(write > 3, "{when}: only so many writes?");
                break;
            }
        }
    }
}

/// The kernel counts the users of a qdisc's or action's module, but not the interfaces of a link type's.
fn what_somebody_uses_stays_until_they_do_not() {
    none();
    let before = snapshot();
    let store = MemoryStore::new();
    for (use_it, end_it, module) in [
        (
            "ip link add theirs type ifb",
            "ip link del theirs",
            "module ifb numifbs=0",
        ),
        (
            "ip netns add far; ip -n far link add theirs type ifb",
            "ip netns del far",
            "module ifb numifbs=0",
        ),
        (
            "tc qdisc add dev lo root cake",
            "tc qdisc del dev lo root",
            "module sch_cake",
        ),
        (
            "tc qdisc add dev lo ingress; tc filter add dev lo ingress matchall action mirred egress mirror dev lo",
            "tc qdisc del dev lo ingress; modprobe -r sch_ingress",
            "module act_mirred",
        ),
    ] {
        let _ = SHAPER
            .apply(&mut process(&store, &CrashPoint::lives()))
            .unwrap();
        tell(use_it);
        let started = Instant::now();
        let reverted = process(&store, &CrashPoint::lives()).revert().unwrap();
        println!("{use_it}: {:?}", started.elapsed());
        let left: Vec<_> = reverted
            .not_reverted
            .iter()
            .filter(|left| matches!(left.reason, NotRevertedReason::InUse(_)))
            .collect();
        assert_eq!(left.len(), reverted.not_reverted.len(), "{reverted:#?}");
        assert!(
            left.iter().any(|left| left.knob.text == module),
            "{use_it}: {reverted:#?}"
        );
        assert!(reverted.is_complete());
        println!("{}", left[0]);
        if module.contains("ifb") {
            assert!(left[0].to_string().contains("theirs"), "{}", left[0]);
        }
        tell(end_it);
        // The interfaces of a namespace are removed a moment after its name.
        wait_until(&format!("{use_it}: nobody uses it any more"), || {
            let reverted = process(&store, &CrashPoint::lives()).revert().unwrap();
            reverted.not_reverted.is_empty()
        });
        before.is_still(&snapshot(), use_it);
        assert!(store.is_empty());
    }
}

/// The administrator's modprobe.d files apply, including an install command.
fn what_modprobe_d_refuses_is_an_error_and_everything_is_as_before() {
    none();
    let before = snapshot();
    tell("mkdir -p /run/modprobe.d");
    for (line, why) in [
        ("install act_mirred /bin/false", "/bin/false"),
        ("install act_mirred /bin/true", "modprobe.d"),
        ("blacklist act_mirred", "modprobe.d"),
    ] {
        std::fs::write("/run/modprobe.d/test.conf", format!("{line}\n")).unwrap();
        let store = MemoryStore::new();
        let error = SHAPER
            .apply(&mut process(&store, &CrashPoint::lives()))
            .unwrap_err();
        std::fs::remove_file("/run/modprobe.d/test.conf").unwrap();
        println!("{line}: {} ({:?})", chain(&error), error.hint());
        assert!(matches!(error, Error::RolledBack { .. }), "{line}: {error}");
        assert!(chain(&error).contains("act_mirred"), "{}", chain(&error));
        assert!(chain(&error).contains(why), "{line}: {}", chain(&error));
        let hint = error.hint().unwrap();
        assert!(hint.contains("modprobe --showconfig"), "{hint}");
        before.is_still(&snapshot(), line);
        assert!(store.is_empty());
    }
}

/// Runs this test again in a process without the capability.
fn without_the_capability_it_is_said_and_nothing_is_changed() {
    const WITHOUT: &str = "HOSTTUNE_TEST_WITHOUT_CAPABILITY";
    if std::env::var_os(WITHOUT).is_some() {
        let store = MemoryStore::new();
        let error = SHAPER
            .apply(&mut process(&store, &CrashPoint::lives()))
            .unwrap_err();
        println!("{}\nhint: {}", chain(&error), error.hint().unwrap());
        assert!(matches!(error, Error::RolledBack { .. }), "{error}");
        assert!(chain(&error).contains("Operation not permitted"));
        assert!(error.hint().unwrap().contains("CAP_SYS_MODULE"));
        assert!(store.is_empty());
        return;
    }
    none();
    let before = snapshot();
    let this = std::env::current_exe().unwrap();
    let test = inside::test_name();
    let said = tell(&format!(
        "{WITHOUT}=1 setpriv --bounding-set=-sys_module --inh-caps=-sys_module {} --exact {test} --nocapture",
        this.display()
    ));
    assert!(said.contains("CAP_SYS_MODULE"), "{said}");
    before.is_still(&snapshot(), "refused");
}

/// If the lists of modules exist, they decide, whether or not a module is loaded.
fn the_lists_of_stock_kernels_are_read() {
    none();
    let host = live();
    for (module, available) in [
        ("sch_cake", Availability::Loadable),
        ("sch-cake", Availability::Loadable),
        ("ifb", Availability::Loadable),
        ("sch_fq_codel", Availability::Present),
        ("sch_nonesuch", Availability::Absent),
    ] {
        assert_eq!(find(&host, module).unwrap(), available, "{module}");
    }
    tell("modprobe sch_cake");
    assert_eq!(find(&host, "sch_cake").unwrap(), Availability::Present);
    tell("modprobe -r sch_cake");
}

inside_stock_kernels!(
    killed_before_and_after_every_write,
    loaded_and_unloaded,
    the_lists_of_stock_kernels_are_read,
    what_modprobe_d_refuses_is_an_error_and_everything_is_as_before,
    what_modprobe_d_says_of_parameters_does_not_beat_ours,
    what_somebody_uses_stays_until_they_do_not,
    without_the_capability_it_is_said_and_nothing_is_changed,
);

/// On the running kernel, whichever it is: its symbols decide only if it has no module support.
#[test]
fn the_symbols_of_a_kernel_without_modules_tell() {
    let sought = [
        ("sch_nonesuch", "nonesuch_enqueue"),
        ("sch_fifo", "pfifo_enqueue"),
    ];
    let sought = sought.map(|(name, symbol)| Sought {
        name,
        symbol: Some(symbol),
        option: None,
    });
    let host = live();
    let started = Instant::now();
    let found = find_all(&host, &sought).unwrap();
    println!("{found:?} in {:?}", started.elapsed());
    if Path::new("/proc/modules").exists() {
        println!("not by symbols: this kernel can have modules");
        assert_ne!(found[0], Availability::Present);
    } else {
        assert_eq!(found, [Availability::Absent, Availability::Present]);
    }
}
