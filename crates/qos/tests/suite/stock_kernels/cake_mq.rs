//! CAKE on every queue of a device: set, read back, reverted, and refused beforehand where the
//! kernel would refuse it without a reason.

use super::live::{session, snapshot};
use super::traffic::{SENT, Traffic};
use crate::namespace::{backend, tell};
use hosttune_core::{Error, Tuning};
use hosttune_qos::netlink::{
    Attributes, Link, NLM_F_CREATE, NLM_F_REPLACE, Request, TC_H_ROOT, TrafficControl,
    format_handle,
};
use hosttune_qos::testing::Kernel;
use hosttune_qos::{Cake, Netlink, Qdisc, Rate, Shaper};
use hosttune_test_machine::inside_stock_kernels;

fn cake() -> Cake {
    "bandwidth 20mbit diffserv4 ack-filter overhead 22 mpu 64"
        .parse()
        .unwrap()
}

fn shaper() -> Shaper {
    Shaper::new("wan")
        .through("ifb7")
        .egress(Qdisc::cake_mq(&cake()))
        .ingress(Cake::default().bandwidth(Rate::mbit(20)).ingress())
}

/// The error with the chain of its causes.
fn said(error: &Error) -> String {
    let mut said = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        said = format!("{said}: {cause}");
        source = cause.source();
    }
    said
}

/// Sets the root over netlink, because `tc` does not know cake_mq.
fn put(kind: &str, handle: u32, options: &[u8]) {
    let mut backend = backend();
    let link = backend.link("wan").unwrap().unwrap();
    let request = TrafficControl::replace(&link, TC_H_ROOT, kind, handle, Some(options));
    backend.change(&request).unwrap();
}

/// Whether this kernel has cake_mq. If not, checks that the error says so and that nothing of the
/// attempt is left.
fn is_there(traffic: &Traffic) -> bool {
    let before = snapshot();
    let mut session = session();
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let major: u32 = release.split('.').next().unwrap().parse().unwrap();
    if major >= 7 {
        return true;
    }
    println!("Linux {} has no cake_mq", release.trim());
    let error = shaper().apply(&mut session).unwrap_err();
    let text = said(&error);
    assert!(matches!(error, Error::RolledBack { .. }), "{error:?}");
    assert!(
        text.contains("cake_mq, which was added in Linux 7.0"),
        "{text}"
    );
    assert!(error.hint().unwrap().contains("sch_cake"), "{error:?}");
    before.is_still(&snapshot(), "refused");
    traffic.all_arrive("refused");
    false
}

fn it_is_put_there_and_taken_back() {
    let traffic = Traffic::begin();
    if !is_there(&traffic) {
        return;
    }
    let other = Cake::default()
        .bandwidth(Rate::mbit(9))
        .nat()
        .to_attributes();
    type Before<'a> = (&'a str, Box<dyn Fn() + 'a>);
    let befores: [Before<'_>; 6] = [
        ("the default", Box::new(|| {})),
        (
            "cake",
            Box::new(|| {
                tell("tc qdisc replace dev wan root handle 4854: cake bandwidth 5mbit");
            }),
        ),
        (
            "mq",
            Box::new(|| {
                tell(
                    "tc qdisc replace dev wan root handle 5: mq && tc qdisc replace dev wan parent 5:2 handle 51: pfifo limit 7",
                );
            }),
        ),
        ("cake_mq", Box::new(|| put("cake_mq", 0x7_0000, &other))),
        (
            "cake_mq by a handle of ours",
            Box::new(|| put("cake_mq", 0x4854_0000, &other)),
        ),
        (
            "cake_mq that is raw",
            Box::new(|| put("cake_mq", 0x4855_0000, &[])),
        ),
    ];
    for (what, make) in befores {
        make();
        let before = snapshot();
        let mut session = session();
        let _ = shaper().apply(&mut session).unwrap();
        let report = shaper().verify(&session).unwrap();
        assert!(report.is_as_wanted(), "{what}: {report:#?}");
        let again = shaper().plan(&session).unwrap();
        assert!(again.steps.is_empty(), "{what}: {:#?}", again.steps);
        assert!(
            !again.notes.iter().any(|note| note.contains("one lock")),
            "{what}"
        );
        traffic.all_arrive(what);

        let statistics = shaper().statistics(&session).unwrap();
        println!("{statistics}");
        let egress = statistics.egress.unwrap();
        let sent = u64::try_from(SENT).unwrap();
        assert_eq!(egress.root.kind, "cake_mq");
        assert_eq!(egress.queues.len(), 4, "{what}");
        assert_eq!(egress.root.counted.packets, Some(sent), "{what}");
        let tins = egress
            .queues
            .iter()
            .map(|queue| queue.cake.as_ref().unwrap());
        let packets: u32 = tins
            .flat_map(|cake| cake.tins.iter().filter_map(|tin| tin.sent_packets))
            .sum();
        assert_eq!(u64::from(packets), sent, "{what}");

        // Another option is noticed, and a plan would correct it.
        put_same(
            "cake_mq",
            &Cake {
                nat: true,
                ..cake()
            }
            .to_attributes(),
        );
        let report = shaper().verify(&session).unwrap();
        assert!(!report.is_as_wanted(), "{what}: nat was turned on");
        assert_eq!(shaper().plan(&session).unwrap().steps.len(), 1, "{what}");
        put_same("cake_mq", &cake().to_attributes());
        assert!(shaper().verify(&session).unwrap().is_as_wanted(), "{what}");

        let reverted = shaper().revert(&mut session).unwrap();
        assert!(
            reverted.not_reverted.is_empty(),
            "{what}: {:#?}",
            reverted.not_reverted
        );
        before.is_still(&snapshot(), what);
        traffic.all_arrive(format!("{what}: taken back"));
        let _ = hosttune_test_machine::ask("tc qdisc del dev wan root");
    }
}

/// Changes the present root.
fn put_same(kind: &str, options: &[u8]) {
    let all = backend().qdiscs().unwrap();
    let link = backend().link("wan").unwrap().unwrap();
    let root = all
        .iter()
        .find(|one| one.link == link.index && one.parent == TC_H_ROOT)
        .unwrap();
    put(kind, root.handle, options);
}

fn what_it_cannot_do_is_refused_beforehand() {
    let traffic = Traffic::begin();
    tell(
        "ip link add single numtxqueues 1 type veth peer name single2; ip link set single up;
         until ip link show single | grep -q 'state LOWERLAYERDOWN'; do sleep 0.05; done",
    );
    let before = snapshot();
    let autorate = Cake {
        autorate_ingress: true,
        ..cake()
    };
    for (shaper, why) in [
        (
            Shaper::new("single").egress(Qdisc::cake_mq(&cake())),
            "one transmit queue: cake_mq needs several",
        ),
        (
            Shaper::new("wan").egress(Qdisc::cake_mq(&autorate)),
            "cake_mq has no autorate-ingress",
        ),
        (
            Shaper::new("wan").ingress(Qdisc::cake_mq(&cake())),
            "an IFB, which has a single queue",
        ),
    ] {
        let mut session = session();
        let planned = shaper.plan(&session).unwrap_err();
        let error = shaper.apply(&mut session).unwrap_err();
        for error in [planned, error] {
            assert!(
                matches!(error, Error::NotApplicable(_) | Error::Tuning { .. }),
                "{error:?}"
            );
            assert!(error.to_string().contains(why), "{error}");
            assert!(error.hint().is_some(), "{error}");
        }
        before.is_still(&snapshot(), why);
        traffic.all_arrive(why);
    }
}

/// What a backend shows at the roots of the two devices and below them.
fn seen(backend: &Netlink) -> Vec<String> {
    let mut all = Vec::new();
    for device in ["wan", "single"] {
        let link = backend.link(device).unwrap().unwrap();
        let mut shown: Vec<String> = backend
            .qdiscs()
            .unwrap()
            .into_iter()
            .filter(|one| one.link == link.index && (one.handle != 0 || one.kind == "cake"))
            .map(|one| {
                let options = one.options().map(|options| {
                    let all: String = options.iter().map(|byte| format!("{byte:02x}")).collect();
                    all
                });
                format!(
                    "{device} {} {} {} {options:?}",
                    one.kind,
                    format_handle(one.handle),
                    format_handle(one.parent)
                )
            })
            .collect();
        shown.sort();
        all.extend(shown);
    }
    all
}

fn the_fake_answers_as_the_kernel_does() {
    let traffic = Traffic::begin();
    if !is_there(&traffic) {
        return;
    }
    tell("ip link add single numtxqueues 1 type veth peer name single2; ip link set single up");
    let fake = Kernel::new()
        .link("wan", "veth", 4)
        .link("single", "veth", 1);
    let (mut real, mut fake) = (backend(), Netlink::over(fake));
    let number = |number: u16, value: u32| {
        let options = Attributes::new().with(number, &value.to_ne_bytes());
        Some(options.into_bytes())
    };
    let root = |device: &'static str, kind: &'static str, handle: u32, options: Option<Vec<u8>>| {
        move |link: &dyn Fn(&str) -> Link| {
            TrafficControl::replace(
                &link(device),
                TC_H_ROOT,
                kind,
                handle << 16,
                options.as_deref(),
            )
        }
    };
    let child = |parent: u32, kind: &'static str, handle: u32| {
        move |link: &dyn Fn(&str) -> Link| {
            let flags = NLM_F_CREATE | NLM_F_REPLACE;
            TrafficControl::attach(&link("wan"), parent, kind, handle << 16, None, flags)
        }
    };
    type Step = Box<dyn Fn(&dyn Fn(&str) -> Link) -> Request>;
    let steps: Vec<(&str, Step)> = vec![
        ("one queue", Box::new(root("single", "cake_mq", 1, None))),
        (
            "several",
            Box::new(root("wan", "cake_mq", 1, number(6, 22))),
        ),
        (
            "autorate",
            Box::new(root("wan", "cake_mq", 1, number(9, 1))),
        ),
        (
            "merged",
            Box::new(root("wan", "cake_mq", 1, number(14, 64))),
        ),
        (
            "a child with a handle",
            Box::new(child(0x1_0001, "pfifo", 0x51)),
        ),
        ("a child without", Box::new(child(0x1_0001, "pfifo", 0))),
        ("its own kind", Box::new(child(0x1_0002, "cake", 0x52))),
        (
            "cake in place of it",
            Box::new(root("wan", "cake", 2, None)),
        ),
        ("mq", Box::new(root("wan", "mq", 3, None))),
        ("as a child", Box::new(child(0x3_0001, "cake_mq", 0x53))),
        (
            "autorate anew",
            Box::new(root("wan", "cake_mq", 4, number(9, 1))),
        ),
        ("anew", Box::new(root("wan", "cake_mq", 5, None))),
        (
            "by the handle of another kind",
            Box::new(root("wan", "cake", 5, None)),
        ),
        (
            "deleted",
            Box::new(|link| TrafficControl::delete(&link("wan"), TC_H_ROOT, 0x5_0000)),
        ),
    ];
    let mut wrong = Vec::new();
    for (what, step) in steps {
        let answer = |backend: &mut Netlink| {
            let link = |name: &str| backend.link(name).unwrap().unwrap();
            let request = step(&link);
            match backend.change(&request) {
                Ok(()) => "yes".to_owned(),
                Err(error) => {
                    // The fake has the messages of older kernels.
                    let text = error.text().unwrap_or_default();
                    let text = text.trim_end_matches(": must match existing qdisc");
                    format!("{:?} {text}", error.errno())
                }
            }
        };
        let (is, doubled) = (answer(&mut real), answer(&mut fake));
        println!("{what}: {is}");
        if is != doubled {
            wrong.push(format!(
                "{what}: the kernel says {is}, the double {doubled}"
            ));
        }
        let (is, doubled) = (seen(&real), seen(&fake));
        if is != doubled {
            wrong.push(format!(
                "{what}: the kernel shows {is:#?}, the double {doubled:#?}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

inside_stock_kernels!(
    it_is_put_there_and_taken_back,
    the_fake_answers_as_the_kernel_does,
    what_it_cannot_do_is_refused_beforehand,
);
