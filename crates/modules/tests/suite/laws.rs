//! The laws of the engine for modules, on fakes of modprobe and the kernel's module loader.
//!
//! `PROPTEST_CASES` overrides the number of cases.

use hosttune_core::testing::laws::{self, Death, Verb};
use hosttune_core::testing::{
    Behaviour, CrashPoint, Failure, Memory, MemoryStore, Moment, Snapshot, World,
};
use hosttune_core::{
    Error, Host, HostErrorKind, Knob, NotRevertedReason, Planner, Session, State, Tuning,
    UnsupportedKind,
};
use hosttune_modules::testing::{Beside, Described, MemoryModules, Nothing, with_modules};
use hosttune_modules::{KernelModule, ModuleLoader, ModuleState, Modules};
use hosttune_test_machine::cases;
use proptest::prelude::*;

const MODULES: [Described; 5] = [
    Described {
        name: "ifb",
        needs: &[],
        parameters: &["numifbs"],
    },
    Described::alone("base"),
    Described {
        name: "middle",
        needs: &["base"],
        parameters: &[],
    },
    Described {
        name: "top",
        needs: &["middle", "base"],
        parameters: &[],
    },
    Described {
        name: "other_top",
        needs: &["base"],
        parameters: &[],
    },
];
const BUILT_IN: [&str; 1] = ["part"];

#[derive(Debug, Clone)]
struct Machine {
    memory: Memory,
    store: MemoryStore,
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
            .with_backend(Modules::over(self.modules()))
            .gated(crash_point.clone());
        let session = Session::new(host, owner, self.store.of(crash_point), "boot")?;
        Ok(session.with(hosttune_modules::knobs))
    }

    fn snapshot(&self) -> Snapshot {
        self.memory.snapshot()
    }

    fn store(&self) -> &MemoryStore {
        &self.store
    }
}

impl Machine {
    fn new() -> Self {
        Self {
            memory: with_modules(Memory::new(), &MODULES, &BUILT_IN),
            store: MemoryStore::new(),
        }
    }

    fn modules(&self) -> MemoryModules<Nothing> {
        MemoryModules::new(self.memory.clone(), Nothing)
    }

    /// With these modules already loaded by another process.
    fn having(loaded: &[&str]) -> Self {
        let machine = Self::new();
        for module in loaded {
            machine.modules().load(module, &[]).unwrap();
        }
        machine
    }

    fn saying(line: &str) -> Self {
        let mut machine = Self::new();
        machine.memory =
            machine
                .memory
                .file("/etc/modprobe.d/local.conf", line, Behaviour::takes_all());
        machine
    }

    fn is_loaded(&self, module: &str) -> bool {
        let state = format!("/sys/module/{module}/initstate");
        self.memory.get(state).is_some()
    }
}

/// Requests modules with their dependencies.
#[derive(Debug, Clone)]
struct Wanted(Vec<KernelModule>);

impl Wanted {
    fn named(names: &[&str]) -> Self {
        Self(names.iter().map(KernelModule::new).collect())
    }
}

impl Tuning for Wanted {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        for module in &self.0 {
            for module in module.with_dependencies(at.host())? {
                at.want(&module, &ModuleState::Loaded).why("wanted");
            }
        }
        Ok(())
    }
}

/// The same, but all required, so that nothing is loaded if one of them cannot be read. A dependency without
/// a step of its own would be loaded along with another module and would stay loaded.
#[derive(Debug, Clone)]
struct Required(Wanted);

impl Tuning for Required {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        for module in &self.0.0 {
            for module in module.with_dependencies(at.host())? {
                at.want(&module, &ModuleState::Loaded).required();
            }
        }
        Ok(())
    }
}

const NAMES: [&str; 6] = ["ifb", "base", "middle", "top", "other_top", "part"];

fn names(most: usize) -> impl Strategy<Value = Vec<&'static str>> {
    prop::collection::vec(prop::sample::select(NAMES.to_vec()), 0..most)
}

fn wanted() -> impl Strategy<Value = Wanted> {
    names(4).prop_map(|names| Wanted::named(&names))
}

fn moment() -> impl Strategy<Value = Moment> {
    prop::sample::select(vec![Moment::Before, Moment::Within, Moment::After])
}

fn deaths() -> impl Strategy<Value = Vec<Death>> {
    prop::collection::vec((0..20_u64, moment()), 0..6)
}

proptest! {
    #![proptest_config(cases(1_000))]

    #[test]
    fn apply_then_verify_matches(loaded in names(3), wanted in wanted()) {
        laws::apply_then_verify(&Machine::having(&loaded), &wanted)?;
    }

    #[test]
    fn apply_then_plan_is_empty(loaded in names(3), wanted in wanted()) {
        laws::apply_then_plan(&Machine::having(&loaded), &wanted)?;
    }

    #[test]
    fn apply_then_revert_is_as_it_was(
        loaded in names(3), wanted in prop::collection::vec(wanted(), 1..4),
    ) {
        laws::apply_then_revert(&Machine::having(&loaded), &wanted)?;
    }

    #[test]
    fn plan_writes_nothing(loaded in names(3), wanted in wanted()) {
        laws::plan_writes_nothing(&Machine::having(&loaded), &wanted)?;
    }

    #[test]
    fn what_is_offered_is_applied(loaded in names(3), wanted in wanted()) {
        laws::what_is_offered_is_applied(&Machine::having(&loaded), &wanted)?;
    }

    #[test]
    fn a_failing_step_leaves_the_host_as_it_was(
        loaded in names(3), wanted in wanted(), change in 0..6_u64, moment in moment(),
    ) {
        laws::failing_step(&Machine::having(&loaded), &wanted, change, moment)?;
    }

    #[test]
    fn no_input_panics(name in "[a-z_./-]{0,60}|\\PC{0,8}", parameter in "\\PC{0,12}") {
        let machine = Machine::new();
        let was = machine.snapshot();
        let wanted = Wanted(vec![KernelModule::new(name).parameter(parameter)]);
        let mut session = machine.session(&CrashPoint::lives())?;
        let _ = wanted.apply(&mut session);
        assert!(wanted.revert(&mut session)?.is_complete());
        prop_assert_eq!(machine.snapshot(), was);
    }
}

proptest! {
    #![proptest_config(cases(5_000))]

    #[test]
    fn die_anywhere(
        loaded in names(3), wanted in prop::collection::vec(wanted(), 1..4), deaths in deaths(),
    ) {
        laws::die_anywhere(&Machine::having(&loaded), &wanted, &deaths)?;
    }

    #[test]
    fn die_then_recover(
        loaded in names(3), finished in wanted(), dying in wanted(), deaths in deaths(),
    ) {
        laws::die_then_recover(&Machine::having(&loaded), &finished, &dying, &deaths)?;
    }
}

#[test]
fn on_an_empty_host_nothing_is_planned() {
    let machine = Machine {
        memory: Memory::new(),
        store: MemoryStore::new(),
    };
    laws::nothing_on_an_empty_host(&machine, &Wanted::named(&NAMES)).unwrap();
}

/// The dependencies are loaded before the module, each in a step of its own, and unloaded after it.
#[test]
fn what_is_needed_is_a_step_of_its_own() {
    let machine = Machine::new();
    let wanted = Wanted::named(&["top"]);
    let mut session = machine.session(&CrashPoint::lives()).unwrap();
    let plan = wanted.plan(&session).unwrap();
    let steps: Vec<_> = plan.steps.iter().map(|step| &step.knob.text).collect();
    assert_eq!(steps, ["module base", "module middle", "module top"]);
    let _ = wanted.apply(&mut session).unwrap();
    let reverted = wanted.revert(&mut session).unwrap();
    assert_eq!(reverted.undone.len(), 3);
    assert!(!machine.is_loaded("base"));
}

/// Another process loads a module that depends on one of ours. Ours stays, which is reported and is no
/// failure. Once the other module is unloaded, the next revert unloads ours.
#[test]
fn what_somebody_uses_by_then_stays_until_they_do_not() {
    let machine = Machine::new();
    let was = machine.snapshot();
    let wanted = Wanted::named(&["top"]);
    let mut session = machine.session(&CrashPoint::lives()).unwrap();
    let _ = wanted.apply(&mut session).unwrap();
    machine.modules().load("other_top", &[]).unwrap();

    let reverted = wanted.revert(&mut session).unwrap();
    assert_eq!(reverted.undone.len(), 2, "{reverted:#?}");
    assert_eq!(reverted.not_reverted.len(), 1, "{reverted:#?}");
    let left = &reverted.not_reverted[0];
    assert_eq!(left.knob.text, "module base");
    assert!(matches!(left.reason, NotRevertedReason::InUse(_)), "{left}");
    assert!(left.to_string().contains("it is in use"), "{left}");
    assert!(reverted.is_complete(), "what somebody uses is no failure");
    assert!(machine.is_loaded("base") && machine.is_loaded("other_top"));
    let status = session.status().unwrap();
    assert_eq!(status.pending.len(), 1);
    assert!(status.pending[0].is_ours);

    machine.modules().unload("other_top").unwrap();
    let reverted = wanted.revert(&mut session).unwrap();
    assert!(reverted.not_reverted.is_empty(), "{reverted:#?}");
    assert_eq!(machine.snapshot(), was);
    assert!(machine.store().is_empty());
}

/// The rest of a kernel in which another process has created an interface.
#[derive(Debug)]
struct Linked;

impl Beside for Linked {
    fn links(&self, kind: &str) -> Vec<String> {
        vec![format!("a-{kind}")]
    }
}

/// The kernel does not count the interfaces of a module, and would remove them when it is unloaded.
#[test]
fn links_keep_the_module_that_brought_them() {
    let machine = Machine::new();
    let wanted = Wanted::named(&["ifb"]);
    let mut session = machine.session(&CrashPoint::lives()).unwrap();
    let _ = wanted.apply(&mut session).unwrap();
    let linked = MemoryModules::new(machine.memory.clone(), Linked);
    let mut session = session.with_backend(Modules::over(linked));
    let reverted = wanted.revert(&mut session).unwrap();
    assert_eq!(reverted.not_reverted.len(), 1, "{reverted:#?}");
    assert!(reverted.not_reverted[0].to_string().contains("a-ifb"));
    assert!(reverted.is_complete());
    assert!(machine.is_loaded("ifb"));
}

/// The error and its sources, as printed.
fn chain(error: &Error) -> String {
    let mut said = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        said = format!("{said}: {cause}");
        source = cause.source();
    }
    said
}

#[track_caller]
fn refused(machine: &Machine, wanted: &Wanted) -> Error {
    let was = machine.snapshot();
    let mut session = machine.session(&CrashPoint::lives()).unwrap();
    let error = wanted.apply(&mut session).unwrap_err();
    assert_eq!(machine.snapshot(), was);
    assert!(machine.store().is_empty());
    assert!(error.hint().is_some(), "{error:?}");
    error
}

#[test]
fn what_modprobe_does_not_load_is_an_error_that_says_why() {
    let ifb = KernelModule::new("ifb");
    let with = |parameter| Wanted(vec![ifb.clone().parameter(parameter)]);
    let machine = Machine::saying("install ifb /bin/false");
    let error = refused(&machine, &Wanted::named(&["base", "ifb"]));
    assert!(chain(&error).contains("/bin/false"), "{}", chain(&error));

    let error = refused(&Machine::new(), &with("numifbs=many"));
    assert!(
        chain(&error).contains("Invalid argument"),
        "{}",
        chain(&error)
    );

    // A parameter that the module does not have is ignored, as by the kernel.
    let machine = Machine::new();
    let mut session = machine.session(&CrashPoint::lives()).unwrap();
    let _ = with("nonesuch=1").apply(&mut session).unwrap();
    assert!(machine.is_loaded("ifb"));
}

/// modprobe reports success and loads nothing. That is an error if the module is required, and a finding if
/// not.
#[test]
fn what_is_blacklisted_is_not_loaded() {
    for line in ["blacklist ifb", "install ifb /bin/true"] {
        let machine = Machine::saying(line);
        let was = machine.snapshot();
        let mut session = machine.session(&CrashPoint::lives()).unwrap();
        let applied = Wanted::named(&["ifb"]).apply(&mut session).unwrap();
        let State::NotApplicable { unsupported } = &applied.findings[0].state else {
            panic!("{line}: {applied:#?}");
        };
        assert_eq!(unsupported.kind, UnsupportedKind::Managed);
        assert_eq!(unsupported.module.as_deref(), Some("ifb"));
        assert!(unsupported.hint.as_deref().unwrap().contains("modprobe"));
        assert_eq!(machine.snapshot(), was);
    }
}

#[test]
fn what_cannot_be_loaded_is_said_before_anything_is_changed() {
    let lack_of = |machine: &Machine, module: &str, to| {
        let host = Host::new(machine.memory.host(&CrashPoint::lives()))
            .with_backend(Modules::over(machine.modules()));
        KernelModule::new(module).unsupported(&host, &to).unwrap()
    };
    let machine = Machine::new();
    let nowhere = lack_of(&machine, "nowhere", ModuleState::Loaded).unwrap();
    assert_eq!(nowhere.kind, UnsupportedKind::ValueUnavailable);
    assert_eq!(nowhere.module.as_deref(), Some("nowhere"));
    assert!(lack_of(&machine, "ifb", ModuleState::Loaded).is_none());
    // A module that another process has loaded cannot be restored: its parameters are not known.
    let loaded = Machine::having(&["ifb"]);
    let unload = lack_of(&loaded, "ifb", ModuleState::Absent).unwrap();
    assert_eq!(unload.kind, UnsupportedKind::OneWay);
    let part = lack_of(&machine, "part", ModuleState::Absent).unwrap();
    assert_eq!(part.kind, UnsupportedKind::ReadOnly);
    machine
        .memory
        .write("/proc/sys/kernel/modules_disabled", "1")
        .unwrap();
    let disabled = lack_of(&machine, "ifb", ModuleState::Loaded).unwrap();
    assert_eq!(disabled.kind, UnsupportedKind::ReadOnly);
    assert!(disabled.why.contains("modules_disabled"), "{disabled}");

    let host = Host::new(machine.memory.host(&CrashPoint::lives()));
    let unsupported = KernelModule::new("ifb").unsupported(&host, &ModuleState::Loaded);
    assert_eq!(
        unsupported.unwrap().unwrap().kind,
        UnsupportedKind::NoBackend
    );
}

/// Like the kernel, the fake does not unload a module that another one needs.
#[test]
fn the_fake_keeps_what_is_needed() {
    let machine = Machine::having(&["top"]);
    let error = machine.modules().unload("base").unwrap_err();
    assert_eq!(*error.kind(), HostErrorKind::Busy);
    for module in ["top", "middle", "base"] {
        machine.modules().unload(module).unwrap();
    }
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn what_is_said_is_what_the_host_shows(
        loaded in names(3),
        applied in prop::collection::vec(wanted().prop_map(Required), 0..3),
        tuning in wanted().prop_map(Required),
        verb in 0..Verb::<()>::KINDS, (call, kind) in (0..100_u64, 0..Failure::KINDS),
    ) {
        let verb = Verb::of_kind(verb, tuning);
        let failure = Failure::of_kind(call, kind);
        laws::told_as_it_is(&Machine::having(&loaded), &applied, &verb, failure)?;
    }
}
