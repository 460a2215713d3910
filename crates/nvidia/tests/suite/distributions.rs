//! Names of the driver's files as distributions choose them, and several drivers on one host.
//!
//! The `install` lines have the form of those that Debian 12 and 13 ship in
//! `/etc/nvidia/NAME/nvidia-modprobe.conf` (nvidia-kernel-support 550.163.01-2).

use hosttune_core::host::{FileContent, LinuxHost};
use hosttune_core::testing::Memory;
use hosttune_core::{Host, State, Tuning};
use hosttune_nvidia::{DriverModule, InstalledDriver, ModuleKind};

use crate::tree::{Driver, FILE, bare, dwords, elf, host, machine, session, wanted};

const NVIDIA: DriverModule = DriverModule::Nvidia;
const DRM: DriverModule = DriverModule::Drm;

fn driver(name: &'static str, version: &'static str, kind: ModuleKind) -> Driver {
    Driver {
        name,
        ..Driver::new(version, kind)
    }
}

fn current() -> Driver {
    driver("nvidia-current", "550.163.01", ModuleKind::Proprietary)
}

/// A host on which Debian's alternative selects the driver of this name.
fn selecting(name: &str, memory: Memory) -> Memory {
    let lines = format!(
        "install nvidia modprobe -i {name} $CMDLINE_OPTS\n\n\
         install nvidia-modeset modprobe nvidia ; modprobe -i {name}-modeset $CMDLINE_OPTS\n\n\
         install nvidia-drm modprobe nvidia-modeset ; modprobe -i {name}-drm $CMDLINE_OPTS\n\n\
         install nvidia-uvm modprobe nvidia ; modprobe -i {name}-uvm $CMDLINE_OPTS\n\n\
         alias pci:v000010DEd*sv*sd*bc03sc00i00* nvidia\n"
    );
    memory.content("/etc/modprobe.d/nvidia.conf", FileContent::new(lines))
}

fn found(memory: &Memory) -> (String, Vec<String>) {
    let driver = InstalledDriver::find(&host(memory)).unwrap().unwrap();
    (driver.name.clone(), driver.others().to_vec())
}

/// Debian's open module has the name nvidia-current-open; other branches have others.
#[test]
fn a_driver_is_found_by_any_name() {
    for name in [
        "nvidia",
        "nvidia_current",
        "nvidia-current-open",
        "nvidia-tesla-535",
        "nvidia-tesla-535-open",
        "nvidia-legacy-340xx",
    ] {
        let memory = driver(name, "550.163.01", ModuleKind::Open).installed(bare());
        assert_eq!(found(&memory), (name.to_owned(), vec![]));
    }
}

#[test]
fn another_module_of_such_a_name_is_not_the_driver() {
    let wmi = elf(".modinfo", b"license=GPL\0name=nvidia_wmi_ec_backlight\0");
    let dep = "/lib/modules/6.12.0/modules.dep";
    let memory = || {
        let path = "kernel/drivers/platform/x86/nvidia-wmi-ec-backlight.ko";
        bare()
            .content(
                format!("/lib/modules/6.12.0/{path}"),
                FileContent::new(wmi.clone()),
            )
            .content(
                dep,
                FileContent::new(format!("{path}: kernel/drivers/acpi/video.ko\n")),
            )
    };
    assert_eq!(InstalledDriver::find(&host(&memory())).unwrap(), None);
    let memory = current().installed(memory());
    assert_eq!(found(&memory), ("nvidia-current".to_owned(), vec![]));
}

#[test]
fn of_several_drivers_the_one_that_modprobe_loads_is_taken() {
    let tesla = driver("nvidia-tesla-535", "535.261.03", ModuleKind::Proprietary);
    let open = driver("nvidia-current-open", "550.163.01", ModuleKind::Open);
    let all = || open.installed(tesla.installed(current().installed(bare())));
    for one in [current(), tesla, open] {
        let memory = selecting(one.name, all());
        assert_eq!(found(&memory), (one.name.to_owned(), vec![]));
    }
    // The alternative selects a driver that is not built for this kernel: as if there were no line.
    let plain = driver("nvidia", "595.45.04", ModuleKind::Open);
    let memory = plain.installed(selecting("nvidia-elsewhere", all()));
    assert_eq!(found(&memory), ("nvidia".to_owned(), vec![]));
    // No line tells: the loaded one, by version and kind, else the first.
    let others = |names: [&str; 2]| names.map(str::to_owned).to_vec();
    for loaded in [tesla, open] {
        let memory = all();
        loaded.load(&memory);
        assert_eq!(found(&memory).0, loaded.name);
    }
    let rest = others(["nvidia-current-open", "nvidia-tesla-535"]);
    assert_eq!(found(&all()), ("nvidia-current".to_owned(), rest));
    let report = wanted(&[(DRM, "modeset", "1")]);
    let plan = report.plan(&session(&machine(all()))).unwrap();
    let notes = plan.notes.join("\n");
    assert!(
        notes.contains(
            "several NVIDIA drivers, nvidia-current and nvidia-current-open, nvidia-tesla-535"
        ) && notes.contains("the options are for nvidia-current"),
        "{notes}"
    );
}

/// What the administrator writes for nvidia-drm comes after what is written for nvidia-current-drm.
#[test]
fn options_are_written_for_the_name_whose_options_come_last() {
    for theirs in [
        (
            "/etc/modprobe.d/local.conf",
            "options nvidia NVreg_EnableMSI=1\noptions nvidia-drm modeset=0\n",
        ),
        (
            "/etc/modprobe.d/local.conf",
            "options nvidia-current NVreg_EnableMSI=1\noptions nvidia-current-drm modeset=0\n",
        ),
        ("/etc/modprobe.d/local.conf", "# nothing\n"),
    ] {
        let memory = selecting("nvidia-current", current().installed(bare()));
        let memory = memory.content(theirs.0, FileContent::new(theirs.1));
        current().load(&memory);
        let machine = machine(memory);
        let all = wanted(&[(NVIDIA, "EnableMSI", "0"), (DRM, "modeset", "1")]);
        let _ = all.apply(&mut session(&machine)).unwrap();
        let text = machine.memory().get(FILE).unwrap();
        assert!(text.contains("options nvidia NVreg_EnableMSI=0"), "{text}");
        assert!(text.contains("options nvidia-drm modeset=1"), "{text}");
        current().load(machine.memory());
        let report = all.verify(&session(&machine)).unwrap();
        assert!(report.is_as_wanted(), "{theirs:?}: {report:#?}");
        assert_eq!(report.items.len(), 3);
        let notes = report.notes.join("\n");
        assert!(!notes.contains("instead of loading"), "{notes}");
        let _ = all.revert(&mut session(&machine)).unwrap();
        assert_eq!(machine.memory().get(FILE), None);
    }
}

/// Without `$CMDLINE_OPTS` the options of the plain name are lost, and those of the file's name act.
#[test]
fn options_that_no_command_passes_are_written_for_the_file() {
    let line = "install nvidia-drm modprobe -i nvidia-current-drm\noptions nvidia-drm modeset=0\n";
    let memory = current().installed(bare());
    let memory = memory.content("/etc/modprobe.d/nvidia.conf", FileContent::new(line));
    let machine = machine(memory);
    let modeset = wanted(&[(DRM, "modeset", "1")]);
    let _ = modeset.apply(&mut session(&machine)).unwrap();
    let text = machine.memory().get(FILE).unwrap();
    assert!(
        text.contains("options nvidia-current-drm modeset=1"),
        "{text}"
    );
    current().load(machine.memory());
    let report = modeset.verify(&session(&machine)).unwrap();
    assert!(report.is_as_wanted(), "{report:#?}");
}

#[test]
fn what_wins_over_the_plain_name_is_named() {
    for (path, text, by) in [
        (
            "/proc/cmdline",
            "quiet nvidia-drm.modeset=0\n",
            "the kernel command line",
        ),
        (
            "/etc/modprobe.d/zzz.conf",
            "options nvidia-drm modeset=0\n",
            "/etc/modprobe.d/zzz.conf:1",
        ),
    ] {
        let memory = selecting("nvidia-current", current().installed(bare()));
        let machine = machine(memory.content(path, FileContent::new(text)));
        let modeset = wanted(&[(DRM, "modeset", "1")]);
        let _ = modeset.apply(&mut session(&machine)).unwrap();
        current().load(machine.memory());
        let report = modeset.verify(&session(&machine)).unwrap();
        let State::Overridden { by: said } = &report.items[0].state else {
            panic!("{report:#?}");
        };
        assert!(said.contains(by), "{said}");
        assert_eq!(report.items.len(), 1);
    }
}

/// A default that another file sets to something else, for either name, has to be written.
#[test]
fn a_default_is_written_where_a_file_sets_either_name() {
    let newer = driver("nvidia-current", "595.45.04", ModuleKind::Proprietary);
    let modeset = wanted(&[(DRM, "modeset", "1")]);
    for (text, steps) in [
        ("options nvidia-drm modeset=0\n", 1),
        ("options nvidia-current-drm modeset=0\n", 1),
        ("# nothing\n", 0),
    ] {
        let memory = selecting("nvidia-current", newer.installed(bare()));
        let memory = memory.content("/etc/modprobe.d/local.conf", FileContent::new(text));
        let plan = modeset.plan(&session(&machine(memory))).unwrap();
        assert_eq!(plan.steps.len(), steps, "{text}");
    }
}

#[test]
fn dwords_are_merged_with_those_of_either_name() {
    for name in ["nvidia", "nvidia-current"] {
        let text = format!("options {name} NVreg_RegistryDwords=\"Theirs=1\"\n");
        let memory = selecting("nvidia-current", current().installed(bare()));
        let memory = memory.content("/etc/modprobe.d/local.conf", FileContent::new(text));
        let machine = machine(memory);
        let ours = wanted(&[]).registry(dwords("Ours=2"));
        let _ = ours.apply(&mut session(&machine)).unwrap();
        let text = machine.memory().get(FILE).unwrap();
        let line = "options nvidia NVreg_RegistryDwords=Theirs=1;Ours=2";
        assert!(text.contains(line), "{text}");
    }
}

/// The module of branch 570 and later is larger than 64 MiB, and not every kernel compresses modules.
#[test]
fn a_module_of_more_than_64_mib_is_read() {
    let tree = tempfile::tempdir().unwrap();
    let put = |path: &str, bytes: &[u8]| {
        let path = tree.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    };
    put("proc/sys/kernel/osrelease", b"6.12.0\n");
    put("lib/modules/6.12.0/modules.dep", b"updates/nvidia.ko:\n");
    let module = elf(
        ".modinfo",
        b"license=NVIDIA\0version=580.95.05\0name=nvidia\0",
    );
    let path = put("lib/modules/6.12.0/updates/nvidia.ko", &module);
    let found = || {
        let host = Host::new(LinuxHost::at(tree.path()).unwrap());
        InstalledDriver::find(&host)
    };
    let grow = |size: u64| {
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(size).unwrap();
    };
    grow(105 << 20);
    assert_eq!(found().unwrap().unwrap().branch(), 580);
    // What is no module is still refused, without being read, and nobody is told to remove it.
    grow(60 << 30);
    let error = found().unwrap_err();
    assert!(error.to_string().contains("larger than 512 MiB"), "{error}");
    let hint = error.hint().unwrap();
    assert!(
        hint.contains("install the driver") && !hint.contains("remove"),
        "{hint}"
    );
}

/// The configuration of a branch that an `alias` line selects.
#[test]
fn an_alias_selects_the_driver_before_install_lines_and_names() {
    let old = driver("nvidia-340", "340.108", ModuleKind::Proprietary);
    let plain = driver("nvidia", "595.45.04", ModuleKind::Open);
    let both = || old.installed(plain.installed(current().installed(bare())));
    let with = |text: &str| {
        both().content(
            "/etc/modprobe.d/alternative.conf",
            FileContent::new(text.to_owned()),
        )
    };
    for (text, name) in [
        ("alias nvidia nvidia-340\n", "nvidia-340"),
        ("alias nvid* nvidia_340\n", "nvidia-340"),
        // An install line of the alias is not looked for; one of its target is.
        (
            "alias nvidia nvidia-340\ninstall nvidia modprobe -i nvidia-current $CMDLINE_OPTS\n",
            "nvidia-340",
        ),
        (
            "alias nvidia nvidia-340\ninstall nvidia-340 modprobe -i nvidia-current $CMDLINE_OPTS\n",
            "nvidia-current",
        ),
        // A target is no alias again, and one that is not there selects nothing.
        ("alias nvidia other\nalias other nvidia-340\n", "nvidia"),
        ("alias nvidia_x nvidia-340\n", "nvidia"),
    ] {
        assert_eq!(found(&with(text)).0, name, "{text}");
    }
    // Its options are those of the module's name and, if it is loaded by the alias, those of the alias.
    let text = "alias nvidia nvidia-340\nalias nvidia-drm nvidia-340-drm\n";
    let driver = InstalledDriver::find(&host(&with(text))).unwrap().unwrap();
    assert_eq!(driver.option_name(DRM), "nvidia-340-drm");
    assert_eq!(driver.option_names(DRM), ["nvidia-drm", "nvidia-340-drm"]);
    let memory = with(&format!("{text}options nvidia NVreg_EnableMSI=0\n"));
    let requested = wanted(&[(DriverModule::Nvidia, "EnableMSI", "1")]);
    let world = machine(memory);
    let _ = requested.apply(&mut session(&world)).unwrap();
    let file = world.memory().get(FILE).unwrap();
    assert!(
        file.contains("options nvidia-340 NVreg_EnableMSI=1"),
        "{file}"
    );
}
