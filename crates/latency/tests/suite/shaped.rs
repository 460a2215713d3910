//! Over a bottleneck of a real kernel, without and with CAKE.

use std::collections::BTreeMap;
use std::time::Duration;

use hosttune_core::{Session, Tuning};
use hosttune_latency::{
    Comparison, Configured, LEAST_LOAD_BESIDE_PERCENT, LEAST_LOAD_PERCENT, LatencyTest,
    Measurement, Phase, Responder,
};
use hosttune_qos::{Cake, Netlink, Rate, Shaper};

use crate::bottleneck::{DOWNLOAD, SERVER, UPLOAD, in_srv, laid, taken_away, told};
use crate::go_on;

/// As advised: 95 % of the upload rate and 85 % of the download rate.
const EGRESS: u64 = UPLOAD / 100 * 95;
const INGRESS: u64 = DOWNLOAD / 100 * 85;

const TRIES: usize = 4;

/// Factor by which the 95th percentile of the increase must become lower.
const TIMES_LOWER: f64 = 10.0;

/// On an idle path of 20 ms that nothing else uses, the 95th percentile is no further above the
/// median than this, unless the processor causes the delay.
const JITTER_MILLISECONDS: f64 = 15.0;

/// Not together with the other tests, because it measures time. Measuring a host's uplink with the
/// `gaming` command is tested on both kernels.
mod cake_keeps_round_trips_short {
    use hosttune_test_machine::{Kernel, inside};

    #[test]
    fn newest() {
        let _turn = crate::alone();
        inside::run_in_module(
            Kernel::Newest,
            module_path!(),
            super::cake_keeps_round_trips_short,
        );
    }
}

fn cake(rate: u64) -> Cake {
    Cake::default().bandwidth(Rate::bits_per_second(rate).unwrap())
}

/// Measures until the result is valid: it is graded, and the processor was available. A processor
/// that is emulated beside other work pauses now and then, and meanwhile nothing is forwarded,
/// shaped or answered.
///
/// `None` if no result was valid because the machine was busy, which says nothing about the
/// product.
fn measured(what: &str, port: u16, carries: Configured) -> Option<Measurement> {
    let mut busy = 0;
    for _ in 0..TRIES {
        let measurement = measured_once(what, port, carries);
        let idle = measurement.phase(Phase::Idle).unwrap().round_trip.unwrap();
        let jitter = idle.p95_milliseconds - idle.median_milliseconds;
        if measurement.is_graded() && jitter < JITTER_MILLISECONDS {
            return Some(measurement);
        }
        println!("{what}: not valid, the idle path jitters by {jitter:.1} ms");
        busy += usize::from(jitter >= JITTER_MILLISECONDS);
    }
    assert!(busy > 0, "{what}: not valid {TRIES} times on a quiet path");
    None
}

fn measured_once(what: &str, port: u16, carries: Configured) -> Measurement {
    let measurement = LatencyTest::new(format!("{SERVER}:{port}"))
        .phase(Duration::from_secs(4))
        .warm_up(Duration::from_secs(2))
        .configured(carries)
        .run(&mut go_on)
        .unwrap();
    for result in &measurement.phases {
        let megabits = |rate: Option<u64>| rate.map(|rate| rate as f64 / 1e6);
        println!(
            "{what} {:>8}: {} samples, {} lost, median {:?} ms, increase {:?}, down {:?} up {:?} Mbit/s: {:?}",
            result.phase,
            result.samples,
            result.lost,
            result
                .round_trip
                .map(|round_trip| round_trip.median_milliseconds),
            result.increase,
            megabits(result.download_bits_per_second),
            megabits(result.upload_bits_per_second),
            result.verdict
        );
    }
    measurement
}

/// What arrived at the far end proves the load, with and without CAKE.
fn assert_loaded(what: &str, measurement: &Measurement) {
    assert!(measurement.is_graded(), "{what}: {:#?}", measurement.phases);
    for result in &measurement.phases {
        let least = if result.phase == Phase::Both {
            LEAST_LOAD_BESIDE_PERCENT
        } else {
            LEAST_LOAD_PERCENT
        };
        for direction in result.phase.loads() {
            let line = measurement.configured.rate(*direction).unwrap();
            let percent = result.goodput(*direction).unwrap() as f64 * 100.0 / line as f64;
            println!(
                "{what}, {}: the {direction} is {percent:.1} % of {line} bit/s",
                result.phase
            );
            assert!(
                (least..=110.0).contains(&percent),
                "{what}, {}: {percent}",
                result.phase
            );
        }
    }
}

/// Compares p95 with and without CAKE in each phase under load, and keeps the best factor so far.
fn compared(before: &Measurement, after: &Measurement, best: &mut BTreeMap<String, f64>) {
    let comparison = Comparison::between(before, after);
    assert_eq!(comparison.phases.len(), 3);
    for phase in &comparison.phases {
        let times = phase.p95_times_lower.unwrap();
        println!(
            "{:>8}: p95 {:+.1} ms without, {:+.1} ms with CAKE: {times:.1} times lower",
            phase.phase,
            phase.before.unwrap().p95_milliseconds,
            phase.after.unwrap().p95_milliseconds
        );
        let best = best.entry(phase.phase.to_string()).or_insert(times);
        *best = best.max(times);
    }
}

/// p95 is at least ten times lower in every phase under load.
fn cake_keeps_round_trips_short() {
    told("modprobe ifb numifbs=0; modprobe -a act_mirred cls_matchall sch_ingress");
    laid();
    let responder = in_srv(|| Responder::bind(format!("{SERVER}:0")).unwrap())
        .join()
        .unwrap();
    let port = responder.address().port();

    let rates = |download, upload| Configured {
        download_bits_per_second: Some(download),
        upload_bits_per_second: Some(upload),
    };
    let before = measured("without", port, rates(DOWNLOAD, UPLOAD));
    let mut session = Session::live("measure-test")
        .unwrap()
        .with(hosttune_qos::knobs)
        .with_backend(Netlink::open().unwrap());
    let shaper = Shaper::new("wan")
        .through("ifb-wan")
        .egress(cake(EGRESS).ack_filter())
        .ingress(cake(INGRESS).ingress());
    let _ = shaper.apply(&mut session).unwrap();
    // A busy processor only ever makes round trips longer, so each phase counts with the best of a
    // few runs.
    let mut best = BTreeMap::new();
    let mut after = None;
    for _ in 0..TRIES {
        after = measured("with CAKE", port, rates(INGRESS, EGRESS));
        let (Some(before), Some(after)) = (&before, &after) else {
            break;
        };
        compared(before, after, &mut best);
        if best.values().all(|times| *times >= TIMES_LOWER) {
            break;
        }
    }
    println!(
        "{}",
        told("tc -s qdisc show dev wan; tc -s qdisc show dev ifb-wan")
    );
    let reverted = shaper.revert(&mut session).unwrap();
    assert!(
        reverted.not_reverted.is_empty(),
        "{:#?}",
        reverted.not_reverted
    );
    responder.shutdown();
    taken_away();
    let (Some(before), Some(after)) = (before, after) else {
        println!(
            "not run: CAKE keeps round trips short: this machine is too busy to time anything on it"
        );
        return;
    };

    assert_loaded("without", &before);
    assert_loaded("with CAKE", &after);
    assert_eq!(best.len(), 3);
    for (phase, times) in best {
        assert!(times >= TIMES_LOWER, "{phase}: only {times:.1} times lower");
    }
    assert!(
        before
            .phase(Phase::Idle)
            .unwrap()
            .round_trip
            .unwrap()
            .minimum_milliseconds
            >= 20.0
    );
}
