//! Arbitrary values of all options, for the property tests.

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::Rate;

pub(crate) fn any_cake() -> impl Strategy<Value = Cake> {
    let rate = prop_oneof![
        Just(Bandwidth::Unlimited),
        (1..=1_u64 << 53).prop_map(limited),
        (1..=10_000_u64).prop_map(|number| limited(number * 125_000)),
    ];
    let sharing = (
        rate,
        any::<bool>(),
        select(Diffserv::ALL),
        select(FlowMode::ALL),
        any::<[bool; 4]>(),
        select(Direction::ALL),
        select(AckFilter::ALL),
    );
    let numbers = (
        prop_oneof![1..=u32::MAX, 1..=1000_u32],
        select(Framing::ALL),
        -64..=256_i64,
        0..=256_i64,
        prop_oneof![Just(0), any::<u32>()],
        prop_oneof![Just(0), any::<u32>()],
    );
    (sharing, numbers).prop_map(
        |(
            (bandwidth, autorate_ingress, diffserv, flows, flags, direction, ack_filter),
            (rtt, framing, overhead, mpu, memlimit, fwmark),
        )| Cake {
            bandwidth,
            autorate_ingress,
            diffserv,
            flows,
            nat: flags[0],
            wash: flags[1],
            direction,
            ack_filter,
            split_gso: flags[2],
            rtt: RoundTripTime::microseconds(rtt).unwrap(),
            raw: flags[3],
            framing,
            overhead: Overhead::new(overhead).unwrap(),
            mpu: MinimumPacket::new(mpu).unwrap(),
            memlimit: MemoryLimit::bytes(memlimit),
            fwmark: MarkMask::new(fwmark),
        },
    )
}

fn limited(bytes: u64) -> Bandwidth {
    Rate::bytes_per_second(bytes).unwrap().into()
}
