//! The laws of the engine over shapers, on the double of the kernel.
//!
//! The number of cases is `PROPTEST_CASES` where set, and what stands below where not.

#![cfg(feature = "testing")]
#![expect(
    clippy::unwrap_used,
    reason = "an administrator whose message is refused is a mistake of the test"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hosttune_core::testing::laws::{self, Death};
use hosttune_core::testing::{Fate, Memory, MemoryStore, Moment, Picture, World};
use hosttune_core::{Error, Host, Session, Tuning};
use hosttune_qos::netlink::{
    EGRESS_FILTERS, INGRESS_FILTERS, INGRESS_HANDLE, Link, Message, NLM_F_CREATE, NLM_F_EXCL,
    NetlinkError, RTM_NEWQDISC, RTM_NEWTFILTER, Request, Rtnetlink, TC_H_INGRESS, TC_H_ROOT,
    TCA_KIND, TrafficControl,
};
use hosttune_qos::testing::Kernel;
use hosttune_qos::{Netlink, Qdisc, Shaper};
use proptest::prelude::*;

fn cases(usual: u32) -> ProptestConfig {
    let set = std::env::var("PROPTEST_CASES").ok();
    ProptestConfig {
        cases: set.and_then(|cases| cases.parse().ok()).unwrap_or(usual),
        max_shrink_iters: 20_000,
        max_global_rejects: u32::MAX,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// A machine that has links as well as files.
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

    fn session_of(&self, owner: &str, fate: &Fate) -> Result<Session, Error> {
        let host = Host::new(self.memory.host(fate))
            .plug(Netlink::over(self.kernel.clone()))
            .gated(fate.clone());
        let session = Session::new(host, owner, self.store.of(fate), "boot")?;
        Ok(session.with(hosttune_qos::knobs))
    }

    fn picture(&self) -> Picture {
        let mut picture = self.memory.picture();
        picture.extend(self.kernel.picture());
        picture
    }

    fn store(&self) -> &MemoryStore {
        &self.store
    }
}

impl Router {
    fn with(&self, request: impl Fn(&Link) -> Request, device: &str) {
        let mut wire = Netlink::over(self.kernel.clone());
        let link = wire.link(device).unwrap().unwrap();
        wire.change(&request(&link)).unwrap();
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

/// A root that somebody has set before.
#[derive(Debug, Clone)]
struct Before {
    kind: &'static str,
    handle: u32,
    options: Option<Vec<u8>>,
}

/// How the machine stands before anything is applied.
#[derive(Debug, Clone, Default)]
struct Start {
    up: bool,
    root: Option<Before>,
    child: Option<u32>,
    hook: Option<&'static str>,
    filter: bool,
    u32_only: bool,
}

impl Start {
    fn machine(&self) -> Router {
        let kernel = Kernel::new().link("wan", "", 4).link("lan", "veth", 1);
        let kernel = if self.u32_only {
            kernel.without("matchall")
        } else {
            kernel
        };
        let router = Router {
            memory: Memory::new().directory("/sys/module/ifb"),
            kernel,
            store: MemoryStore::new(),
        };
        for device in ["wan", "lan"] {
            if self.up {
                router.with(|link| link.bring(true), device);
            }
            // Several queues has only one of them.
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
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(up, root, mq, hook, filter, u32_only)| Start {
            up,
            child: mq.as_ref().and_then(|(_, child)| *child),
            root: mq.map(|(root, _)| root).or(root),
            hook,
            filter,
            u32_only,
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
    // Of several queues, which an IFB has not.
    let egress = prop_oneof![
        4 => qdisc(),
        1 => (1..3_u64).prop_map(|rate| Qdisc { kind: "cake_mq".to_owned(), ..cake(rate) }),
    ];
    (
        prop::sample::select(vec!["wan", "lan"]),
        prop::option::of(egress),
        prop::option::of(qdisc()),
    )
        // Only one of the devices has several queues.
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

    /// On the device itself. One who attaches something to the IFB keeps it alive: that is
    /// another test's.
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
        laws::nothing_on_an_empty_host(&router, &shaper)?;
    }

    #[test]
    fn no_input_panics(
        device in "[a-z0-9:/% .]{0,18}|\\PC{0,8}", ifb in "[a-z0-9:/% .]{0,18}|\\PC{0,8}",
        kind in "[a-z_]{0,18}", options in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let start = Start { up: true, ..Start::default() };
        let router = start.machine();
        let was = router.picture();
        for (device, ifb) in [(device.as_str(), ifb.as_str()), ("wan", &ifb), ("wan", "ifb-x")] {
            let qdisc = Qdisc::new(kind.clone(), options.clone());
            let shaper = Shaper::new(device).through(ifb).egress(qdisc.clone()).ingress(qdisc);
            let mut session = router.session(&Fate::lives())?;
            if let Err(error) = shaper.plan(&session) {
                prop_assert!(error.hint().is_some(), "no way out: {error}");
            }
            let _ = shaper.apply(&mut session);
            shaper.revert(&mut session)?;
        }
        prop_assert_eq!(router.picture(), was);
    }
}

/// Shaped both ways from nothing, and then this happens.
fn shaped_and_then(stranger: impl FnOnce(&Router)) -> (Router, Picture, Shaper) {
    let router = Start::default().machine();
    let was = router.picture();
    let shaper = Shaper::new("wan")
        .egress(cake(1_000_000))
        .ingress(cake(4_000_000));
    shaper
        .apply(&mut router.session(&Fate::lives()).unwrap())
        .unwrap();
    stranger(&router);
    (router, was, shaper)
}

#[test]
fn a_strangers_filter_keeps_our_hook_and_nothing_else() {
    let (router, was, shaper) = shaped_and_then(|router| router.filter("wan", INGRESS_FILTERS, 9));
    let mut session = router.session(&Fate::lives()).unwrap();
    let left = shaper.revert(&mut session).unwrap().left;
    assert_eq!(left.len(), 1, "{left:#?}");
    assert!(left[0].to_string().contains("filters stand at it"));
    let now = router.picture();
    assert_eq!(
        now.len(),
        was.len() + 2,
        "the hook and the filter: {now:#?}"
    );
    // Forced or not: it is not ours to take away.
    let left = shaper.revert(&mut session.force(true)).unwrap().left;
    assert_eq!(left.len(), 1, "{left:#?}");
    assert_eq!(router.picture(), now);
}

#[test]
fn a_strangers_root_on_our_ifb_keeps_it() {
    let theirs = Before {
        kind: "pfifo",
        handle: 0x99_0000,
        options: None,
    };
    let (router, was, shaper) = shaped_and_then(|router| router.root("ifb-wan", &theirs));
    let mut session = router.session(&Fate::lives()).unwrap();
    let left = shaper.revert(&mut session).unwrap().left;
    assert_eq!(left.len(), 2, "{left:#?}");
    assert!(router.picture()["root ifb-wan"].starts_with("pfifo 99:"));
    assert!(!router.picture().contains_key("lost"));
    let left = shaper.revert(&mut session.force(true)).unwrap().left;
    assert!(left.is_empty(), "{left:#?}");
    assert_eq!(router.picture(), was);
}

/// Counts what is asked on the wire.
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
    let process = |fate: &Fate| {
        let counted = Counted {
            kernel: router.kernel.clone(),
            reads: reads.clone(),
        };
        router.session(fate).unwrap().plug(Netlink::over(counted))
    };
    let fate = Fate::lives();
    shaper.apply(&mut process(&fate)).unwrap();
    // Root, link, alias, root, hook, filter.
    assert_eq!(fate.changes(), 6);
    let applying = reads.swap(0, Ordering::Relaxed);
    assert!(applying <= 70, "{applying}");
    assert!(shaper.verify(&process(&fate)).unwrap().is_as_wanted());
    let verifying = reads.swap(0, Ordering::Relaxed);
    assert!(verifying <= 15, "{verifying}");
    let fate = Fate::lives();
    shaper.revert(&mut process(&fate)).unwrap();
    assert_eq!(fate.changes(), 5);
    let reverting = reads.swap(0, Ordering::Relaxed);
    assert!(reverting <= 45, "{reverting}");
}

/// The double itself says so where packets are lost.
#[test]
fn a_link_that_goes_from_under_a_filter_is_seen() {
    let (router, ..) = shaped_and_then(|router| router.with(Link::delete, "ifb-wan"));
    assert!(router.picture().contains_key("lost"));
}

/// What the kernel takes and makes something else of is taken back at once.
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
        let was = router.picture();
        for qdisc in [Qdisc::new("mq", vec![0]), Qdisc::new("sfq", vec![0; 20])] {
            let shaper = Shaper::new("wan").egress(qdisc);
            let mut session = router.session(&Fate::lives()).unwrap();
            let error = shaper.apply(&mut session).unwrap_err();
            assert!(matches!(error, Error::RolledBack { .. }), "{error:?}");
            assert!(error.hint().is_some(), "{error:?}");
            assert_eq!(router.picture(), was);
            assert!(router.store.is_empty());
        }
    }
}

/// On a kernel without CAKE nothing is left half done, and the module's name is said.
#[test]
fn without_the_kind_everything_is_as_it_was() {
    let mut router = Start::default().machine();
    router.kernel = router.kernel.without("cake");
    let was = router.picture();
    let shaper = Shaper::new("wan").egress(cake(1)).ingress(cake(1));
    let mut session = router.session(&Fate::lives()).unwrap();
    let error = shaper.apply(&mut session).unwrap_err();
    assert!(error.hint().unwrap().contains("sch_cake"), "{error:?}");
    assert_eq!(router.picture(), was);
    assert!(router.store.is_empty());
}

proptest! {
    #![proptest_config(cases(10_000))]

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
