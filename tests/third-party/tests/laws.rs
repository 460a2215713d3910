//! The laws on a machine with a fake bus, whose controller is no kinder than hardware.

use std::sync::{Arc, Mutex};

use hosttune_core::testing::{CrashPoint, Memory, MemoryStore, Moment, Snapshot, World, laws};
use hosttune_core::{Error, Host, HostError, Operation, Session, Tuning};
use hosttune_fan::{Bus, Quiet, knobs};
use proptest::prelude::*;

type Speeds = Arc<Mutex<[u8; 3]>>;

struct Case(Speeds, MemoryStore);

fn set(speeds: &Speeds, channel: u8, percent: u8) -> Result<(), HostError> {
    let mut speeds = speeds.lock().unwrap();
    match (percent - percent % 5, channel) {
        // The controller refuses to stop a fan, with EINVAL.
        (0, _) => return Err(HostError::from_errno(Operation::Backend, "the bus", 22)),
        (to, 0) if to != speeds[0] => (speeds[0], speeds[1]) = (to, 100),
        (to, _) => speeds[usize::from(channel)] = to,
    }
    Ok(())
}

impl World for Case {
    fn fork(&self) -> Self {
        let speeds = *self.0.lock().unwrap();
        Self(Arc::new(Mutex::new(speeds)), self.1.fork())
    }
    fn session_of(&self, owner: &str, crash_point: &CrashPoint) -> Result<Session, Error> {
        let (reading, setting) = (self.0.clone(), self.0.clone());
        let bus = Bus {
            get: Box::new(move |channel| Ok(reading.lock().unwrap()[usize::from(channel)])),
            set: Box::new(move |channel, percent| set(&setting, channel, percent)),
        };
        let host = Host::new(Memory::new().host(crash_point)).with_backend(bus);
        let store = self.1.of(crash_point);
        Ok(Session::new(host.gated(crash_point.clone()), owner, store, "boot")?.with(knobs))
    }
    fn snapshot(&self) -> Snapshot {
        let speeds = *self.0.lock().unwrap();
        let line = |fan: usize| (format!("fan {fan}"), speeds[fan].to_string());
        (0..3).map(line).collect()
    }
    fn store(&self) -> &MemoryStore {
        &self.1
    }
}

fn case() -> Case {
    Case(Arc::new(Mutex::new([40, 35, 60])), MemoryStore::new())
}

fn quiet(slowest: u8) -> impl Strategy<Value = Quiet> {
    let channels = prop::collection::btree_map(0..3_u8, slowest..=100, 0..4);
    let listed = channels.prop_map(|map| map.into_iter().collect());
    listed.prop_shuffle().prop_map(Quiet)
}

fn moment() -> impl Strategy<Value = Moment> {
    prop::sample::select(vec![Moment::Before, Moment::Within, Moment::After])
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4_000) })]

    #[test]
    fn what_is_applied_shows_is_all_and_goes_back(wants in quiet(5)) {
        laws::plan_writes_nothing(&case(), &wants)?;
        laws::what_is_offered_is_applied(&case(), &wants)?;
        laws::apply_then_verify(&case(), &wants)?;
        laws::apply_then_plan(&case(), &wants)?;
        laws::apply_then_revert(&case(), &[wants])?;
    }

    #[test]
    fn dying_anywhere_goes_back(
        wants in prop::collection::vec(quiet(5), 1..4),
        deaths in prop::collection::vec((0..20_u64, moment()), 0..6),
    ) {
        laws::die_anywhere(&case(), &wants, &deaths)?;
    }

    #[test]
    fn a_stranger_survives(wants in quiet(5), to in 1..20_u8) {
        for fan in 1..3 {
            laws::stranger_survives(&case(), &wants, |case| set(&case.0, fan, to * 5).unwrap())?;
        }
    }

    #[test]
    fn a_failing_step_takes_all_back(wants in quiet(5), change in 0..8_u64, moment in moment()) {
        laws::failing_step(&case(), &wants, change, moment)?;
    }

    #[test]
    fn a_refused_speed_takes_all_back(wants in quiet(0)) {
        let machine = case();
        let applied = wants.apply(&mut machine.session(&CrashPoint::lives())?);
        let refused = wants.0.iter().any(|(_, percent)| *percent < 5);
        prop_assert_eq!(applied.is_err(), refused);
        prop_assert!(!refused || machine.snapshot() == case().snapshot());
    }
}
