//! `toaster`: a workstation with an AMD processor that lends its NVIDIA graphics card, with the audio
//! output on it, to the guest `windows11`.
//!
//! `toaster lend` before the guest starts and `toaster return` after it has ended; `toaster guest --hook`
//! prints the script with which libvirt does both.

#[path = "toaster/processors.rs"]
mod processors;

use hosttune::boot::boot_loader::BootSetting;
use hosttune::boot::boot_once::BootMode;
use hosttune::boot::command_line::CommandLineSetting;
use hosttune::cli::{self, HostProfile, Options, Setting};
use hosttune::cpu;
use hosttune::facts::Facts;
use hosttune::guest::{
    Guest, HugePages, LookingGlass, Name, NoteMemoryLock, Resolution, SharedMemory, Version,
};
use hosttune::host::RootKind;
use hosttune::memory::{self, hugepages::Hugepages};
use hosttune::modules::Modules;
use hosttune::pci::{self, Address, Ids};
use hosttune::vfio::{self, Assessment, Consent, Lend, LendAtBoot, LendAtBootByIds, Selector};
use hosttune::{Error, Host, Note, Planner, Registry, Session, Tuning};

use processors::Processors;

const GUEST: &str = "windows11";
const CORES: u32 = 8;
/// In MiB.
const MEMORY: u64 = 16_384;
/// A GeForce RTX 4090. The audio output is another function of the same card and needs no mention.
const GPU: &str = "10de:2684";
const SCREEN: &str = "3840x2160";
const NEEDS_PERSIST: &str = "a boot entry is kept in a file: toaster plan --persist shows it";
const GLASS: &str = "b7";

/// An optional part: the guest's memory from huge pages, while it is lent its devices.
const HUGE_PAGES: &str = "huge-pages";
/// In KiB.
const PAGE: u64 = 2_048;

/// An optional part: processors of the guest alone, while it is lent its devices.
const CPUSET: &str = "cpuset";
/// Where libvirt puts its guests.
const CONTROL_GROUP: &str = "machine.slice";

/// An optional part: a boot entry beside the normal one, with memory set aside for the guest.
const VFIO_MODE: &str = "vfio-mode";

const SETTINGS: &[Setting] = &[
    Setting {
        name: "gpu",
        value: "IDS[@ADDRESS],…",
        help: "The graphics card of the guest, by its ids and, if several cards have them, its address; \
               further devices of its IOMMU group after commas [default: 10de:2684]",
        check: |text| selectors(text).map(drop),
    },
    Setting {
        name: "consent",
        value: "NAME,…",
        help: "Accept consequences that the plan names: only-gpu, console, firmware-framebuffer, \
               default-route, network-configuration, vital-disk, reserved-region",
        check: |text| consents(text).map(drop),
    },
    Setting {
        name: "at-boot",
        value: "HOW",
        help: "How --persist lends the card from boot on: rule (a udev rule for its slot), ids (vfio-pci.ids= \
               on the kernel command line) [default: rule]",
        check: |text| at_boot(text).map(drop),
    },
    Setting {
        name: "processors",
        value: "LIST",
        help: "The processors of the guest with --with cpuset, as 8-15,24-31 [default: those of 8 cores that \
               share a cache]",
        check: |text| processors::list(text).map(drop),
    },
    Setting {
        name: "control-group",
        value: "GROUP",
        help: "The control group that the guest runs in, with --with cpuset [default: machine.slice]",
        check: |text| processors::control_group(text).map(drop),
    },
    Setting {
        name: "screen",
        value: "WxH",
        help: "The largest resolution of the guest's screen in Looking Glass [default: 3840x2160]",
        check: |text| resolution(text).map(drop),
    },
    Setting {
        name: "looking-glass",
        value: "VERSION",
        help: "What the guest runs: b7, b7-hdr, idd (the indirect display driver) [default: b7]",
        check: |text| version(text).map(drop),
    },
];

fn selector(text: &str) -> Result<Selector, String> {
    let (ids, address) = match text.split_once('@') {
        Some((ids, address)) => (ids, Some(address)),
        None => (text, None),
    };
    let ids: Ids = ids.parse().map_err(|error| format!("{error}"))?;
    let Some(address) = address else {
        return Ok(Selector::unique(ids));
    };
    let address: Address = address.parse().map_err(|error| format!("{error}"))?;
    Ok(Selector::at(address, ids))
}

fn selectors(text: &str) -> Result<Vec<Selector>, String> {
    text.split(',').map(selector).collect()
}

fn consents(text: &str) -> Result<Vec<Consent>, String> {
    let known = Consent::ALL;
    let consent = |name: &str| {
        let found = known.into_iter().find(|consent| consent.as_str() == name);
        found.ok_or_else(|| {
            let names: Vec<&str> = known.iter().map(|consent| consent.as_str()).collect();
            format!("there is no consent '{name}'; one of: {}", names.join(", "))
        })
    };
    text.split(',').map(consent).collect()
}

/// How the card is lent from boot on.
enum AtBoot {
    Rule,
    Ids,
}

fn at_boot(text: &str) -> Result<AtBoot, String> {
    match text {
        "rule" => Ok(AtBoot::Rule),
        "ids" => Ok(AtBoot::Ids),
        _ => Err("one of: rule, ids".to_owned()),
    }
}

fn resolution(text: &str) -> Result<Resolution, String> {
    text.parse().map_err(|error| format!("{error}"))
}

fn version(text: &str) -> Result<Version, String> {
    match text {
        "b7" => Ok(Version::B7 { hdr: false }),
        "b7-hdr" => Ok(Version::B7 { hdr: true }),
        "idd" => Ok(Version::Idd),
        _ => Err("one of: b7, b7-hdr, idd".to_owned()),
    }
}

/// A value of the command line, which has already been checked, or the default.
fn value<T>(
    options: &Options,
    name: &str,
    default: &str,
    parse: fn(&str) -> Result<T, String>,
) -> Result<T, Error> {
    let text = options.setting(name).unwrap_or(default);
    parse(text).map_err(|why| Error::tuning(why, format!("omit --{name}")))
}

fn lend(options: &Options) -> Result<Lend, Error> {
    let devices = value(options, "gpu", GPU, selectors)?;
    let consented = match options.setting("consent") {
        Some(_) => value(options, "consent", "", consents)?,
        None => Vec::new(),
    };
    let lend = Lend::new(devices)
        .guest(GUEST)
        .why("the graphics card of the guest windows11");
    Ok(consented.into_iter().fold(lend, Lend::consent))
}

/// The guest without its devices.
fn machine(name: &str, options: &Options) -> Result<Guest, Error> {
    let name = Name::new(name).map_err(|error| Error::tuning(error.to_string(), "rename it"))?;
    let glass = LookingGlass::new(
        value(options, "screen", SCREEN, resolution)?,
        value(options, "looking-glass", GLASS, version)?,
    );
    Ok(Guest::new(name, CORES, MEMORY).shared_memory(SharedMemory::looking_glass(glass)))
}

/// The boot entry for the guest. The normal entry stays the default and keeps all memory for the host.
fn vfio_mode(name: &str) -> BootMode {
    BootMode::new(
        name,
        "vfio",
        [
            BootSetting::new(CommandLineSetting::equals("iommu", "pt"))
                .why("devices of the host are not translated, which costs the guest nothing"),
            BootSetting::new(CommandLineSetting::HugePages {
                size: "2M".to_owned(),
                pages: MEMORY / 2,
            })
            .why("the memory of the guest, set aside before it is fragmented"),
        ],
    )
}

struct Toaster;

impl HostProfile for Toaster {
    fn name(&self) -> &'static str {
        "toaster"
    }

    fn about(&self) -> &'static str {
        "A workstation that lends its NVIDIA graphics card to the guest windows11"
    }

    fn candidates(&self) -> &'static [&'static str] {
        &[VFIO_MODE, HUGE_PAGES, CPUSET]
    }

    fn settings(&self) -> &'static [Setting] {
        SETTINGS
    }

    fn register(&self, registry: &mut Registry) {
        vfio::knobs(registry);
        memory::knobs(registry);
        cpu::knobs(registry);
    }

    fn with_backend(&self, session: Session) -> Session {
        session.with_backend(Modules::live())
    }

    fn tuning(&self, options: &Options) -> Result<Box<dyn Tuning>, Error> {
        let lend = lend(options)?;
        let mut parts = vec![Box::new(OtherMachine) as Box<dyn Tuning>];
        if options.has(VFIO_MODE) {
            parts.push(match options.persist {
                true => Box::new((VFIO_MODE, vfio_mode(self.name()))) as Box<dyn Tuning>,
                false => Box::new((VFIO_MODE, Note(NEEDS_PERSIST.to_owned()))),
            });
        }
        // Not in the guest's part: the rule stays when the guest returns the card.
        if options.persist {
            let (lend, name) = (lend.clone(), self.name());
            let tuning: Box<dyn Tuning> = match value(options, "at-boot", "rule", at_boot)? {
                AtBoot::Rule => Box::new(LendAtBoot::new(lend, name)),
                AtBoot::Ids => Box::new(LendAtBootByIds::new(lend, name)),
            };
            parts.push(Box::new(("boot", tuning)));
        }
        parts.push(Box::new((
            GUEST,
            Loan {
                guest: machine(GUEST, options)?,
                lend,
                huge_pages: options.has(HUGE_PAGES),
                processors: wanted_processors(options)?,
            },
        )));
        Ok(Box::new(parts))
    }

    fn boot_modes(&self, _: &Options) -> Vec<(&'static str, BootMode)> {
        vec![(VFIO_MODE, vfio_mode(self.name()))]
    }

    fn guests(&self) -> &'static [&'static str] {
        &[GUEST]
    }

    fn guest(&self, name: &str, host: &Host, options: &Options) -> Result<Guest, Error> {
        let assessment = Assessment::of(host, &lend(options)?)?;
        if let ([], [refusal, ..]) = (&assessment.lent[..], &assessment.refusals[..]) {
            let hint = refusal.unsupported.hint.clone().unwrap_or_default();
            return Err(Error::tuning(refusal.to_string(), hint));
        }
        let guest =
            machine(name, options)?.devices(assessment.lent.iter().map(|device| device.address));
        let node = node(host, &assessment)?;
        let guest = match options.has(HUGE_PAGES) {
            true => guest.huge_pages(HugePages { size: PAGE, node }),
            false => guest,
        };
        let Some(wanted) = wanted_processors(options)? else {
            return Ok(guest);
        };
        match wanted.shared(host, node)? {
            Ok(parts) => Ok(guest.pinned(parts.iter().map(ToString::to_string))),
            Err(unsupported) => {
                let hint = unsupported.hint.clone().unwrap_or_default();
                Err(Error::tuning(unsupported.to_string(), hint))
            }
        }
    }
}

/// Which processors the guest has for itself; `None` without the part.
fn wanted_processors(options: &Options) -> Result<Option<Processors>, Error> {
    if !options.has(CPUSET) {
        return Ok(None);
    }
    let list = match options.setting("processors") {
        Some(_) => Some(value(options, "processors", "", processors::list)?),
        None => None,
    };
    Ok(Some(Processors {
        cores: CORES as usize,
        list,
        group: value(
            options,
            "control-group",
            CONTROL_GROUP,
            processors::control_group,
        )?,
    }))
}

/// The node that the lent devices are attached to, on a host with several.
fn node(host: &Host, assessment: &Assessment) -> Result<Option<u32>, Error> {
    if !host.exists("/sys/devices/system/node/node1")? {
        return Ok(None);
    }
    for device in &assessment.lent {
        if let Some(node) = pci::numa_node(host, device.address)? {
            return Ok(Some(node));
        }
    }
    Ok(None)
}

/// What the guest is given while it runs: memory first, because that is what can be missing.
struct Loan {
    guest: Guest,
    lend: Lend,
    huge_pages: bool,
    processors: Option<Processors>,
}

impl Tuning for Loan {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        if !at.is_selected() {
            return Ok(());
        }
        NoteMemoryLock(self.guest.clone()).declare(at)?;
        if self.huge_pages || self.processors.is_some() {
            let assessment = Assessment::of(at.host(), &self.lend)?;
            let node = node(at.host(), &assessment)?;
            if self.huge_pages {
                let mut pages = Hugepages::of_size(PAGE, MEMORY * 1024 / PAGE)
                    .compact_first()
                    .why("the guest's memory: fewer entries in the page tables of guest and IOMMU")
                    .required();
                pages.node = node;
                pages.declare(at)?;
            }
            if let Some(processors) = &self.processors {
                processors.declare(at, node)?;
            }
        }
        self.lend.declare(at)
    }
}

/// Adds a note if this is not the machine that the profile was written for. It requests nothing.
struct OtherMachine;

impl Tuning for OtherMachine {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        if at.host().root_kind() == RootKind::Image {
            return Ok(());
        }
        let cpu = Facts::of(at.host()).cpu;
        if cpu.vendor_id.as_deref() != Some("AuthenticAMD") {
            let seen = cpu.model_name.as_deref().unwrap_or("an unknown CPU");
            at.note(format!(
                "this profile is for an AMD processor, but this host has {seen}"
            ));
        }
        Ok(())
    }
}

fn main() -> std::process::ExitCode {
    cli::main(&Toaster)
}
