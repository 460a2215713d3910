//! What any two readings say.

use super::*;
use proptest::prelude::*;

fn counted(packets: u64, drops: u32, queued: u32) -> TrafficStatistics {
    TrafficStatistics {
        packets: Some(packets),
        drops: Some(drops),
        queued_packets: Some(queued),
        ..TrafficStatistics::default()
    }
}

fn root(packets: u64, drops: u32, queued: u32) -> Option<RootCounters> {
    Some(RootCounters {
        link: 3,
        kind: "cake".to_owned(),
        handle: 0x4854_0000,
        counted: counted(packets, drops, queued),
    })
}

/// A reading during which nothing arrived.
fn reading(received: u64, redirected: u64, ifb: Option<RootCounters>) -> PathCounters {
    let device = LinkStatistics {
        received_packets: Some(received),
        transmitted_packets: Some(received),
        ..LinkStatistics::default()
    };
    PathCounters {
        device: Some(DeviceCounters {
            index: 2,
            first: device,
            last: device,
        }),
        egress: None,
        ingress: Some(IngressCounters {
            redirect: Some(RedirectCounters {
                to: 3,
                first: counted(redirected, 0, 0),
                last: counted(redirected, 0, 0),
            }),
            ifb,
        }),
    }
}

fn leaving(transmitted: u64, root: Option<RootCounters>) -> PathCounters {
    PathCounters {
        ingress: None,
        egress: Some(EgressCounters { root }),
        ..reading(transmitted, 0, None)
    }
}

fn ingress(earlier: &PathCounters, later: &PathCounters) -> Verdict {
    earlier.until(later).ingress.unwrap()
}

fn missing(point: PathPoint) -> Verdict {
    Verdict::Missing { point }
}

fn restarted(point: PathPoint) -> Verdict {
    Verdict::Restarted { point }
}

#[test]
fn what_arrives_is_followed_to_where_it_is_seen_last() {
    let earlier = reading(100, 50, root(50, 7, 0));
    for (later, verdict) in [
        (reading(100, 50, root(50, 7, 0)), Verdict::Idle),
        (reading(109, 59, root(59, 7, 0)), Verdict::Flows),
        // Merged on the way, or mixed with packets of other protocols.
        (reading(109, 53, root(51, 8, 1)), Verdict::Flows),
        (reading(101, 50, root(50, 7, 0)), Verdict::Bypassed),
        (reading(109, 59, root(50, 7, 0)), Verdict::Lost),
        (reading(109, 59, root(50, 16, 0)), Verdict::Lost),
        (reading(109, 59, root(50, 7, 9)), Verdict::Waits),
        (reading(109, 59, None), Verdict::Lost),
        (reading(109, 50, None), missing(PathPoint::Ifb)),
        (
            reading(109, 9, root(59, 7, 0)),
            restarted(PathPoint::Redirect),
        ),
        (reading(109, 59, root(9, 0, 0)), restarted(PathPoint::Ifb)),
        // The driver reads its hardware's counters only once a second.
        (reading(100, 59, root(59, 7, 0)), Verdict::Flows),
    ] {
        assert_eq!(ingress(&earlier, &later), verdict, "{later:#?}");
    }
}

#[test]
fn what_was_made_anew_says_nothing() {
    let earlier = reading(100, 50, root(50, 7, 0));
    let mut later = reading(109, 59, root(59, 7, 0));
    later.device.as_mut().unwrap().index = 9;
    assert_eq!(ingress(&earlier, &later), restarted(PathPoint::Device));
    later.device = None;
    assert_eq!(ingress(&earlier, &later), missing(PathPoint::Device));

    let mut later = reading(109, 59, root(59, 7, 0));
    later.ingress.as_mut().unwrap().ifb.as_mut().unwrap().handle = 9;
    assert_eq!(ingress(&earlier, &later), restarted(PathPoint::Ifb));
    later.ingress.as_mut().unwrap().redirect = None;
    assert_eq!(ingress(&earlier, &later), missing(PathPoint::Redirect));
    assert_eq!(
        ingress(&later, &reading(109, 59, root(59, 7, 0))),
        restarted(PathPoint::Redirect)
    );
}

/// A packet that arrives during a reading is counted at one of its two ends only.
#[test]
fn packets_that_come_while_it_is_read_accuse_nobody() {
    let mut earlier = reading(100, 50, root(50, 0, 0));
    earlier.device.as_mut().unwrap().last.received_packets = Some(101);
    let redirect = |reading: &mut PathCounters, first, last| {
        let redirect = reading.ingress.as_mut().unwrap().redirect.as_mut().unwrap();
        redirect.first.packets = Some(first);
        redirect.last.packets = Some(last);
    };
    let later = reading(101, 51, root(51, 0, 0));
    redirect(&mut earlier, 51, 51);
    assert_eq!(ingress(&earlier, &later), Verdict::Idle);
    // Counted by the redirect, and not yet by the IFB when that was read.
    let mut later = reading(102, 51, root(50, 0, 0));
    redirect(&mut earlier, 50, 50);
    redirect(&mut later, 50, 51);
    assert_eq!(ingress(&earlier, &later), Verdict::Waits);
}

#[test]
fn what_leaves_is_followed_too() {
    let earlier = leaving(100, root(50, 7, 0));
    for (later, verdict) in [
        (leaving(100, root(50, 7, 0)), Verdict::Idle),
        (leaving(109, root(59, 7, 0)), Verdict::Flows),
        (leaving(100, root(50, 7, 3)), Verdict::Waits),
        (leaving(100, root(50, 9, 0)), Verdict::Lost),
        (leaving(109, root(50, 7, 0)), Verdict::Bypassed),
        (leaving(109, None), missing(PathPoint::Root)),
        (leaving(109, root(1, 0, 0)), restarted(PathPoint::Root)),
    ] {
        let path_report = earlier.until(&later);
        assert_eq!(path_report.egress, Some(verdict), "{later:#?}");
        assert_eq!(path_report.ingress, None);
    }
}

#[test]
fn what_is_not_told_is_no_zero() {
    let mut later = reading(109, 59, root(59, 0, 0));
    later.device.as_mut().unwrap().first.received_packets = None;
    let earlier = reading(100, 59, root(59, 0, 0));
    let untold = |point| Verdict::Untold { point };
    assert_eq!(ingress(&earlier, &later), untold(PathPoint::Device));
    let ifb = later.ingress.as_mut().unwrap().ifb.as_mut().unwrap();
    ifb.counted = TrafficStatistics::default();
    assert_eq!(ingress(&earlier, &later), untold(PathPoint::Ifb));
    let redirect = later.ingress.as_mut().unwrap().redirect.as_mut().unwrap();
    redirect.last.packets = None;
    assert_eq!(ingress(&earlier, &later), untold(PathPoint::Redirect));
}

fn any_reading() -> impl Strategy<Value = PathCounters> {
    let count = || 0..4_u64;
    (
        (count(), count(), count(), count()),
        prop::option::of((count(), 0..3_u32, 0..2_u32)),
        prop::option::of((count(), 0..3_u32, 0..2_u32)),
        (any::<bool>(), any::<bool>(), any::<bool>()),
    )
        .prop_map(|((received, more, taken, passed), ifb, egress, flags)| {
            let of = |(packets, drops, queued)| root(packets, drops, queued);
            let mut reading = reading(received, taken, ifb.and_then(of));
            let (device, redirected, shaped) = flags;
            reading.device.as_mut().unwrap().last.received_packets = Some(received + more);
            if let Some(ingress) = &mut reading.ingress {
                let redirect = ingress.redirect.as_mut().unwrap();
                redirect.last.packets = Some(taken + passed);
                if !redirected {
                    ingress.redirect = None;
                }
            }
            if !device {
                reading.device = None;
            }
            if shaped {
                reading.egress = Some(EgressCounters {
                    root: egress.and_then(of),
                });
            }
            reading
        })
}

proptest! {
    #[test]
    fn any_two_readings_are_compared_and_accuse_only_with_proof(
        earlier in any_reading(), later in any_reading(),
    ) {
        let path_report = earlier.until(&later);
        match path_report.ingress {
            Some(Verdict::Bypassed) => {
                prop_assert!(path_report.received_packets > Some(0));
                prop_assert_eq!(path_report.redirected_packets, Some(0));
            }
            Some(Verdict::Lost) => {
                prop_assert!(path_report.redirected_packets > Some(0));
                prop_assert!(path_report.ifb_packets.is_none_or(|packets| packets == 0));
            }
            Some(Verdict::Flows) => prop_assert!(path_report.ifb_packets > Some(0)),
            Some(_) => {}
            None => prop_assert!(later.ingress.is_none()),
        }
        prop_assert_eq!(path_report.egress.is_some(), later.egress.is_some());
        let json = serde_json::to_string(&path_report)?;
        prop_assert_eq!(serde_json::from_str::<PathReport>(&json)?, path_report);
    }

    /// Two readings of the same moment: nothing can be lost in no time.
    #[test]
    fn a_reading_does_not_accuse_itself(reading in any_reading()) {
        let path_report = reading.until(&reading);
        for verdict in [path_report.egress, path_report.ingress].into_iter().flatten() {
            let accuses = matches!(verdict, Verdict::Bypassed | Verdict::Restarted { .. });
            prop_assert!(!accuses, "{:?}", verdict);
        }
    }
}
