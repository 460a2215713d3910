//! The fake kernel compared with the real one: the same requests get the same answers and have the
//! same visible effects.

use crate::namespace::{backend, enter, tell};
use hosttune_qos::Netlink;
use hosttune_qos::netlink::*;
use hosttune_qos::testing::Kernel;
use hosttune_test_machine::inside_stock_kernels;

const COOKIE: &[u8] = b"hosttune01234567";

/// Handles that the kernel chooses start here and continue from the last one that it chose.
fn is_chosen(handle: u32) -> bool {
    (0x8000_0000..0x9000_0000).contains(&handle)
}

fn name(backend: &Netlink, index: u32) -> String {
    ["wan", "peer", "lo", "ifb7"]
        .into_iter()
        .find(|name| {
            backend
                .link(name)
                .unwrap()
                .is_some_and(|link| link.index == index)
        })
        .unwrap_or("nowhere")
        .to_owned()
}

/// All visible state of the two devices, except the options of default qdiscs and the handles that
/// the kernel chose.
fn seen(backend: &Netlink) -> Vec<String> {
    let mut all = Vec::new();
    for device in ["wan", "ifb7"] {
        let Some(link) = backend.link(device).unwrap() else {
            all.push(format!("{device} absent"));
            continue;
        };
        all.push(format!(
            "{device} {} up {} alias {:?}",
            link.kind,
            link.is_up(),
            link.alias
        ));
        for qdisc in backend.qdiscs().unwrap() {
            if qdisc.link != link.index {
                continue;
            }
            let handle = match qdisc.handle {
                chosen if is_chosen(chosen) => "chosen".to_owned(),
                handle => format_handle(handle),
            };
            let options = (qdisc.handle != 0).then(|| qdisc.options().map(hex));
            let parent = format_handle(qdisc.parent);
            all.push(format!(
                "{device} qdisc {} {handle} {parent} {options:?}",
                qdisc.kind
            ));
        }
        for parent in [INGRESS_FILTERS, EGRESS_FILTERS] {
            for filter in backend.filters(link.index, parent).unwrap() {
                let mirred = filter.mirred().map(|mirred| {
                    format!(
                        "to {} {} {}",
                        name(backend, mirred.device),
                        mirred.redirects,
                        hex(&mirred.cookie)
                    )
                });
                all.push(format!(
                    "{device} filter {parent:x} {} {:x} {:x} {:x} {mirred:?}",
                    filter.kind, filter.handle, filter.priority, filter.protocol
                ));
            }
        }
    }
    all
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attribute(number: u16, value: &[u8]) -> Vec<u8> {
    Attributes::new().with(number, value).into_bytes()
}

fn qdisc(
    device: &str,
    parent: u32,
    kind: &str,
    handle: u32,
    options: Option<Vec<u8>>,
    flags: u16,
) -> Step {
    let (device, kind) = (device.to_owned(), kind.to_owned());
    Box::new(move |backend| {
        let link = backend.link(&device).unwrap().unwrap();
        TrafficControl::attach(&link, parent, &kind, handle, options.as_deref(), flags)
    })
}

fn of_link(device: &'static str, request: impl Fn(&Link) -> Request + 'static) -> Step {
    Box::new(move |backend| request(&backend.link(device).unwrap().unwrap()))
}

fn redirect(kind: &'static str, priority: u32, protocol: u16) -> Step {
    Box::new(move |backend| {
        let (from, to) = (
            backend.link("wan").unwrap().unwrap(),
            backend.link("ifb7").unwrap(),
        );
        let to = to.unwrap_or_else(|| Link {
            index: 4711,
            ..from.clone()
        });
        let mut request = match kind {
            "u32" => Filter::redirect_with_u32(&from, &to, COOKIE),
            _ => Filter::redirect_with_matchall(&from, &to, COOKIE),
        };
        let info = priority << 16 | u32::from(protocol.to_be());
        request.header[16..].copy_from_slice(&info.to_ne_bytes());
        request
    })
}

/// Deletes the filter with these properties and this handle.
fn delete_filter(kind: &'static str, priority: u16, handle: u32) -> Step {
    Box::new(move |backend| {
        let link = backend.link("wan").unwrap().unwrap();
        let filter = Filter {
            link: link.index,
            handle,
            parent: INGRESS_FILTERS,
            priority,
            protocol: 3_u16.to_be(),
            chain: 0,
            kind: kind.to_owned(),
            options: Vec::new(),
        };
        filter.delete(&link)
    })
}

/// Messages that newer kernels have reworded. The fake has those of 6.1 and 6.12.
const REWORDED: [(&str, &str); 2] = [
    (
        "Invalid qdisc name: must match existing qdisc",
        "Invalid qdisc name",
    ),
    (
        "Protocol mismatch for filter with specified priority",
        "Filter with specified priority/protocol not found",
    ),
];

fn in_older_words(text: &str) -> &str {
    let reworded = REWORDED.iter().find(|(newer, _)| *newer == text);
    reworded.map_or(text, |(_, older)| older)
}

type Step = Box<dyn Fn(&Netlink) -> Request>;

const REPLACE: u16 = NLM_F_CREATE | NLM_F_REPLACE;
const ADD: u16 = NLM_F_CREATE | NLM_F_EXCL;

fn roots() -> Vec<(&'static str, Step)> {
    let root = |kind: &str, handle: u32, options: Option<Vec<u8>>, flags| {
        qdisc("wan", TC_H_ROOT, kind, handle << 16, options, flags)
    };
    let rate = || Some(attribute(2, &1_000_000_u64.to_ne_bytes()));
    let word = |number, word: u32| Some(attribute(number, &word.to_ne_bytes()));
    let sfq = |words: [u32; 5]| Some(words.map(u32::to_ne_bytes).concat());
    let delete = |handle| {
        of_link("wan", move |link| {
            TrafficControl::delete(link, TC_H_ROOT, handle)
        })
    };
    vec![
        ("delete the default", delete(0)),
        ("delete the default by a handle", delete(0x1_0000)),
        (
            "pfifo",
            root("pfifo", 0, Some(77_u32.to_ne_bytes().to_vec()), ADD),
        ),
        (
            "pfifo again",
            root("pfifo", 0, Some(78_u32.to_ne_bytes().to_vec()), REPLACE),
        ),
        ("pfifo without options", root("pfifo", 3, None, REPLACE)),
        ("cake", root("cake", 1, rate(), REPLACE)),
        ("cake merged", root("cake", 0, word(6, 22), REPLACE)),
        (
            "cake merged by its handle",
            root("cake", 1, word(14, 64), REPLACE),
        ),
        ("cake raw", root("cake", 1, word(12, 0), REPLACE)),
        (
            "cake with no round trip",
            root("cake", 1, word(7, 0), REPLACE),
        ),
        (
            "another kind with its handle",
            root("pfifo", 1, None, REPLACE),
        ),
        ("over it with another handle", root("pfifo", 2, None, ADD)),
        ("over it with its handle", root("cake", 1, rate(), ADD)),
        ("not created", root("pfifo", 2, None, NLM_F_REPLACE)),
        (
            "a minor handle",
            qdisc("wan", TC_H_ROOT, "pfifo", 0x2_0001, None, REPLACE),
        ),
        (
            "a kind that there is not",
            root("nonesuch", 2, None, REPLACE),
        ),
        ("a new cake", root("cake", 2, rate(), REPLACE)),
        ("delete by another handle", delete(0x9_0000)),
        ("sfq", root("sfq", 4, None, REPLACE)),
        (
            "sfq with a limit",
            root("sfq", 4, sfq([0, 10, 99, 0, 0]), REPLACE),
        ),
        (
            "sfq as it is shown",
            root("sfq", 5, sfq([1514, 10, 127, 1024, 128]), REPLACE),
        ),
        (
            "sfq without the limit",
            root("sfq", 6, sfq([1514, 10, 0, 1024, 128]), REPLACE),
        ),
        ("fq_codel", root("fq_codel", 7, word(1, 5000), REPLACE)),
        (
            "fq_codel merged",
            root("fq_codel", 7, word(2, 777), REPLACE),
        ),
        ("token bucket", {
            let tbf = hosttune_qos::Qdisc::tbf(1_000_000, 20_000, 100_000);
            root("tbf", 8, Some(tbf.options.as_slice().to_vec()), REPLACE)
        }),
        (
            "token bucket without options",
            root("tbf", 9, None, REPLACE),
        ),
        ("delete", delete(0x8_0000)),
        ("delete twice", delete(0x8_0000)),
        ("ingress at the root", root("ingress", 2, None, REPLACE)),
    ]
}

fn links() -> Vec<(&'static str, Step)> {
    let create = |name: &'static str| -> Step {
        Box::new(move |_| Link::create_ifb(name, &[2, 0, 0, 0, 0, 7]))
    };
    let with = |name: &'static str, kind: &'static str, alias: &'static str| -> Step {
        Box::new(move |_| {
            let info = Attributes::new().with_text(IFLA_INFO_KIND, kind);
            let mut request = Link::create_ifb(name, &[2, 0, 0, 0, 0, 7]);
            request.attributes = Attributes::new()
                .with_text(IFLA_IFNAME, name)
                .with(IFLA_IFALIAS, alias.as_bytes())
                .with_nested(IFLA_LINKINFO, &info)
                .into_bytes();
            request
        })
    };
    vec![
        ("a name of 16", create("ifb-of-16-letter")),
        ("a kind that there is not", with("ifb7", "nonesuch", "")),
        ("an alias with it", with("ifb7", "ifb", "ignored")),
        ("again", create("ifb7")),
        ("an alias", of_link("ifb7", |link| link.note("ours"))),
        ("down", of_link("ifb7", |link| link.bring(false))),
        ("no alias", of_link("ifb7", |link| link.note(""))),
        ("delete", of_link("ifb7", Link::delete)),
        (
            "another number",
            of_link("wan", |link| {
                Link {
                    index: 4711,
                    ..link.clone()
                }
                .delete()
            }),
        ),
        ("create", create("ifb7")),
    ]
}

fn hooks_and_filters() -> Vec<(&'static str, Step)> {
    const EVERY: u16 = 3;
    const IP: u16 = 0x800;
    let hook = |kind: &str, handle, flags| qdisc("wan", TC_H_INGRESS, kind, handle, None, flags);
    let delete = |handle| {
        of_link("wan", move |link| {
            TrafficControl::delete(link, TC_H_INGRESS, handle)
        })
    };
    vec![
        ("delete what never was", delete(INGRESS_HANDLE)),
        ("a filter without a hook", redirect("matchall", 9, EVERY)),
        (
            "delete a filter without a hook",
            delete_filter("matchall", 9, 1),
        ),
        ("ingress", of_link("wan", TrafficControl::add_ingress)),
        ("ingress again", of_link("wan", TrafficControl::add_ingress)),
        ("delete it", delete(INGRESS_HANDLE)),
        ("delete it again", delete(INGRESS_HANDLE)),
        ("delete it without a handle", delete(0)),
        ("clsact", hook("clsact", INGRESS_HANDLE, ADD)),
        (
            "ingress over clsact",
            of_link("wan", TrafficControl::add_ingress),
        ),
        (
            "ingress in place of clsact",
            hook("ingress", INGRESS_HANDLE, REPLACE),
        ),
        ("matchall", redirect("matchall", 9, EVERY)),
        ("matchall again", redirect("matchall", 9, EVERY)),
        ("of another protocol", redirect("matchall", 9, IP)),
        ("of another classifier", redirect("u32", 9, EVERY)),
        ("u32", redirect("u32", 10, EVERY)),
        ("u32 again: one more", redirect("u32", 10, EVERY)),
        (
            "delete one that there is not",
            delete_filter("u32", 10, 0x8000_0900),
        ),
        (
            "delete one where there is none",
            delete_filter("u32", 12, 0x8000_0800),
        ),
        (
            "delete one of another classifier",
            delete_filter("matchall", 10, 0x8000_0800),
        ),
        ("delete one", delete_filter("u32", 10, 0x8000_0800)),
        ("delete the other", delete_filter("u32", 10, 0x8000_0801)),
        ("u32", redirect("u32", 10, EVERY)),
        ("u32 again", redirect("u32", 10, EVERY)),
        ("delete everybody's", delete_filter("u32", 10, 0)),
        ("the device goes", of_link("ifb7", Link::delete)),
        ("to a device that has gone", redirect("matchall", 11, EVERY)),
        (
            "delete the one that leads nowhere",
            delete_filter("matchall", 9, 1),
        ),
        (
            "the device comes",
            Box::new(|_| Link::create_ifb("ifb7", &[2, 0, 0, 0, 0, 7])),
        ),
        ("matchall once more", redirect("matchall", 9, EVERY)),
        (
            "with handle zero in place of clsact",
            hook("ingress", 0, REPLACE),
        ),
        ("clsact in the same way", hook("clsact", 0, REPLACE)),
        (
            "delete the hook and what stands at it",
            delete(INGRESS_HANDLE),
        ),
    ]
}

fn the_fake_answers_as_the_kernel_does() {
    let default = std::fs::read_to_string("/proc/sys/net/core/default_qdisc").unwrap();
    enter();
    tell("ip link add wan type veth peer name peer; ip link set wan up; ip link set peer up");
    let mut real = backend();
    let fake = Kernel::new().link("peer", "veth", 1).link("wan", "veth", 1);
    fake.set_default_qdisc(default.trim());
    let mut fake = Netlink::over(fake);
    let up = fake.link("wan").unwrap().unwrap().bring(true);
    fake.change(&up).unwrap();
    assert_eq!(seen(&fake), seen(&real), "at the beginning");

    let mut wrong = Vec::new();
    for (what, step) in roots()
        .into_iter()
        .chain(links())
        .chain(hooks_and_filters())
    {
        let answer = |backend: &mut Netlink| {
            let request = step(backend);
            match backend.change(&request) {
                Ok(()) => "yes".to_owned(),
                Err(error) => format!(
                    "{:?} {:?} {:?}",
                    error.errno(),
                    error.text().map(in_older_words),
                    error.attribute()
                ),
            }
        };
        let (answers, shows) = (
            (answer(&mut real), answer(&mut fake)),
            (seen(&real), seen(&fake)),
        );
        if answers.0 != answers.1 {
            wrong.push(format!(
                "{what}: the kernel says {}, the double {}",
                answers.0, answers.1
            ));
        }
        for line in shows.0.iter().filter(|line| !shows.1.contains(line)) {
            wrong.push(format!("{what}: the kernel shows {line}"));
        }
        for line in shows.1.iter().filter(|line| !shows.0.contains(line)) {
            wrong.push(format!("{what}: the double shows {line}"));
        }
        // Whatever follows would differ for the same reason.
        if shows.0 != shows.1 {
            break;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

inside_stock_kernels!(the_fake_answers_as_the_kernel_does);
