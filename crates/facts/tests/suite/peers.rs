//! The facts agree with what other tools report on this machine.

use std::collections::BTreeMap;
use std::process::Command;

use hosttune_facts::{Container, Facts, Hypervisor, NicKind, Transport};
use serde_json::Value;

/// Runs a program and returns its output. The exit status is ignored, because `systemd-detect-virt` exits
/// with 1 for "none".
fn ask(line: &str) -> String {
    let mut words = line.split(' ');
    let output = Command::new(words.next().unwrap()).args(words).output();
    let output = output.unwrap_or_else(|error| panic!("{line}: {error}"));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        !said.trim().is_empty(),
        "{line} says nothing, but {}",
        String::from_utf8_lossy(&output.stderr)
    );
    said
}

fn ask_json(line: &str) -> Value {
    serde_json::from_str(&ask(line)).unwrap()
}

/// Fails if another tool reports something else. The facts must have identifiers.
pub(crate) fn agree(facts: &Facts) {
    processors(facts);
    disks(facts);
    interfaces(facts);
    kernel(facts);
    for (option, told) in [
        (
            "--vm",
            facts.virtualisation.hypervisor.map(Hypervisor::word),
        ),
        (
            "--container",
            facts.virtualisation.container.map(Container::word),
        ),
    ] {
        let said = ask(&format!("systemd-detect-virt {option}"));
        assert_eq!(told, Some(said.trim()), "systemd-detect-virt {option}");
    }
    let distribution = facts.distribution.as_ref().unwrap();
    let script = ". /etc/os-release; printf '%s|%s|%s' \"$ID\" \"$PRETTY_NAME\" \"$VERSION_ID\"";
    let said = Command::new("sh").args(["-c", script]).output().unwrap();
    assert_eq!(
        format!(
            "{}|{}|{}",
            distribution.id,
            distribution.pretty_name,
            distribution.version_id.as_deref().unwrap_or_default()
        ),
        String::from_utf8(said.stdout).unwrap()
    );
}

fn processors(facts: &Facts) {
    let mut told = BTreeMap::new();
    fields(&ask_json("lscpu -J")["lscpu"], &mut told);
    let cpu = &facts.cpu;
    let number = |name: &str| told.get(name).and_then(|text| text.parse::<u32>().ok());
    let text = |name: &str| told.get(name).cloned();
    assert_eq!(cpu.vendor_id, text("Vendor ID:"));
    assert_eq!(cpu.model_name, text("Model name:"));
    assert_eq!(cpu.family, number("CPU family:"));
    assert_eq!(cpu.model, number("Model:"));
    assert_eq!(cpu.stepping, number("Stepping:"));
    assert_eq!(cpu.threads, number("CPU(s):"));
    assert_eq!(cpu.sockets, number("Socket(s):"));
    assert_eq!(cpu.numa_nodes, number("NUMA node(s):"));
    let cores = number("Core(s) per socket:").zip(number("Socket(s):"));
    assert_eq!(cpu.cores, cores.map(|(cores, sockets)| cores * sockets));
    assert_eq!(facts.kernel.architecture, text("Architecture:"));
    // The dynamic loader determines the level from the processor itself.
    let said = ask("/lib64/ld-linux-x86-64.so.2 --help");
    let supported = said
        .lines()
        .filter(|line| line.contains("(supported, searched)"));
    let best = supported
        .filter_map(|line| line.trim().split(' ').next())
        .next();
    let level = cpu.x86_64_level.map(|level| level.to_string());
    assert_eq!(
        level.as_deref(),
        Some(best.unwrap_or("x86-64-v1")),
        "{said}"
    );
}

/// `lscpu -J` nests some fields in others; each occurs once.
fn fields(value: &Value, into: &mut BTreeMap<String, String>) {
    for field in value.as_array().into_iter().flatten() {
        if let (Some(name), Some(data)) = (field["field"].as_str(), field["data"].as_str()) {
            into.entry(name.to_owned())
                .or_insert_with(|| data.to_owned());
        }
        fields(&field["children"], into);
    }
}

fn disks(facts: &Facts) {
    let told = ask_json("lsblk -J -b -d -o NAME,SIZE,ROTA,RM,MODEL,TYPE,SUBSYSTEMS");
    let told = told["blockdevices"].as_array().unwrap();
    // A device without a bus is not hardware.
    let hardware =
        |one: &&Value| one["type"] == "disk" && one["size"] != 0 && one["subsystems"] != "block";
    let told: BTreeMap<&str, &Value> = told
        .iter()
        .filter(hardware)
        .map(|one| (one["name"].as_str().unwrap(), one))
        .collect();
    let disks = facts.disks.as_ref().unwrap();
    let names: Vec<&str> = disks.iter().map(|disk| disk.name.as_str()).collect();
    assert_eq!(names, told.keys().copied().collect::<Vec<_>>());
    for disk in disks {
        let told = told[disk.name.as_str()];
        assert_eq!(told["size"], disk.size_bytes, "{disk}");
        assert_eq!(told["rota"].as_bool(), disk.rotational, "{disk}");
        assert_eq!(told["rm"].as_bool(), disk.removable, "{disk}");
        assert_eq!(
            told["model"].as_str().map(str::trim),
            disk.model.as_deref(),
            "{disk}"
        );
        let buses: Vec<&str> = told["subsystems"].as_str().unwrap().split(':').collect();
        let expected = match buses[1] {
            bus if bus.starts_with("nvme") => [Transport::Nvme; 2],
            // lsblk recognises ATA only from udev's database, which may be missing.
            "scsi" => [Transport::Scsi, Transport::Sata],
            "virtio" => [Transport::Virtio; 2],
            other => panic!("{disk}: a bus {other}"),
        };
        assert!(expected.contains(&disk.transport), "{disk}: {told}");
    }
}

fn interfaces(facts: &Facts) {
    let told = ask_json("ip -d -j link");
    let told: BTreeMap<&str, &Value> = told
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["ifname"].as_str().unwrap(), one))
        .collect();
    let nics = facts.nics.as_ref().unwrap();
    let names: Vec<&str> = nics.iter().map(|nic| nic.name.as_str()).collect();
    assert_eq!(names, told.keys().copied().collect::<Vec<_>>());
    for nic in nics {
        let told = told[nic.name.as_str()];
        assert_eq!(
            told["address"].as_str(),
            nic.hardware_address.as_deref(),
            "{nic}"
        );
        let parent = told["parentdev"].as_str();
        assert_eq!(
            parent.is_none(),
            nic.kind == NicKind::Virtual,
            "{nic}: {told}"
        );
        if told["parentbus"] == "pci" {
            assert_eq!(parent, nic.bus_address.as_deref(), "{nic}");
        }
    }
}

fn kernel(facts: &Facts) {
    for (option, told) in [
        ("-r", &facts.kernel.release),
        ("-v", &facts.kernel.version),
        ("-m", &facts.kernel.architecture),
    ] {
        assert_eq!(
            told.as_deref(),
            Some(ask(&format!("uname {option}")).trim())
        );
    }
    let said = ask("free -b");
    let total = |name: &str| -> Option<u64> {
        let line = said.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    assert_eq!(facts.memory.total_bytes, total("Mem:"));
    assert_eq!(facts.memory.swap_bytes, total("Swap:"));
}
