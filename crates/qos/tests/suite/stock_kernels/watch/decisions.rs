//! The decisions alone, for a simulated device.

use std::time::Duration;

use hosttune_qos::watch::{Action, Event, RetryPolicy, Standing, Watch, Yielded};
use proptest::prelude::*;

use crate::cases;

/// What happens to the device, now or at the next apply.
#[derive(Debug, Clone, Copy)]
enum Happens {
    /// Another device takes its place.
    Replaced,
    Pulled,
    /// What we set is removed.
    TakenAway,
    /// Another process sets its own in place of ours.
    Theirs,
    /// The other process removes its own.
    TheirsGone,
    /// A change that is irrelevant to everybody.
    Nothing,
    /// The next apply fails.
    Fails,
    /// It can or cannot be shaped from now on.
    Applicable(bool),
    /// The user applies explicitly.
    ByHand,
    Reverted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stands {
    Default,
    Ours,
    Theirs,
}

#[derive(Debug)]
struct Device {
    link: Option<u32>,
    next: u32,
    stands: Stands,
    reverted: bool,
    applicable: bool,
    fails: bool,
    /// Whether anybody else has changed this link.
    touched: bool,
}

impl Device {
    fn happens(&mut self, what: Happens) {
        let there = self.link.is_some();
        match what {
            Happens::Replaced => {
                self.link = Some(self.next);
                self.next += 1;
                self.stands = Stands::Default;
                self.touched = false;
            }
            Happens::Pulled => self.link = None,
            Happens::TakenAway if there => {
                self.stands = Stands::Default;
                self.touched = true;
            }
            Happens::Theirs if there => {
                self.stands = Stands::Theirs;
                self.touched = true;
            }
            Happens::TheirsGone if self.stands == Stands::Theirs => self.stands = Stands::Default,
            Happens::Reverted if self.stands == Stands::Ours && there => {
                self.stands = Stands::Default;
                self.reverted = true;
                self.touched = true;
            }
            Happens::ByHand if there => {
                self.stands = Stands::Ours;
                self.reverted = false;
            }
            Happens::Fails => self.fails = true,
            Happens::Applicable(applicable) => self.applicable = applicable,
            _ => {}
        }
    }

    fn standing(&self) -> Standing {
        match (self.link, self.stands) {
            (None, _) => Standing::NoDevice,
            _ if !self.applicable => Standing::NotApplicable("it cannot be".to_owned()),
            (_, Stands::Ours) => Standing::AsWanted,
            (_, Stands::Theirs) => Standing::Theirs("theirs".to_owned()),
            (_, Stands::Default) if self.reverted => Standing::Reverted,
            (_, Stands::Default) => Standing::Unsupported,
        }
    }
}

/// A watch, with a record of what it did.
struct Run {
    watch: Watch,
    device: Device,
    now: Duration,
    retry_policy: RetryPolicy,
    looks: usize,
    applied: Vec<(u32, Duration)>,
    said: Vec<(Option<u32>, Yielded)>,
}

impl Run {
    fn new(link: Option<u32>) -> Self {
        let retry_policy = RetryPolicy::default();
        Self {
            watch: Watch::new(retry_policy, None),
            device: Device {
                link,
                next: 2,
                stands: Stands::Default,
                reverted: false,
                applicable: true,
                fails: false,
                touched: false,
            },
            now: Duration::ZERO,
            retry_policy,
            looks: 0,
            applied: Vec::new(),
            said: Vec::new(),
        }
    }

    /// Runs until there is nothing to do before `until`, or nothing at all if that is `None`.
    fn go(&mut self, until: Option<Duration>) {
        self.go_on(Event::Nothing, until);
    }

    fn go_on(&mut self, mut event: Event, until: Option<Duration>) {
        for _ in 0..10_000 {
            event = match self.watch.on(event, self.now) {
                Action::Wait(Some(next)) if until.is_none_or(|until| next < until) => {
                    assert!(next > self.now, "it waits for what has passed");
                    self.now = next;
                    Event::Nothing
                }
                Action::Wait(_) => {
                    self.now = until.unwrap_or(self.now);
                    return;
                }
                Action::ReadEpoch => {
                    self.looks += 1;
                    Event::Looked(self.device.link, self.device.standing())
                }
                Action::Apply => self.apply(),
                Action::StandBack(because) => {
                    self.said.push((self.device.link, because));
                    Event::Nothing
                }
            };
        }
        panic!("it comes to no rest");
    }

    fn apply(&mut self) -> Event {
        let link = self.device.link.unwrap();
        assert_ne!(self.device.stands, Stands::Ours, "nothing has changed");
        assert!(self.device.applicable);
        assert!(
            self.device.stands != Stands::Theirs || !self.watch.has_stood(),
            "against theirs"
        );
        self.applied.push((link, self.now));
        let of_link = self.applied.iter().filter(|(of, _)| *of == link);
        let lately = of_link.filter(|(_, at)| *at + self.retry_policy.within > self.now);
        assert!(
            lately.count() <= self.retry_policy.times,
            "{:?}",
            self.applied
        );
        if std::mem::take(&mut self.device.fails) {
            return Event::Failed;
        }
        self.device.stands = Stands::Ours;
        self.device.reverted = false;
        Event::Applied
    }

    fn happens(&mut self, after: Duration, what: Happens) {
        let at = self.now + after;
        self.go(Some(at));
        self.device.happens(what);
        if !matches!(what, Happens::Fails) {
            self.go_on(Event::Changed, Some(self.now));
        }
    }
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        3 => Just(Happens::Replaced),
        1 => Just(Happens::Pulled),
        4 => Just(Happens::TakenAway),
        3 => Just(Happens::Theirs),
        2 => Just(Happens::TheirsGone),
        4 => Just(Happens::Nothing),
        2 => Just(Happens::Fails),
        1 => any::<bool>().prop_map(Happens::Applicable),
        1 => Just(Happens::ByHand),
        1 => Just(Happens::Reverted),
    ]
}

proptest! {
    #![proptest_config(cases(4_000))]

    /// An apply never comes more often than the limit allows, never without a change, and never
    /// against another process; `Run::apply` checks all three. In the end everything is as wanted,
    /// or the user was told why not.
    #[test]
    fn whatever_happens_it_comes_to_rest_as_wanted_or_with_a_reason(
        steps in prop::collection::vec((0_u64..700_000, happens()), 0..60),
        quick in any::<bool>(),
    ) {
        let mut run = Run::new(Some(1));
        for (after, what) in steps {
            // Half a day in total at most, or a device that flaps.
            let after = if quick { after / 2000 } else { after };
            run.happens(Duration::from_millis(after), what);
        }
        run.go(None);
        let device = &run.device;
        let stood_back = run.watch.stood_back();
        if device.link.is_none() {
            prop_assert_eq!(stood_back, None);
        } else if device.stands == Stands::Ours && device.applicable {
            prop_assert_eq!(stood_back, None);
        } else {
            let told = (device.link, stood_back.unwrap().clone());
            prop_assert!(run.said.contains(&told), "{told:?}");
        }
        // A new device that nobody else has changed is shaped, whatever happened before.
        if device.link.is_some_and(|link| link > 1) && !device.touched && device.applicable {
            let failing = matches!(stood_back, Some(Yielded::Failing { .. }));
            prop_assert!(device.stands == Stands::Ours || failing, "{device:?}");
        }
        // Checks cost something too: at most two for each event, and one for each apply.
        prop_assert!(run.looks <= 2 * (60 + 1) + run.applied.len(), "{}", run.looks);
    }

    /// A device that keeps flapping is checked now and then, and settles.
    #[test]
    fn it_is_looked_at_after_a_while_although_it_goes_on_changing(pause in 1_u64..299) {
        let mut run = Run::new(Some(1));
        run.go(None);
        let looks = run.looks;
        let flaps = 20_000 / pause;
        for _ in 0..flaps {
            run.happens(Duration::from_millis(pause), Happens::Nothing);
        }
        let flapped = run.now;
        run.go(None);
        let most = usize::try_from(flapped.as_millis() / run.retry_policy.at_most.as_millis()).unwrap() + 2;
        prop_assert!((2..=most).contains(&(run.looks - looks)), "{} looks", run.looks - looks);
        prop_assert_eq!(run.applied.len(), 1);
    }
}

#[test]
fn theirs_on_a_link_that_ours_never_stood_on_is_what_an_apply_replaces() {
    let mut run = Run::new(Some(1));
    run.device.stands = Stands::Theirs;
    run.go(None);
    assert_eq!(run.applied.len(), 1);
    run.happens(Duration::from_secs(5), Happens::Theirs);
    run.happens(Duration::from_secs(5), Happens::Nothing);
    run.happens(Duration::from_secs(5), Happens::TheirsGone);
    run.go(None);
    assert_eq!(run.applied.len(), 1);
    assert_eq!(run.said, [(Some(1), Yielded::Theirs("theirs".to_owned()))]);
    run.happens(Duration::from_secs(5), Happens::Replaced);
    run.go(None);
    assert_eq!(run.applied.len(), 2);
    assert_eq!(run.watch.stood_back(), None);
}

/// A watch that was restarted, for example by a service manager, knows it from the journal.
#[test]
fn what_an_apply_before_has_left_is_known() {
    let mut run = Run::new(Some(1));
    run.watch = Watch::new(run.retry_policy, Some(1));
    run.device.stands = Stands::Theirs;
    run.go(None);
    assert_eq!(run.applied, []);
    assert_eq!(run.said.len(), 1);
    let mut run = Run::new(Some(2));
    run.watch = Watch::new(run.retry_policy, Some(1));
    run.device.stands = Stands::Theirs;
    run.go(None);
    assert_eq!(run.applied.len(), 1);
}

#[test]
fn what_cannot_be_is_said_once_and_tried_when_it_can() {
    let mut run = Run::new(Some(1));
    run.device.applicable = false;
    run.go(None);
    run.happens(Duration::from_secs(1), Happens::Nothing);
    run.go(None);
    assert_eq!(run.said.len(), 1);
    run.happens(Duration::from_secs(1), Happens::Applicable(true));
    run.go(None);
    assert_eq!(run.applied.len(), 1);
    run.happens(Duration::from_secs(1), Happens::Reverted);
    run.go(None);
    assert_eq!(run.said[1].1, Yielded::Reverted);
    run.happens(Duration::from_secs(1), Happens::ByHand);
    run.go(None);
    assert_eq!(run.watch.stood_back(), None);
}

#[test]
fn what_fails_is_tried_so_often_and_not_at_once() {
    let mut run = Run::new(Some(1));
    for _ in 0..8 {
        run.device.fails = true;
        run.go(Some(run.now + Duration::from_secs(2)));
    }
    run.go(None);
    assert_eq!(run.applied.len(), run.retry_policy.times);
    assert!(matches!(run.said[0].1, Yielded::Failing { times: 5, .. }));
    let apart = run.applied.windows(2).map(|two| two[1].1 - two[0].1);
    assert!(apart.min().unwrap() >= run.retry_policy.retry);
}
