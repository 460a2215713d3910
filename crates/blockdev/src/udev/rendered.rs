//! Rules for disks, converted to equivalent udev rules.

use std::collections::BTreeSet;

use hosttune_core::Error;
use hosttune_facts::Transport;

use super::settings::{self, Setting};
use super::shell_pattern::{Subject, translate};
use super::{Case, Condition, GeneratedRules, GeneratedRulesError};
use crate::disk::DiskKind;
use crate::place;
use crate::queue_attribute::page;
use crate::rule::{self, Conditions, Glob, Rule};
use crate::rules::Rules;

/// Why rules for disks cannot be converted to udev rules.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RenderError {
    /// The rules themselves are invalid.
    #[error(transparent)]
    Wrong(#[from] Error),
    /// The resulting rule cannot be written.
    #[error("rule {rule}: {why}")]
    Unwritable {
        /// Which rule.
        rule: String,
        /// The reason.
        why: GeneratedRulesError,
    },
    /// The name of the file is invalid.
    #[error(transparent)]
    File(GeneratedRulesError),
    /// The rules are limited to one disk by its name, which may belong to another disk after the
    /// next boot.
    #[error("rules limited to {device} cannot be applied to hot-plugged disks")]
    Only {
        /// The disk.
        device: String,
    },
    /// A condition on the size: udev compares only text.
    #[error("rule {rule} has a size condition, but udev cannot compare numbers")]
    Size {
        /// Which rule.
        rule: String,
    },
    /// The rule selects only hidden devices.
    #[error("rule {rule} selects paths of multipath NVMe namespaces, for which udev has no events")]
    Paths {
        /// Which rule.
        rule: String,
    },
    /// A pattern that udev cannot express.
    #[error("rule {rule} matches {compared} against '{pattern}': {why}")]
    Pattern {
        /// Which rule.
        rule: String,
        /// The compared fact.
        compared: Compared,
        /// The pattern.
        pattern: String,
        /// The reason.
        why: &'static str,
    },
    /// A value that the kernel would refuse, or store with another meaning.
    #[error("rule {rule}: {why}")]
    Value {
        /// Which rule.
        rule: String,
        /// The reason.
        why: String,
        /// A suggestion for the user.
        hint: String,
    },
}

/// The fact that a condition compares.
pub type Compared = rule::Condition;

impl RenderError {
    /// A suggestion for the user.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Wrong(error) => error.hint(),
            Self::Value { hint, .. } => Some(hint.clone()),
            Self::Size { .. } | Self::Pattern { .. } | Self::Paths { .. } => Some(
                "have udev run the program for each new disk instead: it can evaluate every condition"
                    .to_owned(),
            ),
            Self::Only { .. } => Some("leave out the device".to_owned()),
            Self::File(_) | Self::Unwritable { .. } => None,
        }
    }
}

impl From<RenderError> for Error {
    fn from(error: RenderError) -> Self {
        match error {
            RenderError::Wrong(error) => error,
            other => Self::Tuning {
                message: other.to_string(),
                hint: other.hint(),
            },
        }
    }
}

/// The namespace itself of multipath NVMe has no requests; its paths do.
const HEADS: &str = "*/nvme-subsystem/*";

impl Rules {
    /// Converts the rules to udev rules, with which udev tunes disks as they are added:
    /// `61-hosttune-NAME.rules`.
    ///
    /// As here, the first rule that matches a disk applies, with four differences. Attributes of
    /// requests of a multipath NVMe namespace are not set, since udev has no events for its paths.
    /// Kernels up to 6.8 refuse values above the limit of a device, which
    /// [`Attribute`](crate::Attribute) clamps before writing. A host-managed zoned disk gets no
    /// scheduler but mq-deadline, even on newer kernels, because the file outlives the kernel. A
    /// model that begins with blanks is compared including them.
    ///
    /// # Errors
    /// If a rule has a condition that udev cannot express, above all the size; if the rules are
    /// limited to one disk; or if the name cannot be part of the file name.
    pub fn to_udev(&self, name: &str) -> Result<GeneratedRules, RenderError> {
        self.check()?;
        if let Some(device) = &self.only {
            return Err(RenderError::Only {
                device: device.display().to_string(),
            });
        }
        let cases: Result<Vec<Case>, RenderError> = self.rules.iter().map(case).collect();
        let own = GeneratedRules::new(name);
        own.file_name().map_err(RenderError::File)?;
        Ok(own.first_of(cases?))
    }
}

fn case(rule: &Rule) -> Result<Case, RenderError> {
    let asked = Asked::of(rule)?;
    let mut case = Case::new(&rule.name);
    if !rule.why.text.is_empty() {
        case = case.comment(&rule.why.text);
    }
    let transports: Vec<Option<Transport>> = match rule.disks.transport.as_slice() {
        [] => vec![None],
        some => some.iter().copied().map(Some).collect(),
    };
    let covers_nvme = transports
        .iter()
        .any(|one| one.is_none_or(|transport| transport == Transport::Nvme))
        && !asked.disks.is_empty();
    let splits = covers_nvme && rule.sets_requests();
    if splits {
        case = case.comment(
            "The requests of a multipath NVMe namespace are at its paths, for which udev has no events.",
        );
    }
    for transport in transports {
        for alternative in &asked.disks {
            case = case.disks(alternative.conditions(transport, &asked.facts));
        }
        if let Some(alternative) = &asked.device_mapper {
            case = case.device_mapper(alternative.conditions(transport, &asked.facts));
        }
    }
    for (attribute, value) in &rule.set.queue {
        // Otherwise udev would write a value that a plan refuses.
        if let Err(refused) = attribute.predict(*value, page(), None) {
            return Err(RenderError::Value {
                rule: rule.name.clone(),
                why: refused.why,
                hint: refused.hint,
            });
        }
    }
    for setting in settings::of(rule) {
        let Setting {
            attribute, value, ..
        } = &setting;
        case = if splits && setting.is_of_requests {
            case.set_where(Condition::place(HEADS).negated(), attribute, value)
        } else {
            case.set(attribute, value)
        };
    }
    // Checked here, where the rule is known, to name it in the error.
    GeneratedRules::new("x")
        .first_of([case.clone()])
        .to_rules()
        .map_err(|why| RenderError::Unwritable {
            rule: rule.name.clone(),
            why,
        })?;
    Ok(case)
}

/// The conditions of a rule other than the transport.
struct Asked {
    /// Alternatives for disks other than device-mapper devices.
    disks: Vec<Alternative>,
    /// The alternative for device-mapper devices.
    device_mapper: Option<Alternative>,
    facts: Vec<Condition>,
}

/// Kinds of disks that a single udev rule can match.
struct Alternative {
    name: Condition,
    place: Place,
}

/// Where a disk of these kinds is in the device tree; see [`place`].
enum Place {
    Anywhere,
    Hardware,
    /// Hardware is on a bus and not among the exceptions, so the opposite takes two alternatives.
    OffEveryBus,
    Exception,
}

impl Alternative {
    fn conditions(&self, transport: Option<Transport>, facts: &[Condition]) -> Vec<Condition> {
        let (mut any, mut none) = transport.map(Transport::patterns).unwrap_or_default();
        let (buses, exceptions) = place::patterns();
        let place = |patterns: &[String]| Condition::place(&patterns.join("|"));
        let mut all = vec![self.name.clone()];
        match self.place {
            Place::Anywhere => {}
            Place::Hardware => {
                none.extend(exceptions);
                if any.is_empty() {
                    any = buses;
                } else if !transport.is_some_and(place::is_bus) {
                    all.push(place(&buses));
                }
            }
            Place::OffEveryBus => none.extend(buses),
            Place::Exception if any.is_empty() => any = exceptions,
            Place::Exception => all.push(place(&exceptions)),
        }
        let mut seen = BTreeSet::new();
        none.retain(|pattern| seen.insert(pattern.clone()));
        all.extend((!any.is_empty()).then(|| place(&any)));
        all.extend((!none.is_empty()).then(|| place(&none).negated()));
        all.extend(facts.iter().cloned());
        all
    }
}

impl Asked {
    fn of(rule: &Rule) -> Result<Self, RenderError> {
        let Conditions {
            kind,
            transport: _,
            rotational,
            size_at_least,
            size_at_most,
            model,
            by_id,
            name,
        } = &rule.disks;
        if size_at_least.or(*size_at_most).is_some() {
            return Err(RenderError::Size {
                rule: rule.name.clone(),
            });
        }
        let mut facts = Vec::new();
        if let Some(rotational) = rotational {
            facts.push(Condition::rotational(*rotational));
        }
        let pattern = |glob: &Glob, compared, subject| {
            translate(glob.as_str(), subject).map_err(|why| RenderError::Pattern {
                rule: rule.name.clone(),
                compared,
                pattern: glob.to_string(),
                why,
            })
        };
        if let Some(glob) = model {
            let model = pattern(glob, Compared::Model, Subject::Trimmed)?;
            let condition = Condition::attribute("device/model", &model.text);
            facts.push(as_translated(condition, model.is_pattern));
        }
        if let Some(glob) = by_id {
            let link = pattern(glob, Compared::ById, Subject::Plain)?;
            let condition = Condition::link(&format!("disk/by-id/{}", link.text));
            facts.push(as_translated(condition, link.is_pattern));
        }
        if let Some(glob) = name {
            let name = pattern(glob, Compared::Name, Subject::KernelName)?;
            let condition = Condition::kernel_name(&name.text);
            facts.push(as_translated(condition, name.is_pattern));
        }
        let named = |kinds: &[DiskKind]| {
            let patterns = kinds.iter().flat_map(|kind| kind.patterns());
            let patterns: Vec<String> = patterns.collect();
            Condition::kernel_name(&patterns.join("|")).as_pattern()
        };
        let kinds = match kind.as_slice() {
            [] => &[DiskKind::Disk],
            kinds => kinds,
        };
        let anywhere = |kinds: &[DiskKind]| Alternative {
            name: named(kinds),
            place: Place::Anywhere,
        };
        let device_mapper = kinds
            .contains(&DiskKind::DeviceMapper)
            .then(|| anywhere(&[DiskKind::DeviceMapper]));
        let by_name: Vec<DiskKind> = kinds
            .iter()
            .copied()
            .filter(|kind| DiskKind::NAMED.contains(kind) && *kind != DiskKind::DeviceMapper)
            .collect();
        let mut disks = Vec::new();
        if !by_name.is_empty() {
            disks.push(anywhere(&by_name));
        }
        // Two kinds have no name of their own; a disk with none of the other names is matched by
        // its place.
        let has = |kind| kinds.contains(&kind);
        let places = match (has(DiskKind::Disk), has(DiskKind::Other)) {
            (true, true) => vec![Place::Anywhere],
            (true, false) => vec![Place::Hardware],
            (false, true) => vec![Place::OffEveryBus, Place::Exception],
            (false, false) => Vec::new(),
        };
        disks.extend(places.into_iter().map(|place| Alternative {
            name: named(&DiskKind::NAMED).negated(),
            place,
        }));
        if disks.is_empty() && device_mapper.is_none() {
            return Err(RenderError::Paths {
                rule: rule.name.clone(),
            });
        }
        Ok(Self {
            disks,
            device_mapper,
            facts,
        })
    }
}

fn as_translated(condition: Condition, is_pattern: bool) -> Condition {
    if is_pattern {
        condition.as_pattern()
    } else {
        condition
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::udev::{Pattern, Value};

    const SEGMENTS: [&str; 20] = [
        "usb3",
        "usbhid",
        "ata12",
        "ata",
        "host0",
        "hostname",
        "virtio0",
        "virtio-pci",
        "nvme",
        "nvme0",
        "nvme-subsystem",
        "nvme-fabrics",
        "mmc_host",
        "ndbus0",
        "vbd-51712",
        "virtual",
        "pci0000:00",
        "mtd",
        "platform",
        "rbd",
    ];

    fn matches(patterns: &[String], path: &str) -> bool {
        Pattern::new(&Value::new(patterns.join("|"))).matches(path)
    }

    /// The udev patterns and the code here give the same answer for any place of a disk.
    #[test]
    fn patterns_ask_what_is_found() {
        for one in SEGMENTS {
            for two in SEGMENTS {
                for three in SEGMENTS {
                    for name in ["sda", "usb3"] {
                        let path = format!("/devices/{one}/{two}/{three}/{name}");
                        let (any, none) = place::patterns();
                        let is = matches(&any, &path) && !matches(&none, &path);
                        assert_eq!(is, place::is_hardware(&format!("../..{path}")), "{path}");
                        for transport in Transport::ALL {
                            let (any, none) = transport.patterns();
                            let is = (any.is_empty() || matches(&any, &path))
                                && (none.is_empty() || !matches(&none, &path));
                            let found = Transport::of_device(&format!("../..{path}"));
                            assert_eq!(is, found == transport, "{path}: {found}, {transport}");
                        }
                    }
                }
            }
        }
    }
}
