//! The engine's laws for shapers, on the fake kernel.
//!
//! The number of cases is `PROPTEST_CASES` if that is set, and otherwise the one given below.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hosttune_core::testing::laws::{self, Death, Verb};
use hosttune_core::testing::{CrashPoint, Failure, Memory, MemoryStore, Moment, Snapshot, World};
use hosttune_core::{Error, Host, Session, State, Tuning, UnsupportedKind};
use hosttune_modules::testing::{Described, MemoryModules, with_modules};
use hosttune_modules::{ModuleLoader, Modules};
use hosttune_qos::netlink::{
    EGRESS_FILTERS, INGRESS_FILTERS, INGRESS_HANDLE, Link, Message, NLM_F_CREATE, NLM_F_EXCL,
    NetlinkError, RTM_NEWQDISC, RTM_NEWTFILTER, Request, Rtnetlink, TC_H_INGRESS, TC_H_ROOT,
    TCA_KIND, TrafficControl,
};
use hosttune_qos::testing::Kernel;
use hosttune_qos::{Netlink, Qdisc, Shaper};
use proptest::prelude::*;

use crate::cases;

/// A machine with links as well as files.
#[derive(Debug, Clone)]
struct Router {
    memory: Memory,
    kernel: Kernel,
    store: MemoryStore,
}

impl World for Router {
    fn fork(&self) -> Self {
        Self {
            memory: self.memory.fork(),
            kernel: self.kernel.fork(),
            store: self.store.fork(),
        }
    }

    fn session_of(&self, owner: &str, crash_point: &CrashPoint) -> Result<Session, Error> {
        let host = Host::new(self.memory.host(crash_point))
            .with_backend(Netlink::over(self.kernel.clone()))
            .with_backend(Modules::over(self.modules()))
            .gated(crash_point.clone());
        let session = Session::new(host, owner, self.store.of(crash_point), "boot")?;
        Ok(session.with(hosttune_qos::knobs))
    }

    fn snapshot(&self) -> Snapshot {
        let mut snapshot = self.memory.snapshot();
        snapshot.extend(self.kernel.snapshot());
        snapshot
    }

    fn store(&self) -> &MemoryStore {
        &self.store
    }
}

/// The modules of a kernel that has everything possible as a module.
const MODULES: [Described; 8] = [
    Described {
        name: "ifb",
        needs: &[],
        parameters: &["numifbs"],
    },
    Described::alone("act_mirred"),
    Described::alone("cls_matchall"),
    Described::alone("cls_u32"),
    Described::alone("sch_cake"),
    Described::alone("sch_ingress"),
    Described::alone("sch_sfq"),
    Described::alone("sch_tbf"),
];
const BUILT_IN: [&str; 2] = ["sch_fq_codel", "sch_prio"];
/// The kinds that these modules provide.
const MODULAR: [&str; 9] = [
    "ifb", "mirred", "matchall", "u32", "cake", "ingress", "clsact", "sfq", "tbf",
];

impl Router {
    fn modules(&self) -> MemoryModules<Kernel> {
        MemoryModules::new(self.memory.clone(), self.kernel.clone())
    }

    fn with(&self, request: impl Fn(&Link) -> Request, device: &str) {
        let mut backend = Netlink::over(self.kernel.clone());
        let link = backend.link(device).unwrap().unwrap();
        backend.change(&request(&link)).unwrap();
    }

    fn root(&self, device: &str, root: &Before) {
        let Before {
            kind,
            handle,
            options,
        } = root;
        let request = |link: &Link| {
            TrafficControl::replace(link, TC_H_ROOT, kind, *handle, options.as_deref())
        };
        self.with(request, device);
    }

    fn hook(&self, device: &str, kind: &str) {
        self.with(
            |link| message(RTM_NEWQDISC, link, [INGRESS_HANDLE, TC_H_INGRESS, 0], kind),
            device,
        );
    }

    fn filter(&self, device: &str, parent: u32, priority: u32) {
        let info = priority << 16 | 8;
        self.with(
            |link| message(RTM_NEWTFILTER, link, [1, parent, info], "matchall"),
            device,
        );
    }
}

fn message(number: u16, link: &Link, words: [u32; 3], kind: &str) -> Request {
    let mut fixed = vec![0; 4];
    fixed.extend(link.index.to_ne_bytes());
    fixed.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
    let attributes = hosttune_qos::netlink::Attributes::new().with_text(TCA_KIND, kind);
    Request::new(
        number,
        NLM_F_CREATE | NLM_F_EXCL,
        fixed,
        attributes,
        "do",
        &link.name,
    )
}

/// A root that another process has set before.
#[derive(Debug, Clone)]
struct Before {
    kind: &'static str,
    handle: u32,
    options: Option<Vec<u8>>,
}

/// State of the machine before anything is applied.
#[derive(Debug, Clone, Default)]
struct Start {
    up: bool,
    root: Option<Before>,
    child: Option<u32>,
    hook: Option<&'static str>,
    filter: bool,
    u32_only: bool,
    /// Only modules that are in use are loaded.
    modular: bool,
}

impl Start {
    /// The modules that are in use.
    fn used(&self) -> Vec<String> {
        let root = self.root.as_ref().map(|root| format!("sch_{}", root.kind));
        let hook = self.hook.map(|_| "sch_ingress".to_owned());
        let filter = self.filter.then(|| "cls_matchall".to_owned());
        let used = [root, hook, filter].into_iter().flatten();
        used.filter(|used| MODULES.iter().any(|module| module.name == used))
            .collect()
    }

    fn machine(&self) -> Router {
        let kernel = Kernel::new().link("wan", "", 4).link("lan", "veth", 1);
        let kernel = if self.u32_only {
            kernel.without("matchall")
        } else {
            kernel
        };
        let router = if self.modular {
            let there = |module: &&Described| !(self.u32_only && module.name == "cls_matchall");
            let modules: Vec<Described> = MODULES.iter().filter(there).copied().collect();
            let router = Router {
                memory: with_modules(Memory::new(), &modules, &BUILT_IN),
                kernel: MODULAR.into_iter().fold(kernel, Kernel::without),
                store: MemoryStore::new(),
            };
            for module in self.used() {
                // There is no cls_matchall if the kernel has only u32.
                let _ = router.modules().load(&module, &[]);
            }
            router
        } else {
            Router {
                memory: Memory::new().directory("/sys/module/ifb"),
                kernel,
                store: MemoryStore::new(),
            }
        };
        for device in ["wan", "lan"] {
            if self.up {
                router.with(|link| link.bring(true), device);
            }
            // Only `wan` has several queues.
            if let Some(root) = &self.root
                && (!matches!(root.kind, "mq" | "cake_mq") || device == "wan")
            {
                router.root(device, root);
            }
        }
        if let (Some(root), Some(queue)) = (&self.root, self.child)
            && root.kind == "mq"
        {
            let parent = root.handle | queue;
            let limit = 77_u32.to_ne_bytes();
            let child = |link: &Link| {
                TrafficControl::replace(link, parent, "pfifo", queue << 20, Some(&limit))
            };
            router.with(child, "wan");
        }
        if let Some(hook) = self.hook {
            router.hook("wan", hook);
            if self.filter && !self.u32_only {
                router.filter("wan", INGRESS_FILTERS, 9);
                if hook == "clsact" {
                    router.filter("wan", EGRESS_FILTERS, 9);
                }
            }
        }
        router
    }
}

fn attribute(number: u16, value: &[u8]) -> Vec<u8> {
    hosttune_qos::netlink::Attributes::new()
        .with(number, value)
        .into_bytes()
}

fn cake(rate: u64) -> Qdisc {
    Qdisc::new("cake", attribute(2, &rate.to_ne_bytes()))
}

fn before() -> impl Strategy<Value = Before> {
    let options = |kind: &'static str, number: u32| match kind {
        "cake" => Some(attribute(6, &number.to_ne_bytes())),
        "fq_codel" => Some(attribute(1, &number.to_ne_bytes())),
        "pfifo" => Some(number.to_ne_bytes().to_vec()),
        "sfq" if number > 100 => Some([1514, 10, number, 1024, 0].map(u32::to_ne_bytes).concat()),
        "prio" => Some([number; 5].map(u32::to_ne_bytes).concat()),
        "tbf" => Some(attribute(1, &[7; 36])),
        _ => None,
    };
    let kinds = vec![
        "cake",
        "fq_codel",
        "pfifo",
        "sfq",
        "prio",
        "tbf",
        "pfifo_fast",
        "noqueue",
    ];
    let handle = prop::sample::select(vec![0, 0x1_0000, 0x4854_0000, 0x4855_0000]);
    (prop::sample::select(kinds), handle, 0..20_000_u32).prop_map(move |(kind, handle, number)| {
        Before {
            kind,
            handle,
            options: options(kind, number),
        }
    })
}

fn start() -> impl Strategy<Value = Start> {
    let mq = (
        prop::sample::select(vec!["mq", "cake_mq"]),
        prop::sample::select(vec![0x5_0000, 0x4854_0000]),
    );
    let mq = mq.prop_map(|(kind, handle)| Before {
        kind,
        handle,
        options: None,
    });
    (
        any::<bool>(),
        prop::option::of(before()),
        prop::option::of((mq, prop::option::of(1..=4_u32))),
        prop::option::of(prop::sample::select(vec!["ingress", "clsact"])),
        any::<[bool; 3]>(),
    )
        .prop_map(|(up, root, mq, hook, [filter, u32_only, modular])| Start {
            up,
            child: mq.as_ref().and_then(|(_, child)| *child),
            root: mq.map(|(root, _)| root).or(root),
            hook,
            filter,
            u32_only,
            modular,
        })
}

fn shaper() -> impl Strategy<Value = Shaper> {
    let qdisc = || {
        prop_oneof![
            (1..4_u64).prop_map(|rate| cake(rate * 1_000_000)),
            (1..3_u64).prop_map(|rate| Qdisc::tbf(rate * 1_000_000, 20_000, 100_000)),
            Just(Qdisc::new(
                "fq_codel",
                attribute(1, &3000_u32.to_ne_bytes())
            )),
        ]
    };
    // cake_mq needs several queues, which an IFB does not have.
    let egress = prop_oneof![
        4 => qdisc(),
        1 => (1..3_u64).prop_map(|rate| Qdisc { kind: "cake_mq".to_owned(), ..cake(rate) }),
    ];
    (
        prop::sample::select(vec!["wan", "lan"]),
        prop::option::of(egress),
        prop::option::of(qdisc()),
    )
        // Only `wan` has several queues.
        .prop_filter("cake_mq needs several queues", |(device, egress, _)| {
            let several = egress
                .as_ref()
                .is_some_and(|one: &Qdisc| one.kind == "cake_mq");
            !several || *device == "wan"
        })
        .prop_map(|(device, egress, ingress)| Shaper {
            egress,
            ingress,
            ..Shaper::new(device)
        })
}

fn moment() -> impl Strategy<Value = Moment> {
    prop::sample::select(vec![Moment::Before, Moment::Within, Moment::After])
}

fn deaths() -> impl Strategy<Value = Vec<Death>> {
    prop::collection::vec((0..30_u64, moment()), 0..6)
}

proptest! {
    #![proptest_config(cases(2_000))]

    #[test]
    fn apply_then_verify_matches(start in start(), shaper in shaper()) {
        laws::apply_then_verify(&start.machine(), &shaper)?;
    }

    #[test]
    fn apply_then_plan_is_empty(start in start(), shaper in shaper()) {
        laws::apply_then_plan(&start.machine(), &shaper)?;
    }

    #[test]
    fn apply_then_revert_is_as_it_was(
        start in start(), shapers in prop::collection::vec(shaper(), 1..4),
    ) {
        laws::apply_then_revert(&start.machine(), &shapers)?;
    }

    #[test]
    fn plan_writes_nothing(start in start(), shaper in shaper()) {
        laws::plan_writes_nothing(&start.machine(), &shaper)?;
    }

    #[test]
    fn what_is_offered_is_applied(start in start(), shaper in shaper()) {
        laws::what_is_offered_is_applied(&start.machine(), &shaper)?;
    }

    #[test]
    fn a_failing_step_leaves_the_host_as_it_was(
        start in start(), shaper in shaper(), change in 0..8_u64, moment in moment(),
    ) {
        laws::failing_step(&start.machine(), &shaper, change, moment)?;
    }

    /// A change on the device itself. What another process attaches to the IFB keeps the IFB, see
    /// `a_strangers_root_on_our_ifb_keeps_it`.
    #[test]
    fn a_stranger_survives(start in start(), shaper in shaper(), alias: bool) {
        laws::stranger_survives(&start.machine(), &shaper, |router: &Router| {
            if alias {
                router.with(|link| link.note("theirs"), &shaper.device);
            } else {
                let theirs = Before {
                    kind: "pfifo",
                    handle: 0x99_0000,
                    options: Some(99_u32.to_ne_bytes().to_vec()),
                };
                router.root(&shaper.device, &theirs);
            }
        })?;
    }

    #[test]
    fn nothing_on_an_empty_host(shaper in shaper()) {
        let router = Router {
            memory: Memory::new(),
            kernel: Kernel::new(),
            store: MemoryStore::new(),
        };
        laws::nothing_on_an_empty_host(&router, &shaper.optional())?;
    }

    #[test]
    fn no_input_panics(
        device in "[a-z0-9:/% .]{0,18}|\\PC{0,8}", ifb in "[a-z0-9:/% .]{0,18}|\\PC{0,8}",
        kind in "[a-z_]{0,18}", options in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let start = Start { up: true, ..Start::default() };
        let router = start.machine();
        let was = router.snapshot();
        for (device, ifb) in [(device.as_str(), ifb.as_str()), ("wan", &ifb), ("wan", "ifb-x")] {
            let qdisc = Qdisc::new(kind.clone(), options.clone());
            let shaper = Shaper::new(device).through(ifb).egress(qdisc.clone()).ingress(qdisc);
            let mut session = router.session(&CrashPoint::lives())?;
            if let Err(error) = shaper.plan(&session) {
                prop_assert!(error.hint().is_some(), "no way out: {error}");
            }
            let _ = shaper.apply(&mut session);
            assert!(session.revert()?.is_complete());
        }
        prop_assert_eq!(router.snapshot(), was);
    }
}

/// Shapes `wan` in both directions and then calls `stranger`. The snapshot is from before.
fn shaped_and_then(stranger: impl FnOnce(&Router)) -> (Router, Snapshot, Shaper) {
    let router = Start::default().machine();
    let was = router.snapshot();
    let shaper = Shaper::new("wan")
        .egress(cake(1_000_000))
        .ingress(cake(4_000_000));
    let _ = shaper
        .apply(&mut router.session(&CrashPoint::lives()).unwrap())
        .unwrap();
    stranger(&router);
    (router, was, shaper)
}

#[test]
fn a_strangers_filter_keeps_our_hook_and_nothing_else() {
    let (router, was, shaper) = shaped_and_then(|router| router.filter("wan", INGRESS_FILTERS, 9));
    let mut session = router.session(&CrashPoint::lives()).unwrap();
    let left = shaper.revert(&mut session).unwrap().not_reverted;
    assert_eq!(left.len(), 1, "{left:#?}");
    assert!(left[0].to_string().contains("filters of another program"));
    let now = router.snapshot();
    assert_eq!(
        now.len(),
        was.len() + 2,
        "the hook and the filter: {now:#?}"
    );
    // Not even with force, because the filter is another program's.
    let left = shaper.revert(session.force(true)).unwrap().not_reverted;
    assert_eq!(left.len(), 1, "{left:#?}");
    assert_eq!(router.snapshot(), now);
}

#[test]
fn a_strangers_root_on_our_ifb_keeps_it() {
    let theirs = Before {
        kind: "pfifo",
        handle: 0x99_0000,
        options: None,
    };
    let (router, was, shaper) = shaped_and_then(|router| router.root("ifb-wan", &theirs));
    let mut session = router.session(&CrashPoint::lives()).unwrap();
    let left = shaper.revert(&mut session).unwrap().not_reverted;
    assert_eq!(left.len(), 2, "{left:#?}");
    assert!(router.snapshot()["root ifb-wan"].starts_with("pfifo 99:"));
    assert!(!router.snapshot().contains_key("lost"));
    let left = shaper.revert(session.force(true)).unwrap().not_reverted;
    assert!(left.is_empty(), "{left:#?}");
    assert_eq!(router.snapshot(), was);
}

/// Counts read requests to the kernel.
#[derive(Debug, Clone)]
struct Counted {
    kernel: Kernel,
    reads: Arc<AtomicUsize>,
}

impl Rtnetlink for Counted {
    fn dump(&self, request: &Request) -> Result<Vec<Message>, NetlinkError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.kernel.dump(request)
    }

    fn get(&self, request: &Request) -> Result<Message, NetlinkError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.kernel.get(request)
    }

    fn change(&mut self, request: &Request) -> Result<(), NetlinkError> {
        self.kernel.change(request)
    }
}

#[test]
fn it_takes_few_messages() {
    let router = Start::default().machine();
    let reads = Arc::new(AtomicUsize::new(0));
    let shaper = Shaper::new("wan")
        .egress(cake(1_000_000))
        .ingress(cake(4_000_000));
    let process = |crash_point: &CrashPoint| {
        let counted = Counted {
            kernel: router.kernel.clone(),
            reads: reads.clone(),
        };
        router
            .session(crash_point)
            .unwrap()
            .with_backend(Netlink::over(counted))
    };
    let crash_point = CrashPoint::lives();
    let _ = shaper.apply(&mut process(&crash_point)).unwrap();
    // The root of `wan`; the IFB, its alias and its root; the hook and the filter.
    assert_eq!(crash_point.changes(), 6);
    let applying = reads.swap(0, Ordering::Relaxed);
    assert!(applying <= 70, "{applying}");
    assert!(
        shaper
            .verify(&process(&crash_point))
            .unwrap()
            .is_as_wanted()
    );
    let verifying = reads.swap(0, Ordering::Relaxed);
    assert!(verifying <= 15, "{verifying}");
    let crash_point = CrashPoint::lives();
    assert!(process(&crash_point).revert().unwrap().is_complete());
    assert_eq!(crash_point.changes(), 5);
    let reverting = reads.swap(0, Ordering::Relaxed);
    assert!(reverting <= 60, "{reverting}");
}

/// The fake reports lost packets.
#[test]
fn a_link_that_goes_from_under_a_filter_is_seen() {
    let (router, ..) = shaped_and_then(|router| router.with(Link::delete, "ifb-wan"));
    assert!(router.snapshot().contains_key("lost"));
}

/// If the kernel accepts options but shows others, the change is reverted at once.
#[test]
fn options_that_are_shown_otherwise_leave_nothing_behind() {
    for before in [None, Some(("pfifo", 0x1_0000)), Some(("cake", 0x4854_0000))] {
        let before = before.map(|(kind, handle)| Before {
            kind,
            handle,
            options: None,
        });
        let start = Start {
            up: true,
            root: before,
            ..Start::default()
        };
        let router = start.machine();
        let was = router.snapshot();
        for qdisc in [Qdisc::new("mq", vec![0]), Qdisc::new("sfq", vec![0; 20])] {
            let shaper = Shaper::new("wan").egress(qdisc);
            let mut session = router.session(&CrashPoint::lives()).unwrap();
            let error = shaper.apply(&mut session).unwrap_err();
            assert!(matches!(error, Error::RolledBack { .. }), "{error:?}");
            assert!(error.hint().is_some(), "{error:?}");
            assert_eq!(router.snapshot(), was);
            assert!(router.store.is_empty());
        }
    }
}

/// Missing modules are loaded first, ifb without links of its own, and unloaded last.
#[test]
fn modules_are_steps_of_the_plan() {
    let router = Start {
        modular: true,
        ..Start::default()
    }
    .machine();
    let was = router.snapshot();
    let shaper = Shaper::new("wan")
        .egress(Qdisc::tbf(1_000_000, 20_000, 100_000))
        .ingress(cake(4_000_000));
    let crash_point = CrashPoint::lives();
    let mut session = router.session(&crash_point).unwrap();
    let plan = shaper.plan(&session).unwrap();
    let steps: Vec<&str> = plan.steps.iter().map(|step| &*step.knob.text).collect();
    let modules = [
        "module ifb numifbs=0",
        "module act_mirred",
        "module sch_ingress",
        "module cls_matchall",
        "module sch_tbf",
        "module sch_cake",
    ];
    assert_eq!(steps[..6], modules);
    assert_eq!(steps.len(), 11, "{steps:?}");
    let _ = shaper.apply(&mut session).unwrap();
    assert!(!router.snapshot().contains_key("link ifb0"));
    assert!(shaper.verify(&session).unwrap().is_as_wanted());
    // Six modules; the root of `wan`; the IFB, its alias and its root; the hook and the filter.
    assert_eq!(crash_point.changes(), 12);
    let reverted = shaper.revert(&mut session).unwrap();
    assert!(reverted.not_reverted.is_empty(), "{reverted:#?}");
    assert_eq!(router.snapshot(), was);
}

/// Another program's root and link keep the modules that they need, and nothing else.
#[test]
fn modules_that_somebody_uses_by_then_stay() {
    let router = Start {
        modular: true,
        ..Start::default()
    }
    .machine();
    let was = router.snapshot();
    let shaper = Shaper::new("wan").ingress(cake(4_000_000));
    let mut session = router.session(&CrashPoint::lives()).unwrap();
    let _ = shaper.apply(&mut session).unwrap();
    let theirs = Before {
        kind: "cake",
        handle: 0x99_0000,
        options: None,
    };
    router.root("lan", &theirs);
    let mut backend = Netlink::over(router.kernel.clone());
    backend
        .change(&Link::create_ifb("theirs", &[2, 0, 0, 0, 0, 1]))
        .unwrap();
    let reverted = shaper.revert(&mut session).unwrap();
    let left: Vec<&str> = reverted
        .not_reverted
        .iter()
        .map(|left| &*left.knob.text)
        .collect();
    assert_eq!(left, ["module sch_cake", "module ifb numifbs=0"]);
    assert!(reverted.is_complete(), "{reverted:#?}");
    let snapshot = router.snapshot();
    assert!(snapshot.contains_key("link theirs"), "{snapshot:#?}");
    assert!(
        snapshot["root lan"].starts_with("cake 99:"),
        "{snapshot:#?}"
    );

    router.with(Link::delete, "theirs");
    let delete = |link: &Link| TrafficControl::delete(link, TC_H_ROOT, theirs.handle);
    router.with(delete, "lan");
    let reverted = shaper.revert(&mut session).unwrap();
    assert!(reverted.not_reverted.is_empty(), "{reverted:#?}");
    assert_eq!(router.snapshot(), was);
    assert!(router.store.is_empty());
}

/// Without a backend that loads modules, no module is planned. Neither is an IFB, because creating
/// one would load ifb with links of its own.
#[test]
fn without_a_loader_no_module_is_planned() {
    let router = Start {
        modular: true,
        ..Start::default()
    }
    .machine();
    let host = Host::new(router.memory.host(&CrashPoint::lives()))
        .with_backend(Netlink::over(router.kernel.clone()));
    let store = router.store.of(&CrashPoint::lives());
    let session = Session::new(host, "laws", store, "boot").unwrap();
    let session = session.with(hosttune_qos::knobs);
    let egress = Shaper::new("wan").egress(cake(1_000_000));
    assert_eq!(egress.plan(&session).unwrap().steps.len(), 1);
    let error = egress.ingress(cake(1_000_000)).plan(&session).unwrap_err();
    assert!(error.to_string().contains("the module ifb is not loaded"));
    assert!(error.hint().unwrap().contains("numifbs=0"));
}

/// The module lists do not contain the module, so nothing is tried.
#[test]
fn what_the_kernel_certainly_has_not_is_said_beforehand() {
    let mut router = Start::default().machine();
    router.memory = with_modules(Memory::new(), &MODULES[..4], &BUILT_IN);
    let was = router.snapshot();
    let crash_point = CrashPoint::lives();
    let mut session = router.session(&crash_point).unwrap();
    let shaper = Shaper::new("wan").egress(cake(1));
    for refused in [
        shaper.plan(&session).map(drop),
        shaper.apply(&mut session).map(drop),
    ] {
        let error = refused.unwrap_err();
        assert!(error.hint().unwrap().contains("sch_cake"), "{error:?}");
        let Error::NotApplicable(findings) = error else {
            panic!("{error:?}");
        };
        assert_eq!(findings.len(), 1, "{findings:#?}");
        let State::NotApplicable { unsupported } = &findings[0].state else {
            panic!("{findings:#?}");
        };
        assert_eq!(unsupported.kind, UnsupportedKind::ValueUnavailable);
        assert_eq!(unsupported.module.as_deref(), Some("sch_cake"));
        assert_eq!(
            unsupported.why,
            "this kernel has no qdisc cake: module sch_cake is missing"
        );
    }
    let ingress = Shaper::new("wan").ingress(Qdisc::new("pfifo", vec![7, 0, 0, 0]));
    let error = ingress.plan(&session).unwrap_err();
    assert!(error.to_string().contains("sch_ingress"), "{error}");

    // If the shaper is optional this is a finding, also with `strict`.
    let optional = shaper.optional();
    let applied = optional.apply(&mut session).unwrap();
    assert!(applied.changed.is_empty());
    assert_eq!(applied.findings.len(), 1, "{applied:#?}");
    assert!(optional.plan(session.strict(true)).is_ok());
    assert_eq!((crash_point.changes(), router.snapshot()), (0, was));
}

/// Without CAKE nothing is left half applied, and the error names the module even if no module list
/// could tell beforehand.
#[test]
fn without_the_kind_everything_is_as_it_was() {
    let mut router = Start::default().machine();
    router.kernel = router.kernel.without("cake");
    let was = router.snapshot();
    let shaper = Shaper::new("wan").egress(cake(1)).ingress(cake(1));
    let mut session = router.session(&CrashPoint::lives()).unwrap();
    let error = shaper.apply(&mut session).unwrap_err();
    assert!(error.hint().unwrap().contains("sch_cake"), "{error:?}");
    assert_eq!(router.snapshot(), was);
    assert!(router.store.is_empty());
}

proptest! {
    #![proptest_config(cases(4_000))]

    #[test]
    fn die_anywhere(
        start in start(), shapers in prop::collection::vec(shaper(), 1..4), deaths in deaths(),
    ) {
        laws::die_anywhere(&start.machine(), &shapers, &deaths)?;
    }

    #[test]
    fn die_then_recover(
        start in start(), finished in shaper(), dying in shaper(), deaths in deaths(),
    ) {
        laws::die_then_recover(&start.machine(), &finished, &dying, &deaths)?;
    }
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn what_is_said_is_what_the_host_shows(
        start in start(), applied in prop::collection::vec(shaper(), 0..3), tuning in shaper(),
        verb in 0..Verb::<()>::KINDS, (call, kind) in (0..150_u64, 0..Failure::KINDS),
    ) {
        let verb = Verb::of_kind(verb, tuning);
        laws::told_as_it_is(&start.machine(), &applied, &verb, Failure::of_kind(call, kind))?;
    }
}
