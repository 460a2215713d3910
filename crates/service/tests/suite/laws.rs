//! The laws of the engine for services.

use hosttune_core::testing::laws::{self, Death, Verb};
use hosttune_core::testing::{
    Behaviour, CrashPoint, Failure, Memory, MemoryStore, Moment, Snapshot, World,
};
use hosttune_core::{Error, Host, NotRevertedReason, Session, State, Tuning};
use hosttune_service::testing::{MemoryServices, with_services};
use hosttune_service::{Services, StoppedService};
use proptest::prelude::*;

const UNITS: [&str; 3] = ["irqbalance.service", "other.service", "absent.service"];

#[derive(Debug)]
struct Machine {
    memory: Memory,
    store: MemoryStore,
}

impl Machine {
    fn of(memory: Memory) -> Self {
        Self {
            memory,
            store: MemoryStore::new(),
        }
    }

    fn new(running: [bool; 2]) -> Self {
        let units = [(UNITS[0], running[0]), (UNITS[1], running[1])];
        Self::of(with_services(Memory::new(), &units))
    }

    fn live(&self) -> Session {
        self.session(&CrashPoint::lives()).unwrap()
    }

    fn become_of(&self, state: Option<&str>) {
        MemoryServices::become_of(&self.memory, UNITS[0], state);
    }
}

impl World for Machine {
    fn fork(&self) -> Self {
        Self {
            memory: self.memory.fork(),
            store: self.store.fork(),
        }
    }

    fn session_of(&self, owner: &str, crash_point: &CrashPoint) -> Result<Session, Error> {
        let host = Host::new(self.memory.host(crash_point))
            .with_backend(Services::over(MemoryServices::new(self.memory.clone())))
            .gated(crash_point.clone());
        let session = Session::new(host, owner, self.store.of(crash_point), "boot")?;
        Ok(session.with(hosttune_service::knobs))
    }

    fn snapshot(&self) -> Snapshot {
        self.memory.snapshot()
    }

    fn store(&self) -> &MemoryStore {
        &self.store
    }
}

fn stopped(unit: usize) -> StoppedService {
    StoppedService::new(UNITS[unit]).why("a test")
}

fn world() -> impl Strategy<Value = (Machine, Vec<StoppedService>)> {
    let units = proptest::collection::vec((0..UNITS.len()).prop_map(stopped), 1..4);
    (any::<[bool; 2]>().prop_map(Machine::new), units)
}

fn deaths() -> impl Strategy<Value = Vec<Death>> {
    let moment = prop_oneof![
        Just(Moment::Before),
        Just(Moment::Within),
        Just(Moment::After)
    ];
    proptest::collection::vec((0u64..24, moment), 1..4)
}

proptest! {
    #[test]
    fn apply_verify_plan_and_revert((world, wanted) in world()) {
        for wanted in &wanted {
            laws::apply_then_verify(&world, wanted)?;
            laws::apply_then_plan(&world, wanted)?;
            laws::plan_writes_nothing(&world, wanted)?;
        }
        laws::apply_then_revert(&world, &wanted)?;
    }

    #[test]
    fn dying_anywhere((world, wanted) in world(), deaths in deaths()) {
        laws::die_anywhere(&world, &wanted, &deaths)?;
    }

    #[test]
    fn what_is_said_is_what_the_host_shows(
        (world, wanted) in world(), verb in 0..Verb::<()>::KINDS,
        (call, kind) in (0..60_u64, 0..Failure::KINDS),
    ) {
        let (tuning, applied) = wanted.split_last().unwrap();
        let failure = Failure::of_kind(call, kind);
        laws::told_as_it_is(&world, applied, &Verb::of_kind(verb, tuning.clone()), failure)?;
    }
}

#[test]
fn a_service_that_was_stopped_before_is_not_started() {
    let machine = Machine::new([false, true]);
    let before = machine.snapshot();
    let applied = stopped(0).apply(&mut machine.live()).unwrap();
    assert!(applied.changed.is_empty(), "{applied}");
    let _ = machine.live().revert().unwrap();
    assert_eq!(machine.snapshot(), before);
}

#[test]
fn one_that_another_program_has_started_since_stays_running() {
    let machine = Machine::new([true, true]);
    let applied = stopped(0).apply(&mut machine.live()).unwrap();
    assert_eq!(applied.changed.len(), 1);
    machine.become_of(Some("running"));
    let report = stopped(0).verify(&machine.live()).unwrap();
    assert!(!report.is_as_wanted(), "{report}");
    let reverted = machine.live().revert().unwrap();
    assert!(reverted.not_reverted.is_empty(), "{reverted}");
    assert!(machine.live().status().unwrap().pending.is_empty());
}

#[test]
fn one_that_cannot_be_started_again_is_said_and_stays_pending() {
    let machine = Machine::new([true, true]);
    let _ = stopped(0).apply(&mut machine.live()).unwrap();
    machine.become_of(Some("masked"));
    let reverted = machine.live().revert().unwrap();
    let [left] = reverted.not_reverted.as_slice() else {
        panic!("{reverted}");
    };
    assert!(
        matches!(left.reason, NotRevertedReason::Refused(_))
            && left.to_string().contains("is masked"),
        "{left}"
    );
    assert_eq!(machine.live().status().unwrap().pending.len(), 1);
    // Its package is removed: nothing is left to start.
    machine.become_of(None);
    let _ = machine.live().revert().unwrap();
    assert!(machine.live().status().unwrap().pending.is_empty());
}

#[test]
fn where_nothing_can_be_stopped_it_is_said() {
    let says = |machine: &Machine, unit: &str| {
        let plan = StoppedService::new(unit).plan(&machine.live()).unwrap();
        assert!(plan.steps.is_empty());
        match &plan.findings[0].state {
            State::NotApplicable { unsupported } => unsupported.why.clone(),
            other => format!("{other:?}"),
        }
    };
    let other_init = Machine::of(Memory::new().file(
        "/proc/sys/kernel/osrelease",
        "6.12.0-fake",
        Behaviour::takes_all(),
    ));
    assert_eq!(
        says(&other_init, UNITS[0]),
        "the init of this host is not systemd"
    );
    let machine = Machine::new([true, true]);
    assert_eq!(says(&machine, UNITS[2]), "there is no unit absent.service");
    for name in [
        "",
        "irqbalance",
        "-x.service",
        ".service",
        "a b.service",
        "x.socket",
    ] {
        let said = says(&machine, name);
        assert!(
            said.contains("is not the name of a service"),
            "{name}: {said}"
        );
    }
}
