//! What plan and verify say of each parameter: written, default, removed, ignored, overridden,
//! pending, unknown.

use hosttune_core::host::FileContent;
use hosttune_core::testing::{Machine, Memory};
use hosttune_core::{Error, Report, Requirement, State, Tuning, When};
use hosttune_nvidia::{DriverModule, ModuleKind, loaded, loaded_parameters};

use crate::tree::{DRIVERS, Driver, FILE, bare, dwords, host, machine, session, wanted};

const NVIDIA: DriverModule = DriverModule::Nvidia;
const DRM: DriverModule = DriverModule::Drm;

/// A host on which the driver is installed and loaded with its defaults.
fn with(driver: Driver) -> Machine {
    on(driver, bare())
}

fn on(driver: Driver, memory: Memory) -> Machine {
    let memory = driver.installed(memory);
    driver.load(&memory);
    machine(memory)
}

fn proprietary(version: &'static str) -> Driver {
    Driver::new(version, ModuleKind::Proprietary)
}

fn open(version: &'static str) -> Driver {
    Driver::new(version, ModuleKind::Open)
}

fn state<'r>(report: &'r Report, name: &str) -> &'r State {
    let items = report.items.iter();
    let mut of_name = items.filter(|item| item.name == name);
    let item = of_name.next();
    &item
        .unwrap_or_else(|| panic!("{name} is not among {report:#?}"))
        .state
}

fn note<'r>(report: &'r Report, part: &str) -> &'r str {
    let mut notes = report.notes.iter();
    notes
        .find(|note| note.contains(part))
        .unwrap_or_else(|| panic!("no note has {part:?}: {:#?}", report.notes))
}

/// The driver was removed, so there is nothing to request, but the file that was written for it is there.
#[test]
fn the_file_is_reverted_after_the_driver_was_removed() {
    let driver = proprietary("595.45.04");
    let memory = driver.installed(bare());
    let machine = machine(memory.clone());
    let was = memory.get(FILE);
    let wanted = wanted(&[(NVIDIA, "NVreg_InitializeSystemMemoryAllocations", "0")]);
    let _ = wanted.apply(&mut session(&machine)).unwrap();
    assert_ne!(memory.get(FILE), was);
    let lists = "/lib/modules/6.12.0/modules.dep";
    memory.change(|tree| tree.set(lists, ""));
    assert!(wanted.plan(&session(&machine)).unwrap().is_empty());
    let reverted = wanted.revert(&mut session(&machine)).unwrap();
    assert!(reverted.remaining.is_empty(), "{reverted:#?}");
    assert_eq!(memory.get(FILE), was);
}

#[test]
fn a_value_is_pending_until_the_driver_is_loaded_again() {
    for (version, kind) in DRIVERS {
        let driver = Driver::new(version, kind);
        let machine = with(driver);
        let wanted = wanted(&[
            (NVIDIA, "NVreg_InitializeSystemMemoryAllocations", "0"),
            (
                DRM,
                "modeset",
                if driver.branch() >= 595 { "0" } else { "1" },
            ),
        ]);
        let live = "InitializeSystemMemoryAllocations of the loaded NVIDIA driver";
        let drm = "nvidia_drm modeset of the loaded module";
        let _ = wanted.apply(&mut session(&machine)).unwrap();
        let report = wanted.verify(&session(&machine)).unwrap();
        assert_eq!(state(&report, FILE), &State::Matches, "{version}");
        let until = When::Reboot;
        assert_eq!(state(&report, live), &State::Pending { until }, "{version}");
        assert_eq!(state(&report, drm), &State::Pending { until }, "{version}");
        driver.load(machine.memory());
        let report = wanted.verify(&session(&machine)).unwrap();
        assert_eq!(state(&report, live), &State::Matches, "{version} {kind}");
        assert_eq!(state(&report, drm), &State::Matches, "{version} {kind}");
        assert!(session(&machine).revert().unwrap().is_complete());
        driver.load(machine.memory());
        assert!(!host(machine.memory()).exists(FILE).unwrap());
        let values = loaded_parameters(&host(machine.memory())).unwrap().unwrap();
        assert_eq!(values["InitializeSystemMemoryAllocations"], "1");
    }
}

#[test]
fn options_are_written_for_the_names_of_the_files() {
    let mut driver = proprietary("550.163.01");
    driver.name = "nvidia-current";
    let machine = with(driver);
    let wanted = wanted(&[
        (NVIDIA, "InitializeSystemMemoryAllocations", "0"),
        (DRM, "modeset", "1"),
    ]);
    let _ = wanted.apply(&mut session(&machine)).unwrap();
    let text = machine.memory().get(FILE).unwrap();
    assert!(
        text.contains("options nvidia-current NVreg_InitializeSystemMemoryAllocations=0\n"),
        "{text}"
    );
    assert!(
        text.contains("options nvidia-current-drm modeset=1"),
        "{text}"
    );
    driver.load(machine.memory());
    let report = wanted.verify(&session(&machine)).unwrap();
    assert!(report.is_as_wanted(), "{report:#?}");
    assert!(report.items.iter().all(|item| item.state == State::Matches));
}

#[test]
fn all_bits_set_is_written_as_minus_one() {
    let memory = bare().content(
        "/etc/modprobe.d/a.conf",
        FileContent::new("options nvidia NVreg_ResmanDebugLevel=0\n"),
    );
    let driver = open("595.45.04");
    let machine = on(driver, memory);
    let wanted = wanted(&[(NVIDIA, "ResmanDebugLevel", "4294967295")]);
    let _ = wanted.apply(&mut session(&machine)).unwrap();
    let text = machine.memory().get(FILE).unwrap();
    assert!(text.ends_with("NVreg_ResmanDebugLevel=-1"), "{text}");
    driver.load(machine.memory());
    let report = wanted.verify(&session(&machine)).unwrap();
    assert!(report.is_as_wanted(), "{report:#?}");
    assert_eq!(report.items[1].seen_text, "4294967295");
}

#[test]
fn what_is_the_default_is_not_written() {
    let machine = with(proprietary("580.95.05"));
    // The driver leaves the table of page attributes to the kernel by default; 1 is not the default.
    let defaults = wanted(&[(NVIDIA, "EnableMSI", "1"), (DRM, "modeset", "0")]);
    let plan = defaults.plan(&session(&machine)).unwrap();
    assert!(plan.steps.is_empty(), "{:?}", plan.steps);
    let notes = plan.notes.join("\n");
    assert!(notes.contains("NVreg_EnableMSI is the default"), "{notes}");
    let report = defaults.verify(&session(&machine)).unwrap();
    assert!(report.is_as_wanted(), "{report:#?}");
    // Where another file sets something else, the default has to be written.
    let memory = bare().content(
        "/usr/lib/modprobe.d/vendor.conf",
        FileContent::new("options nvidia NVreg_EnableMSI=0\n"),
    );
    let machine = on(proprietary("580.95.05"), memory);
    assert_eq!(defaults.plan(&session(&machine)).unwrap().steps.len(), 1);
}

/// Distributions change the default of modeset, and its description.
#[test]
fn a_default_is_the_one_that_the_module_describes() {
    let modeset = wanted(&[(DRM, "modeset", "1")]);
    let steps = |version| {
        modeset
            .plan(&session(&with(open(version))))
            .unwrap()
            .steps
            .len()
    };
    assert_eq!((steps("580.95.05"), steps("595.45.04")), (1, 0));
}

#[test]
fn what_the_driver_chooses_by_itself_is_not_written() {
    let name = "NVreg_UsePageAttributeTable";
    let of = |value| wanted(&[(NVIDIA, name, value)]);
    let machine = with(open("580.95.05"));
    let plan = of("1").plan(&session(&machine)).unwrap();
    assert!(plan.steps.is_empty(), "{plan:?}");
    let said = plan.notes.join("\n");
    assert!(
        said.contains("what the installed driver chooses by itself (-1)"),
        "{said}"
    );
    let report = of("1").verify(&session(&machine)).unwrap();
    assert!(report.is_as_wanted(), "{report:?}");
    // Switching it off changes something, and so does 1 where a file switches it off.
    assert_eq!(of("0").plan(&session(&machine)).unwrap().steps.len(), 1);
    let _ = machine.memory().clone().content(
        "/etc/modprobe.d/nvidia.conf",
        FileContent::new("options nvidia NVreg_UsePageAttributeTable=0\n"),
    );
    assert_eq!(of("1").plan(&session(&machine)).unwrap().steps.len(), 1);
}

#[test]
fn what_a_branch_or_kind_does_not_have_is_skipped_with_the_reason() {
    for (driver, name, value, why) in [
        (
            open("610.43.02"),
            "NVreg_UsePageAttributeTable",
            "1",
            "removed in branch 610",
        ),
        (
            open("580.95.05"),
            "NVreg_UseKernelSuspendNotifiers",
            "1",
            "needs branch 595",
        ),
        (
            open("595.45.04"),
            "NVreg_EnableGpuFirmware",
            "0",
            "acts only with the proprietary module",
        ),
        (
            proprietary("595.45.04"),
            "NVreg_UseKernelSuspendNotifiers",
            "1",
            "acts only with the open module",
        ),
        (
            open("595.45.04"),
            "NVreg_DynamicPowerManagement",
            "2",
            "off the bus",
        ),
    ] {
        let machine = with(driver);
        let one = wanted(&[(NVIDIA, name, value)]);
        let report = one.verify(&session(&machine)).unwrap();
        let State::NotApplicable { unsupported } =
            state(&report, &format!("nvidia {name}={value}"))
        else {
            panic!("{report:#?}");
        };
        assert!(unsupported.why.contains(why), "{unsupported}");
        assert!(unsupported.hint.is_some());
        assert!(one.plan(&session(&machine)).unwrap().steps.is_empty());
        let mut required = one;
        required.settings[0].requirement = Requirement::Required;
        let error = required.plan(&session(&machine)).unwrap_err();
        assert!(matches!(error, Error::NotApplicable(_)), "{error}");
    }
    // GSP firmware can be switched off on the proprietary module.
    let machine = with(proprietary("595.45.04"));
    let off = wanted(&[(NVIDIA, "EnableGpuFirmware", "0")]);
    assert_eq!(off.plan(&session(&machine)).unwrap().steps.len(), 1);
}

#[test]
fn bad_names_and_values_are_errors_that_help() {
    let machine = with(open("595.45.04"));
    for (module, name, value, message, hint) in [
        (
            NVIDIA,
            "NVreg_EnableMSl",
            "1",
            "no parameter NVreg_EnableMSl",
            "NVreg_EnableMSI",
        ),
        (
            NVIDIA,
            "EnableResizeableBar",
            "1",
            "no parameter",
            "NVreg_EnableResizableBar",
        ),
        (DRM, "modset", "1", "no parameter modset", "modeset"),
        (NVIDIA, "Nonsense", "1", "no parameter", "modinfo"),
        (
            NVIDIA,
            "EnableMSI",
            "yes",
            "a number of 32 bits",
            "does not load",
        ),
        (NVIDIA, "EnableMSI", "2", "0 or 1", "does not load"),
        (
            NVIDIA,
            "EnableMSI",
            "4294967296",
            "a number of 32 bits",
            "does not load",
        ),
        (
            NVIDIA,
            "DynamicPowerManagement",
            "4",
            "0 to 3",
            "does not load",
        ),
        (
            NVIDIA,
            "UsePageAttributeTable",
            "7",
            "0, 1, or -1",
            "does not load",
        ),
        (
            NVIDIA,
            "RegistryDwords",
            "a=1",
            "one text for all keys",
            "registry",
        ),
        (DRM, "modeset", "2", "0 or 1", "does not load"),
    ] {
        let error = wanted(&[(module, name, value)])
            .plan(&session(&machine))
            .unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
        let said = error.hint().unwrap();
        assert!(said.contains(hint), "{name}: {said}");
    }
}

#[test]
fn what_wins_over_the_file_is_named() {
    let name = "NVreg_InitializeSystemMemoryAllocations";
    let wanted = wanted(&[(NVIDIA, name, "0")]);
    for (path, text, by) in [
        (
            "/proc/cmdline",
            "quiet nvidia.NVreg_InitializeSystemMemoryAllocations=1\n",
            "the kernel command line",
        ),
        (
            "/etc/modprobe.d/zzz-local.conf",
            "options nvidia NVreg_InitializeSystemMemoryAllocations=1\n",
            "/etc/modprobe.d/zzz-local.conf:1",
        ),
        (
            "/etc/modprobe.d/nvidia.conf",
            "options nvidia NVreg_RegistryDwords=\"InitializeSystemMemoryAllocations=1\"\n",
            "by the key InitializeSystemMemoryAllocations=1 of NVreg_RegistryDwords",
        ),
    ] {
        let driver = open("595.45.04");
        let machine = on(driver, bare().content(path, FileContent::new(text)));
        let _ = wanted.apply(&mut session(&machine)).unwrap();
        driver.load(machine.memory());
        let report = wanted.verify(&session(&machine)).unwrap();
        let State::Overridden { by: said } = state(&report, FILE) else {
            panic!("{report:#?}");
        };
        assert!(said.contains(by), "{said}");
        assert_eq!(report.items.len(), 1);
        let values = loaded_parameters(&host(machine.memory())).unwrap().unwrap();
        assert_eq!(values["InitializeSystemMemoryAllocations"], "1");
    }
}

#[test]
fn dwords_are_merged_into_one_text() {
    let memory = bare().content(
        "/etc/modprobe.d/nvidia.conf",
        FileContent::new("options nvidia NVreg_RegistryDwords=\"Theirs=1;Both=2\"\n"),
    );
    let driver = open("595.45.04");
    let machine = on(driver, memory);
    let ours = wanted(&[]).registry(dwords("Both=3;PowerMizerEnable=1;A=1,B=2"));
    let _ = ours.apply(&mut session(&machine)).unwrap();
    let text = machine.memory().get(FILE).unwrap();
    assert!(
        text.ends_with("options nvidia NVreg_RegistryDwords=Theirs=1;Both=3;PowerMizerEnable=1"),
        "{text}"
    );
    let report = ours.verify(&session(&machine)).unwrap();
    note(
        &report,
        "no branch of the open modules reads the key PowerMizerEnable",
    );
    note(&report, "nothing shows whether the key Both");
    note(&report, "drops 'A=1,B=2'");
    driver.load(machine.memory());
    let values = loaded_parameters(&host(machine.memory())).unwrap().unwrap();
    assert_eq!(
        values["RegistryDwords"],
        "Theirs=1;Both=3;PowerMizerEnable=1"
    );
}

#[test]
fn a_parameter_that_the_driver_does_not_show_is_unknown() {
    let machine = with(open("595.45.04"));
    let hidden = wanted(&[(NVIDIA, "EnableNonblockingOpen", "0")]);
    let _ = hidden.apply(&mut session(&machine)).unwrap();
    let report = hidden.verify(&session(&machine)).unwrap();
    note(&report, "does not show NVreg_EnableNonblockingOpen");
    assert_eq!(report.items.len(), 1, "only the file");
    // It is shown under another name.
    let admin = wanted(&[(NVIDIA, "RestrictProfilingToAdminUsers", "0")]);
    let _ = admin.apply(&mut session(&machine)).unwrap();
    open("595.45.04").load(machine.memory());
    let report = admin.verify(&session(&machine)).unwrap();
    assert_eq!(report.items[1].state, State::Matches, "{report:#?}");
}

#[test]
fn a_driver_that_was_upgraded_and_not_loaded_yet_is_noted() {
    let memory = open("595.45.04").installed(bare());
    proprietary("580.95.05").load(&memory);
    let report = wanted(&[])
        .verify(&session(&machine(memory.fork())))
        .unwrap();
    note(
        &report,
        "driver 595.45.04 is installed and 580.95.05 is loaded: reboot",
    );
    assert_eq!(
        loaded(&host(&memory)).unwrap().unwrap().version.branch(),
        580
    );
}

#[test]
fn without_the_driver_nothing_is_written() {
    let machine = machine(bare());
    let all = wanted(&[(NVIDIA, "EnableMSI", "0")]).registry(dwords("A=1"));
    let plan = all.plan(&session(&machine)).unwrap();
    assert!(plan.steps.is_empty());
    assert_eq!(plan.findings.len(), 2);
    let hint = plan.findings[0].hint().unwrap();
    assert!(hint.contains("install the driver"), "{hint}");
    assert_eq!(loaded(&host(machine.memory())).unwrap(), None);
}

#[test]
fn other_rules_have_their_reasons() {
    let driver = open("595.45.04");
    let selinux = bare().content("/sys/fs/selinux/enforce", FileContent::new("1"));
    for (memory, settings, said) in [
        (
            selinux,
            vec![(NVIDIA, "UseKernelSuspendNotifiers", "1")],
            "SELinux denies",
        ),
        (
            bare(),
            vec![(NVIDIA, "TemporaryFilePath", "/var/nowhere")],
            "/var/nowhere of NVreg_TemporaryFilePath does not exist",
        ),
        (
            bare(),
            vec![(DRM, "modeset", "0"), (DRM, "fbdev", "1")],
            "fbdev=1 does nothing",
        ),
        (
            bare(),
            vec![(DRM, "modeset", "1"), (DRM, "fbdev", "0")],
            "second card",
        ),
    ] {
        let machine = on(driver, memory);
        let report = wanted(&settings).verify(&session(&machine)).unwrap();
        note(&report, said);
    }
    // A notebook's default chooses by itself; without DMI it could be a desktop.
    let notebook = bare().content("/sys/class/dmi/id/chassis_type", FileContent::new("10\n"));
    let machine = on(driver, notebook);
    let two = wanted(&[(NVIDIA, "DynamicPowerManagement", "2")]);
    let plan = two.plan(&session(&machine)).unwrap();
    assert!(plan.steps.is_empty());
    assert!(
        plan.findings[0].to_string().contains("udev rule"),
        "{}",
        plan.findings[0]
    );
}

#[test]
fn settings_are_read_back_from_json() {
    let all = wanted(&[(DRM, "modeset", "1")]).registry(dwords("A=1;B=2"));
    let json = serde_json::to_string(&all).unwrap();
    assert!(json.contains(r#""registry":"A=1;B=2""#), "{json}");
    assert!(json.contains(r#""module":"drm""#), "{json}");
    assert_eq!(
        serde_json::from_str::<hosttune_nvidia::NvidiaParameters>(&json).unwrap(),
        all
    );
}
