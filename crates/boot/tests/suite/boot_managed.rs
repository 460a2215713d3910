//! Parameters on systems whose line belongs to another program: ostree's deployments (rpm-ostree, bootc) and
//! NixOS. Nothing is changed there, and the plan says what to type.
//!
//! The trees are reconstructions after what Fedora Silverblue 41, a bootc image and NixOS 24.11 have; none of
//! these systems takes part. `tests/ostree/staged-deployment` was written by GLib: see the README beside it.

use hosttune_boot::boot_loader::{BootParameters, BootSetting, configured, leftovers};
use hosttune_boot::boot_once::{BootMode, EntryState, ModeOnce};
use hosttune_boot::command_line::CommandLineSetting;
use hosttune_core::testing::{Machine, Memory};
use hosttune_core::{Finding, State, Tuning, When};

use super::boot_loader::{equals, machine, parameters, put, session};

const STAGED: &[u8] = include_bytes!("../ostree/staged-deployment");
const RUNNING: &str = "BOOT_IMAGE=(hd0,gpt2)/boot/ostree/fedora-cd/vmlinuz-6.11.4 rd.luks.uuid=1 root=UUID=1 rootflags=subvol=root rw mitigations=auto quiet ostree=/ostree/boot.1/fedora/cd/0";

/// The entry of a deployment, as ostree writes it.
fn deployment(version: u32, options: &str) -> String {
    format!(
        "title Fedora Linux 41 (Silverblue) (ostree:{version})\nversion {version}\noptions {options}\nlinux /boot/ostree/fedora-cd/vmlinuz-6.11.4\ninitrd /boot/ostree/fedora-cd/initramfs-6.11.4.img\naboot /ostree/deploy/fedora/deploy/ab.0/usr/lib/ostree-boot/aboot.img\n"
    )
}

fn entry(number: u32) -> String {
    format!("/boot/loader/entries/ostree-{number}.conf")
}

/// Two deployments, of which the one with the higher version is the default.
fn ostree(tool: &str) -> Memory {
    let memory = put(Memory::new(), "/proc/cmdline", format!("{RUNNING}\n"));
    let memory = memory.directory("/proc/sys");
    let memory = put(memory, "/run/ostree-booted", "");
    let options = RUNNING.split_once(' ').unwrap().1;
    let older = options.replace("quiet ", "quiet old=1 ");
    let memory = put(memory, &entry(1), deployment(1, &older));
    let memory = put(memory, &entry(2), deployment(2, options));
    put(memory, tool, "")
}

fn silverblue() -> Memory {
    ostree("/usr/bin/rpm-ostree")
}

fn bootc() -> Memory {
    ostree("/usr/bin/bootc")
}

fn nixos(params: &str) -> Memory {
    let running = "init=/nix/store/1-nixos-system/init loglevel=4 quiet mitigations=auto";
    let memory = put(Memory::new(), "/proc/cmdline", format!("{running}\n"));
    let memory = memory.directory("/proc/sys");
    let memory = put(memory, "/etc/NIXOS", "");
    put(memory, "/nix/var/nix/profiles/system/kernel-params", params)
}

fn wanted() -> BootParameters {
    parameters(vec![
        equals("mitigations", "off"),
        equals("nmi_watchdog", "0"),
        CommandLineSetting::absent("quiet"),
    ])
}

/// What the plan says, with nothing to do.
fn planned(machine: &Machine, parameters: &BootParameters) -> (Vec<String>, Vec<String>) {
    let before = machine.memory().snapshot();
    let plan = parameters.plan(&session(machine)).unwrap();
    assert!(plan.steps.is_empty());
    let applied = parameters.apply(&mut session(machine));
    assert!(applied.is_ok(), "{applied:?}");
    assert_eq!(machine.memory().snapshot(), before);
    let hints = plan.findings.iter();
    let hints = hints.filter_map(Finding::hint);
    (hints.collect(), plan.notes)
}

fn left(machine: &Machine) -> Vec<String> {
    let found = leftovers(session(machine).host(), &wanted(), []).unwrap();
    found.iter().map(ToString::to_string).collect()
}

#[test]
fn the_commands_of_rpm_ostree_are_those_of_this_plan() {
    let machine = machine(silverblue());
    let (hints, notes) = planned(&machine, &wanted());
    assert_eq!(
        hints,
        [
            "run rpm-ostree kargs --append-if-missing=mitigations=off --delete-if-present=mitigations=auto, then reboot",
            "run rpm-ostree kargs --append-if-missing=nmi_watchdog=0, then reboot",
            "run rpm-ostree kargs --delete-if-present=quiet, then reboot",
        ]
    );
    let all = "rpm-ostree kargs --append-if-missing=mitigations=off --append-if-missing=nmi_watchdog=0 --delete-if-present=mitigations=auto --delete-if-present=quiet";
    assert!(notes[0].contains(all), "{notes:?}");
    let undo = "rpm-ostree kargs --append-if-missing=mitigations=auto --append-if-missing=quiet --delete-if-present=mitigations=off --delete-if-present=nmi_watchdog=0";
    assert!(notes[1].contains(undo), "{notes:?}");
    assert_eq!(left(&machine), Vec::<String>::new());
    // What verify says before anything was typed.
    let plan = wanted().plan(&session(&machine)).unwrap();
    let said = plan.findings[0].to_string();
    assert!(
        said.contains("the next boot has mitigations=auto"),
        "{said}"
    );
    assert!(matches!(
        plan.findings[0].state,
        State::NotApplicable { .. }
    ));
}

/// After the command: the default deployment has the parameters, or a staged one, which has no entry yet.
#[test]
fn parameters_of_the_next_deployment_are_pending_until_the_reboot() {
    let is_pending = |memory: Memory, settings: Vec<CommandLineSetting>| {
        let machine = machine(memory);
        let report = parameters(settings).verify(&session(&machine)).unwrap();
        let states = report.items.into_iter().map(|finding| finding.state);
        let until = When::Reboot;
        states
            .map(|state| state == State::Pending { until })
            .collect::<Vec<bool>>()
    };
    let watchdog = || equals("nmi_watchdog", "0");
    let options = "root=UUID=1 nmi_watchdog=0 ostree=/ostree/boot.0/fedora/ef/0";
    let typed = put(silverblue(), &entry(3), deployment(10, options));
    assert_eq!(is_pending(typed, vec![watchdog()]), [true]);
    let staged = put(silverblue(), "/run/ostree/staged-deployment", STAGED);
    let both = vec![watchdog(), equals("mitigations", "off")];
    assert_eq!(is_pending(staged.clone(), both), [true, false]);
    // The commands build on the staged one.
    let (hints, _) = planned(
        &machine(staged),
        &parameters(vec![equals("nmi_watchdog", "1")]),
    );
    assert_eq!(
        hints,
        [
            "run rpm-ostree kargs --append-if-missing=nmi_watchdog=1 --delete-if-present=nmi_watchdog=0, then reboot"
        ]
    );
    // One that was staged without arguments keeps those of the default deployment.
    let kept: &[u8] = include_bytes!("../ostree/staged-without-arguments");
    let staged = put(silverblue(), "/run/ostree/staged-deployment", kept);
    let (hints, _) = planned(&machine(staged), &wanted());
    assert!(hints[0].contains("mitigations=auto"), "{hints:?}");
}

#[test]
fn what_is_booted_matches_and_what_is_left_is_named_with_its_command() {
    let memory = silverblue();
    let line = format!("{RUNNING} mitigations=off nmi_watchdog=0").replace("quiet ", "");
    let memory = put(memory, "/proc/cmdline", format!("{line}\n"));
    let memory = put(memory, &entry(2), deployment(2, &line));
    let machine = machine(memory);
    let report = wanted().verify(&session(&machine)).unwrap();
    let matches = |state: &State| matches!(state, State::Matches);
    assert!(report.items.iter().all(|finding| matches(&finding.state)));
    let (hints, notes) = planned(&machine, &wanted());
    assert!(hints.is_empty() && notes.is_empty(), "{hints:?} {notes:?}");
    assert_eq!(
        left(&machine),
        [
            "the deployment of the next boot has mitigations=off nmi_watchdog=0, which this program does not set and no revert takes away; to take it away: run rpm-ostree kargs --delete-if-present=mitigations=off --delete-if-present=nmi_watchdog=0, then reboot"
        ]
    );
}

#[test]
fn bootc_adds_parameters_for_a_name_and_takes_none_out() {
    let machine = machine(bootc());
    let (hints, notes) = planned(&machine, &wanted());
    assert!(hints[0].contains("the command of bootc"), "{hints:?}");
    assert!(hints[2].contains("/usr/lib/bootc/kargs.d"), "{hints:?}");
    let change = "bootc loader-entries set-options-for-source --source hosttune-laws --options 'mitigations=off nmi_watchdog=0', and reboot";
    assert!(notes[0].contains(change), "{notes:?}");
    assert!(
        notes[1].ends_with(
            "this does: bootc loader-entries set-options-for-source --source hosttune-laws, then reboot"
        ),
        "{notes:?}"
    );
    assert!(notes[2].contains("ostree 2026.1"), "{notes:?}");
}

/// bootc replaces what it keeps for a name, so another profile's command has all parameters, and going back
/// gives it the earlier ones.
#[test]
fn what_bootc_keeps_already_is_in_the_command_and_in_the_way_back() {
    let memory = put(bootc(), "/run/ostree/staged-deployment", STAGED);
    let two = parameters(vec![equals("nmi_watchdog", "0"), equals("skew_tick", "1")]);
    let staged = machine(memory);
    let (_, notes) = planned(&staged, &two);
    assert!(
        notes[0].contains("--source hosttune-laws --options 'nmi_watchdog=0 skew_tick=1'"),
        "{notes:?}"
    );
    assert!(
        notes[1].contains("--source hosttune-laws --options nmi_watchdog=0, then"),
        "{notes:?}"
    );
    assert_eq!(left(&staged).len(), 1);
    assert!(left(&staged)[0].contains("set-options-for-source --source hosttune-laws, then"));
    // Parameters that an image or a person has set are not those of the name.
    let memory = put(
        bootc(),
        &entry(2),
        deployment(2, "root=UUID=1 nmi_watchdog=0 ostree=/o"),
    );
    assert!(left(&machine(memory)).is_empty());
}

#[test]
fn a_line_that_cannot_be_read_is_said_to_be_unknown() {
    for memory in [
        put(
            silverblue(),
            "/run/ostree/staged-deployment",
            "not a dictionary",
        ),
        {
            let memory = silverblue();
            memory.change(|tree| {
                tree.remove(entry(1));
                tree.remove(entry(2));
            });
            memory
        },
    ] {
        let (hints, notes) = planned(&machine(memory), &wanted());
        assert!(notes[0].contains("is not known"), "{notes:?}");
        assert!(hints[0].contains("--delete-if-present=mitigations=auto"));
    }
    // No tool, as on another system that ostree deploys.
    let (hints, _) = planned(&machine(ostree("/usr/bin/ostree")), &wanted());
    assert!(hints[0].contains("/usr/lib/bootc/kargs.d"), "{hints:?}");
}

#[test]
fn a_line_that_would_lose_its_deployment_is_refused() {
    let machine = machine(silverblue());
    let wanted = parameters(vec![CommandLineSetting::absent("ostree")]);
    let error = wanted.plan(&session(&machine)).unwrap_err().to_string();
    assert!(error.contains("would lose ostree="), "{error}");
}

#[test]
fn nixos_gets_the_text_of_its_option() {
    let machine = machine(nixos("loglevel=4 quiet mitigations=auto"));
    let settings = vec![
        equals("mitigations", "off"),
        equals("nmi_watchdog", "0"),
        equals("dyndbg", "file a.c +p"),
        CommandLineSetting::absent("quiet"),
        equals("loglevel", "4"),
    ];
    let (hints, notes) = planned(&machine, &parameters(settings));
    assert!(
        hints[0].ends_with("add boot.kernelParams = lib.mkAfter [ \"mitigations=off\" ]; then run nixos-rebuild boot and reboot"),
        "{hints:?}"
    );
    assert_eq!(
        hints[1],
        "in the configuration of NixOS: add boot.kernelParams = [ \"nmi_watchdog=0\" ]; then run nixos-rebuild boot and reboot"
    );
    assert!(
        hints[2].contains(r#"boot.kernelParams = [ "dyndbg=\"file a.c +p\"" ];"#),
        "{hints:?}"
    );
    assert!(hints[3].contains("remove \"quiet\" from"), "{hints:?}");
    assert_eq!(hints.len(), 4);
    assert!(!notes[0].contains("auto"), "{notes:?}");
    assert!(
        notes[0].contains(
            r#"lib.mkAfter [ "mitigations=off" "nmi_watchdog=0" "dyndbg=\"file a.c +p\"" ];"#
        ),
        "{notes:?}"
    );
}

#[test]
fn what_the_next_generation_has_is_pending_and_not_taken_back() {
    let machine = machine(nixos("mitigations=auto nmi_watchdog=0"));
    let report = parameters(vec![equals("nmi_watchdog", "0")])
        .verify(&session(&machine))
        .unwrap();
    let until = When::Reboot;
    assert_eq!(report.items[0].state, State::Pending { until });
    let left = left(&machine);
    assert!(
        left[0].starts_with("the generation of the next boot has nmi_watchdog=0"),
        "{left:?}"
    );
}

#[test]
fn a_mode_of_nixos_is_a_specialisation_that_is_printed() {
    let mode = BootMode::new(
        "laws",
        "guests",
        [equals("iommu", "pt"), equals("mitigations", "off")].map(BootSetting::new),
    );
    let memory = nixos("loglevel=4 mitigations=auto");
    let machine = machine(memory.clone());
    let plan = mode.plan(&session(&machine)).unwrap();
    assert!(plan.steps.is_empty());
    let hint = plan.findings[0].hint().unwrap();
    assert!(
        hint.contains(r#"add specialisation.guests.configuration.boot.kernelParams = lib.mkAfter [ "mitigations=off" "iommu=pt" ]; then"#),
        "{hint}"
    );
    let state = || mode.state(session(&machine).host()).unwrap();
    assert_eq!(state().entry, EntryState::Absent);
    let once = ModeOnce::new(mode.clone(), "laws apply --persist");
    let error = once.plan(&session(&machine)).unwrap_err().to_string();
    assert!(error.contains("belongs to NixOS"), "{error}");
    let params = "/nix/var/nix/profiles/system/specialisation/guests/kernel-params";
    let memory = put(memory, params, "loglevel=4 mitigations=auto iommu=pt");
    assert_eq!(state().entry, EntryState::Outdated);
    let _ = put(memory, params, "mitigations=auto iommu=pt mitigations=off");
    assert_eq!(state().entry, EntryState::Current);
    let plan = mode.plan(&session(&machine)).unwrap();
    assert!(plan.findings.is_empty() && plan.notes[0].contains("is a specialisation"));
}

/// A trial cannot be made, and why nothing is lost by that is said.
#[test]
fn a_trial_is_refused_with_what_comes_in_its_place() {
    for (memory, hint) in [
        (silverblue(), "another deployment"),
        (nixos(""), "the present generation"),
    ] {
        let machine = machine(memory);
        let error = wanted().trial(true).plan(&session(&machine)).unwrap_err();
        let said = format!("{error:?}");
        assert!(said.contains(hint), "{said}");
    }
}

/// Who would add a device asks what the loader's files have of a parameter.
#[test]
fn a_parameter_of_a_deployment_is_found() {
    let options = "root=UUID=1 vfio-pci.ids=10de:2684 ostree=/o";
    let memory = put(silverblue(), "/proc/cmdline", "root=UUID=1 ostree=/o\n");
    let machine = machine(put(memory, &entry(2), deployment(2, options)));
    let found = configured(session(&machine).host(), "vfio-pci.ids", "laws").unwrap();
    assert!(
        found.iter().any(|one| one.value == "10de:2684"),
        "{found:?}"
    );
}
