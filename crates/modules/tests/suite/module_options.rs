//! Options of modules in a file of our own: the laws, and each state that verify tells apart.

use hosttune_core::host::FileContent;
use hosttune_core::testing::laws::{self, Death, Verb};
use hosttune_core::testing::{CrashPoint, Failure, Machine, Memory, Moment, World};
use hosttune_core::{Error, Knob, Report, Requirement, Session, State, Tuning, When};
use hosttune_modules::testing::{Described, MemoryModules, Nothing, with_modules};
use hosttune_modules::{ModuleLoader, ModuleOption, ModuleOptions, ModuleParameter};
use proptest::prelude::*;

const KVM: Described = Described {
    name: "kvm",
    needs: &[],
    parameters: &["ignore_msrs", "halt_poll_ns"],
};
const SOUND: Described = Described {
    name: "snd_hda_intel",
    needs: &[],
    parameters: &["power_save"],
};
const FILE: &str = "/etc/modprobe.d/zz-hosttune-laws.conf";

fn memory() -> Memory {
    with_modules(Memory::new(), &[KVM, SOUND], &["part"]).directory("/etc")
}

fn machine(memory: Memory) -> Machine {
    Machine::new(memory, hosttune_modules::knobs)
}

fn with_file(memory: Memory, path: &str, text: &str) -> Memory {
    memory.content(path, FileContent::new(text))
}

fn options(options: &[(&str, &str, &str)]) -> ModuleOptions {
    let options = options.iter().map(|(module, parameter, value)| {
        ModuleOption::new(*module, *parameter, value).why("tested")
    });
    ModuleOptions::new("laws", options)
}

fn session(machine: &Machine) -> Session {
    machine.session(&CrashPoint::lives()).unwrap()
}

/// Unloads and loads a module, as a reboot does.
fn reload(machine: &Machine, module: &str) {
    let mut modules = MemoryModules::new(machine.memory().clone(), Nothing).reading_all_files();
    modules.unload(module).unwrap();
    modules.load(module, &[]).unwrap();
}

/// The state of each request, by its name.
fn states(report: &Report) -> Vec<(String, State)> {
    let states = report.items.iter();
    states
        .map(|item| (item.name.clone(), item.state.clone()))
        .collect()
}

fn verified(machine: &Machine, tuning: &ModuleOptions) -> Vec<(String, State)> {
    states(&tuning.verify(&session(machine)).unwrap())
}

const LIVE: &str = "kvm ignore_msrs of the loaded module";

#[test]
fn a_value_is_pending_until_the_module_is_reloaded() {
    let machine = machine(memory());
    reload(&machine, "kvm");
    let wanted = options(&[("kvm", "ignore_msrs", "1")]);
    let drifted = verified(&machine, &wanted);
    assert_eq!(drifted[0], (FILE.into(), State::Drifted));
    let _ = wanted.apply(&mut session(&machine)).unwrap();
    let text = machine.memory().get(FILE).unwrap();
    assert!(
        text.ends_with("\n# tested\noptions kvm ignore_msrs=1"),
        "{text}"
    );
    let pending = verified(&machine, &wanted);
    let until = When::Reload;
    assert_eq!(pending[0], (FILE.into(), State::Matches));
    assert_eq!(pending[1], (LIVE.into(), State::Pending { until }));
    reload(&machine, "kvm");
    let matches = verified(&machine, &wanted);
    assert_eq!(matches[1], (LIVE.into(), State::Matches));

    let other = options(&[("kvm", "ignore_msrs", "0")]);
    let _ = other.apply(&mut session(&machine)).unwrap();
    let until = When::Reload;
    assert_eq!(
        verified(&machine, &other)[1],
        (LIVE.into(), State::Pending { until })
    );
    // A module in use is not reloaded before the next boot.
    let used = |count: &str| {
        let memory = machine.memory();
        memory.change(|tree| tree.set("/sys/module/kvm/refcnt", count));
    };
    used("3");
    let until = When::Reboot;
    assert_eq!(
        verified(&machine, &other)[1],
        (LIVE.into(), State::Pending { until })
    );
    used("0");
    assert!(session(&machine).revert().unwrap().is_complete());
    assert_eq!(machine.memory().get(FILE), None);
    machine
        .memory()
        .change(|tree| tree.remove("/sys/module/kvm/refcnt"));
    reload(&machine, "kvm");
    let shown = machine
        .memory()
        .get("/sys/module/kvm/parameters/ignore_msrs");
    assert_eq!(shown.as_deref(), Some("0"));
}

/// A parameter with permission 0 has no file, and one with 0400 is only readable by root.
#[test]
fn a_value_that_is_not_shown_is_unknown_and_neither_set_nor_unset() {
    const SHOWN: &str = "/sys/module/kvm/parameters/ignore_msrs";
    for hide in [
        |memory: Memory| memory.mode(SHOWN, 0),
        |memory: Memory| {
            memory.change(|tree| tree.remove(SHOWN));
            memory
        },
    ] {
        let machine = machine(memory());
        let wanted = options(&[("kvm", "ignore_msrs", "1")]);
        let _ = wanted.apply(&mut session(&machine)).unwrap();
        reload(&machine, "kvm");
        hide(machine.memory().clone());
        let states = verified(&machine, &wanted);
        assert!(
            matches!(states[1].1, State::Unverifiable { .. }),
            "{states:?}"
        );
    }
}

#[test]
fn a_module_that_is_not_loaded_is_pending() {
    let machine = machine(memory());
    let wanted = options(&[("kvm", "ignore_msrs", "1")]);
    let _ = wanted.apply(&mut session(&machine)).unwrap();
    let report = wanted.verify(&session(&machine)).unwrap();
    assert_eq!(report.items[1].seen_text, "not loaded");
    assert!(matches!(report.items[1].state, State::Pending { .. }));
}

#[test]
fn what_wins_is_named_with_its_line() {
    for (path, text, by) in [
        (
            "/usr/lib/modprobe.d/zzz.conf",
            "\noptions kvm ignore-msrs=0\n",
            "kvm ignore-msrs=0 in /usr/lib/modprobe.d/zzz.conf:2",
        ),
        (
            "/proc/cmdline",
            "quiet kvm.ignore_msrs=N\n",
            "kvm ignore_msrs=N in the kernel command line",
        ),
    ] {
        let machine = machine(with_file(memory(), path, text));
        let wanted = options(&[("kvm", "ignore_msrs", "1")]);
        let _ = wanted.apply(&mut session(&machine)).unwrap();
        reload(&machine, "snd_hda_intel");
        let report = wanted.verify(&session(&machine)).unwrap();
        assert_eq!(
            states(&report),
            [(FILE.into(), State::Overridden { by: by.into() })]
        );
        assert!(!report.is_as_wanted());
        assert!(
            report.notes.contains(&format!("overridden by {by}")),
            "{:?}",
            report.notes
        );
    }
    // The quote takes our option into its value, whatever order the files have.
    for text in [
        "options kvm halt_poll_ns=\"1\n",
        "options kvm halt_poll_ns=\"1 x\noptions kvm a=\"b\n",
    ] {
        let machine = machine(with_file(memory(), "/etc/modprobe.d/a.conf", text));
        let wanted = options(&[("kvm", "ignore_msrs", "1"), ("kvm", "halt_poll_ns", "5")]);
        let closed = text.matches('"').count() == 2;
        let _ = wanted.apply(&mut session(&machine)).unwrap();
        let report = wanted.verify(&session(&machine)).unwrap();
        let by = "kvm halt_poll_ns in /etc/modprobe.d/a.conf:1: a quote that is not closed takes the options of later files into its value";
        let is_overridden =
            matches!(&report.items[0].state, State::Overridden { by: seen } if seen.contains(by));
        assert_eq!(is_overridden, !closed, "{report:#?}");
    }
    // The same value, an earlier file, and another module's option override nothing.
    for (path, text) in [
        (
            "/usr/lib/modprobe.d/zzz.conf",
            "options kvm ignore_msrs=Y\n",
        ),
        (
            "/usr/lib/modprobe.d/nvidia.conf",
            "options kvm ignore_msrs=0\n",
        ),
        (
            "/usr/lib/modprobe.d/zzz.conf",
            "options kvm_amd ignore_msrs=0\n",
        ),
    ] {
        let machine = machine(with_file(memory(), path, text));
        let wanted = options(&[("kvm", "ignore_msrs", "1")]);
        let _ = wanted.apply(&mut session(&machine)).unwrap();
        assert_eq!(verified(&machine, &wanted)[0].1, State::Matches, "{text}");
    }
}

#[test]
fn an_option_that_cannot_act_is_not_written() {
    let machine = machine(memory());
    for (module, hint) in [("part", "part.x=1"), ("nowhere", "has nowhere")] {
        let wanted = options(&[(module, "x", "1"), ("kvm", "ignore_msrs", "1")]);
        let plan = wanted.plan(&session(&machine)).unwrap();
        assert_eq!(plan.findings[0].name, format!("{module} x=1"));
        let said = plan.findings[0].hint().unwrap();
        assert!(said.contains(hint), "{said}");
        let _ = wanted.apply(&mut session(&machine)).unwrap();
        assert!(!machine.memory().get(FILE).unwrap().contains(module));
        assert!(session(&machine).revert().unwrap().is_complete());
    }
    let mut required = options(&[("part", "x", "1")]);
    required.options[0].requirement = Requirement::Required;
    let error = required.plan(&session(&machine)).unwrap_err();
    assert!(matches!(error, Error::NotApplicable(_)), "{error}");
}

#[test]
fn without_options_the_file_of_an_earlier_set_is_removed() {
    let old = "options kvm ignore_msrs=1\n";
    let machine = machine(with_file(memory(), FILE, old));
    let _ = options(&[]).apply(&mut session(&machine)).unwrap();
    assert_eq!(machine.memory().get(FILE), None);
    assert!(session(&machine).revert().unwrap().is_complete());
    assert_eq!(machine.memory().get(FILE).unwrap(), old.trim_end());
}

#[test]
fn what_cannot_be_written_is_an_error_that_names_it() {
    let machine = machine(memory());
    for (name, wanted, part) in [
        ("laws", ("kvm", "ignore_msrs", "1\n2"), "ignore_msrs"),
        ("laws", ("kvm", "ignore_msrs", "\"1\""), "quotes"),
        ("La/ws", ("kvm", "ignore_msrs", "1"), "La/ws"),
        ("", ("kvm", "ignore_msrs", "1"), "modprobe.d file"),
    ] {
        let mut wanted = options(&[wanted]);
        wanted.name = name.into();
        let error = wanted.plan(&session(&machine)).unwrap_err();
        assert!(matches!(error, Error::Tuning { .. }), "{error}");
        assert!(error.to_string().contains(part), "{error}");
        assert!(error.hint().is_some());
    }
    let twice = options(&[("kvm", "ignore_msrs", "1"), ("kvm", "ignore-msrs", "0")]);
    let error = twice.plan(&session(&machine)).unwrap_err().to_string();
    assert_eq!(error, "kvm ignore-msrs is requested as 1 and as 0");
}

#[test]
fn install_lines_and_the_initramfs_are_noted() {
    let memory = with_file(
        memory().directory("/etc/initramfs-tools"),
        "/etc/modprobe.d/a.conf",
        "install kvm* /bin/false\n",
    );
    let machine = machine(memory);
    let plan = options(&[("kvm", "ignore_msrs", "1")])
        .plan(&session(&machine))
        .unwrap();
    let notes = plan.notes.join("\n");
    assert!(
        notes.contains("/etc/modprobe.d/a.conf:1 runs '/bin/false'"),
        "{notes}"
    );
    assert!(notes.contains("update-initramfs -u -k all"), "{notes}");
}

/// Debian's `nvidia` is no module: an install line loads another one with its options.
#[test]
fn a_name_whose_options_a_command_passes_on_takes_options() {
    let wanted = options(&[("gpu", "quality", "1")]);
    let planned = |line: &str| {
        let memory = with_file(memory(), "/etc/modprobe.d/a.conf", line);
        wanted.plan(&session(&machine(memory))).unwrap()
    };
    let plan = planned("install gpu modprobe -i kvm $CMDLINE_OPTS\n");
    assert_eq!(plan.steps.len(), 1, "{plan:?}");
    let notes = plan.notes.join("\n");
    assert!(!notes.contains("instead of loading"), "{notes}");
    for line in [
        "install gpu modprobe -i kvm\n",
        "install gpu modprobe -i nowhere $CMDLINE_OPTS\n",
        "\n",
    ] {
        let plan = planned(line);
        assert_eq!(plan.steps.len(), 0, "{line}: {plan:?}");
        let said = plan.findings[0].to_string();
        assert!(said.contains("the module gpu is not available"), "{said}");
    }
}

#[test]
fn in_an_image_only_the_file_is_planned() {
    let image = machine(Memory::new().directory("/etc"));
    let wanted = options(&[("kvm", "ignore_msrs", "1")]);
    let _ = wanted.apply(&mut session(&image)).unwrap();
    assert_eq!(verified(&image, &wanted), [(FILE.into(), State::Matches)]);
    laws::nothing_on_an_empty_host(&image, &wanted).unwrap();
}

#[test]
fn a_parameter_cannot_be_set() {
    let machine = machine(memory());
    reload(&machine, "kvm");
    let mut host = hosttune_core::Host::new(machine.memory().host(&CrashPoint::lives()));
    let knob = ModuleParameter::new("kvm", "ignore_msrs");
    let to = hosttune_modules::ParameterState::Value("1".into());
    let error = knob.set(&mut host, &to).unwrap_err();
    assert!(error.to_string().contains("when it is loaded"), "{error}");
    // Names that would lead out of the directory are refused.
    let error = ModuleParameter::new("..", "x").read(&host).unwrap_err();
    assert!(error.to_string().contains("not the name"), "{error}");
}

fn wanted() -> impl Strategy<Value = ModuleOptions> {
    let one = prop_oneof![
        (Just("kvm"), Just("ignore_msrs"), 0..3u32),
        (Just("kvm"), Just("halt_poll_ns"), 0..3u32),
        (Just("snd-hda-intel"), Just("power_save"), 0..3u32),
        (Just("part"), Just("x"), 0..3u32),
    ];
    prop::collection::vec(one, 0..4).prop_map(|all| {
        let mut seen = std::collections::BTreeMap::new();
        for (module, parameter, value) in all {
            seen.insert((module, parameter), value);
        }
        let all = seen.into_iter();
        ModuleOptions::new(
            "laws",
            all.map(|((module, parameter), value)| ModuleOption::new(module, parameter, value)),
        )
    })
}

fn world() -> impl Strategy<Value = Machine> {
    let foreign = prop_oneof![
        Just(None),
        Just(Some("options kvm ignore_msrs=2\n")),
        Just(Some("# ours\noptions snd-hda-intel power_save=1")),
    ];
    (foreign, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(foreign, last, has, ours)| {
        let mut memory = memory();
        if has {
            memory = memory.directory("/etc/modprobe.d");
        }
        if let Some(text) = foreign {
            let name = if last { "zzz" } else { "10" };
            memory = with_file(memory, &format!("/etc/modprobe.d/{name}.conf"), text);
        }
        if ours {
            memory = with_file(memory, FILE, "# of an administrator\n");
        }
        machine(memory)
    })
}

fn deaths() -> impl Strategy<Value = Vec<Death>> {
    let moment = prop_oneof![
        Just(Moment::Before),
        Just(Moment::Within),
        Just(Moment::After)
    ];
    prop::collection::vec((0u64..14, moment), 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn the_laws_hold(world in world(), first in wanted(), second in wanted(), deaths in deaths()) {
        laws::apply_then_plan(&world, &first)?;
        laws::plan_writes_nothing(&world, &first)?;
        laws::apply_then_revert(&world, &[&first, &second])?;
        laws::die_anywhere(&world, &[&first, &second], &deaths)?;
        laws::die_then_recover(&world, &first, &second, &deaths)?;
    }

    #[test]
    fn what_is_reported_is_what_the_host_shows(
        world in world(), wanted in wanted(), call in 0u64..60, kind in 0..Failure::KINDS, verb in 0..5usize
    ) {
        let failure = Failure::of_kind(call, kind);
        let verb = match verb {
            0 => Verb::Plan(wanted.clone()),
            1 => Verb::Apply(wanted.clone()),
            2 => Verb::Verify(wanted.clone()),
            3 => Verb::Revert,
            _ => Verb::Recover,
        };
        laws::told_as_it_is(&world, &[wanted], &verb, failure)?;
    }

    #[test]
    fn a_step_that_fails_changes_nothing(world in world(), wanted in wanted(), change in 0u64..4) {
        laws::failing_step(&world, &wanted, change, Moment::Within)?;
        laws::failing_step(&world, &wanted, change, Moment::After)?;
    }

    #[test]
    fn another_process_keeps_what_it_wrote(world in world(), wanted in wanted(), ours in any::<bool>()) {
        let _ = world.memory().clone().directory("/etc/modprobe.d");
        let path = if ours { FILE } else { "/etc/modprobe.d/other.conf" };
        laws::stranger_survives(&world, &wanted, |world| {
            let text = FileContent::new("options kvm ignore_msrs=7\n");
            let _ = world.memory().clone().content(path, text);
        })?;
    }
}

/// NixOS makes the files from its configuration. The tree is a reconstruction.
#[test]
fn on_nixos_the_plan_has_the_text_of_the_configuration() {
    const NEXT: &str = "/nix/var/nix/profiles/system/etc/modprobe.d/nixos.conf";
    let machine = machine(with_file(memory(), "/etc/NIXOS", ""));
    reload(&machine, "kvm");
    let before = machine.memory().snapshot();
    let wanted = options(&[
        ("kvm", "ignore_msrs", "1"),
        ("snd_hda_intel", "power_save", "0"),
        ("part", "a", "1"),
    ]);
    let plan = wanted.plan(&session(&machine)).unwrap();
    assert!(plan.steps.is_empty());
    let applied = wanted.apply(&mut session(&machine));
    assert!(applied.is_ok(), "{applied:?}");
    assert_eq!(machine.memory().snapshot(), before);
    let hints: Vec<String> = plan
        .findings
        .iter()
        .filter_map(hosttune_core::Finding::hint)
        .collect();
    let option = |text: &str| {
        let hints = hints.iter().filter(|hint| hint.contains(text));
        hints.count()
    };
    assert_eq!(
        option(
            r#"add boot.extraModprobeConfig = "options kvm ignore_msrs=1\n"; then run nixos-rebuild boot"#
        ),
        1,
        "{hints:?}"
    );
    // A module that is built in is told as elsewhere.
    assert_eq!(
        option("part.a=1 on the kernel command line"),
        1,
        "{hints:?}"
    );
    assert!(
        plan.notes[0]
            .contains(r#""options kvm ignore_msrs=1\noptions snd_hda_intel power_save=0\n""#),
        "{:?}",
        plan.notes
    );
    // The next generation has it.
    let _ = with_file(
        machine.memory().clone(),
        NEXT,
        "options kvm ignore_msrs=1\n",
    );
    let states = verified(&machine, &wanted);
    let state = |name: &str| {
        states
            .iter()
            .find(|(of, _)| of == name)
            .map(|one| one.1.clone())
    };
    let pending = |until| Some(State::Pending { until });
    assert!(
        [pending(When::Reload), pending(When::Reboot)].contains(&state(LIVE)),
        "{states:?}"
    );
    // It runs.
    let _ = with_file(
        machine.memory().clone(),
        "/etc/modprobe.d/nixos.conf",
        "options kvm ignore_msrs=1\n",
    );
    reload(&machine, "kvm");
    let states = verified(&machine, &wanted);
    assert!(
        states.contains(&(LIVE.to_owned(), State::Matches)),
        "{states:?}"
    );
}
