//! Shaping on stock kernels that have not loaded any of the modules it needs: they are loaded and
//! unloaded with it.

use std::path::Path;

use crate::namespace::{backend, tell};
use hosttune_core::testing::{CrashPoint, MemoryStore, Moment};
use hosttune_core::{Error, Host, LinuxHost, Session, State, Tuning, UnsupportedKind};
use hosttune_modules::Modules;
use hosttune_qos::{Cake, Qdisc, Shaper};
use hosttune_test_machine::{Snapshot, Subtree, inside, inside_stock_kernels, is_one_in};

fn cake(options: &str) -> Qdisc {
    Qdisc::from(&options.parse::<Cake>().unwrap())
}

fn shaper() -> Shaper {
    Shaper::new("wan")
        .through("ifb7")
        .egress(cake("bandwidth 6mbit diffserv4 ack-filter"))
        .ingress(cake("bandwidth 20mbit diffserv4 ingress"))
}

/// A process that may be killed, and that loads modules through a backend.
fn process(store: &MemoryStore, crash_point: &CrashPoint) -> Session {
    let host = Host::new(LinuxHost::at("/").unwrap())
        .with_backend(backend())
        .with_backend(Modules::live())
        .gated(crash_point.clone());
    let session = Session::new(host, "qos-test", store.of(crash_point), "boot").unwrap();
    session.with(hosttune_qos::knobs)
}

/// Adds a device `wan` in the initial network namespace, because that is where a module creates its
/// links. No module for shaping is loaded.
fn device() {
    tell("ip link del wan 2>/dev/null; ip link add wan type veth peer name peer");
    tell("ip link set wan up && ip link set peer up");
    tell("ip -6 addr flush dev wan; ip -6 addr flush dev peer; sleep 0.3");
    tell("modprobe -qra ifb sch_cake sch_tbf sch_ingress cls_matchall cls_u32 act_mirred || true");
    let loaded = loaded();
    assert!(loaded.is_empty(), "{loaded:?}");
}

const MODULES: [&str; 7] = [
    "ifb",
    "act_mirred",
    "sch_ingress",
    "cls_matchall",
    "cls_u32",
    "sch_cake",
    "sch_tbf",
];

fn loaded() -> Vec<&'static str> {
    let shown = |module: &&str| Path::new("/sys/module").join(module).exists();
    MODULES.into_iter().filter(shown).collect()
}

fn snapshot() -> Snapshot {
    Snapshot::of(&[Subtree::Links, Subtree::Qdiscs, Subtree::Modules])
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

fn modules_come_and_go_with_it() {
    device();
    let before = snapshot();
    let store = MemoryStore::new();
    let crash_point = CrashPoint::lives();
    let mut session = process(&store, &crash_point);
    let _ = shaper().plan(&session).unwrap();
    before.is_still(&snapshot(), "planned");
    let _ = shaper().apply(&mut session).unwrap();
    assert!(shaper().verify(&session).unwrap().is_as_wanted());
    assert!(shaper().plan(&session).unwrap().steps.is_empty());
    let wanted = [
        "ifb",
        "act_mirred",
        "sch_ingress",
        "cls_matchall",
        "sch_cake",
    ];
    assert_eq!(loaded(), wanted);
    let links = tell("ip -o link show type ifb");
    assert_eq!(links.lines().count(), 1, "{links}");
    let writes = crash_point.writes();
    let _ = shaper().apply(&mut session).unwrap();
    assert_eq!(crash_point.writes(), writes, "a second apply writes");
    let reverted = shaper()
        .revert(&mut process(&store, &CrashPoint::lives()))
        .unwrap();
    assert!(
        reverted.not_reverted.is_empty(),
        "{:#?}",
        reverted.not_reverted
    );
    before.is_still(&snapshot(), "reverted");
    assert!(store.is_empty());
}

/// Only egress is shaped, so no module for ingress is loaded.
fn only_what_is_needed_is_loaded() {
    device();
    let before = snapshot();
    let store = MemoryStore::new();
    let mut session = process(&store, &CrashPoint::lives());
    let egress = Shaper::new("wan").egress(Qdisc::tbf(750_000, 20_000, 100_000));
    let _ = egress.apply(&mut session).unwrap();
    assert_eq!(loaded(), ["sch_tbf"]);
    assert!(egress.revert(&mut session).unwrap().is_complete());
    before.is_still(&snapshot(), "reverted");
}

/// Each kernel of a check run is killed at one in this many writes. Shaping alone is killed at
/// every message, and modules alone at every write, in their own tests.
const PARTS: u64 = 8;

/// At every message, module and journal write of apply and of revert. After one write is before the
/// next, and each takes seconds here, so apply is killed before each and revert after each.
fn killed_anywhere_then_reverted_is_as_it_was() {
    device();
    let before = snapshot();
    for (reverting, moment) in [(false, Moment::Before), (true, Moment::After)] {
        for write in (0..).filter(|write| is_one_in(PARTS, *write)) {
            let when = format!("{moment:?} write {write}, reverting {reverting}");
            let store = MemoryStore::new();
            let crash_point = CrashPoint::dies_at(write, moment);
            if reverting {
                let mut session = process(&store, &CrashPoint::lives());
                let _ = shaper().apply(&mut session).unwrap();
                let _ = process(&store, &crash_point).revert();
            } else {
                let _ = shaper().apply(&mut process(&store, &crash_point));
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
                println!("{moment:?}, reverting {reverting}: killed at writes up to {write}");
                assert!(write > 11, "{when}: only so many writes?");
                break;
            }
        }
    }
}

fn a_module_that_modprobe_d_refuses_is_an_error_and_everything_is_as_before() {
    device();
    let before = snapshot();
    let store = MemoryStore::new();
    tell("mkdir -p /run/modprobe.d && echo 'install ifb /bin/false' >/run/modprobe.d/test.conf");
    let refused = shaper().apply(&mut process(&store, &CrashPoint::lives()));
    tell("rm /run/modprobe.d/test.conf");
    let error = refused.unwrap_err();
    println!("{}: {:?}", chain(&error), error.hint());
    assert!(matches!(error, Error::RolledBack { .. }), "{error}");
    assert!(chain(&error).contains("cannot load the module ifb"));
    assert!(chain(&error).contains("/bin/false"));
    assert!(error.hint().unwrap().contains("modprobe.d"));
    before.is_still(&snapshot(), "refused");
    assert!(store.is_empty());
}

/// The module lists do not contain them, and the kernel cannot load them either.
fn a_kernel_without_them_is_told_beforehand() {
    device();
    let before = snapshot();
    let store = MemoryStore::new();
    let crash_point = CrashPoint::lives();
    tell(
        "mkdir -p /run/none/$(uname -r) && touch /run/none/$(uname -r)/modules.dep /run/none/$(uname -r)/modules.builtin && mount --bind /run/none /lib/modules",
    );
    let mut session = process(&store, &crash_point);
    let plan = shaper().plan(&session);
    let refused = shaper().apply(&mut session);
    let optional = shaper().optional().apply(&mut session);
    tell("umount /lib/modules");
    for refused in [plan.map(drop), refused.map(drop)] {
        let error = refused.unwrap_err();
        println!("{}: {:?}", chain(&error), error.hint());
        let Error::NotApplicable(findings) = &error else {
            panic!("{error:?}");
        };
        let State::NotApplicable { unsupported } = &findings[0].state else {
            panic!("{findings:#?}");
        };
        assert_eq!(unsupported.kind, UnsupportedKind::ValueUnavailable);
        assert!(
            unsupported.module.is_some() && unsupported.hint.is_some(),
            "{unsupported:?}"
        );
    }
    assert_eq!(optional.unwrap().findings.len(), 1);
    assert_eq!(crash_point.changes(), 0);
    before.is_still(&snapshot(), "refused");
}

/// Runs this test again in a process without the capability.
fn without_the_capability_it_is_said_and_nothing_is_changed() {
    const WITHOUT: &str = "HOSTTUNE_TEST_WITHOUT_CAPABILITY";
    if std::env::var_os(WITHOUT).is_some() {
        let store = MemoryStore::new();
        let mut session = process(&store, &CrashPoint::lives());
        let error = shaper().apply(&mut session).unwrap_err();
        println!("{}\nhint: {}", chain(&error), error.hint().unwrap());
        assert!(matches!(error, Error::RolledBack { .. }), "{error}");
        assert!(chain(&error).contains("Operation not permitted"));
        assert!(store.is_empty());
        return;
    }
    device();
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

/// Without a backend that loads modules, the kernel loads by itself what it can.
fn without_a_loader_the_kernel_loads_by_itself() {
    device();
    let store = MemoryStore::new();
    let host = Host::new(LinuxHost::at("/").unwrap()).with_backend(backend());
    let session = Session::new(host, "qos-test", store.of(&CrashPoint::lives()), "boot").unwrap();
    let mut session = session.with(hosttune_qos::knobs);
    let before = Snapshot::of(&[Subtree::Links, Subtree::Qdiscs]);
    let error = shaper().apply(&mut session).unwrap_err();
    assert!(error.to_string().contains("the module ifb is not loaded"));
    assert!(loaded().is_empty());
    let egress = Shaper::new("wan").egress(cake("bandwidth 6mbit"));
    let plan = egress.plan(&session).unwrap();
    assert_eq!(plan.steps.len(), 1, "{:#?}", plan.steps);
    let _ = egress.apply(&mut session).unwrap();
    assert_eq!(loaded(), ["sch_cake"]);
    assert!(egress.revert(&mut session).unwrap().is_complete());
    before.is_still(
        &Snapshot::of(&[Subtree::Links, Subtree::Qdiscs]),
        "reverted, and the module stays",
    );
    tell("modprobe -r sch_cake");
}

inside_stock_kernels!(
    a_kernel_without_them_is_told_beforehand,
    a_module_that_modprobe_d_refuses_is_an_error_and_everything_is_as_before,
    killed_anywhere_then_reverted_is_as_it_was,
    modules_come_and_go_with_it,
    only_what_is_needed_is_loaded,
    without_a_loader_the_kernel_loads_by_itself,
    without_the_capability_it_is_said_and_nothing_is_changed,
);

/// On the running kernel, in a network namespace of its own. What the kernel's symbols show to be
/// built in is applied, and anything else is reported beforehand.
#[test]
fn a_kernel_that_can_have_no_modules_is_asked_for_its_symbols() {
    if Path::new("/proc/modules").exists() {
        println!("not run: this kernel can have modules, so its symbols do not tell");
        return;
    }
    if let Err(errno) = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET) {
        println!("not run: no network namespace of its own: {errno}");
        return;
    }
    tell("ip link set lo up; ip link add wan type veth peer name peer");
    // IPv6 changes the flags of a link by itself, on a busy machine only after the snapshot, so it
    // is disabled.
    tell(
        "for one in wan peer; do f=/proc/sys/net/ipv6/conf/$one/disable_ipv6; [ ! -e $f ] || echo 1 >$f; done",
    );
    tell(
        "ip link set wan up; ip link set peer up;
         for link in wan peer; do
             until ip link show $link | grep -q 'state UP'; do sleep 0.05; done
         done",
    );
    let symbols = std::fs::read_to_string("/proc/kallsyms").unwrap();
    let has = |name: &str| {
        symbols
            .lines()
            .any(|line| line.ends_with(&format!(" {name}")))
    };
    let before = Snapshot::of(&[Subtree::Links, Subtree::Qdiscs]);
    let store = MemoryStore::new();
    let crash_point = CrashPoint::lives();
    let mut session = process(&store, &crash_point);

    let started = std::time::Instant::now();
    let planned = shaper().plan(&session);
    println!("planned in {:?}", started.elapsed());
    assert_eq!(planned.is_ok(), has("cake_enqueue"), "{planned:?}");
    if let Err(error) = planned {
        println!("{error}: {}", error.hint().unwrap());
        assert!(error.to_string().contains("no qdisc cake"));
    }
    let tbf = Qdisc::tbf(750_000, 20_000, 100_000);
    let shaper = shaper().egress(tbf.clone()).ingress(tbf);
    let all = ["tbf_enqueue", "ifb_xmit", "tcf_mirred_act", "ingress_init"];
    let all = all.into_iter().all(has) && (has("mall_classify") || has("u32_classify"));
    assert_eq!(shaper.plan(&session).is_ok(), all);
    if all {
        let _ = shaper.apply(&mut session).unwrap();
        assert!(shaper.verify(&session).unwrap().is_as_wanted());
        let reverted = shaper.revert(&mut session).unwrap();
        assert!(
            reverted.not_reverted.is_empty(),
            "{:#?}",
            reverted.not_reverted
        );
    } else {
        println!("this kernel has not all that tbf both ways takes");
    }
    before.is_still(
        &Snapshot::of(&[Subtree::Links, Subtree::Qdiscs]),
        "reverted",
    );
}
