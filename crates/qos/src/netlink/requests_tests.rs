//! The bytes of every request, which were calculated from the kernel's structures and not by this
//! program: `struct nlmsghdr`, the fixed part (`ifinfomsg`, `tcmsg`), the attributes.
#![cfg(target_endian = "little")]

use hosttune_netlink::numbers::*;
use hosttune_netlink::{Attributes, Request};

use super::{Filter, Link, PRIORITY, TrafficControl};
use super::{INGRESS_FILTERS, TC_H_ROOT};

fn link(index: u32, name: &str) -> Link {
    Link {
        name: name.to_owned(),
        index,
        flags: 0,
        address: Vec::new(),
        kind: String::new(),
        alias: None,
        hardware: 1,
        mtu: None,
        transmit_queues: None,
        lower: None,
        master: None,
        permanent_address: None,
        bus: None,
        bus_address: None,
    }
}

/// The bytes in hexadecimal, as they are sent with these flags as the seventh request.
fn sent(request: &Request, flags: u16) -> String {
    let bytes = request.to_bytes(flags, 7);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn links_are_looked_up_created_changed_and_deleted() {
    let ifb = link(4, "ifb4");
    assert_eq!(
        sent(&Link::look_for("wan"), 0),
        concat!(
            "28000000120001000700000000000000",
            "000000000000000000000000000000000800030077616e00"
        )
    );
    assert_eq!(
        sent(&Link::look_for_number(4), 0),
        concat!(
            "20000000120001000700000000000000",
            "00000000040000000000000000000000"
        )
    );
    assert_eq!(
        sent(&Link::list(), NLM_F_DUMP),
        concat!(
            "20000000120001030700000000000000",
            "00000000000000000000000000000000"
        )
    );
    assert_eq!(
        sent(&Link::list_of_kind("ifb"), NLM_F_DUMP),
        concat!(
            "2c000000120001030700000000000000",
            "000000000000000000000000000000000c0012000800010069666200"
        )
    );
    assert_eq!(
        sent(
            &Link::create_ifb("ifb4", &[2, 0x68, 0x74, 1, 2, 3]),
            NLM_F_ACK
        ),
        concat!(
            "44000000100005060700000000000000",
            "000000000000000001000000010000000900030069666234000000000a000100",
            "02687401020300000c0012000800010069666200"
        )
    );
    assert_eq!(
        sent(&ifb.note("hosttune"), NLM_F_ACK),
        concat!(
            "2c000000130005000700000000000000",
            "000000000400000000000000000000000c001400686f737474756e65"
        )
    );
    assert_eq!(
        sent(&ifb.bring(true), NLM_F_ACK),
        concat!(
            "20000000130005000700000000000000",
            "00000000040000000100000001000000"
        )
    );
    assert_eq!(
        sent(&ifb.bring(false), NLM_F_ACK),
        concat!(
            "20000000130005000700000000000000",
            "00000000040000000000000001000000"
        )
    );
    assert_eq!(
        sent(&ifb.delete(), NLM_F_ACK),
        concat!(
            "20000000110005000700000000000000",
            "00000000040000000000000000000000"
        )
    );
}

#[test]
fn qdiscs_and_hooks_are_listed_attached_and_deleted() {
    let wan = link(3, "wan");
    let options = Attributes::new().with(2, &[0; 8]).into_bytes();
    assert_eq!(
        sent(&TrafficControl::list_qdiscs(), NLM_F_DUMP),
        concat!(
            "24000000260001030700000000000000",
            "0000000000000000000000000000000000000000"
        )
    );
    assert_eq!(
        sent(&TrafficControl::list_classes(&wan), NLM_F_DUMP),
        concat!(
            "240000002a0001030700000000000000",
            "0000000003000000000000000000000000000000"
        )
    );
    assert_eq!(
        sent(&TrafficControl::add_ingress(&wan), NLM_F_ACK),
        concat!(
            "30000000240005060700000000000000",
            "00000000030000000000fffff1ffffff000000000c000100696e677265737300"
        )
    );
    assert_eq!(
        sent(
            &TrafficControl::replace(&wan, TC_H_ROOT, "cake", 0x8001_0000, Some(&options)),
            NLM_F_ACK
        ),
        concat!(
            "40000000240005050700000000000000",
            "000000000300000000000180ffffffff000000000900010063616b6500000000",
            "100002800c0002000000000000000000"
        )
    );
    assert_eq!(
        sent(
            &TrafficControl::replace(&wan, TC_H_ROOT, "fq_codel", 0, None),
            NLM_F_ACK
        ),
        concat!(
            "34000000240005050700000000000000",
            "000000000300000000000000ffffffff000000000d00010066715f636f64656c",
            "00000000"
        )
    );
    assert_eq!(
        sent(
            &TrafficControl::delete(&wan, TC_H_ROOT, 0x8001_0000),
            NLM_F_ACK
        ),
        concat!(
            "24000000250005000700000000000000",
            "000000000300000000000180ffffffff00000000"
        )
    );
}

#[test]
fn filters_are_listed_added_and_deleted() {
    let (wan, ifb) = (link(3, "wan"), link(4, "ifb4"));
    let redirect = Filter {
        link: 3,
        handle: 0x8000_0800,
        parent: INGRESS_FILTERS,
        priority: PRIORITY,
        protocol: 3_u16.to_be(),
        chain: 0,
        kind: "u32".to_owned(),
        options: Vec::new(),
    };
    assert_eq!(
        sent(&Filter::list(3, INGRESS_FILTERS), NLM_F_DUMP),
        concat!(
            "240000002e0001030700000000000000",
            "000000000300000000000000f2ffffff00000000"
        )
    );
    assert_eq!(
        sent(
            &Filter::redirect_with_matchall(&wan, &ifb, b"hosttune:ifb4"),
            NLM_F_ACK
        ),
        concat!(
            "840000002c0005060700000000000000",
            "000000000300000001000000f2ffffff0003dec00d0001006d61746368616c6c",
            "00000000500002004c000200480001000b0001006d6972726564000024000200",
            "2000020000000000000000000400000000000000000000000100000004000000",
            "11000600686f737474756e653a69666234000000"
        )
    );
    assert_eq!(
        sent(
            &Filter::redirect_with_u32(&wan, &ifb, b"hosttune:ifb4"),
            NLM_F_ACK
        ),
        concat!(
            "a00000002c0005060700000000000000",
            "000000000300000000000000f2ffffff0003dec0080001007533320074000200",
            "2400050001000100000000000000000000000000000000000000000000000000",
            "000000004c000700480001000b0001006d697272656400002400020020000200",
            "0000000000000000040000000000000000000000010000000400000011000600",
            "686f737474756e653a69666234000000"
        )
    );
    assert_eq!(
        sent(&redirect.delete(&wan), NLM_F_ACK),
        concat!(
            "2c0000002d0005000700000000000000",
            "000000000300000000080080f2ffffff0003dec00800010075333200"
        )
    );
}
