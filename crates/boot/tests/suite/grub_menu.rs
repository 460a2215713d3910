//! The generated menu of GRUB: the laws of the engine with a fake of `grub-mkconfig` that works, fails and
//! lies, and what becomes of a menu that others generate meanwhile.

use hosttune_boot::boot_loader::{BootParameters, BootSetting, Generators, leftovers};
use hosttune_boot::command_line::CommandLineSetting;
use hosttune_boot::testing::{GeneratorBehaviour, MemoryGrubMkconfig};
use hosttune_core::host::FileContent;
use hosttune_core::testing::laws::{self, Act, Death, Fault, Verb};
use hosttune_core::testing::{CrashPoint, Failure, Memory, MemoryStore, Moment, Snapshot, World};
use hosttune_core::{Error, Host, NotRevertedReason, Session, State, Tuning};
use hosttune_test_machine::cases;
use proptest::prelude::*;

pub(crate) const MENU: &str = "/boot/grub/grub.cfg";
pub(crate) const OURS: &str = "/etc/default/grub.d/zz-hosttune-laws.cfg";
const LINE: &str = "BOOT_IMAGE=/vmlinuz root=UUID=1 ro quiet";

#[derive(Debug, Clone)]
pub(crate) struct Debian {
    pub(crate) memory: Memory,
    pub(crate) store: MemoryStore,
    /// `None`: a program that does not run generators.
    behaviour: Option<GeneratorBehaviour>,
}

impl Debian {
    pub(crate) fn new(behaviour: GeneratorBehaviour) -> Self {
        let put = |memory: Memory, path: &str, text: &str| {
            memory.content(path, FileContent::new(text.as_bytes()))
        };
        let memory = Memory::new().directory("/proc/sys");
        let memory = [
            ("/proc/cmdline", LINE),
            ("/boot/vmlinuz-6.12.0-1-amd64", "MZ"),
            ("/boot/vmlinuz-6.1.0-56-amd64", "MZ"),
            (
                "/etc/default/grub",
                "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\n",
            ),
            ("/usr/sbin/grub-mkconfig", "${sysconfdir}/default/grub.d\n"),
            (MENU, ""),
        ]
        .into_iter()
        .fold(memory, |memory, (path, text)| put(memory, path, text));
        MemoryGrubMkconfig::update_grub(&memory);
        Self {
            memory: memory.mode(MENU, 0o444),
            store: MemoryStore::new(),
            behaviour: Some(behaviour),
        }
    }

    /// With a menu that lacks the last kernel, because nothing has generated it since.
    fn stale(self) -> Self {
        let text = self.memory.get(MENU).unwrap();
        let kept: Vec<&str> = text
            .split_inclusive('}')
            .filter(|entry| !entry.contains("6.12.0-1"))
            .collect();
        let header = text.split("menuentry").next().unwrap();
        let text = match kept.concat().starts_with('#') {
            true => kept.concat(),
            false => format!("{header}{}", kept.concat().trim_start()),
        };
        self.memory.change(|tree| tree.set(MENU, &text));
        self
    }

    fn with(&self, behaviour: Option<GeneratorBehaviour>) -> Self {
        Self {
            behaviour,
            ..self.clone()
        }
    }

    pub(crate) fn live(&self) -> Session {
        self.session(&CrashPoint::lives()).unwrap()
    }

    fn menu(&self) -> String {
        self.memory.get(MENU).unwrap()
    }

    fn install_kernel(&self) {
        self.memory
            .change(|tree| tree.set("/boot/vmlinuz-6.12.0-2-amd64", "MZ"));
        MemoryGrubMkconfig::update_grub(&self.memory);
    }
}

impl World for Debian {
    fn fork(&self) -> Self {
        Self {
            memory: self.memory.fork(),
            store: self.store.fork(),
            behaviour: self.behaviour,
        }
    }

    fn session_of(&self, owner: &str, crash_point: &CrashPoint) -> Result<Session, Error> {
        let host = Host::new(self.memory.host(crash_point)).gated(crash_point.clone());
        let host = match self.behaviour {
            Some(behaviour) => host.with_backend(Generators::over(MemoryGrubMkconfig::new(
                self.memory.clone(),
                behaviour,
            ))),
            None => host,
        };
        let session = Session::new(host, owner, self.store.of(crash_point), "boot")?;
        Ok(session.with(hosttune_boot::knobs))
    }

    fn snapshot(&self) -> Snapshot {
        self.memory.snapshot()
    }

    fn store(&self) -> &MemoryStore {
        &self.store
    }
}

fn equals(name: &str, value: &str) -> CommandLineSetting {
    CommandLineSetting::equals(name, value)
}

fn parameters(settings: impl IntoIterator<Item = CommandLineSetting>) -> BootParameters {
    named("laws", settings)
}

fn named(name: &str, settings: impl IntoIterator<Item = CommandLineSetting>) -> BootParameters {
    let settings = settings.into_iter().map(BootSetting::new);
    BootParameters::new(name, settings).generate(true)
}

pub(crate) fn watchdog() -> BootParameters {
    parameters([equals("nmi_watchdog", "0")])
}

#[test]
fn the_menu_gets_the_parameters_and_a_revert_gives_it_its_bytes() {
    let host = Debian::new(GeneratorBehaviour::Works);
    let before = host.snapshot();
    let plan = watchdog().plan(&host.live()).unwrap();
    let step = plan.steps.last().unwrap();
    assert_eq!(step.knob.text, MENU);
    assert_eq!(step.to_text, "menu from grub-mkconfig with nmi_watchdog=0");
    assert!(
        !plan.notes.iter().any(|note| note.contains("update-grub")),
        "{:?}",
        plan.notes
    );
    let _ = watchdog().apply(&mut host.live()).unwrap();
    let menu = host.menu();
    assert_eq!(menu.matches("ro  quiet nmi_watchdog=0\n").count(), 2);
    assert_eq!(menu.matches("ro single \n").count(), 2);
    assert!(
        menu.contains("# Generated for hosttune; the CRC-32"),
        "{menu}"
    );
    let report = watchdog().verify(&host.live()).unwrap();
    assert_eq!(report.items[1].state, State::Matches);
    assert_eq!(report.items[1].seen_text, "menu generated for hosttune");
    assert!(watchdog().plan(&host.live()).unwrap().is_empty());
    // A revert by a program that runs no generators.
    let host = host.with(None);
    let reverted = host.live().revert().unwrap();
    assert!(
        reverted.is_complete() && reverted.notes.is_empty(),
        "{reverted:?}"
    );
    assert_eq!(host.snapshot(), before);
}

#[test]
fn nothing_is_generated_where_the_menu_has_the_parameters_already() {
    let host = Debian::new(GeneratorBehaviour::Works);
    let only_file = BootParameters {
        is_generated: false,
        ..watchdog()
    };
    let _ = only_file.apply(&mut host.live()).unwrap();
    assert!(!host.menu().contains("nmi_watchdog"));
    let plan = watchdog().plan(&host.live()).unwrap();
    assert_eq!(plan.steps.len(), 1, "{plan:?}");
    MemoryGrubMkconfig::update_grub(&host.memory);
    let broken = host.with(Some(GeneratorBehaviour::Fails));
    assert!(watchdog().plan(&broken.live()).unwrap().is_empty());
    let _ = watchdog().apply(&mut broken.live()).unwrap();
}

#[test]
fn a_parameter_that_is_no_longer_requested_leaves_the_menu() {
    let host = Debian::new(GeneratorBehaviour::Works);
    let before = host.snapshot();
    let both = parameters([equals("nmi_watchdog", "0"), equals("skew_tick", "1")]);
    let _ = both.apply(&mut host.live()).unwrap();
    assert!(host.menu().contains("skew_tick=1"));
    let plan = watchdog().plan(&host.live()).unwrap();
    assert!(
        plan.steps[1]
            .to_text
            .ends_with("with nmi_watchdog=0 without skew_tick=1"),
        "{}",
        plan.steps[1].to_text
    );
    let _ = watchdog().apply(&mut host.live()).unwrap();
    assert!(!host.menu().contains("skew_tick") && host.menu().contains("nmi_watchdog=0"));
    let _ = parameters([]).apply(&mut host.live()).unwrap();
    assert!(!host.menu().contains("nmi_watchdog"));
    assert!(host.live().revert().unwrap().is_complete());
    assert_eq!(host.snapshot(), before);
}

/// The exit code is not believed, nor is a part of a menu written.
#[test]
fn a_generator_that_fails_or_lies_changes_nothing() {
    for (behaviour, said) in [
        (GeneratorBehaviour::Fails, "exit code 1: no device"),
        (GeneratorBehaviour::Hangs, "did not end in time"),
        (GeneratorBehaviour::PrintsNothing, "complete menu"),
        (GeneratorBehaviour::PrintsHalf, "complete menu"),
        (
            GeneratorBehaviour::ReadsNoDirectory,
            "grub-mkconfig succeeded, and in its menu the entry of /boot/vmlinuz-6.1.0-56-amd64 does not have nmi_watchdog=0",
        ),
    ] {
        let host = Debian::new(behaviour);
        let before = host.snapshot();
        let error = watchdog().apply(&mut host.live()).unwrap_err();
        let Error::RolledBack { cause } = &error else {
            panic!("{error:?}");
        };
        let told = format!("{:?}", cause.failure);
        assert!(told.contains(said), "{behaviour:?}: {told}");
        assert_eq!(cause.knob, MENU);
        assert_eq!(host.snapshot(), before, "{behaviour:?}");
        assert!(host.store.is_empty());
    }
}

/// What the other program has written stays, without the parameters that the failed apply had added.
#[test]
fn a_menu_that_is_written_meanwhile_is_not_replaced() {
    let host = Debian::new(GeneratorBehaviour::IsNotAlone);
    let error = watchdog().apply(&mut host.live()).unwrap_err();
    assert!(matches!(error, Error::RolledBack { .. }), "{error:?}");
    assert!(host.memory.get(OURS).is_none());
    assert!(!host.menu().contains("# Generated for hosttune"));
}

#[test]
fn a_menu_that_another_program_has_generated_since_keeps_its_kernel() {
    for can_generate in [true, false] {
        let host = Debian::new(GeneratorBehaviour::Works);
        let _ = watchdog().apply(&mut host.live()).unwrap();
        host.install_kernel();
        assert_eq!(host.menu().matches("nmi_watchdog=0").count(), 3);
        assert!(watchdog().plan(&host.live()).unwrap().is_empty());
        let host = match can_generate {
            true => host,
            false => host.with(None),
        };
        let reverted = host.live().revert().unwrap();
        assert!(reverted.is_complete(), "{reverted:?}");
        assert!(host.memory.get(OURS).is_none() && host.store.is_empty());
        assert!(host.menu().contains("vmlinuz-6.12.0-2-amd64"));
        assert_eq!(host.menu().contains("nmi_watchdog"), !can_generate);
        let told = reverted.notes.join(" ");
        assert_eq!(told.contains("not replaced by"), !can_generate, "{told}");
        let left = leftovers(host.live().host(), &watchdog(), []).unwrap();
        assert_eq!(left.is_empty(), can_generate, "{left:?}");
        assert_eq!(host.memory.snapshot()[MENU].split(' ').next(), Some("0444"));
    }
}

/// The revert of two applies must not pass over the kernel that was installed between them.
#[test]
fn a_kernel_that_came_between_two_applies_stays() {
    let host = Debian::new(GeneratorBehaviour::Works);
    let _ = watchdog().apply(&mut host.live()).unwrap();
    host.install_kernel();
    let more = parameters([equals("nmi_watchdog", "0"), equals("skew_tick", "1")]);
    let _ = more.apply(&mut host.live()).unwrap();
    let reverted = host.live().revert().unwrap();
    assert!(reverted.is_complete(), "{reverted:?}");
    let menu = host.menu();
    assert!(menu.contains("vmlinuz-6.12.0-2-amd64"), "{menu}");
    assert!(
        !menu.contains("skew_tick") && !menu.contains("nmi_watchdog"),
        "{menu}"
    );
}

#[test]
fn a_generator_that_fails_in_a_revert_is_told() {
    let host = Debian::new(GeneratorBehaviour::Works);
    let _ = watchdog().apply(&mut host.live()).unwrap();
    host.install_kernel();
    let host = host.with(Some(GeneratorBehaviour::Fails));
    let mut session = host.live();
    let reverted = session.revert().unwrap();
    let told = reverted.notes.join(" ");
    assert!(told.contains("exit code 1: no device"), "{told}");
    let left = leftovers(session.host(), &watchdog(), []).unwrap();
    assert!(left[0].to_string().contains("run update-grub"), "{left:?}");
    assert!(host.memory.get(OURS).is_none() && host.menu().contains("6.12.0-2"));
    let generators = session.host().backend::<Generators>().unwrap();
    assert!(generators.failure().is_some());
}

/// `update-grub` was killed after it had truncated the menu, or in the middle of it.
#[test]
fn a_menu_that_another_program_was_killed_in_goes_back() {
    for cut in ["", "half"] {
        let host = Debian::new(GeneratorBehaviour::Works);
        let before = host.snapshot();
        let _ = watchdog().apply(&mut host.live()).unwrap();
        let menu = host.menu();
        let text = if cut.is_empty() {
            ""
        } else {
            &menu[..menu.len() / 2]
        };
        host.memory.change(|tree| tree.set(MENU, text));
        assert!(host.with(None).live().revert().unwrap().is_complete());
        assert_eq!(host.snapshot(), before);
        // From an incomplete menu nothing is begun.
        host.memory.change(|tree| tree.set(MENU, text));
        let error = watchdog().plan(&host.live()).unwrap_err().to_string();
        assert!(error.contains("incomplete"), "{error}");
    }
}

#[test]
fn a_menu_of_a_persons_own_is_left() {
    let host = Debian::new(GeneratorBehaviour::Works);
    let _ = watchdog().apply(&mut host.live()).unwrap();
    host.memory
        .change(|tree| tree.set(MENU, "menuentry 'mine' {\n}"));
    let reverted = host.live().revert().unwrap();
    assert_eq!(reverted.not_reverted[0].reason, NotRevertedReason::Theirs);
    assert_eq!(host.menu(), "menuentry 'mine' {\n}");
    let error = watchdog().plan(&host.live()).unwrap_err().to_string();
    assert!(error.contains("not written by grub-mkconfig"), "{error}");
}

/// The words came into the menu by a person's update-grub; the file was reverted without the menu.
#[test]
fn a_menu_that_kept_the_parameters_of_a_reverted_file_is_told_and_generated() {
    let host = Debian::new(GeneratorBehaviour::Works);
    let before = host.snapshot();
    let _ = watchdog().generate(false).apply(&mut host.live()).unwrap();
    MemoryGrubMkconfig::update_grub(&host.memory);
    // As a later program, which requests another parameter, looks for them.
    let later = parameters([equals("skew_tick", "1")]);
    let found = |host: &Debian, parameters: &BootParameters| {
        leftovers(host.live().host(), parameters, []).unwrap()
    };
    let looked_for = later.clone().with_earlier(host.live().host()).unwrap();
    assert!(found(&host, &looked_for).is_empty());
    assert!(host.live().revert().unwrap().is_complete());
    assert!(found(&host, &later).is_empty());
    assert_eq!(found(&host, &watchdog()), found(&host, &looked_for));
    let left = found(&host, &looked_for);
    assert_eq!(left.len(), 1);
    assert_eq!(
        left[0].to_string(),
        "/boot/grub/grub.cfg still has nmi_watchdog=0: run update-grub (grub-mkconfig -o /boot/grub/grub.cfg), then reboot"
    );
    let _ = left[0].apply(&mut host.live()).unwrap();
    assert_eq!(host.snapshot(), before);
    assert!(found(&host, &looked_for).is_empty());
    // The change of the menu is not one to be reverted.
    assert!(host.with(None).live().revert().unwrap().is_complete());
    assert_eq!(host.snapshot(), before);
    assert!(host.store.is_empty());
}

#[test]
fn where_no_menu_can_be_generated_the_plan_says_why() {
    let host = Debian::new(GeneratorBehaviour::Works);
    let told = |host: &Debian| watchdog().plan(&host.live()).unwrap_err().to_string();
    let text = told(&host.with(None));
    assert!(text.contains("no backend that runs generators"), "{text}");
    let two = host.fork();
    two.memory
        .change(|tree| tree.set("/boot/grub2/grub.cfg", ""));
    assert!(told(&two).contains("two menus"), "{}", told(&two));
    let none = host.fork();
    none.memory.change(|tree| tree.remove(MENU));
    assert!(told(&none).contains("there is no /boot/grub/grub.cfg"));
    let tree = host.fork();
    tree.memory.change(|tree| tree.remove("/proc/sys"));
    assert!(told(&tree).contains("this is a tree"), "{}", told(&tree));
}

fn wanted() -> impl Strategy<Value = BootParameters> {
    let one = prop_oneof![
        Just(equals("nmi_watchdog", "0")),
        Just(equals("mitigations", "off")),
        Just(CommandLineSetting::present("skew_tick")),
        Just(CommandLineSetting::present("quiet")),
        Just(CommandLineSetting::occurs("console", "ttyS0")),
    ];
    (prop::collection::vec(one, 0..4), any::<bool>())
        .prop_map(|(settings, is_generated)| parameters(settings).generate(is_generated))
}

fn moment() -> impl Strategy<Value = Moment> {
    prop_oneof![
        Just(Moment::Before),
        Just(Moment::Within),
        Just(Moment::After)
    ]
}

fn deaths() -> impl Strategy<Value = Vec<Death>> {
    prop::collection::vec((0u64..14, moment()), 0..4)
}

fn debian() -> impl Strategy<Value = Debian> {
    any::<bool>().prop_map(|is_stale| {
        let debian = Debian::new(GeneratorBehaviour::Works);
        match is_stale {
            true => debian.stale(),
            false => debian,
        }
    })
}

proptest! {
    #![proptest_config(cases(100))]

    #[test]
    fn the_laws_hold(
        host in debian(), first in wanted(), second in wanted(), deaths in deaths(),
        change in 0u64..5, moment in moment()
    ) {
        laws::apply_then_verify(&host, &first)?;
        laws::apply_then_plan(&host, &first)?;
        laws::plan_writes_nothing(&host, &first)?;
        laws::apply_then_revert(&host, &[&first, &second])?;
        laws::die_anywhere(&host, &[&first, &second], &deaths)?;
        laws::die_then_recover(&host, &first, &second, &deaths)?;
        laws::failing_step(&host, &first, change, moment)?;
    }

    #[test]
    fn what_is_told_is_what_is_there(
        host in debian(), applied in prop::collection::vec(wanted(), 0..2), tuning in wanted(),
        verb in 0..Verb::<()>::KINDS, (call, kind) in (0..90_u64, 0..Failure::KINDS)
    ) {
        let verb = Verb::of_kind(verb, tuning);
        laws::told_as_it_is(&host, &applied, &verb, Failure::of_kind(call, kind))?;
    }

    #[test]
    fn owners_revert_in_any_order(
        host in debian(),
        acts in prop::collection::vec((0..2usize, wanted(), 0..4u8, 0u64..14, moment()), 1..5),
        is_turned in any::<bool>()
    ) {
        let acts: Vec<Act<BootParameters>> = acts
            .into_iter()
            .map(|(owner, wanted, kind, write, moment)| Act {
                owner,
                applies: (kind != 0).then(|| BootParameters {
                    name: ["one", "two"][owner].to_owned(),
                    ..wanted
                }),
                fault: (kind == 1).then_some(Fault::Dies((write, moment))),
            })
            .collect();
        // A directory that one owner has made is in use while the other has a file in it.
        let memory = host.memory.directory("/etc/default/grub.d");
        let host = Debian { memory, ..host };
        let last = if is_turned { [1, 0] } else { [0, 1] };
        laws::owners_in_any_order(&host, &acts, &last)?;
    }
}
