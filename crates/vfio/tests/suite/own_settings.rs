//! Settings of the owner that lends, on an interface and on a disk that it lends: they end with the
//! driver and are there again after the return.

use std::fmt;

use hosttune_core::testing::laws;
use hosttune_core::testing::{CrashPoint, MemoryStore, Moment, Snapshot, World};
use hosttune_core::{
    Error, Host, HostError, HostErrorKind, Knob, Planner, Reverted, Selection, Session, Tuning,
    Unsupported, UnsupportedKind,
};
use hosttune_pci::testing::Function;
use hosttune_test_machine::cases;
use hosttune_vfio::testing::Machine;
use hosttune_vfio::{Lend, Selector};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use crate::support::{at, driver};

const NIC: &str = "0000:04:00.0";
const DISK: &str = "0000:05:00.0";
const DEVICES: [&str; 2] = ["net/eth1", "block/nvme1n1"];

fn nic() -> Selector {
    at(NIC, "8086:10d3")
}

fn disk() -> Selector {
    at(DISK, "144d:a80a")
}

/// A limit of an interface or a disk. It belongs to this instance of the device.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Limit {
    class: String,
    device: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum LimitState {
    Gone,
    Value(String),
}

impl Limit {
    fn of(path: &str) -> Self {
        let (class, device) = path.split_once('/').unwrap();
        Self {
            class: class.to_owned(),
            device: device.to_owned(),
        }
    }

    fn file(&self, name: &str) -> String {
        format!("/sys/class/{}/{}/{name}", self.class, self.device)
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "limit of {}", self.device)
    }
}

impl Knob for Limit {
    const NAME: &'static str = "test-device-limit";
    type State = LimitState;

    fn read(&self, host: &Host) -> Result<LimitState, HostError> {
        match host.read_text(self.file("limit")) {
            Ok(text) => Ok(LimitState::Value(text.trim().to_owned())),
            Err(error) if *error.kind() == HostErrorKind::Missing => Ok(LimitState::Gone),
            Err(error) => Err(error),
        }
    }

    fn set(&self, host: &mut Host, to: &LimitState) -> Result<(), HostError> {
        match to {
            LimitState::Value(value) => host.write_value(self.file("limit"), value.as_bytes()),
            LimitState::Gone => unreachable!("it is never asked to vanish"),
        }
    }

    fn unsupported(&self, host: &Host, _: &LimitState) -> Result<Option<Unsupported>, HostError> {
        Ok((self.read(host)? == LimitState::Gone)
            .then(|| Unsupported::new(UnsupportedKind::Missing, "there is no such device")))
    }

    fn is_gone(&self, seen: &LimitState) -> bool {
        *seen == LimitState::Gone
    }

    fn identity(&self, host: &Host) -> Result<Option<String>, HostError> {
        match host.read_text(self.file("number")) {
            Ok(number) => Ok(Some(number.trim().to_owned())),
            Err(error) if *error.kind() == HostErrorKind::Missing => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// What one command asks for.
#[derive(Debug, Clone)]
enum Wanted {
    Limits(Vec<(&'static str, &'static str)>),
    Loan(Lend),
}

impl Tuning for Wanted {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        match self {
            Self::Limits(limits) => at.part("limits", &Limits(limits.clone())),
            Self::Loan(lend) => at.part("guest", lend),
        }
        Ok(())
    }
}

struct Limits(Vec<(&'static str, &'static str)>);

impl Tuning for Limits {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        for (device, value) in &self.0 {
            at.want(&Limit::of(device), &LimitState::Value((*value).to_owned()))
                .why("a test");
        }
        Ok(())
    }
}

/// Both, as in a profile.
struct Profile;

impl Tuning for Profile {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        at.part(
            "limits",
            &Limits(DEVICES.map(|device| (device, "7")).into()),
        );
        at.part("guest", &Lend::new([nic(), disk()]));
        Ok(())
    }
}

#[derive(Debug, Clone)]
struct Tuned(Machine);

fn world() -> Tuned {
    let nic = Function::new(NIC, "8086:10d3", "020000")
        .below(&["0000:00:01.3"])
        .group(5)
        .while_bound("e1000e", "net/eth1/limit", "1")
        .while_bound("e1000e", "net/eth1/number", "{instance}")
        .linked_while_bound("e1000e", "net/eth1", "/sys/class/net/eth1");
    let directory = "nvme/nvme1/nvme1n1";
    let disk = Function::new(DISK, "144d:a80a", "010802")
        .below(&["0000:00:01.4"])
        .group(6)
        .while_bound("nvme", &format!("{directory}/limit"), "2")
        .while_bound("nvme", &format!("{directory}/number"), "{instance}")
        .linked_while_bound("nvme", directory, "/sys/class/block/nvme1n1");
    Tuned(Machine::desktop().with(nic).with(disk))
}

impl World for Tuned {
    fn fork(&self) -> Self {
        Self(self.0.fork())
    }

    fn session_of(&self, owner: &str, crash_point: &CrashPoint) -> Result<Session, Error> {
        let session = self.0.session_of(owner, crash_point)?;
        Ok(session.with(hosttune_core::Registry::add::<Limit>))
    }

    /// Without the numbers of the instances, which no revert brings back.
    fn snapshot(&self) -> Snapshot {
        let mut snapshot = self.0.snapshot();
        snapshot.retain(|path, _| !path.ends_with("/number"));
        snapshot
    }

    fn store(&self) -> &MemoryStore {
        self.0.store()
    }
}

fn limit(world: &Tuned, device: &str) -> Option<String> {
    let host = world.0.host(&CrashPoint::lives());
    match Limit::of(device).read(&host).unwrap() {
        LimitState::Value(value) => Some(value),
        LimitState::Gone => None,
    }
}

fn limits() -> Wanted {
    Wanted::Limits(DEVICES.map(|device| (device, "7")).into())
}

fn loan() -> Wanted {
    Wanted::Loan(Lend::new([nic(), disk()]))
}

fn tuned() -> Tuned {
    let world = world();
    let mut session = world.session(&CrashPoint::lives()).unwrap();
    let _ = limits().apply(&mut session).unwrap();
    world
}

/// As `return` does it: only the part of the guest.
fn hand_back(world: &Tuned, crash_point: &CrashPoint) -> Result<Reverted, Error> {
    let mut session = world.session(crash_point).unwrap();
    session.only(Selection::only(["guest"])).revert()
}

fn revert(world: &Tuned) -> Reverted {
    world
        .session(&CrashPoint::lives())
        .unwrap()
        .revert()
        .unwrap()
}

#[test]
fn settings_end_with_the_driver_and_are_set_again() {
    let world = world();
    let original = world.snapshot();
    let mut session = world.session(&CrashPoint::lives()).unwrap();
    let _ = limits().apply(&mut session).unwrap();
    let tuned = world.snapshot();
    let plan = loan().plan(&session).unwrap();
    for device in ["eth1", "nvme1n1"] {
        let note = format!("limit of {device} ends with the driver of ");
        assert!(
            plan.notes.iter().any(|line| line.starts_with(&note)),
            "{:#?}",
            plan.notes
        );
    }
    let _ = loan().apply(&mut session).unwrap();
    assert_eq!(limit(&world, "net/eth1"), None);
    assert_eq!(driver(&world.0, DISK).as_deref(), Some("vfio-pci"));
    // While they are lent, neither tuning has anything to do.
    assert!(loan().plan(&session).unwrap().is_empty());
    assert!(limits().plan(&session).unwrap().is_empty());

    let reverted = hand_back(&world, &CrashPoint::lives()).unwrap();
    assert!(reverted.not_reverted.is_empty(), "{reverted:#?}");
    assert_eq!(world.snapshot(), tuned);
    assert!(
        limits()
            .verify(&world.session(&CrashPoint::lives()).unwrap())
            .unwrap()
            .is_as_wanted()
    );
    // A second loan, and then everything at once.
    let mut session = world.session(&CrashPoint::lives()).unwrap();
    let _ = loan().apply(&mut session).unwrap();
    let reverted = revert(&world);
    assert!(reverted.not_reverted.is_empty(), "{reverted:#?}");
    assert_eq!(world.snapshot(), original);
    assert!(world.store().is_empty());
}

#[test]
fn settings_of_the_same_command_are_set_again_too() {
    let world = world();
    let original = world.snapshot();
    let mut session = world.session(&CrashPoint::lives()).unwrap();
    let _ = Profile.apply(&mut session).unwrap();
    assert_eq!(driver(&world.0, NIC).as_deref(), Some("vfio-pci"));
    let _ = hand_back(&world, &CrashPoint::lives()).unwrap();
    assert_eq!(limit(&world, "net/eth1").as_deref(), Some("7"));
    assert_eq!(limit(&world, "block/nvme1n1").as_deref(), Some("7"));
    assert!(revert(&world).not_reverted.is_empty());
    assert_eq!(world.snapshot(), original);
}

/// The settings are not reverted before the devices: that would be lost with the return.
#[test]
fn settings_alone_are_reverted_after_the_return() {
    let world = tuned();
    let mut session = world.session(&CrashPoint::lives()).unwrap();
    let _ = loan().apply(&mut session).unwrap();
    let mut session = world.session(&CrashPoint::lives()).unwrap();
    let reverted = session.only(Selection::only(["limits"])).revert().unwrap();
    assert_eq!(reverted.not_reverted.len(), 2, "{reverted:#?}");
    let _ = hand_back(&world, &CrashPoint::lives()).unwrap();
    let mut session = world.session(&CrashPoint::lives()).unwrap();
    let reverted = session.only(Selection::only(["limits"])).revert().unwrap();
    assert!(reverted.not_reverted.is_empty(), "{reverted:#?}");
    assert_eq!(limit(&world, "net/eth1").as_deref(), Some("1"));
    assert!(world.store().is_empty());
}

/// What another process has set since belongs to it, also after a loan.
#[test]
fn what_another_process_has_set_comes_back_and_is_not_reverted() {
    let world = tuned();
    let host = &mut world.0.host(&CrashPoint::lives());
    Limit::of("net/eth1")
        .set(host, &LimitState::Value("9".to_owned()))
        .unwrap();
    let mut session = world.session(&CrashPoint::lives()).unwrap();
    let _ = loan().apply(&mut session).unwrap();
    let _ = hand_back(&world, &CrashPoint::lives()).unwrap();
    assert_eq!(limit(&world, "net/eth1").as_deref(), Some("9"));
    let reverted = revert(&world);
    assert_eq!(reverted.not_reverted.len(), 1, "{reverted:#?}");
    assert_eq!(limit(&world, "net/eth1").as_deref(), Some("9"));
    assert_eq!(limit(&world, "block/nvme1n1").as_deref(), Some("2"));
}

/// Every write of a loan and of a return, at each moment: a return makes it as it was before the
/// loan, and a revert as it was before the settings.
#[test]
fn killed_at_every_write_of_a_loan_and_of_a_return() {
    let original = world().snapshot();
    let before = tuned();
    let was = before.snapshot();
    for returning in [false, true] {
        let mut writes = 0;
        for write in 0.. {
            let mut is_over = false;
            for moment in [Moment::Before, Moment::Within, Moment::After] {
                let when = format!("write {write} {moment:?}, returning {returning}");
                let world = before.fork();
                let crash_point = CrashPoint::dies_at(write, moment);
                if returning {
                    let mut session = world.session(&CrashPoint::lives()).unwrap();
                    let _ = loan().apply(&mut session).unwrap();
                    let _ = hand_back(&world, &crash_point);
                } else {
                    let _ = loan().apply(&mut world.session(&crash_point).unwrap());
                }
                is_over = !crash_point.is_dead();
                let other = world.fork();
                let reverted = hand_back(&world, &CrashPoint::lives()).unwrap();
                assert!(reverted.not_reverted.is_empty(), "{when}: {reverted:#?}");
                assert_eq!(world.snapshot(), was, "{when}");
                let reverted = revert(&world);
                assert!(reverted.not_reverted.is_empty(), "{when}: {reverted:#?}");
                assert_eq!(world.snapshot(), original, "{when}");
                let reverted = revert(&other);
                assert!(reverted.not_reverted.is_empty(), "{when}: {reverted:#?}");
                assert_eq!(other.snapshot(), original, "{when}, all at once");
                assert!(other.store().is_empty(), "{when}");
            }
            writes = write;
            if is_over {
                break;
            }
        }
        assert!(writes > 20, "only {writes} writes");
    }
}

/// A loan that fails at any change leaves the settings as they were.
#[test]
fn a_loan_that_fails_leaves_the_settings() {
    let before = tuned();
    let was = before.snapshot();
    let mut failures = 0;
    for change in 0.. {
        let world = before.fork();
        let crash_point = CrashPoint::fails_at(change, Moment::Before);
        match loan().apply(&mut world.session(&crash_point).unwrap()) {
            Ok(_) => break,
            Err(Error::RolledBack { .. }) => {}
            Err(error) => panic!("change {change}: {error}"),
        }
        failures += 1;
        assert_eq!(world.snapshot(), was, "change {change}");
    }
    assert!(failures > 8, "only {failures} changes");
}

fn wanted() -> impl Strategy<Value = Wanted> {
    let limit = (
        prop::sample::select(DEVICES.to_vec()),
        prop::sample::select(vec!["1", "7", "8"]),
    );
    let limits = prop::collection::btree_map(
        limit.clone().prop_map(|(device, _)| device),
        limit.prop_map(|(_, value)| value),
        1..3,
    );
    prop_oneof![
        limits.prop_map(|limits| Wanted::Limits(limits.into_iter().collect())),
        prop::sample::subsequence(vec![nic(), disk()], 1..=2)
            .prop_map(|devices| Wanted::Loan(Lend::new(devices))),
    ]
}

fn moment() -> impl Strategy<Value = Moment> {
    prop_oneof![
        Just(Moment::Before),
        Just(Moment::Within),
        Just(Moment::After)
    ]
}

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn settings_and_loans_in_any_order_are_reverted(
        wanted in prop::collection::vec(wanted(), 1..5),
    ) {
        laws::apply_then_revert(&world(), &wanted)?;
    }

    #[test]
    fn settings_and_loans_killed_anywhere_are_reverted(
        wanted in prop::collection::vec(wanted(), 1..5),
        deaths in prop::collection::vec((0..60_u64, moment()), 0..4),
    ) {
        laws::die_anywhere(&world(), &wanted, &deaths)?;
    }

    #[test]
    fn a_killed_loan_leaves_the_settings(
        first in wanted(),
        second in wanted(),
        deaths in prop::collection::vec((0..60_u64, moment()), 0..4),
    ) {
        laws::die_then_recover(&world(), &first, &second, &deaths)?;
    }
}
