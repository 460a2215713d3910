//! Rules for disks, as rules of udev that mean the same.

use std::collections::BTreeSet;

use hosttune_core::Error;
use hosttune_facts::Transport;

use super::settings::{self, Setting};
use super::shell_pattern::{Subject, translate};
use super::{Case, Condition, OwnRules, OwnRulesError};
use crate::disk::DiskKind;
use crate::place;
use crate::queue_attribute::page;
use crate::rule::{self, Conditions, Glob, Rule};
use crate::rules::Rules;

/// Why rules for disks cannot be rules of udev.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RenderError {
    /// They are wrong by themselves.
    #[error(transparent)]
    Wrong(#[from] Error),
    /// What they come to cannot be written.
    #[error("the rule {rule}: {why}")]
    Unwritable {
        /// Which rule.
        rule: String,
        /// Why not.
        why: OwnRulesError,
    },
    /// The file's own name.
    #[error(transparent)]
    File(OwnRulesError),
    /// They are about one disk by its name, which is another's after the next boot.
    #[error("rules for {device} only are no rules for the disks that come")]
    Only {
        /// The disk.
        device: String,
    },
    /// udev compares texts and no sizes.
    #[error("the rule {rule} asks for a size, and udev compares no numbers")]
    Size {
        /// Which rule.
        rule: String,
    },
    /// All that a rule is about is hidden.
    #[error(
        "the rule {rule} is about paths of multipath NVMe namespaces, and udev is never told of those"
    )]
    Paths {
        /// Which rule.
        rule: String,
    },
    /// A pattern that udev cannot be told.
    #[error("the rule {rule} compares {compared} with '{pattern}': {why}")]
    Pattern {
        /// Which rule.
        rule: String,
        /// With what.
        compared: Compared,
        /// The pattern.
        pattern: String,
        /// Why not.
        why: &'static str,
    },
    /// A value that the kernel refuses, or takes for something else than it says.
    #[error("the rule {rule}: {why}")]
    Value {
        /// Which rule.
        rule: String,
        /// Why.
        why: String,
        /// What to do about it.
        hint: String,
    },
}

/// What a rule compares.
pub type Compared = rule::Condition;

impl RenderError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Wrong(error) => error.hint(),
            Self::Value { hint, .. } => Some(hint.clone()),
            Self::Size { .. } | Self::Pattern { .. } | Self::Paths { .. } => Some(
                "have udev call the program for each disk that comes: it compares all that rules can"
                    .to_owned(),
            ),
            Self::Only { .. } => Some("leave the device out".to_owned()),
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

/// The whole of a multipath NVMe namespace has no requests: its paths have.
const HEADS: &str = "*/nvme-subsystem/*";

impl Rules {
    /// The same as rules of udev, which then tunes disks as they come: `61-hosttune-NAME.rules`.
    ///
    /// Each disk is taken by the first rule that it meets, here as there, with four differences.
    /// What has requests of a multipath NVMe namespace is not reached, since udev is never told of
    /// it. Values above what a device can have are refused by kernels up to 6.8, where
    /// [`Attribute`](crate::Attribute) clamps them before. A host-managed zoned disk gets no scheduler
    /// but mq-deadline, on newer kernels too: the file outlives the kernel. And a model that begins with blanks is
    /// compared with them.
    ///
    /// # Errors
    /// Where a rule asks what udev cannot answer, above all the size; where it is about one disk
    /// only; and where the file cannot be named so.
    pub fn to_udev(&self, name: &str) -> Result<OwnRules, RenderError> {
        self.check()?;
        if let Some(device) = &self.only {
            return Err(RenderError::Only {
                device: device.display().to_string(),
            });
        }
        let cases: Result<Vec<Case>, RenderError> = self.rules.iter().map(case).collect();
        let own = OwnRules::new(name);
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
    let of_requests = rule.set.scheduler.is_some()
        || rule
            .set
            .queue
            .keys()
            .any(|attribute| attribute.is_of_requests());
    let splits = covers_nvme && of_requests;
    if splits {
        case = case.comment(
            "The requests of a multipath NVMe namespace are at its paths, and udev is never told of those.",
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
        // Without it the plan would refuse what udev writes.
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
    // What cannot be written shows here, where it is known whose it is.
    OwnRules::new("x")
        .first_of([case.clone()])
        .to_rules()
        .map_err(|why| RenderError::Unwritable {
            rule: rule.name.clone(),
            why,
        })?;
    Ok(case)
}

/// What a rule asks beside the transport.
struct Asked {
    /// What is not device-mapper's: any of these.
    disks: Vec<Alternative>,
    /// What is.
    device_mapper: Option<Alternative>,
    facts: Vec<Condition>,
}

/// Kinds of disks that one rule of udev can ask for.
struct Alternative {
    name: Condition,
    place: Place,
}

/// Where a disk of the kinds may stand; see [`place`].
enum Place {
    Anywhere,
    Hardware,
    /// Hardware is what stands on a bus and is none of the exceptions, so its opposite is either of
    /// two.
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
        // The two kinds that no name tells: what has none of the names, by its place.
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

    /// What udev is asked and what is found here are the same, wherever a disk stands.
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
