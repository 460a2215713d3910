//! Reading and writing attributes, including those of older and newer kernels.

use super::*;
use crate::cake::any_cake::any_cake;
use crate::cake::differences;
use hosttune_netlink::{attributes, push_attribute};
use proptest::prelude::*;

fn changed(option: CakeOption, value: u32) -> Seen {
    let mut bytes = Cake::default().to_attributes();
    push_attribute(&mut bytes, option.number(), &value.to_ne_bytes());
    Seen::read(&bytes)
}

#[test]
fn every_attribute_is_sent_and_raw_by_presence() {
    let raw = Cake::default().to_attributes();
    let numbers: Vec<u16> = attributes(&raw).map(|found| found.number).collect();
    assert_eq!(numbers, (2..=18).collect::<Vec<u16>>());
    assert_eq!(raw.len(), 12 + 16 * 8);
    let cooked = Cake::default()
        .overhead(Overhead::default())
        .to_attributes();
    assert!(attributes(&cooked).all(|found| found.number != 12));
    assert_eq!(attributes(&cooked).count(), 16);
}

#[test]
fn values_are_native_and_a_negative_overhead_is_signed() {
    let cake: Cake = "bandwidth 8bit overhead -64".parse().unwrap();
    let bytes = cake.to_attributes();
    let value = |number| {
        attributes(&bytes)
            .find(|found| found.number == number)
            .unwrap()
    };
    assert_eq!(value(2).u64(), Some(1));
    assert_eq!(value(6).i32(), Some(-64));
}

#[test]
fn the_target_is_sent_with_the_time() {
    let bytes = "rtt 30ms".parse::<Cake>().unwrap().to_attributes();
    let target = attributes(&bytes).find(|found| found.number == 8).unwrap();
    assert_eq!(target.u32(), Some(1500));
}

#[test]
fn attributes_of_a_newer_kernel_break_nothing() {
    let mut bytes = Cake::default().to_attributes();
    push_attribute(&mut bytes, 19, &[1, 2, 3]);
    push_attribute(&mut bytes, 1, &[]);
    assert_eq!(
        Cake::from_attributes(&bytes),
        Ok((
            Cake::default(),
            vec![Unknown {
                number: 19,
                bytes: vec![1, 2, 3]
            }]
        ))
    );
}

#[test]
fn an_attribute_of_another_size_is_missing_and_the_others_are_not() {
    let mut bytes = Vec::new();
    push_attribute(&mut bytes, 13, &[0; 8]);
    for found in attributes(&Cake::default().to_attributes()) {
        if found.number != 13 {
            push_attribute(&mut bytes, found.number, found.value);
        }
    }
    let seen = Seen::read(&bytes);
    assert_eq!(seen.missing(), [CakeOption::Wash]);
    assert_eq!(seen.unknown.len(), 1);
    assert!(
        seen.cake()
            .unwrap_err()
            .to_string()
            .contains("wash is not shown")
    );
    let all: Vec<String> = differences(&Cake::default(), &seen)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(all, ["wash: nowash is wanted, the kernel does not show it"]);
}

#[test]
fn numbers_that_the_kernel_only_stores_are_told_and_not_taken_for_others() {
    for (option, value, text) in [
        (CakeOption::Diffserv, 99, "diffserv is 99"),
        (CakeOption::Framing, 77, "framing is 77"),
        (CakeOption::AckFilter, 9, "ack-filter is 9"),
        (CakeOption::Overhead, 4464, "overhead is 4464"),
        (CakeOption::Target, 1, "target is 1us"),
    ] {
        let error = changed(option, value).cake().unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
        let found = differences(&Cake::default(), &changed(option, value));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].option, option);
    }
}

#[test]
fn a_difference_has_both_values_in_tcs_words() {
    let wanted: Cake = "bandwidth 20mbit diffserv4 docsis".parse().unwrap();
    let seen = Seen::read(
        &"bandwidth 10mbit memlimit 32mb"
            .parse::<Cake>()
            .unwrap()
            .to_attributes(),
    );
    let all: Vec<String> = differences(&wanted, &seen)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        all,
        [
            "bandwidth: 20mbit is wanted, 10mbit is set",
            "diffserv: diffserv4 is wanted, diffserv3 is set",
            "overhead: 18 is wanted, 0 is set",
            "memlimit: automatic is wanted, 32mb is set",
            "raw: not raw is wanted, raw is set",
            "mpu: 64 is wanted, 0 is set",
        ]
    );
}

#[test]
fn an_estimated_bandwidth_is_not_compared() {
    let wanted: Cake = "bandwidth 20mbit autorate-ingress".parse().unwrap();
    let estimated: Cake = "bandwidth 17mbit autorate-ingress".parse().unwrap();
    assert_eq!(
        differences(&wanted, &Seen::read(&estimated.to_attributes())),
        []
    );
    let fixed: Cake = "bandwidth 20mbit".parse().unwrap();
    assert_eq!(
        differences(&fixed, &Seen::read(&estimated.to_attributes())).len(),
        2
    );
}

#[test]
fn an_immense_bandwidth_breaks_nothing() {
    for bytes in [(1 << 53) + 1, i64::MAX.unsigned_abs(), u64::MAX] {
        let mut options = Cake::default().to_attributes();
        options[4..12].copy_from_slice(&bytes.to_ne_bytes());
        let seen = Seen::read(&options);
        assert!(seen.cake().is_err(), "{bytes}");
        assert_eq!(differences(&Cake::default(), &seen).len(), 1, "{bytes}");
    }
}

#[test]
fn json_has_options_by_name() {
    let seen = changed(CakeOption::Diffserv, 99);
    let json = serde_json::to_value(&seen).unwrap();
    assert_eq!(json["values"]["diffserv"], 99);
    assert_eq!(json["values"]["split-gso"], 1);
    assert_eq!(serde_json::from_value::<Seen>(json).unwrap(), seen);
}

proptest! {
    #[test]
    fn any_cake_comes_back_from_its_attributes(cake in any_cake()) {
        let bytes = cake.to_attributes();
        prop_assert_eq!(Cake::from_attributes(&bytes), Ok((cake.clone(), vec![])));
        prop_assert_eq!(differences(&cake, &Seen::read(&bytes)), vec![]);
    }

    #[test]
    fn two_that_differ_have_differences(one in any_cake(), other in any_cake()) {
        let same = one == other
            || one.autorate_ingress && one == (Cake { bandwidth: one.bandwidth, ..other.clone() });
        let found = differences(&one, &Seen::read(&other.to_attributes()));
        prop_assert_eq!(found.is_empty(), same);
    }

    #[test]
    fn any_bytes_are_read(bytes: Vec<u8>) {
        let seen = Seen::read(&bytes);
        let _ = seen.cake().map_err(|error| error.to_string());
        let _ = differences(&Cake::default(), &seen);
    }

    #[test]
    fn any_number_of_any_option_is_read(place in 0..17_usize, value: u32) {
        let seen = changed(CakeOption::ALL[place], value);
        let _ = seen.cake().map_err(|error| error.to_string());
        for difference in differences(&Cake::default(), &seen) {
            let _ = difference.to_string();
        }
    }
}
