//! Whether packets take the intended path, and what is counted on it, on stock kernels and compared
//! with what `tc` and `ip` show.

use std::path::Path;
use std::time::Duration;

use super::live::session;
use super::traffic::{EXPEDITED, SENT, Traffic};
use crate::namespace::{backend, tell};
use hosttune_core::{Session, Tuning};
use hosttune_qos::netlink::{Filter, INGRESS_FILTERS, TrafficStatistics};
use hosttune_qos::{Cake, PathCounters, PathPoint, Qdisc, Shaper, ShaperStatistics, Verdict};
use hosttune_test_machine::{ask, inside_stock_kernels};
use serde_json::Value;

fn has_cake() -> bool {
    Path::new("/sys/module/sch_cake").exists()
}

/// CAKE if this kernel has it, otherwise a token bucket of `rate` bytes per second.
fn shaped(cake: &str, rate: u64) -> Qdisc {
    if has_cake() {
        Qdisc::from(&cake.parse::<Cake>().unwrap())
    } else {
        println!("this kernel has no CAKE: a token bucket");
        Qdisc::tbf(rate, 20_000, 100_000)
    }
}

fn shaper() -> Shaper {
    Shaper::new("wan")
        .through("ifb7")
        .egress(shaped("bandwidth 6mbit diffserv4 ack-filter", 750_000))
        .ingress(shaped("bandwidth 20mbit diffserv4 ingress", 2_500_000))
}

/// Counters before and after packets were sent in both directions.
fn while_sending(traffic: &Traffic, session: &Session) -> (PathCounters, PathCounters) {
    let earlier = shaper().path(session).unwrap();
    traffic.arrive();
    (earlier, shaper().path(session).unwrap())
}

#[track_caller]
fn verdicts(readings: &(PathCounters, PathCounters)) -> (Verdict, Verdict) {
    let path_report = readings.0.until(&readings.1);
    println!("{path_report}");
    (path_report.egress.unwrap(), path_report.ingress.unwrap())
}

fn counters_advance_all_along() {
    let traffic = Traffic::begin();
    let mut session = session();
    let _ = shaper().apply(&mut session).unwrap();
    let nothing = shaper().path(&session).unwrap();
    let nothing = (nothing.clone(), nothing);
    assert_eq!(verdicts(&nothing), (Verdict::Idle, Verdict::Idle));

    let readings = while_sending(&traffic, &session);
    assert_eq!(verdicts(&readings), (Verdict::Flows, Verdict::Flows));
    let path_report = readings.0.until(&readings.1);
    let sent = u64::try_from(SENT).unwrap();
    // The counts are exact, because nothing merges packets and nothing else is sent.
    assert_eq!(path_report.received_packets, Some(sent));
    assert_eq!(path_report.redirected_packets, Some(sent));
    assert_eq!(path_report.ifb_packets, Some(sent));
    assert_eq!(path_report.root_packets, Some(sent));
    assert_eq!(path_report.transmitted_packets, Some(sent));
    assert_eq!(
        (path_report.ifb_drops, path_report.root_drops),
        (Some(0), Some(0))
    );

    // Over two rounds of packets the counts add up.
    let later = while_sending(&traffic, &session).1;
    let path_report = readings.0.until(&later);
    assert_eq!(path_report.redirected_packets, Some(2 * sent));
    assert!(shaper().revert(&mut session).unwrap().is_complete());
    let readings = while_sending(&traffic, &session);
    let missing = |point| Verdict::Missing { point };
    assert_eq!(
        verdicts(&readings),
        (
            // The root is the kernel's default again, which counts nothing.
            Verdict::Bypassed,
            missing(PathPoint::Redirect)
        )
    );
}

fn what_is_lost_and_what_is_bypassed_is_told() {
    let traffic = Traffic::begin();
    let mut session = session();
    let _ = shaper().apply(&mut session).unwrap();

    tell("ip link set ifb7 down");
    let readings = while_sending(&traffic, &session);
    assert_eq!(verdicts(&readings), (Verdict::Flows, Verdict::Lost));
    let report = shaper().verify(&session).unwrap();
    let alarm: Vec<String> = report
        .items
        .iter()
        .filter(|item| item.state.is_drift())
        .map(ToString::to_string)
        .collect();
    assert!(
        alarm
            .iter()
            .any(|line| line.contains("an IFB that is down")),
        "{report:#?}"
    );
    assert!(
        report.notes.iter().any(|note| note
            .starts_with("all packets received on wan are lost: they are redirected to ifb7")),
        "{report:#?}"
    );
    let _ = shaper().apply(&mut session).unwrap();
    traffic.all_arrive("applied again");
    assert!(shaper().verify(&session).unwrap().is_as_wanted());
    let readings = while_sending(&traffic, &session);
    assert_eq!(verdicts(&readings), (Verdict::Flows, Verdict::Flows));

    // Accepted or dropped, the packets do not reach the redirect.
    for action in ["ok", "drop"] {
        tell(&format!(
            "tc filter add dev wan ingress protocol all pref 1 matchall action {action}"
        ));
        let readings = while_sending(&traffic, &session);
        assert_eq!(verdicts(&readings), (Verdict::Flows, Verdict::Bypassed));
        tell("tc filter del dev wan ingress protocol all pref 1");
    }
    // Sent packets bypass our root.
    tell("tc qdisc replace dev wan root handle 77: pfifo");
    let restarted = |point| Verdict::Restarted { point };
    let before = readings.1.clone();
    traffic.arrive();
    let after = shaper().path(&session).unwrap();
    assert_eq!(verdicts(&(before, after)).0, restarted(PathPoint::Root));

    tell("ip link del ifb7");
    let readings = while_sending(&traffic, &session);
    assert_eq!(verdicts(&readings).1, Verdict::Lost);
    let report = shaper().verify(&session).unwrap();
    assert!(!report.is_as_wanted());
    assert!(
        report.notes.iter().any(|note| note.contains("are lost")),
        "{report:#?}"
    );
    let _ = shaper().apply(&mut session).unwrap();
    let again = shaper().path(&session).unwrap();
    let verdict = verdicts(&(readings.1, again)).1;
    assert!(
        verdict == restarted(PathPoint::Ifb) || verdict == restarted(PathPoint::Redirect),
        "{verdict:?}"
    );
    traffic.all_arrive("applied again");
    let readings = while_sending(&traffic, &session);
    assert_eq!(verdicts(&readings), (Verdict::Flows, Verdict::Flows));
    let reverted = shaper().revert(session.force(true)).unwrap();
    assert_eq!(reverted.not_reverted, [], "{reverted:#?}");
    traffic.all_arrive("taken back");
}

/// The objects that `tc -j` or `ip -j` prints.
fn json(command: &str) -> Vec<Value> {
    let printed = tell(command);
    serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{command}: {error}: {printed}"))
}

#[track_caller]
fn same(shown: &Value, ours: &TrafficStatistics) {
    let number = |name: &str| shown[name].as_u64();
    assert_eq!(ours.bytes, number("bytes"), "{shown}");
    assert_eq!(ours.packets, number("packets"), "{shown}");
    assert_eq!(ours.drops.map(u64::from), number("drops"), "{shown}");
    assert_eq!(
        ours.overlimits.map(u64::from),
        number("overlimits"),
        "{shown}"
    );
    assert_eq!(ours.requeues.map(u64::from), number("requeues"), "{shown}");
    assert_eq!(
        ours.backlog_bytes.map(u64::from),
        number("backlog"),
        "{shown}"
    );
    assert_eq!(
        ours.queued_packets.map(u64::from),
        number("qlen"),
        "{shown}"
    );
}

fn counters_are_those_that_tc_and_ip_show() {
    let traffic = Traffic::begin();
    let mut session = session();
    let _ = shaper().apply(&mut session).unwrap();
    traffic.mark(EXPEDITED);
    traffic.all_arrive("shaped");
    let statistics = shaper().statistics(&session).unwrap();
    println!("{statistics}");

    for (device, ours) in [("wan", &statistics.egress), ("ifb7", &statistics.ingress)] {
        let ours = ours.as_ref().unwrap();
        assert_eq!(ours.device, device);
        let shown = json(&format!("tc -s -j qdisc show dev {device} root"));
        let shown = &shown[0];
        assert_eq!(shown["kind"], ours.root.kind);
        assert_eq!(shown["handle"], ours.root.handle);
        same(shown, &ours.root.counted);
        assert!(ours.root.counted.packets >= u64::try_from(SENT).ok());
        let Some(cake) = &ours.root.cake else {
            assert!(!has_cake());
            continue;
        };
        let counters = &cake.counters;
        let word = |name: &str| shown[name].as_u64();
        assert_eq!(
            counters.memory_used_bytes.map(u64::from),
            word("memory_used")
        );
        assert_eq!(
            counters.memory_limit_bytes.map(u64::from),
            word("memory_limit")
        );
        assert_eq!(
            counters.maximum_network_length_bytes.map(u64::from),
            word("max_network_size")
        );
        assert_eq!(
            counters.minimum_adjusted_length_bytes.map(u64::from),
            word("min_adj_size")
        );
        let tins = shown["tins"].as_array().unwrap();
        assert_eq!(tins.len(), cake.tins.len());
        for (shown, tin) in tins.iter().zip(&cake.tins) {
            let word = |name: &str| shown[name].as_u64();
            assert_eq!(tin.sent_packets.map(u64::from), word("sent_packets"));
            assert_eq!(tin.sent_bytes, word("sent_bytes"));
            assert_eq!(tin.dropped_packets.map(u64::from), word("drops"));
            assert_eq!(tin.ecn_marked_packets.map(u64::from), word("ecn_mark"));
            assert_eq!(tin.backlog_bytes.map(u64::from), word("backlog_bytes"));
            assert_eq!(tin.threshold_bytes_per_second, word("threshold_rate"));
            assert_eq!(tin.target_microseconds.map(u64::from), word("target_us"));
            assert_eq!(
                tin.interval_microseconds.map(u64::from),
                word("interval_us")
            );
            assert_eq!(
                tin.peak_delay_microseconds.map(u64::from),
                word("peak_delay_us")
            );
            assert_eq!(
                tin.average_delay_microseconds.map(u64::from),
                word("avg_delay_us")
            );
            assert_eq!(
                tin.base_delay_microseconds.map(u64::from),
                word("base_delay_us")
            );
            assert_eq!(tin.sparse_flows.map(u64::from), word("sparse_flows"));
            assert_eq!(tin.bulk_flows.map(u64::from), word("bulk_flows"));
            assert_eq!(tin.longest_packet_bytes.map(u64::from), word("max_pkt_len"));
            assert_eq!(tin.flow_quantum_bytes.map(u64::from), word("flow_quantum"));
        }
        // All packets are in the voice tin, and none in the others.
        let sent: Vec<u64> = cake
            .tins
            .iter()
            .map(|tin| u64::from(tin.sent_packets.unwrap()))
            .collect();
        assert_eq!(sent[3], u64::try_from(SENT).unwrap(), "{statistics}");
        assert_eq!(sent[..3], [0, 0, 0], "{statistics}");
    }

    let link = backend().link("wan").unwrap().unwrap();
    let ours = backend().link_statistics("wan").unwrap().unwrap();
    let shown = json("ip -s -j link show wan");
    let shown = &shown[0]["stats64"];
    let counter = |way: &str, name: &str| shown[way][name].as_u64();
    assert_eq!(ours.received_packets, counter("rx", "packets"));
    assert_eq!(ours.received_bytes, counter("rx", "bytes"));
    assert_eq!(ours.received_dropped_packets, counter("rx", "dropped"));
    assert_eq!(ours.receive_errors, counter("rx", "errors"));
    assert_eq!(ours.transmitted_packets, counter("tx", "packets"));
    assert_eq!(ours.transmitted_bytes, counter("tx", "bytes"));
    assert_eq!(ours.transmitted_dropped_packets, counter("tx", "dropped"));
    assert_eq!(ours.transmit_errors, counter("tx", "errors"));
    assert_eq!(link.mtu, Some(1500));
    assert_eq!(link.transmit_queues, Some(4));
    assert_eq!(link.longest_frame(), Some(1514));

    let filters = backend().filters(link.index, INGRESS_FILTERS).unwrap();
    let ours = filters.iter().find_map(Filter::mirred_statistics).unwrap();
    assert_eq!(ours.packets, u64::try_from(SENT).ok());
    let shown = tell("tc -s filter show dev wan ingress");
    let (bytes, packets) = (ours.bytes.unwrap(), ours.packets.unwrap());
    let line = format!("Sent {bytes} bytes {packets} pkt");
    assert!(shown.contains(&line), "{shown} has not: {line}");

    let text = serde_json::to_string(&statistics).unwrap();
    assert_eq!(
        serde_json::from_str::<ShaperStatistics>(&text).unwrap(),
        statistics
    );
    assert!(shaper().revert(&mut session).unwrap().is_complete());
    let nothing = shaper().statistics(&session).unwrap();
    assert_eq!(nothing.ingress, None);
    assert!(nothing.egress.is_some_and(|root| root.root.cake.is_none()));
}

/// The names that `tc` has for tins depend on their number.
fn tins_are_called_what_tc_calls_them() {
    let _traffic = Traffic::begin();
    if !has_cake() {
        println!("this kernel has no CAKE, and so no tins");
        let (worked, said) = ask("tc qdisc add dev wan root cake");
        assert!(!worked && said.contains("qdisc kind is unknown"), "{said}");
        return;
    }
    let session = session();
    for mode in [
        "diffserv3",
        "diffserv4",
        "diffserv8",
        "besteffort",
        "precedence",
    ] {
        tell(&format!("tc qdisc replace dev wan root cake {mode}"));
        let ours = shaper().statistics(&session).unwrap().egress.unwrap();
        let tins = ours.root.cake.unwrap().tins.len();
        let names: Vec<String> = (0..tins)
            .map(|place| hosttune_qos::cake::TinName::of(place, tins).to_string())
            .collect();
        let shown = tell("tc -s qdisc show dev wan root");
        let head = shown
            .lines()
            .find(|line| line.contains("Tin 0") || line.contains("Bulk"))
            .unwrap_or_else(|| panic!("{shown}"));
        let head = head.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(head, names.join(" "), "{mode}");
    }
}

/// What the counters of an active qdisc show is noted by plan and verify. Drops that are part of
/// normal operation are not.
fn what_deserves_a_look_is_noted() {
    let traffic = Traffic::begin();
    if !has_cake() {
        println!("this kernel has no CAKE: nothing else tells how it is");
        let mut session = session();
        let _ = shaper().apply(&mut session).unwrap();
        assert_eq!(
            shaper().verify(&session).unwrap().notes,
            Vec::<String>::new()
        );
        assert!(shaper().revert(&mut session).unwrap().is_complete());
        return;
    }
    let mut session = session();
    let shaper = Shaper::new("wan").egress(shaped("bandwidth 1mbit besteffort rtt 1ms", 125_000));
    let _ = shaper.apply(&mut session).unwrap();
    assert_eq!(shaper.verify(&session).unwrap().notes, Vec::<String>::new());
    traffic.all_arrive("shaped");
    let ordinary = shaper.verify(&session).unwrap().notes;
    assert_eq!(ordinary, Vec::<String>::new());
    // More packets at once than can leave within a round trip.
    traffic.burst(40, 1400);
    std::thread::sleep(Duration::from_millis(700));
    let report = shaper.verify(&session).unwrap();
    assert!(report.is_as_wanted());
    let statistics = shaper.statistics(&session).unwrap();
    println!("{statistics}\n{:#?}", report.notes);
    let noted = |words: &str| report.notes.iter().any(|note| note.contains(words));
    assert!(noted("wan: Tin 0: packets wait"), "{:#?}", report.notes);
    let plan = shaper.plan(&session).unwrap();
    assert!(plan.steps.is_empty());
    assert_eq!(plan.notes, report.notes);
    // Nothing is noted about a qdisc that is not as wanted.
    let other = Shaper::new("wan").egress(shaped("bandwidth 6mbit", 750_000));
    assert!(
        !other
            .plan(&session)
            .unwrap()
            .notes
            .iter()
            .any(|note| note.contains("packets wait"))
    );
    assert!(shaper.revert(&mut session).unwrap().is_complete());
}

inside_stock_kernels!(
    counters_advance_all_along,
    counters_are_those_that_tc_and_ip_show,
    tins_are_called_what_tc_calls_them,
    what_deserves_a_look_is_noted,
    what_is_lost_and_what_is_bypassed_is_told,
);
