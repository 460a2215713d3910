//! Devices that cannot be shaped, and devices on which the shaping has no effect.

use std::cell::RefCell;

use hosttune_core::{State, Stop, Tuning};
use hosttune_qos::netlink::{
    Attributes, INGRESS_FILTERS, INGRESS_HANDLE, NLM_F_CREATE, NLM_F_EXCL, RTM_NEWQDISC,
    RTM_NEWTFILTER, Request, TC_H_INGRESS, TC_H_ROOT, TCA_KIND, TrafficControl,
};
use hosttune_qos::testing::Script;
use hosttune_qos::{IngressProgram, IngressPrograms, Netlink, RootQdisc, WatchEvent};

use super::{Machine, shaper};

fn request(machine: &Machine, number: u16, words: [u32; 3], kind: &str) {
    let mut backend = Netlink::over(machine.kernel.clone());
    let link = backend.link("w0").unwrap().unwrap();
    let mut fixed = vec![0; 4];
    fixed.extend(link.index.to_ne_bytes());
    fixed.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
    let attributes = Attributes::new().with_text(TCA_KIND, kind);
    let flags = NLM_F_CREATE | NLM_F_EXCL;
    backend
        .change(&Request::new(number, flags, fixed, attributes, "do", "w0"))
        .unwrap();
}

/// Adds another program's filter for packets of this protocol, which is in network byte order.
fn filter(machine: &Machine, priority: u32, protocol: u16) {
    let info = priority << 16 | u32::from(protocol);
    request(
        machine,
        RTM_NEWTFILTER,
        [1, INGRESS_FILTERS, info],
        "matchall",
    );
}

/// The same programs at every device.
#[derive(Debug)]
struct Programs(Option<Vec<IngressProgram>>);

impl IngressPrograms for Programs {
    fn at(&self, _: &str) -> Option<Vec<IngressProgram>> {
        self.0.clone()
    }
}

#[test]
fn a_program_that_netlink_does_not_show_is_named_and_what_it_does_is_unknown() {
    let machine = Machine::new();
    let programs = |names: &[&str]| {
        let named = names.iter().zip(7..).map(|(name, id)| IngressProgram {
            id,
            name: (*name).to_owned(),
        });
        let programs = Programs(Some(named.collect()));
        let backend = Netlink::over(machine.kernel.clone()).with_ingress_programs(programs);
        machine.session().with_backend(backend)
    };
    let told = |names: &[&str]| -> Vec<String> {
        let plan = shaper("w0").plan(&programs(names)).unwrap();
        let about = plan.notes.into_iter();
        about.filter(|note| note.contains("tcx")).collect()
    };
    assert_eq!(told(&[]), [""; 0]);
    // There is no redirect yet that it could come before.
    assert_eq!(told(&["count"]), [""; 0]);
    let _ = shaper("w0").apply(&mut programs(&["count"])).unwrap();
    // The double counts no packets.
    let after = told(&["count", ""]);
    assert!(
        after[0].starts_with(
            "one of the BPF programs count (id 7), id 8 at tcx of w0 runs before the redirect: whether packets still reach it is unknown"
        ) && after.len() == 1,
        "{after:?}"
    );
}

/// `ETH_P_ALL` and `ETH_P_IP`.
const ALL: u16 = 3_u16.to_be();
const IP: u16 = 0x800_u16.to_be();

#[test]
fn a_filter_that_takes_every_packet_first_is_said_to_keep_it_from_taking_effect() {
    let machine = Machine::new();
    let _ = shaper("w0").apply(&mut machine.session()).unwrap();
    assert!(
        shaper("w0")
            .verify(&machine.session())
            .unwrap()
            .is_as_wanted()
    );
    filter(&machine, 9, ALL);
    let report = shaper("w0").verify(&machine.session()).unwrap();
    assert!(!report.is_as_wanted(), "{report:#?}");
    let beaten = report
        .items
        .iter()
        .find(|item| item.state.is_drift())
        .unwrap();
    assert!(
        matches!(&beaten.state, State::Overridden { by } if by.contains("matchall of priority 9")),
        "{beaten}"
    );
    let plan = shaper("w0").plan(&machine.session()).unwrap();
    assert!(plan.is_empty());
    assert!(
        plan.notes[0].starts_with("not in effect: the filter"),
        "{:?}",
        plan.notes
    );
    // After the redirect, a filter takes no packets from it.
    let machine = Machine::new();
    let _ = shaper("w0").apply(&mut machine.session()).unwrap();
    filter(&machine, 0xfff0, ALL);
    assert!(
        shaper("w0")
            .verify(&machine.session())
            .unwrap()
            .is_as_wanted()
    );
}

#[test]
fn a_filter_before_the_redirect_that_takes_some_packets_is_noted() {
    let machine = Machine::new();
    request(
        &machine,
        RTM_NEWQDISC,
        [INGRESS_HANDLE, TC_H_INGRESS, 0],
        "clsact",
    );
    filter(&machine, 9, IP);
    let plan = shaper("w0").plan(&machine.session()).unwrap();
    let noted = |notes: &[String]| {
        notes
            .iter()
            .any(|note| note.contains("comes before the redirect"))
    };
    assert!(noted(&plan.notes), "{:?}", plan.notes);
    let _ = shaper("w0").apply(&mut machine.session()).unwrap();
    let report = shaper("w0").verify(&machine.session()).unwrap();
    assert!(report.is_as_wanted() && noted(&report.notes), "{report:#?}");
}

#[test]
fn a_watch_does_not_say_as_wanted_of_what_is_not_in_effect() {
    let machine = Machine::new();
    request(
        &machine,
        RTM_NEWQDISC,
        [INGRESS_HANDLE, TC_H_INGRESS, 0],
        "clsact",
    );
    filter(&machine, 9, ALL);
    let said = RefCell::new(Vec::new());
    let say = |event: WatchEvent| said.borrow_mut().push(event.to_string());
    let stop = Stop::new().unwrap();
    let mut script = Script::of(&machine.kernel);
    let shaper = shaper("w0");
    let mut session = machine.session();
    shaper
        .watcher()
        .run(&mut session, &mut script, &stop, say)
        .unwrap();
    let said = said.into_inner();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].starts_with("applied"), "{said:?}");
    assert!(
        said[1].contains("not in effect because of the filter"),
        "{said:?}"
    );
}

/// The device has a root that could not be restored, and nobody named the device.
#[test]
fn what_is_optional_is_left_out_where_a_part_of_it_is_refused() {
    let machine = Machine::new();
    let mut backend = Netlink::over(machine.kernel.clone());
    let link = backend.link("w0").unwrap().unwrap();
    let red = TrafficControl::replace(&link, TC_H_ROOT, "red", 0x1_0000, Some(&[1, 2, 3, 4]));
    backend.change(&red).unwrap();
    let before = machine.kernel.snapshot();
    let optional = shaper("w0").optional();
    let plan = optional.plan(&machine.session()).unwrap();
    assert!(plan.is_empty());
    let [finding] = &plan.findings[..] else {
        panic!("{:#?}", plan.findings);
    };
    assert!(
        finding.to_string().contains("red cannot be put back"),
        "{finding}"
    );
    let hint = finding.hint().unwrap();
    assert!(hint.contains("tc qdisc delete dev w0 root"), "{hint}");
    let _ = optional.apply(&mut machine.session()).unwrap();
    assert_eq!(machine.kernel.snapshot(), before);
    // If the device was named, it is an error.
    shaper("w0").plan(&machine.session()).unwrap_err();
}

#[test]
fn another_filter_of_our_priority_refuses_the_shaping_alone() {
    let machine = Machine::new();
    request(
        &machine,
        RTM_NEWQDISC,
        [INGRESS_HANDLE, TC_H_INGRESS, 0],
        "clsact",
    );
    filter(&machine, hosttune_qos::netlink::PRIORITY.into(), ALL);
    let plan = shaper("w0").optional().plan(&machine.session()).unwrap();
    assert!(plan.is_empty(), "{:#?}", plan.steps);
    shaper("w0").plan(&machine.session()).unwrap_err();
}

#[test]
fn a_root_of_another_program_on_the_ifb_refuses_the_shaping_alone() {
    let machine = Machine::new();
    let _ = shaper("w0").apply(&mut machine.session()).unwrap();
    let mut backend = Netlink::over(machine.kernel.clone());
    let link = backend.link("ifb0").unwrap().unwrap();
    let red = TrafficControl::replace(&link, TC_H_ROOT, "red", 0x1_0000, Some(&[1, 2, 3, 4]));
    backend.change(&red).unwrap();
    let plan = shaper("w0").optional().plan(&machine.session()).unwrap();
    assert!(plan.is_empty(), "{:#?}", plan.steps);
    let finding = plan.findings[0].to_string();
    assert!(finding.contains("red cannot be put back"), "{finding}");
    shaper("w0").plan(&machine.session()).unwrap_err();
}

/// Only the kernel's own answer shows this, and the journal remembers it.
#[test]
fn what_the_kernel_has_refused_is_left_out_of_the_next_plan() {
    let mut machine = Machine::new();
    machine.kernel = machine.kernel.without("cake");
    let shaper = shaper("w0");
    let root = RootQdisc::new("w0");
    let wanted = root.wanted(None, shaper.egress.as_ref().unwrap(), false);
    let applied = machine.session().apply_reviewed(
        |at| {
            at.want(&root, &wanted).optional();
            Ok(())
        },
        |_| true,
    );
    assert_eq!(applied.unwrap().changed, []);
    let plan = shaper.clone().optional().plan(&machine.session()).unwrap();
    assert!(plan.is_empty(), "{:#?}", plan.steps);
    assert_eq!(plan.findings.len(), 1, "{:#?}", plan.findings);
    shaper.plan(&machine.session()).unwrap_err();
}
