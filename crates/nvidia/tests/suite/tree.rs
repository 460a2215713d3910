//! Trees with a driver of each branch.
//!
//! Reconstructed: the modules' files (an ELF file with the section `.modinfo`, whose parameters are
//! those of the table in each branch), `/proc/driver/nvidia/params`, and the PCI functions. Their
//! form follows the sources of the open kernel modules. Copied from public bug reports: the first
//! lines of `/proc/driver/nvidia/version` of 550.90.07 and 595.45.04; the others have the same form.

use std::collections::BTreeMap;

use hosttune_core::host::FileContent;
use hosttune_core::testing::{CrashPoint, Machine, Memory, World};
use hosttune_core::{Host, Session};
use hosttune_modules::modprobe_d::{ModprobeConfiguration, SetOption};
use hosttune_nvidia::{
    DriverModule, ModuleKind, NvidiaParameters, NvidiaSetting, PARAMETERS, Parameter,
    RegistryDwords, Values, number,
};

/// The branches, each with a version and whether its module is open.
pub(crate) const DRIVERS: [(&str, ModuleKind); 10] = [
    ("535.261.03", ModuleKind::Proprietary),
    ("535.261.03", ModuleKind::Open),
    ("550.90.07", ModuleKind::Proprietary),
    ("550.163.01", ModuleKind::Open),
    ("580.95.05", ModuleKind::Proprietary),
    ("580.95.05", ModuleKind::Open),
    ("595.45.04", ModuleKind::Proprietary),
    ("595.45.04", ModuleKind::Open),
    ("610.43.02", ModuleKind::Proprietary),
    ("610.43.02", ModuleKind::Open),
];

const MODULES: &str = "/lib/modules/6.12.0";

/// A driver on a host.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Driver {
    pub(crate) version: &'static str,
    pub(crate) kind: ModuleKind,
    /// The name of the main module's file.
    pub(crate) name: &'static str,
}

impl Driver {
    pub(crate) fn new(version: &'static str, kind: ModuleKind) -> Self {
        Self {
            version,
            kind,
            name: "nvidia",
        }
    }

    pub(crate) fn branch(self) -> u16 {
        self.version.split('.').next().unwrap().parse().unwrap()
    }

    fn file(self, module: DriverModule) -> String {
        match module {
            DriverModule::Nvidia => self.name.to_owned(),
            DriverModule::Drm => format!("{}-drm", self.name),
            DriverModule::Modeset => format!("{}-modeset", self.name),
            DriverModule::Uvm => format!("{}-uvm", self.name),
        }
    }

    fn parameters(self, module: DriverModule) -> impl Iterator<Item = &'static Parameter> {
        PARAMETERS
            .iter()
            .filter(move |known| known.module == module && known.is_in(self.branch()))
    }

    /// The section `.modinfo`. `NvSwitchRegDwords` is declared too, without `NVreg_`.
    fn modinfo(self, module: DriverModule) -> Vec<u8> {
        let license = match self.kind {
            ModuleKind::Open => "Dual MIT/GPL",
            ModuleKind::Proprietary => "NVIDIA",
        };
        let mut fields = vec![
            format!("license={license}"),
            format!("version={}", self.version),
            format!("name={}", module.as_str()),
        ];
        for known in self.parameters(module) {
            let kind = match known.values {
                Values::Text => "charp",
                Values::Truth => "bool",
                _ => "int",
            };
            fields.push(format!("parmtype={}:{kind}", known.option()));
        }
        match module {
            DriverModule::Nvidia => fields.push("parmtype=NvSwitchRegDwords:charp".into()),
            DriverModule::Drm => {
                let on = self.branch() >= 595;
                let (enable, disable) = if on {
                    (" (default)", "")
                } else {
                    ("", " (default)")
                };
                fields.push(format!(
                    "parm=modeset:Enable atomic kernel modesetting (1 = enable{enable}, 0 = disable{disable})"
                ));
            }
            _ => {}
        }
        fields.join("\0").into_bytes()
    }

    /// Puts the driver's files on the host, beside those of others.
    pub(crate) fn installed(self, mut memory: Memory) -> Memory {
        let mut list = memory
            .get(format!("{MODULES}/modules.dep"))
            .map(|list| format!("{list}\n"))
            .unwrap_or_default();
        for module in DriverModule::ALL {
            let path = format!("updates/dkms/{}.ko", self.file(module));
            list.push_str(&format!("{path}:\n"));
            let file = elf(".modinfo", &self.modinfo(module));
            memory = memory.content(format!("{MODULES}/{path}"), FileContent::new(file));
        }
        memory.content(format!("{MODULES}/modules.dep"), FileContent::new(list))
    }

    fn version_text(self) -> String {
        let name = match self.kind {
            ModuleKind::Open => "Open Kernel Module for x86_64",
            ModuleKind::Proprietary => "x86_64 Kernel Module",
        };
        format!(
            "NVRM version: NVIDIA UNIX {name}  {}  Release Build  (user@host)  Tue Nov  3 12:00:00 UTC 2026\nGCC version:  gcc version 14.2.0 (Debian 14.2.0-19)\n",
            self.version
        )
    }

    /// Loads the driver, or loads it again, as a boot does: defaults, then modprobe.d and the kernel
    /// command line, then the keys of `RegistryDwords`. A value that the kernel cannot read keeps the
    /// driver from loading.
    pub(crate) fn load(self, memory: &Memory) {
        let host = Host::new(memory.host(&CrashPoint::lives()));
        let configuration = ModprobeConfiguration::read(&host).unwrap();
        let mut values: BTreeMap<String, String> = BTreeMap::new();
        for module in DriverModule::ALL {
            for known in self.parameters(module) {
                let default = known.default_in(self.branch()).unwrap_or(0);
                let default = match known.values {
                    Values::Text => String::new(),
                    _ => default.to_string(),
                };
                let option = known.option();
                let set = self.option(&configuration, module, &option);
                let value = match set.and_then(|set| set.value) {
                    None => default,
                    Some(text) if known.values == Values::Text => text,
                    // The kernel reads a signed number, which the driver prints as an unsigned one.
                    Some(text) => match text.parse::<i32>() {
                        Ok(number) => number.cast_unsigned().to_string(),
                        Err(_) => return self.unload(memory),
                    },
                };
                values.insert(format!("{module} {}", known.name), value);
            }
        }
        let dwords = values
            .get("nvidia RegistryDwords")
            .cloned()
            .unwrap_or_default();
        for pair in dwords
            .split(';')
            .filter(|pair| pair.matches('=').count() == 1)
        {
            let (key, value) = pair.split_once('=').unwrap();
            if let Some(shown) = values.get_mut(&format!("nvidia {key}")) {
                *shown = number::parse(value).unwrap_or(0).to_string();
            }
        }
        let mut params = String::new();
        for known in self.parameters(DriverModule::Nvidia) {
            let Some(shown) = known.shown else { continue };
            let value = &values[&format!("nvidia {}", known.name)];
            params.push_str(&match known.values {
                Values::Text => format!("{shown}: \"{value}\"\n"),
                _ => format!("{shown}: {value}\n"),
            });
        }
        let put = |path: &str, text: String| {
            let _ = memory.clone().content(path, FileContent::new(text));
        };
        put("/proc/driver/nvidia/params", params);
        put("/proc/driver/nvidia/version", self.version_text());
        put("/sys/module/nvidia/initstate", "live\n".into());
        put("/sys/module/nvidia/refcnt", "40\n".into());
        for module in [DriverModule::Drm, DriverModule::Modeset, DriverModule::Uvm] {
            put(&format!("/sys/module/{module}/initstate"), "live\n".into());
            put(&format!("/sys/module/{module}/refcnt"), "2\n".into());
            for known in self.parameters(module) {
                let value = &values[&format!("{module} {}", known.name)];
                let shown = if value == "0" { "N\n" } else { "Y\n" };
                let path = format!("/sys/module/{module}/parameters/{}", known.name);
                put(&path, shown.into());
            }
        }
    }

    /// What sets an option, as modprobe passes them: those of the name of the file, then those of the
    /// plain name where an install line passes them on.
    fn option(
        self,
        configuration: &ModprobeConfiguration,
        module: DriverModule,
        option: &str,
    ) -> Option<SetOption> {
        let (file, plain) = (
            self.file(module),
            Self {
                name: "nvidia",
                ..self
            }
            .file(module),
        );
        let command = configuration.install_command(&plain);
        let passes = command.is_some_and(|(_, command)| {
            command.ends_with(&format!("modprobe -i {file} $CMDLINE_OPTS"))
        });
        let of_plain = configuration.winner(&plain, option).filter(|_| passes);
        of_plain.or_else(|| configuration.winner(&file, option))
    }

    fn unload(self, memory: &Memory) {
        memory.change(|tree| {
            for file in ["params", "version"] {
                tree.remove(format!("/proc/driver/nvidia/{file}"));
            }
        });
    }
}

/// A 64-bit ELF file with one section besides the names.
pub(crate) fn elf(name: &str, data: &[u8]) -> Vec<u8> {
    let names = format!("\0{name}\0.shstrtab\0");
    let (data_at, names_at) = (64, 64 + data.len());
    let headers_at = (names_at + names.len()).next_multiple_of(8);
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let half = |file: &mut Vec<u8>, value: u16| file.extend(value.to_le_bytes());
    half(&mut file, 1); // ET_REL
    half(&mut file, 62); // EM_X86_64
    file.extend(1u32.to_le_bytes());
    file.extend([0; 16]); // e_entry, e_phoff
    file.extend(u64::try_from(headers_at).unwrap().to_le_bytes());
    file.extend(0u32.to_le_bytes());
    for value in [64, 0, 0, 64, 3, 2] {
        half(&mut file, value); // e_ehsize, e_phentsize, e_phnum, e_shentsize, e_shnum, e_shstrndx
    }
    file.extend(data);
    file.extend(names.as_bytes());
    file.resize(headers_at + 64, 0); // and the header of no section
    let second = u32::try_from(name.len() + 2).unwrap();
    for (name, kind, at, length) in [
        (1, 1u32, data_at, data.len()),
        (second, 3, names_at, names.len()),
    ] {
        file.extend(name.to_le_bytes());
        file.extend(kind.to_le_bytes());
        file.extend([0; 16]); // flags, address
        file.extend(u64::try_from(at).unwrap().to_le_bytes());
        file.extend(u64::try_from(length).unwrap().to_le_bytes());
        file.extend([0; 8]); // link, info
        file.extend(1u64.to_le_bytes());
        file.extend([0; 8]);
    }
    file
}

/// A host without a driver and without a card.
pub(crate) fn bare() -> Memory {
    Memory::new()
        .directory("/etc/modprobe.d")
        .directory("/sys/module")
        .content("/proc/sys/kernel/osrelease", FileContent::new("6.12.0\n"))
        .content(format!("{MODULES}/modules.builtin"), FileContent::new(""))
        .content(format!("{MODULES}/modules.dep"), FileContent::new(""))
}

/// Adds a display controller.
pub(crate) fn with_card(memory: Memory, address: &str, device: u16, status: &str) -> Memory {
    let of = format!("/sys/bus/pci/devices/{address}");
    memory
        .content(format!("{of}/vendor"), FileContent::new("0x10de\n"))
        .content(
            format!("{of}/device"),
            FileContent::new(format!("0x{device:04x}\n")),
        )
        .content(format!("{of}/class"), FileContent::new("0x030000\n"))
        .content(
            format!("{of}/power/runtime_status"),
            FileContent::new(format!("{status}\n")),
        )
}

pub(crate) fn machine(memory: Memory) -> Machine {
    Machine::new(memory, hosttune_nvidia::knobs)
}

pub(crate) fn session(machine: &Machine) -> Session {
    machine.session(&CrashPoint::lives()).unwrap()
}

pub(crate) fn host(memory: &Memory) -> Host {
    Host::new(memory.host(&CrashPoint::lives()))
}

pub(crate) fn wanted(settings: &[(DriverModule, &str, &str)]) -> NvidiaParameters {
    let settings = settings
        .iter()
        .map(|(module, name, value)| NvidiaSetting::new(*module, *name, value).why("tested"));
    NvidiaParameters::new("laws", settings)
}

pub(crate) fn dwords(text: &str) -> RegistryDwords {
    RegistryDwords::parse(text)
}

pub(crate) const FILE: &str = "/etc/modprobe.d/zz-hosttune-laws-nvidia.conf";
