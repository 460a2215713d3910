//! The parameters of the NVIDIA driver on captured trees with a card and a driver.

use hosttune_test_machine::{At, Kills, Traced};
use serde_json::Value;

use super::tree::{GAMING, Ran, Tree, not_run};

const FILE: &str = "etc/modprobe.d/zz-hosttune-gaming-nvidia.conf";
const PARAMS: &str = "proc/driver/nvidia/params";
const MODULES: &str = "lib/modules/6.12.0-test";
const WITH: &str = "preserve-video-memory";

const OF_NVIDIA: [&str; 4] = [
    "NVreg_UsePageAttributeTable",
    "NVreg_InitializeSystemMemoryAllocations",
    "NVreg_EnableGpuFirmware",
    "NVreg_PreserveVideoMemoryAllocations",
];

/// A tree with a card, and a driver with this license and version. Its modules declare what the
/// profile sets; from branch 610 on the page attribute table is no parameter.
fn driven(license: &str, version: &str) -> Tree {
    let tree = Tree::new();
    for (file, text) in [
        ("vendor", "0x10de"),
        ("device", "0x2684"),
        ("class", "0x030000"),
        ("power/runtime_status", "suspended"),
    ] {
        tree.put(&format!("sys/bus/pci/devices/0000:01:00.0/{file}"), text);
    }
    let has_table = version < "610";
    let of_nvidia = OF_NVIDIA.iter().skip(usize::from(!has_table));
    let declared = of_nvidia.map(|name| format!("parmtype={name}:int"));
    let main = [
        format!("license={license}"),
        format!("version={version}"),
        "name=nvidia".to_owned(),
    ];
    let drm = [
        format!("license={license}"),
        format!("version={version}"),
        "parmtype=modeset:bool".to_owned(),
        "parm=modeset:Enable atomic kernel modesetting (1 = enable, 0 = disable (default))"
            .to_owned(),
    ];
    let main: Vec<String> = main.into_iter().chain(declared).collect();
    std::fs::create_dir_all(tree.at(MODULES)).unwrap();
    for (name, fields) in [("nvidia", &main[..]), ("nvidia-drm", &drm)] {
        let file = elf(fields.join("\0").as_bytes());
        std::fs::write(tree.at(&format!("{MODULES}/{name}.ko")), file).unwrap();
    }
    tree.put(
        &format!("{MODULES}/modules.dep"),
        "nvidia.ko:\nnvidia-drm.ko: nvidia.ko",
    );
    tree.put(&format!("{MODULES}/modules.builtin"), "");
    std::fs::create_dir_all(tree.at("etc/modprobe.d")).unwrap();
    tree
}

/// The driver of a tree, loaded with these parameters.
fn loaded(tree: &Tree, params: &str, modeset: &str) {
    tree.put(PARAMS, params);
    tree.put("sys/module/nvidia/initstate", "live");
    tree.put("sys/module/nvidia_drm/initstate", "live");
    tree.put("sys/module/nvidia/refcnt", "40");
    tree.put("sys/module/nvidia_drm/refcnt", "2");
    tree.put("sys/module/nvidia_drm/parameters/modeset", modeset);
}

/// An ELF file that has the section `.modinfo` only.
fn elf(data: &[u8]) -> Vec<u8> {
    let names = b"\0.modinfo\0.shstrtab\0";
    let names_at = 64 + data.len();
    let headers_at = (names_at + names.len()).next_multiple_of(8);
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x01\0\x3e\0\x01\0\0\0".to_vec();
    file.extend([0; 16]);
    file.extend((headers_at as u64).to_le_bytes());
    file.extend([0; 4]);
    for half in [64_u16, 0, 0, 64, 3, 2] {
        file.extend(half.to_le_bytes());
    }
    file.extend(data);
    file.extend(names);
    file.resize(headers_at + 64, 0);
    for (name, kind, at, length) in [
        (1_u32, 1_u32, 64, data.len()),
        (10, 3, names_at, names.len()),
    ] {
        file.extend(name.to_le_bytes());
        file.extend(kind.to_le_bytes());
        file.extend([0; 16]);
        file.extend((at as u64).to_le_bytes());
        file.extend((length as u64).to_le_bytes());
        file.extend([0; 8]);
        file.extend(1_u64.to_le_bytes());
        file.extend([0; 8]);
    }
    file
}

fn nvidia(tree: &Tree, typed: &[&str]) -> Ran {
    tree.gaming(&[typed, &["--persist", "--only", "nvidia"]].concat())
}

/// What was printed, on one line.
fn words(ran: &Ran) -> String {
    ran.out.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The states of a report by name.
fn states(ran: &Ran) -> Vec<(String, String)> {
    let document = ran.document();
    let text = |item: &Value, key: &str| item[key].as_str().unwrap().to_owned();
    let items = document["items"].as_array().unwrap().iter();
    items
        .map(|item| (text(item, "knob"), text(item, "state")))
        .collect()
}

#[test]
fn without_a_card_the_part_is_one_line() {
    let tree = Tree::new();
    for typed in [
        &["plan"][..],
        &["plan", "--persist"],
        &["apply", "--yes", "--strict", "--persist"],
    ] {
        let ran = tree.gaming(&[typed, &["--only", "nvidia"]].concat());
        assert_eq!(ran.exit, 0, "{ran:?}");
        assert!(ran.out.contains("1 not applicable"), "{ran:?}");
        assert!(ran.out.contains("this host has no NVIDIA GPU"), "{ran:?}");
        assert!(!ran.out.contains("NVreg"), "{ran:?}");
    }
    // A card whose driver is another one.
    let tree = driven("NVIDIA", "580.95.05");
    tree.put(&format!("{MODULES}/modules.dep"), "");
    let ran = nvidia(&tree, &["plan"]);
    assert!(ran.out.contains("1 not applicable"), "{ran:?}");
    assert!(
        ran.out.contains("no module of the NVIDIA driver"),
        "{ran:?}"
    );
}

#[test]
fn a_damaged_module_does_not_keep_the_rest_from_being_planned() {
    let tree = driven("NVIDIA", "580.95.05");
    std::fs::write(
        tree.at(&format!("{MODULES}/nvidia.ko")),
        b"\x7fELF\x02\x01\x01",
    )
    .unwrap();
    let ran = tree.gaming(&["plan", "--persist"]);
    assert_eq!(ran.exit, 0, "{ran:?}");
    assert!(ran.out.contains("nvidia.ko"), "{ran:?}");
    assert!(ran.out.contains("vm.swappiness"), "{ran:?}");
}

#[test]
fn without_persist_it_is_said_and_nothing_is_planned() {
    let tree = driven("NVIDIA", "580.95.05");
    let ran = tree.gaming(&["plan", "--only", "nvidia"]);
    assert!(ran.out.contains("nothing to do"), "{ran:?}");
    assert!(ran.out.contains("gaming plan --persist"), "{ran:?}");
}

#[test]
fn parameters_are_written_where_they_act_and_are_pending_until_the_driver_is_loaded_again() {
    let tree = driven("NVIDIA", "580.95.05");
    let params = "UsePageAttributeTable: 4294967295\nInitializeSystemMemoryAllocations: 1\nEnableGpuFirmware: 18\nPreserveVideoMemoryAllocations: 0";
    loaded(&tree, params, "N");
    let before = tree.snapshot();
    let ran = nvidia(&tree, &["apply", "--yes", "--strict"]);
    assert_eq!(ran.exit, 0, "{ran:?}");
    let file = std::fs::read_to_string(tree.at(FILE)).unwrap();
    for line in [
        "options nvidia NVreg_InitializeSystemMemoryAllocations=0",
        "options nvidia NVreg_EnableGpuFirmware=0",
        "options nvidia-drm modeset=1",
    ] {
        assert!(file.contains(line), "{line}: {file}");
    }
    assert!(!file.contains("PreserveVideoMemory"), "{file}");
    // The driver does that by itself.
    assert!(!file.contains("PageAttributeTable"), "{file}");
    let said = words(&ran);
    assert!(
        said.contains(
            "NVreg_UsePageAttributeTable=1 is what the installed driver chooses by itself"
        ),
        "{ran:?}"
    );
    assert!(said.contains("security trade-off"), "{ran:?}");
    // Pending, in text and as a document, and no failure.
    let ran = nvidia(&tree, &["verify"]);
    assert_eq!(ran.exit, 0, "{ran:?}");
    assert!(
        ran.out.contains("takes effect after the next reboot"),
        "{ran:?}"
    );
    let ran = nvidia(&tree, &["verify", "--json"]);
    let pending = states(&ran)
        .into_iter()
        .filter(|(_, state)| state == "pending");
    assert!(pending.count() >= 3, "{ran:?}");
    assert!(nvidia(&tree, &["plan"]).out.contains("nothing to do"));
    assert!(
        tree.gaming(&["status"]).out.contains(FILE),
        "what is active is shown"
    );

    // After the driver was loaded again.
    let params = "UsePageAttributeTable: 4294967295\nInitializeSystemMemoryAllocations: 0\nEnableGpuFirmware: 0\nPreserveVideoMemoryAllocations: 0";
    loaded(&tree, params, "Y");
    let ran = nvidia(&tree, &["verify", "--json"]);
    assert_eq!(ran.exit, 0, "{ran:?}");
    let states = states(&ran);
    assert!(
        states.iter().all(|(_, state)| state == "matches"),
        "{states:?}"
    );

    loaded(
        &tree,
        "UsePageAttributeTable: 4294967295\nInitializeSystemMemoryAllocations: 1\nEnableGpuFirmware: 18\nPreserveVideoMemoryAllocations: 0",
        "N",
    );
    assert_eq!(tree.gaming(&["revert", "--yes"]).exit, 0);
    assert!(tree.snapshot() == before);
}

/// The driver keeps the security trade until the next boot, and an initramfs may have the file.
#[test]
fn a_revert_says_what_the_loaded_driver_still_has() {
    let tree = driven("NVIDIA", "580.95.05");
    std::fs::create_dir_all(tree.at("etc/initramfs-tools")).unwrap();
    assert_eq!(nvidia(&tree, &["apply", "--yes"]).exit, 0);
    let params = "UsePageAttributeTable: 4294967295\nInitializeSystemMemoryAllocations: 0\nEnableGpuFirmware: 0\nPreserveVideoMemoryAllocations: 0";
    loaded(&tree, params, "Y");
    tree.put(
        "proc/driver/nvidia/version",
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.95.05  Tue Sep 23 10:11:16 UTC 2025",
    );
    let still_has = "still has nvidia NVreg_InitializeSystemMemoryAllocations=0";
    let said = words(&tree.gaming(&["status"]));
    assert!(!said.contains("still has"), "{said}");
    let ran = tree.gaming(&["revert", "--yes"]);
    assert_eq!(ran.exit, 0, "{ran:?}");
    let said = words(&ran);
    assert!(said.contains(still_has), "{said}");
    let rebuild =
        "zz-hosttune-gaming-nvidia.conf was there, rebuild it again with update-initramfs";
    assert!(said.contains(rebuild), "{said}");
    let said = words(&tree.gaming(&["status"]));
    assert!(said.contains(still_has), "{said}");
    // Loaded again without it.
    let params = params.replace("Allocations: 0\nE", "Allocations: 1\nE");
    loaded(&tree, &params.replace("Firmware: 0", "Firmware: 18"), "N");
    let said = words(&tree.gaming(&["status"]));
    assert!(!said.contains("still has"), "{said}");
}

#[test]
fn what_a_driver_does_not_take_is_said_with_the_reason() {
    let open = driven("Dual MIT/GPL", "580.95.05");
    let ran = nvidia(&open, &["apply", "--yes", "--strict"]);
    assert_eq!(ran.exit, 0, "{ran:?}");
    let said = words(&ran);
    assert!(
        said.contains("NVreg_EnableGpuFirmware acts only with the"),
        "{ran:?}"
    );
    let file = std::fs::read_to_string(open.at(FILE)).unwrap();
    assert!(!file.contains("EnableGpuFirmware"), "{file}");

    let new = driven("NVIDIA", "610.43.02");
    let ran = nvidia(&new, &["plan", "--strict"]);
    assert_eq!(ran.exit, 0, "{ran:?}");
    let said = words(&ran);
    assert!(said.contains("was removed in branch 610"), "{ran:?}");
}

#[test]
fn the_optional_part_says_what_it_needs() {
    let tree = driven("NVIDIA", "580.95.05");
    for verb in ["suspend", "hibernate", "resume"] {
        let unit = format!("usr/lib/systemd/system/nvidia-{verb}.service");
        tree.put(&unit, "[Service]");
    }
    let ran = nvidia(&tree, &["apply", "--yes", "--with", WITH]);
    assert_eq!(ran.exit, 0, "{ran:?}");
    let said = words(&ran);
    assert!(
        said.contains("systemctl enable nvidia-suspend.service"),
        "{ran:?}"
    );
    let file = std::fs::read_to_string(tree.at(FILE)).unwrap();
    assert!(
        file.contains("NVreg_PreserveVideoMemoryAllocations=1"),
        "{file}"
    );
    // Without the option again, the line is gone.
    assert_eq!(nvidia(&tree, &["apply", "--yes"]).exit, 0);
    let file = std::fs::read_to_string(tree.at(FILE)).unwrap();
    assert!(!file.contains("PreserveVideoMemory"), "{file}");
    assert_eq!(tree.gaming(&["revert", "--yes"]).exit, 0);
    assert!(!tree.at(FILE).exists());
}

#[test]
fn a_file_or_a_kernel_parameter_that_wins_is_named() {
    let tree = driven("NVIDIA", "580.95.05");
    tree.put("etc/modprobe.d/zzz.conf", "options nvidia-drm modeset=0");
    tree.put(
        "proc/cmdline",
        "root=/dev/sda1 nvidia.NVreg_InitializeSystemMemoryAllocations=1",
    );
    assert_eq!(nvidia(&tree, &["apply", "--yes"]).exit, 0);
    let ran = nvidia(&tree, &["verify"]);
    assert_eq!(ran.exit, 1, "{ran:?}");
    let said = words(&ran);
    assert!(said.contains("overridden"), "{ran:?}");
    assert!(said.contains("/etc/modprobe.d/zzz.conf"), "{ran:?}");
    assert!(
        said.contains("kernel command line") || said.contains("/proc/cmdline"),
        "{ran:?}"
    );
    assert_eq!(tree.gaming(&["revert", "--yes"]).exit, 0);
    assert!(tree.at("etc/modprobe.d/zzz.conf").exists());
}

#[test]
fn killed_at_any_moment_the_files_are_as_before() {
    if let Err(reason) = Traced::available() {
        return not_run("parameters and files killed in a tree", &reason);
    }
    let tree = driven("NVIDIA", "580.95.05");
    tree.put(
        "usr/share/pipewire/pipewire.conf",
        "# for PipeWire version \"1.4.2\" #\ncontext.properties = { }",
    );
    // Only the first run makes the directories of the journals.
    let only = ["--persist", "--only", "nvidia,pipewire"];
    assert_eq!(
        tree.gaming(&[&["apply", "--yes"][..], &only].concat()).exit,
        0
    );
    assert_eq!(tree.gaming(&["revert", "--yes"]).exit, 0);
    let before = tree.snapshot();
    let root = tree.root().to_str().unwrap();
    let kills = Kills {
        program: GAMING,
        arguments: &[
            "--root",
            root,
            "apply",
            "--yes",
            "--persist",
            "--only",
            "nvidia,pipewire",
        ],
        at: At::EveryWrite,
        believable: 30,
        parts: 1,
    };
    let killed = kills.each(
        || assert!(tree.snapshot() == before),
        |run| {
            let reverted = tree.gaming(&["revert", "--yes"]);
            assert_eq!(reverted.exit, 0, "{run}: {reverted:?}");
            assert!(tree.snapshot() == before, "{run}");
        },
    );
    assert!(killed > 30, "{killed}");
}
