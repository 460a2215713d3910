//! Addresses as the kernel prints and as people write them.

use hosttune_pci::{Address, NotAnAddress, Written};
use proptest::prelude::*;

fn error(text: &str) -> NotAnAddress {
    text.parse::<Address>().unwrap_err()
}

#[test]
fn a_domain_may_have_more_than_four_digits() {
    let address: Address = "10000:e1:00.0".parse().unwrap();
    assert_eq!(
        (
            address.domain(),
            address.bus(),
            address.device(),
            address.function()
        ),
        (0x10000, 0xe1, 0, 0)
    );
    assert_eq!(address.to_string(), "10000:e1:00.0");
    assert_eq!(
        "0000:0D:1F.7".parse::<Address>().unwrap().to_string(),
        "0000:0d:1f.7"
    );
}

#[test]
fn the_error_says_which_part_is_wrong() {
    assert_eq!(
        error("0000:00:1f"),
        NotAnAddress::NoFunction("0000:00:1f".into())
    );
    assert!(error("0000:00:1f").to_string().contains("0000:00:1f.0"));
    assert_eq!(error("0d:00.1"), NotAnAddress::NoDomain("0d:00.1".into()));
    assert!(error("0d:00.1").to_string().contains("0000:0d:00.1"));
    for (text, part) in [
        ("000:0d:00.1", "the domain"),
        ("123456789:0d:00.1", "the domain"),
        ("0000:d:00.1", "the bus"),
        ("0000:00d:00.1", "the bus"),
        ("0000:0g:00.1", "the bus"),
        ("0000:0d:20.1", "the device"),
        ("0000:0d:0.1", "the device"),
        ("0000:0d:00.8", "the function"),
        ("0000:0d:00.", "the function"),
        ("0000:0d:00.10", "the function"),
        ("+000:0d:00.1", "the domain"),
    ] {
        match error(text) {
            NotAnAddress::Part { part: wrong, .. } => assert_eq!(wrong, part, "{text}"),
            other => panic!("{text}: {other:?}"),
        }
    }
    for text in ["", ".", "0", "0000:0d:00:1", "a:b:c:d.e", "0000-0d-00.1"] {
        assert!(matches!(error(text), NotAnAddress::Form(_)), "{text}");
    }
}

#[test]
fn numbers_that_no_function_has_are_refused() {
    assert!(Address::new(0, 255, 31, 7).is_some());
    assert!(Address::new(0, 0, 32, 0).is_none());
    assert!(Address::new(0, 0, 0, 8).is_none());
}

#[test]
fn it_is_text_in_json() {
    let address: Address = "0000:0d:00.1".parse().unwrap();
    let json = serde_json::to_string(&address).unwrap();
    assert_eq!(json, "\"0000:0d:00.1\"");
    assert_eq!(serde_json::from_str::<Address>(&json).unwrap(), address);
    assert!(serde_json::from_str::<Address>("\"0000:0d:00\"").is_err());
}

proptest! {
    #[test]
    fn text_and_numbers_are_the_same_in_both_directions(
        domain: u32, bus: u8, device in 0..32_u8, function in 0..8_u8,
    ) {
        let address = Address::new(domain, bus, device, function).unwrap();
        let text = address.to_string();
        prop_assert_eq!(text.parse::<Address>().unwrap(), address);
        prop_assert!(Written::parse(&text).unwrap().admits(address));
    }

    #[test]
    fn no_text_panics(text in "[0-9a-fA-Fx:. \\PC]{0,20}") {
        if let Ok(address) = text.parse::<Address>() {
            prop_assert_eq!(address.to_string().parse::<Address>().unwrap(), address);
        }
        let _ = Written::parse(&text);
    }
}
