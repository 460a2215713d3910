//! Words in order, as in `tc`.

use super::*;
use crate::Rate;
use crate::cake::any_cake::any_cake;
use proptest::prelude::*;
use proptest::sample::select;

fn read(text: &str) -> Cake {
    text.parse()
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refused(text: &str) -> TextError {
    text.parse::<Cake>().expect_err(text)
}

/// Overhead, minimum packet size, framing, and whether it is raw.
fn link(text: &str) -> (i16, u16, Framing, bool) {
    let cake = read(text);
    (
        cake.overhead.bytes(),
        cake.mpu.bytes(),
        cake.framing,
        cake.raw,
    )
}

#[test]
fn words_for_links_add_up_and_overhead_overwrites() {
    use Framing::{Atm, Ptm, Whole};
    for (text, expected) in [
        ("", (0, 0, Whole, true)),
        ("overhead 0", (0, 0, Whole, false)),
        ("overhead 22 ethernet", (60, 84, Whole, false)),
        ("ethernet overhead 22", (22, 84, Whole, false)),
        ("ethernet overhead 40", (40, 84, Whole, false)),
        ("overhead 18 docsis", (36, 64, Whole, false)),
        ("docsis docsis", (36, 64, Whole, false)),
        ("ethernet ether-vlan ether-vlan", (46, 84, Whole, false)),
        ("atm ethernet", (38, 84, Atm, false)),
        ("atm docsis", (18, 64, Whole, false)),
        ("pppoe-ptm ether-vlan", (34, 0, Ptm, false)),
        ("ethernet conservative", (48, 84, Atm, false)),
        ("conservative ether-vlan", (52, 0, Atm, false)),
        ("atm", (0, 0, Atm, true)),
        ("mpu 64", (0, 64, Whole, true)),
        ("ethernet raw", (0, 84, Whole, true)),
        ("raw ethernet", (38, 84, Whole, true)),
        ("raw overhead 10 ptm", (10, 0, Ptm, true)),
        ("atm raw", (0, 0, Whole, true)),
        ("via-ethernet", (0, 0, Whole, true)),
        ("overhead -64 pppoe-llcsnap", (-24, 0, Atm, false)),
        // Out of range only in between.
        ("overhead 256 ethernet overhead 7", (7, 84, Whole, false)),
    ] {
        assert_eq!(link(text), expected, "{text}");
    }
}

#[test]
fn the_last_word_of_its_sort_wins() {
    assert_eq!(read("diffserv8 besteffort").diffserv, Diffserv::BestEffort);
    assert_eq!(read("besteffort diffserv").diffserv, Diffserv::Diffserv4);
    assert_eq!(read("hosts flowblind").flows, FlowMode::FlowBlind);
    assert!(!read("nat nonat").nat);
    assert_eq!(read("rtt 5ms satellite").rtt, RoundTripTime::SATELLITE);
    assert_eq!(read("satellite rtt 5ms").rtt.as_microseconds(), 5000);
    assert_eq!(
        read("bandwidth 5mbit unlimited").bandwidth,
        Bandwidth::Unlimited
    );
}

#[test]
fn a_bandwidth_ends_autorate_and_autorate_keeps_the_bandwidth() {
    assert!(!read("autorate-ingress bandwidth 5mbit").autorate_ingress);
    assert!(!read("autorate-ingress unlimited").autorate_ingress);
    let cake = read("bandwidth 5mbit autorate-ingress");
    assert_eq!(
        (cake.autorate_ingress, cake.bandwidth),
        (true, Rate::mbit(5).into())
    );
}

#[test]
fn a_bare_time_is_microseconds() {
    assert_eq!(read("rtt 200").rtt.as_microseconds(), 200);
    assert_eq!(read("interplanetary").rtt.as_microseconds(), 1_000_000_000);
}

#[test]
fn what_tc_cannot_send_is_automatic() {
    assert_eq!(
        read("memlimit 32mb memlimit 0").memlimit,
        MemoryLimit::AUTOMATIC
    );
    assert_eq!(read("mpu 0 fwmark 0"), Cake::default());
}

#[test]
fn errors_say_what_and_where() {
    for (text, offset, message) in [
        (
            "bandwidth 100mbps",
            10,
            "`100mbps` at byte 10: 100mbps is 800mbit to tc, where `bps` means bytes per second; write 100mbit or 800mbit",
        ),
        (
            "nat bandwidth",
            4,
            "`bandwidth` at byte 4: the text ends where a rate should be, as in `bandwidth 20mbit`",
        ),
        (
            "difserv4",
            0,
            "`difserv4` at byte 0: not an option of CAKE; did you mean `diffserv4`?",
        ),
        (
            "ack_filter",
            0,
            "`ack_filter` at byte 0: not an option of CAKE; did you mean `ack-filter`?",
        ),
        ("help", 0, "`help` at byte 0: not an option of CAKE"),
        (
            "overhead 257",
            9,
            "`257` at byte 9: 257 is outside of -64..=256 bytes",
        ),
        (
            "mpu -1",
            4,
            "`-1` at byte 4: -1 is outside of 0..=256 bytes",
        ),
        ("mpu 0x40", 4, "`0x40` at byte 4: not a decimal integer"),
        (
            "fwmark 08",
            7,
            "`08` at byte 7: not a mask of 32 bits; write one like 0xff, 255 or 0377",
        ),
        (
            "lan  metro",
            5,
            "`metro` at byte 5: `lan` has already set the round-trip time; keep one of them",
        ),
        (
            "overhead 250 docsis nat",
            13,
            "`docsis` at byte 13: 268 is outside of -64..=256 bytes",
        ),
        (
            "bandwidth 0",
            10,
            "`0` at byte 10: too small: 8bit, one byte per second, is the minimum; for no limit, write `unlimited`",
        ),
        (
            "rtt 0",
            4,
            "`0` at byte 4: too small: 1us is the minimum; leave `rtt` out for the default 100ms",
        ),
        (
            "memlimit 5gb",
            9,
            "`5gb` at byte 9: too large: 4294967295b, a byte less than 4gb, is the maximum",
        ),
    ] {
        let error = refused(text);
        assert_eq!(error.to_string(), message);
        assert_eq!(error.offset, offset, "{text}");
    }
}

#[test]
fn what_tc_does_not_take_is_not_taken() {
    for text in [
        "bandwidth unlimited",
        "lan lan",
        "DIFFSERV4",
        "bandwidth",
        "overhead 1.5",
        "rtt",
        "automatic",
        "bandwidth 10%",
        "overhead",
        "nat nat memlimit",
    ] {
        refused(text);
    }
}

#[test]
fn what_tc_shows_is_read_with_and_without_its_header() {
    let options = "bandwidth unlimited diffserv3 triple-isolate nonat nowash no-ack-filter split-gso rtt 100ms raw overhead 0 ";
    assert_eq!(Cake::from_shown(options), Ok(Cake::default()));
    for header in [
        "qdisc cake 8001: root refcnt 2 ",
        "qdisc cake 8001: dev eth0 root refcnt 2 ",
        "qdisc cake 0: dev eth0 parent 8001:1 ",
        "qdisc cake_mq 1: dev nat root offloaded ",
    ] {
        let text = format!("{header}{options}\n Sent 90 bytes 1 pkt (dropped 0)\n");
        assert_eq!(Cake::from_shown(&text), Ok(Cake::default()), "{text}");
    }
    assert_eq!(
        Cake::from_shown("qdisc fq_codel 0: root")
            .unwrap_err()
            .problem,
        Problem::NotCake
    );
    assert!(Cake::from_shown("(?diffserv?)triple-isolate").is_err());
    assert_eq!(Cake::default().shown(), options);
    let most = read("memlimit 4294967295 rtt 4294967295");
    assert!(
        most.shown()
            .contains("rtt 4.29e+03s raw overhead 0 memlimit 4096Mb")
    );
    assert_eq!(
        Cake::from_shown(&most.shown()).map(|shown| shown.memlimit),
        Ok(most.memlimit)
    );
}

#[test]
fn the_short_text_has_what_differs() {
    for text in [
        "",
        "overhead 0",
        "raw overhead 10",
        "raw atm overhead -5",
        "atm",
        "bandwidth 950mbit autorate-ingress diffserv4 dual-srchost nat wash ingress ack-filter no-split-gso rtt 30ms ptm overhead 30 mpu 64 memlimit 32mb fwmark 0xff",
    ] {
        assert_eq!(format!("{:#}", read(text)), text);
    }
    assert_eq!(
        Cake::default().to_string(),
        "unlimited diffserv3 triple-isolate nonat nowash egress no-ack-filter split-gso rtt 100ms raw noatm overhead 0"
    );
}

proptest! {
    #[test]
    fn any_cake_is_read_back_from_its_texts(cake in any_cake()) {
        prop_assert_eq!(cake.to_string().parse(), Ok(cake.clone()));
        prop_assert_eq!(format!("{cake:#}").parse(), Ok(cake));
    }

    #[test]
    fn what_is_shown_is_read_but_for_what_was_rounded(cake in any_cake()) {
        let shown = Cake::from_shown(&cake.shown())?;
        let near = |one: u64, other: u64| one.abs_diff(other) <= one / 100;
        prop_assert!(near(
            cake.bandwidth.as_bytes_per_second(),
            shown.bandwidth.as_bytes_per_second()
        ));
        prop_assert!(near(cake.rtt.as_microseconds().into(), shown.rtt.as_microseconds().into()));
        prop_assert!(near(cake.memlimit.as_bytes().into(), shown.memlimit.as_bytes().into()));
        let unrounded = Cake {
            bandwidth: cake.bandwidth,
            rtt: cake.rtt,
            memlimit: cake.memlimit,
            ..shown
        };
        prop_assert_eq!(unrounded, cake);
    }

    #[test]
    fn no_text_panics(text: String) {
        let _ = text.parse::<Cake>().map_err(|error| error.to_string());
        let _ = Cake::from_shown(&text);
    }

    #[test]
    fn no_words_panic_and_what_is_read_is_printed_to_the_same(
        words in prop::collection::vec(
            prop_oneof![
                select(vec![
                    "bandwidth", "rtt", "overhead", "mpu", "memlimit", "fwmark", "unlimited", "raw",
                    "autorate-ingress", "ethernet", "docsis", "ether-vlan", "conservative", "atm",
                    "lan", "metro", "besteffort", "nat", "ingress", "qdisc", "cake", "refcnt", "dev",
                ]).prop_map(str::to_owned),
                "[-+]?[0-9]{1,4}(ms|mbit|kb|us|bps)?",
                "[a-z0-9é-]{1,12}",
            ],
            0..12,
        )
    ) {
        let text = words.join(" ");
        if let Ok(cake) = text.parse::<Cake>() {
            prop_assert_eq!(cake.to_string().parse(), Ok(cake.clone()));
            prop_assert_eq!(Cake::from_attributes(&cake.to_attributes()), Ok((cake, vec![])));
        }
        let _ = Cake::from_shown(&text);
        let _ = Cake::from_shown(&format!("qdisc {text}"));
    }
}
