//! Counters are read whatever else is shown, and the symptoms are derived from them.

use super::*;
use crate::cake::{Cake, Symptom, TinName};
use hosttune_netlink::push_attribute;
use proptest::prelude::*;

fn counter(bytes: &mut Vec<u8>, number: u16, value: u32) {
    push_attribute(bytes, number, &value.to_ne_bytes());
}

fn told() -> Vec<u8> {
    let mut tin = Vec::new();
    push_attribute(&mut tin, 12, &2_500_000_u64.to_ne_bytes());
    for (number, value) in [
        (2, 1000),
        (4, 3),
        (14, 100_000),
        (18, 488_000),
        (24, 65_226),
        (99, 7),
    ] {
        counter(&mut tin, number, value);
    }
    let mut tins = Vec::new();
    push_attribute(&mut tins, 1, &tin);
    push_attribute(&mut tins, 2, &[]);
    let mut bytes = Vec::new();
    push_attribute(&mut bytes, 1, &[]);
    push_attribute(&mut bytes, 2, &125_000_u64.to_ne_bytes());
    counter(&mut bytes, 3, 4096);
    counter(&mut bytes, 4, 4096);
    push_attribute(&mut bytes, 11, &(-5_i32).to_ne_bytes());
    push_attribute(&mut bytes, 5, &[1, 2]);
    push_attribute(&mut bytes, TINS, &tins);
    bytes
}

#[test]
fn known_counters_are_read_beside_unknown_ones() {
    let statistics = Statistics::read(&told());
    assert_eq!(
        statistics.counters.capacity_estimate_bytes_per_second,
        Some(125_000)
    );
    assert_eq!(statistics.counters.deficit_bytes, Some(-5));
    assert_eq!(statistics.counters.average_network_offset_bytes, None);
    assert_eq!(
        statistics.counters.unknown,
        [Unknown {
            number: 5,
            bytes: vec![1, 2]
        }]
    );
    assert_eq!(statistics.tins.len(), 2);
    assert_eq!(
        statistics.tins[0].threshold_bytes_per_second,
        Some(2_500_000)
    );
    assert_eq!(statistics.tins[0].unknown[0].number, 99);
    assert_eq!(statistics.tins[1], Tin::default());
}

#[test]
fn symptoms_are_found_and_length_is_none_where_packets_are_cut() {
    let statistics = Statistics::read(&told());
    let delay = Symptom::DelayAboveRoundTrip {
        tin: TinName::Number(0),
        peak_microseconds: 488_000,
        interval_microseconds: 100_000,
    };
    let drops = Symptom::Drops {
        tin: TinName::Number(0),
        dropped: 3,
        sent: 1000,
    };
    let memory = Symptom::MemoryExhausted { limit: 4096 };
    assert_eq!(
        statistics.symptoms(&Cake::default(), 1514),
        [delay, drops, memory]
    );
    let whole = Symptom::PacketsNotCut {
        tin: TinName::Number(0),
        longest: 65_226,
        frame: 1514,
    };
    assert_eq!(
        statistics.symptoms(&Cake::default().no_split_gso(), 1514),
        [delay, whole, drops, memory]
    );
    assert_eq!(Statistics::default().symptoms(&Cake::default(), 1514), []);
}

#[test]
fn json_is_flat_and_read_back() {
    let statistics = Statistics::read(&told());
    let json = serde_json::to_value(&statistics).unwrap();
    assert_eq!(json["memory_limit_bytes"], 4096);
    assert_eq!(json["tins"][0]["peak_delay_microseconds"], 488_000);
    assert_eq!(
        serde_json::from_value::<Statistics>(json).unwrap(),
        statistics
    );
}

proptest! {
    #[test]
    fn any_bytes_are_read(bytes: Vec<u8>) {
        let _ = Statistics::read(&bytes).symptoms(&Cake::default(), 1514);
    }

    #[test]
    fn a_changed_byte_is_read(place in 0..300_usize, value: u8) {
        let mut bytes = told();
        let place = place % bytes.len();
        bytes[place] = value;
        let _ = Statistics::read(&bytes);
    }
}
