//! What a plan and a report say, and what is refused.

use hosttune_core::host::FileContent;
use hosttune_core::testing::{CrashPoint, Memory, World};
use hosttune_core::{Error, Session, State, Tuning};
use hosttune_pipewire::merge::Environment;
use hosttune_pipewire::{ClockDropIn, ClockSettings, Frames, PulseSettings, SampleRate, Version};

use super::{FILE, PULSE, SHIPPED, host, host_with, machine};

pub(super) fn fixed(quantum: u32) -> ClockDropIn {
    ClockDropIn::system("gaming")
        .clock(ClockSettings::fixed(SampleRate(48000), Frames(quantum)))
        .why("a cycle of 1.33 ms")
}

pub(super) fn session(memory: &Memory) -> Session {
    let machine = machine(memory.clone());
    machine
        .session(&CrashPoint::lives())
        .expect("the session is opened")
}

fn notes(memory: &Memory, tuning: &ClockDropIn) -> Vec<String> {
    tuning.plan(&session(memory)).expect("it is planned").notes
}

/// PipeWire was removed, so there is nothing to request, but the files that were written for it are there.
#[test]
fn the_files_are_reverted_after_pipewire_was_removed() {
    let memory = host();
    let tuning = fixed(64).pulse(PulseSettings::fixed(SampleRate(48000), Frames(64)));
    let mut session = session(&memory);
    let _ = tuning.apply(&mut session).unwrap();
    memory.change(|tree| tree.remove(SHIPPED));
    assert!(tuning.plan(&session).unwrap().is_empty());
    let reverted = tuning.revert(&mut session).unwrap();
    assert!(reverted.remaining.is_empty(), "{reverted:#?}");
    assert_eq!((memory.get(FILE), memory.get(PULSE)), (None, None));
}

#[test]
fn the_file_is_strict_json_below_a_comment() {
    let memory = host();
    let mut session = session(&memory);
    let tuning = fixed(64).pulse(PulseSettings::fixed(SampleRate(48000), Frames(64)));
    let _ = tuning.apply(&mut session).unwrap();
    assert_eq!(
        memory.get(FILE).unwrap(),
        "# Written by hosttune for 'gaming'. Use the revert command of the program that wrote it to remove it.
{
  \"context.properties\": {
    \"default.clock.rate\": 48000,
    \"default.clock.quantum\": 64,
    \"default.clock.min-quantum\": 64,
    \"default.clock.max-quantum\": 64
  }
}"
    );
    let pulse = memory.get(PULSE).unwrap();
    let (_, json) = pulse.split_once('\n').unwrap();
    let json: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_eq!(json["pulse.properties"]["pulse.min.quantum"], "64/48000");
    let shown = &memory.snapshot()[FILE];
    assert!(shown.starts_with("0644 "), "{shown}");
}

#[test]
fn a_plan_says_what_will_run_and_when() {
    let notes = notes(&host(), &fixed(64));
    assert_eq!(
        notes[0],
        "with PipeWire 1.4.2 a graph runs with 64 frames at 48 kHz: 1.33 ms, whatever programs ask for"
    );
    assert_eq!(
        notes[1],
        "with PipeWire 1.4.2 a graph runs with 32 frames at 44.1 kHz: 0.73 ms, if its device has that rate"
    );
    assert!(
        notes[2].contains("systemctl --user restart pipewire.service"),
        "{notes:?}"
    );
    // 48 is rounded down.
    let plan = fixed(48).plan(&session(&host())).unwrap();
    assert!(
        plan.notes[0].contains("32 frames at 48 kHz"),
        "{:?}",
        plan.notes
    );
}

#[test]
fn values_that_pipewire_would_change_are_refused_before_anything_is_written() {
    let memory = host();
    let before = memory.snapshot();
    for clock in [
        ClockSettings {
            quantum: Some(Frames(0)),
            ..ClockSettings::default()
        },
        ClockSettings {
            min_quantum: Some(Frames(128)),
            max_quantum: Some(Frames(64)),
            ..ClockSettings::default()
        },
        ClockSettings {
            rate: Some(SampleRate(48000)),
            allowed_rates: Some(vec![SampleRate(44100)]),
            ..ClockSettings::default()
        },
    ] {
        let tuning = ClockDropIn::system("gaming").clock(clock);
        let error = tuning.apply(&mut session(&memory)).unwrap_err();
        assert!(matches!(error, Error::Tuning { .. }), "{error}");
    }
    let error =
        ClockDropIn::system("../x").clock(ClockSettings::fixed(SampleRate(48000), Frames(64)));
    assert!(error.apply(&mut session(&memory)).is_err());
    // Known only with the version: the floor of 0.3.65 is fixed.
    let floor = ClockSettings {
        quantum_floor: Some(Frames(8)),
        ..ClockSettings::default()
    };
    let old = host_with("0.3.65");
    let error = ClockDropIn::system("gaming")
        .clock(floor)
        .plan(&session(&old))
        .unwrap_err();
    assert!(
        error.to_string().contains("PipeWire 0.3.65 ignores"),
        "{error}"
    );
    assert_eq!(memory.snapshot(), before);
}

/// The host with another file.
fn with(memory: Memory, path: &str, text: &str) -> Memory {
    let mut directory = String::new();
    let (parents, _) = path.rsplit_once('/').expect("an absolute path");
    let mut memory = memory;
    for name in parents.split('/').skip(1) {
        directory = format!("{directory}/{name}");
        memory = memory.directory(&directory);
    }
    memory.content(path, FileContent::new(text))
}

fn overridden(memory: &Memory, tuning: &ClockDropIn) -> Option<String> {
    let mut session = session(memory);
    let _ = tuning.apply(&mut session).expect("it is applied");
    let report = tuning.verify(&session).expect("it is verified");
    let by = report.items.iter().find_map(|item| match &item.state {
        State::Overridden { by } => Some(by.clone()),
        _ => None,
    });
    assert_eq!(report.is_as_wanted(), by.is_none());
    by
}

#[test]
fn a_file_that_wins_is_named_with_its_line() {
    let other = "/etc/pipewire/pipewire.conf.d/99-other.conf";
    let memory = with(
        host(),
        other,
        "context.properties = {\n  default.clock.max-quantum = 1024\n}\n",
    );
    assert_eq!(
        overridden(&memory, &fixed(64)),
        Some(format!(
            "{other}:2, which sets default.clock.max-quantum = 1024"
        ))
    );
    // One that comes before has no effect.
    let other = "/etc/pipewire/pipewire.conf.d/10-other.conf";
    let memory = with(
        host(),
        other,
        "context.properties = { default.clock.max-quantum = 1024 }\n",
    );
    assert_eq!(overridden(&memory, &fixed(64)), None);
    // Up to 1.0.3 the packages' files come last.
    let other = "/usr/share/pipewire/pipewire.conf.d/10-vendor.conf";
    let text = "context.properties = { default.clock.max-quantum = 256 }\n";
    assert_eq!(overridden(&with(host(), other, text), &fixed(64)), None);
    let by = overridden(&with(host_with("1.0.3"), other, text), &fixed(64)).expect("it wins");
    assert!(by.starts_with(other), "{by}");
}

#[test]
fn a_limit_that_changes_a_requested_value_is_named() {
    let only = |quantum| {
        ClockDropIn::system("gaming").clock(ClockSettings {
            quantum: Some(Frames(quantum)),
            ..ClockSettings::default()
        })
    };
    // By another file, with a key that was not requested.
    let other = "/etc/pipewire/pipewire.conf.d/10-other.conf";
    let text = "context.properties = { default.clock.max-quantum = 32 }\n";
    assert_eq!(
        overridden(&with(host(), other, text), &only(64)),
        Some(format!(
            "{other}:1, which sets default.clock.max-quantum = 32"
        ))
    );
    // By a default.
    assert_eq!(
        overridden(&host(), &only(16)),
        Some("PipeWire's default of default.clock.min-quantum".to_owned())
    );
    assert_eq!(overridden(&host(), &only(64)), None);
    // By a file that unsets it.
    let other = "/etc/pipewire/pipewire.conf.d/99-other.conf";
    let text = "context.properties = { default.clock.max-quantum = null }\n";
    assert_eq!(
        overridden(&with(host(), other, text), &fixed(64)),
        Some("another file, which unsets default.clock.max-quantum".to_owned())
    );
    // The allowed rates are a list.
    let rates = ClockDropIn::system("gaming").clock(ClockSettings {
        allowed_rates: Some(vec![SampleRate(44_100), SampleRate(48_000)]),
        ..ClockSettings::default()
    });
    assert_eq!(overridden(&host(), &rates), None);
    let text = "context.properties = { default.clock.rate = 96000 }\n";
    assert_eq!(
        overridden(&with(host(), other, text), &rates),
        Some(format!("{other}:1, which sets default.clock.rate = 96000"))
    );
}

#[test]
fn a_file_of_the_same_name_that_hides_ours_is_named() {
    let other = "/usr/share/pipewire/pipewire.conf.d/92-gaming-latency.conf";
    let by = overridden(&with(host(), other, "x = { }\n"), &fixed(64)).expect("it hides ours");
    assert!(
        by.contains("reads only /usr/share/pipewire/pipewire.conf.d/92-gaming-latency.conf"),
        "{by}"
    );
    assert_eq!(
        overridden(&with(host_with("1.6.8"), other, "x = { }\n"), &fixed(64)),
        None
    );
}

#[test]
fn the_rule_for_virtual_machines_has_no_effect_on_a_fixed_quantum() {
    let tuning = fixed(64).vm("qemu");
    assert_eq!(overridden(&host(), &tuning), None);
    let notes = notes(&host(), &tuning);
    assert_eq!(
        notes[0],
        format!(
            "{SHIPPED}:8 (a rule) sets default.clock.min-quantum = 1024, which has no effect on the value that is requested"
        )
    );
    // Without a maximum it wins.
    let open = ClockDropIn::system("gaming")
        .vm("qemu")
        .clock(ClockSettings {
            quantum: Some(Frames(64)),
            min_quantum: Some(Frames(64)),
            ..ClockSettings::default()
        });
    let by = overridden(&host(), &open).expect("the rule wins");
    assert!(by.starts_with(&format!("{SHIPPED}:8 (a rule)")), "{by}");
}

#[test]
fn a_faulty_file_of_another_program_is_named() {
    let other = "/etc/pipewire/pipewire.conf.d/50-faulty.conf";
    let memory = with(
        host(),
        other,
        "context.properties = {\n  default.clock.rate = 96000 ;\n}\n",
    );
    let notes = notes(&memory, &fixed(64));
    assert_eq!(
        notes[0],
        format!(
            "without effect: {other}:3: line 3, column 1: a key has no value; PipeWire drops the whole text"
        )
    );
}

#[test]
fn a_host_without_pipewire_gets_no_file() {
    let memory = Memory::new().directory("/etc");
    let plan = fixed(64).plan(&session(&memory)).unwrap();
    assert!(plan.is_empty());
    assert_eq!(plan.findings.len(), 1);
    assert!(
        plan.findings[0]
            .to_string()
            .contains("PipeWire is not installed")
    );
    let mut strict = session(&memory);
    strict.strict(true);
    assert!(matches!(
        fixed(64).apply(&mut strict),
        Err(Error::NotApplicable(_))
    ));
}

#[test]
fn a_directory_that_is_a_link_belongs_to_another_program() {
    let memory = host()
        .directory("/etc/pipewire")
        .directory("/nix/store/conf")
        .link("/etc/pipewire/pipewire.conf.d", "/nix/store/conf");
    let plan = fixed(64).plan(&session(&memory)).unwrap();
    assert!(plan.is_empty(), "{:?}", plan.steps);
    let finding = plan.findings[0].to_string();
    assert!(finding.contains("symlink to /nix/store/conf"), "{finding}");
}

#[test]
fn a_users_file_has_another_name_and_is_written_only_by_the_user() {
    let uid = FileContent::new("").uid;
    let user = |uid, environment| {
        ClockDropIn::user("gaming", environment, uid, 7)
            .clock(ClockSettings::fixed(SampleRate(48000), Frames(64)))
    };
    let memory = host();
    let mut session = session(&memory);
    let home = Environment::of_home("/root");
    let _ = user(uid, home.clone()).apply(&mut session).unwrap();
    let path = "/root/.config/pipewire/pipewire.conf.d/92-gaming-latency-user.conf";
    let shown = &memory.snapshot()[path];
    assert!(shown.starts_with(&format!("0644 {uid}:7 ")), "{shown}");
    // Where the daemon reads: XDG_CONFIG_HOME, if that is set.
    let environment = Environment {
        xdg_config_home: Some("/root/xdg".into()),
        ..home.clone()
    };
    let plan = user(uid, environment).version(Version::new(1, 6, 8));
    let plan = plan.plan(&machine(host()).session(&CrashPoint::lives()).unwrap());
    let last = plan.unwrap().steps.pop().unwrap();
    assert!(
        last.knob
            .text
            .starts_with("/root/xdg/pipewire/pipewire.conf.d/"),
        "{}",
        last.knob
    );
    // A home that does not exist is not made.
    let nobody = user(uid, Environment::of_home("/home/nobody"));
    let plan = nobody
        .plan(&machine(host()).session(&CrashPoint::lives()).unwrap())
        .unwrap();
    assert!(plan.is_empty());
    let finding = plan.findings[0].to_string();
    assert!(finding.contains("there is no directory /home"), "{finding}");
    // Root does not write in another user's home.
    let plan = user(uid + 1, home)
        .plan(&machine(host()).session(&CrashPoint::lives()).unwrap())
        .unwrap();
    assert!(plan.is_empty());
    let finding = &plan.findings[0];
    assert!(
        finding
            .to_string()
            .contains("this process runs as the user"),
        "{finding}"
    );
    assert_eq!(
        finding.hint(),
        Some(format!("run the same command as the user {}", uid + 1))
    );
}

#[test]
fn a_setting_that_is_no_longer_requested_takes_its_file_away() {
    let memory = host();
    let mut session = session(&memory);
    let _ = fixed(64).apply(&mut session).unwrap();
    let _ = ClockDropIn::system("gaming").apply(&mut session).unwrap();
    assert_eq!(memory.get(FILE), None);
    assert!(session.revert().unwrap().is_complete());
    assert_eq!(memory.get("/etc/pipewire/pipewire.conf.d"), None);
}
