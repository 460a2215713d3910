//! Selecting the device that is meant, and no other.

use hosttune_pci::testing::Function;
use hosttune_vfio::testing::Machine;
use hosttune_vfio::{Lend, Selector};

use crate::support::{GPU, assess, at, gpu, lend_gpu, lent, refused};

#[test]
fn another_device_at_the_address_is_not_taken() {
    let machine = Machine::desktop();
    let wrong = refused(&machine, &Lend::new([at(GPU, "1002:744c")]));
    assert!(
        wrong[0].contains("another device is at 0000:01:00.0"),
        "{wrong:?}"
    );
    assert!(wrong[0].contains("found 10de:2684"), "{wrong:?}");
    let selector = gpu().subsystem("1043:8888".parse().unwrap());
    assert!(refused(&machine, &Lend::new([selector]))[0].contains("subsystem ids 1043:8888"));
    let selector = gpu().class("040300".parse().unwrap());
    assert!(refused(&machine, &Lend::new([selector]))[0].contains("class 040300, found 030000"));
}

#[test]
fn a_card_that_has_moved_is_named_where_it_is_now() {
    let machine = Machine::desktop();
    let assessment = assess(&machine, &Lend::new([at("0000:05:00.0", "10de:2684")]));
    let unsupported = &assessment.refusals[0].unsupported;
    assert!(
        unsupported.why.contains("no PCI device at 0000:05:00.0"),
        "{unsupported}"
    );
    assert_eq!(
        unsupported.hint.as_deref(),
        Some("it is at 0000:01:00.0 now: select 10de:2684@0000:01:00.0")
    );
}

#[test]
fn ids_alone_select_only_what_is_unique() {
    let unique = || Selector::unique("10de:2684".parse().unwrap());
    let machine = Machine::desktop();
    assert_eq!(lent(&assess(&machine, &Lend::new([unique()])))[1], GPU);
    let twin = Function::new("0000:06:00.0", "10de:2684", "030000")
        .below(&["0000:00:01.3"])
        .group(6);
    let two = machine.with(twin);
    let refusal = &assess(&two, &Lend::new([unique()])).refusals[0];
    let refused = refusal.to_string();
    assert!(
        refused.contains("0000:01:00.0, 0000:06:00.0"),
        "{refused:?}"
    );
    let hint = refusal.unsupported.hint.as_deref();
    let hint = hint.unwrap_or_default();
    assert!(hint.ends_with(": 10de:2684@0000:01:00.0"), "{hint}");
    // The slot tells identical cards apart, whatever the bus numbers are.
    let slot = assess(&two, &lend_gpu()).lent[1].slot.clone();
    let assessment = assess(&two, &Lend::new([unique().slot(slot)]));
    assert_eq!(lent(&assessment)[1], GPU);
}

#[test]
fn two_selectors_for_one_device_are_an_error() {
    let unique = Selector::unique("10de:2684".parse().unwrap());
    let refused = refused(&Machine::desktop(), &Lend::new([gpu(), unique]));
    assert!(
        refused
            .iter()
            .any(|line| line.contains("two selectors select 0000:01:00.0")),
        "{refused:?}"
    );
}

/// The JSON of a lend is a file format.
#[test]
fn a_lend_is_data() {
    let lend = lend_gpu().keep_powered().why("the guest's card");
    let json = serde_json::to_string(&lend).unwrap();
    assert_eq!(
        json,
        r#"{"devices":[{"ids":"10de:2684","address":"0000:01:00.0"}],"companions":true,"consents":["only-gpu"],"keep-powered":true,"why":"the guest's card"}"#
    );
    assert_eq!(serde_json::from_str::<Lend>(&json).unwrap(), lend);
    for wrong in [
        r#"{"devices":[{"ids":"10de:2684","address":"01:00.0"}]}"#,
        r#"{"devices":[{"ids":"10de"}]}"#,
        r#"{"devices":[],"consents":["everything"]}"#,
        r#"{"devices":[],"companion":false}"#,
    ] {
        assert!(serde_json::from_str::<Lend>(wrong).is_err(), "{wrong}");
    }
}
