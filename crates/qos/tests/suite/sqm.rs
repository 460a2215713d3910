//! Settings of sqm-scripts, compared with the commands that the scripts run.

use hosttune_qos::sqm::{self, SqmError};
use hosttune_qos::{Cake, Rate};
use proptest::prelude::*;

use crate::cases;

/// Sections of `/etc/config/sqm`, each followed by the `tc` commands that sqm-scripts 1.6.0
/// (95337de) run for it. Made by sourcing the section's script with dash, with the section's options
/// in the variables of `run-openwrt.sh`, and `TC` set to a function that prints its arguments.
const CAPTURED: &str = include_str!("../captures/sqm/commands.txt");

/// The rate and the options of the command for a device, if there is one.
fn command<'a>(block: &'a str, device: &str) -> Option<&'a str> {
    let start = format!("# tc qdisc add dev {device} root cake ");
    block.lines().find_map(|line| line.strip_prefix(&start))
}

#[test]
fn what_the_scripts_set_up_is_read() {
    let blocks: Vec<&str> = CAPTURED.split("\n\n").collect();
    assert!(blocks.len() >= 40, "{}", blocks.len());
    for block in blocks {
        let read = sqm::read(block).unwrap_or_else(|error| panic!("{error}\n{block}"));
        let [queue] = read.as_slice() else {
            panic!("{block}");
        };
        assert!(queue.enabled && queue.interface == "eth1", "{block}");
        for (rate, words, device) in [
            (queue.upload, &queue.cake_up, "eth1"),
            (queue.download, &queue.cake_down, "ifb4eth1"),
        ] {
            // The first words only take back what a profile may have set before.
            let theirs = command(block, device).map(|theirs| {
                let theirs = format!("no-ack-filter egress {theirs}");
                theirs.parse::<Cake>().unwrap()
            });
            let ours = rate.map(|rate| {
                let ours = format!("bandwidth {rate} {words}");
                ours.parse::<Cake>().unwrap()
            });
            assert_eq!(ours, theirs, "{block}");
        }
    }
}

/// What a person has, with what LuCI writes and the scripts do not use.
const USUAL: &str = "
config queue 'eth1'
	option enabled '1'
	option interface 'pppoe-wan'
	option download '85000'
	option upload '10000'
	option qdisc 'cake'
	option script 'layer_cake.qos'
	option qdisc_advanced '1'
	option ingress_ecn 'ECN'
	option squash_dscp '0'
	option squash_ingress '0'
	option qdisc_really_really_advanced '1'
	option iqdisc_opts 'nat dual-dsthost ingress'
	option eqdisc_opts 'nat dual-srchost ack-filter'
	option linklayer 'atm'
	option overhead '44'
	option linklayer_advanced '1'
	option tcMTU '2047'
	option tcTSIZE '128'
	option tcMPU '0'
	option linklayer_adaptation_mechanism 'default'
";

#[test]
fn a_usual_file_is_read_whole() {
    let [queue] = &sqm::read(USUAL).unwrap()[..] else {
        panic!();
    };
    assert_eq!(queue.interface, "pppoe-wan");
    assert_eq!(queue.upload, Some(Rate::kbit(10_000)));
    assert_eq!(queue.download, Some(Rate::kbit(85_000)));
    assert_eq!(
        queue.cake_up,
        "no-ack-filter egress diffserv3 nat atm overhead 44 mpu 0 nat dual-srchost ack-filter"
    );
    assert_eq!(
        queue.cake_down,
        "no-ack-filter egress diffserv3 nat atm overhead 44 mpu 0 nat dual-dsthost ingress"
    );
    assert_eq!(queue.notes, [""; 0]);
}

#[test]
fn what_cake_does_otherwise_is_told() {
    let with = |from: &str, to: &str| sqm::read(&USUAL.replace(from, to)).unwrap().remove(0);
    for (from, to, says) in [
        ("layer_cake.qos", "simple.qos", "simple.qos shapes with HTB"),
        ("'default'", "'tc_stab'", "size table"),
        ("'default'", "'htb_private'", "htb_private"),
        ("'pppoe-wan'", "'@wan'", "give its device with --device"),
        ("	option upload '10000'\n", "", "2302 kbit/s"),
    ] {
        let notes = with(from, to).notes;
        assert!(
            notes.len() == 1 && notes[0].contains(says),
            "{to}: {notes:?}"
        );
    }
    assert!(!with("enabled '1'", "enabled '0'").enabled);
    assert!(!with("enabled '1'", "enabled 'on'").enabled);
    assert_eq!(with("upload '10000'", "upload '0'").upload, None);
}

#[test]
fn what_is_wrong_is_told_with_line_and_option() {
    let with = |from: &str, to: &str| sqm::read(&USUAL.replace(from, to)).unwrap_err();
    for (from, to, says) in [
        (
            "'85000'",
            "'85mbit'",
            "line 5: option download '85mbit': not a whole number",
        ),
        ("'85000'", "'-1'", "line 5: option download '-1': a rate"),
        (
            "'10000'",
            "'99999999999999999'",
            "line 6: option upload '99999999999999999': ",
        ),
        ("'44'", "'444'", "option overhead '444': "),
        (
            "nat dual-dsthost",
            "nat dual-dshost",
            "option iqdisc_opts 'nat dual-dshost ingress': ",
        ),
        (
            "layer_cake.qos",
            "my.qos",
            "option script 'my.qos': unknown",
        ),
        ("	option interface 'pppoe-wan'\n", "", "no option interface"),
        ("config queue", "config other", "no section 'config queue'"),
        ("'pppoe-wan'", "'pppoe-wan", "quotation mark"),
    ] {
        let error = with(from, to).to_string();
        assert!(error.contains(says), "{to}: {error}");
    }
    assert_eq!(sqm::read(""), Err(SqmError::NoQueue));
}

proptest! {
    #![proptest_config(cases(2_000))]

    /// Whatever the options are: words that end with theirs, or an error at a line of the file.
    #[test]
    fn what_is_read_is_understood_by_cake(
        options in proptest::collection::vec(
            (
                prop::sample::select(vec![
                    "upload", "download", "script", "linklayer", "overhead", "tcMPU", "squash_dscp", "squash_ingress",
                    "iqdisc_opts", "eqdisc_opts", "linklayer_adaptation_mechanism", "qdisc",
                ]),
                prop_oneof![
                    prop::sample::select(vec![
                        "0", "1", "44", "-4", "256", "100000", "simple.qos", "layer_cake.qos", "atm", "adsl", "ethernet", "none",
                        "nat", "bandwidth 10mbit", "unlimited", "diffserv8 wash", "cake", "tc_stab", "",
                    ]).prop_map(str::to_owned),
                    "[^']{0,12}",
                ],
            ),
            0..8,
        ),
    ) {
        let mut text = "config queue\noption interface w0\noption script piece_of_cake.qos\n".to_owned();
        for (name, value) in &options {
            text.push_str(&format!("option {name} '{value}'\n"));
        }
        let last = |name: &str| {
            let mut of_name = options.iter().rev().filter(|(option, _)| option == &name);
            of_name.next().map_or("", |(_, value)| value.trim())
        };
        match sqm::read(&text) {
            Ok(queues) => {
                let queue = &queues[0];
                let is_cake = !last("script").contains("simple");
                for (words, more) in [(&queue.cake_up, "eqdisc_opts"), (&queue.cake_down, "iqdisc_opts")] {
                    prop_assert!(words.parse::<Cake>().is_ok(), "{words}");
                    let more: Vec<&str> = last(more).split_whitespace().collect();
                    prop_assert!(!is_cake || words.ends_with(&more.join(" ")), "{words}");
                }
                let is_shaped = last("upload").parse::<u64>().map_or(true, |kbit| kbit > 0);
                prop_assert_eq!(queue.upload.is_some(), is_shaped);
            }
            Err(SqmError::Option { line, .. }) => {
                prop_assert!((1..=text.lines().count()).contains(&line), "{line}");
            }
            Err(error) => prop_assert!(false, "{error}"),
        }
    }
}
