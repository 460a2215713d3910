//! Conflicts of the host's own rules with ours, as notes of a plan.

use std::borrow::Borrow;

use hosttune_core::{Error, Host, HostError, HostErrorKind, Planner, Tuning};
use hosttune_udev_rules::{Device, Evaluator, RuleFiles};

use super::GeneratedRules;
use super::settings::{self, Setting};
use crate::disk::Disk;
use crate::rule::Rule;
use crate::rules::{Names, Rules};

/// Adds notes to a plan, and to the result of verify, where the host's own udev rules would set an
/// attribute of a disk to something other than these rules do. It requests no changes.
///
/// This is separate from [`Rules`] because it reads all rules files of the host: leave it out where
/// planning has to take no more than a millisecond. [Persisted](Rules::persisted_as) rules add
/// these notes by themselves.
///
/// ```
/// use hosttune_blockdev::{Rules, udev::NoteFights};
/// use hosttune_core::{Error, Planner, Tuning};
///
/// struct Storage(Rules);
///
/// impl Tuning for Storage {
///     fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
///         self.0.declare(at)?;
///         NoteFights(&self.0).declare(at)
///     }
/// }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct NoteFights<R>(pub R);

impl<R: Borrow<Rules>> Tuning for NoteFights<R> {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        let rules = self.0.borrow();
        if !at.is_selected() || rules.persist.is_some() && rules.only.is_none() {
            return Ok(());
        }
        let disks = rules.disks(at.host())?;
        let fights = Fights::of(at.host(), &rules.taken(&disks), None);
        fights.note(at, "");
        Ok(())
    }
}

/// The conflicts, and the disks that they concern.
#[derive(Debug, Default)]
pub(crate) struct Fights {
    all: Vec<(Judged, Names)>,
    /// Something is uncertain because udev's database is missing.
    lacks_database: bool,
    /// Why conflicts cannot be determined.
    unknown: Option<HostError>,
}

/// One conflict.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Judged {
    text: String,
    is_certain: bool,
}

impl Fights {
    /// Finds the conflicts for these disks, with this file of ours in place whether it exists or
    /// not.
    pub(crate) fn of(host: &Host, taken: &[(&Rule, &Disk)], own: Option<&GeneratedRules>) -> Self {
        let mut fights = Self::default();
        if let Err(error) = fights.look(host, taken, own) {
            fights.unknown = Some(error);
        }
        fights
    }

    fn look(
        &mut self,
        host: &Host,
        taken: &[(&Rule, &Disk)],
        own: Option<&GeneratedRules>,
    ) -> Result<(), HostError> {
        let mut texts: Vec<&str> = Vec::new();
        let wanted = wanted(taken);
        for (_, settings) in &wanted {
            for setting in settings {
                let named = named(&setting.attribute);
                texts.extend(
                    named
                        .filter(|text| !texts.contains(text))
                        .collect::<Vec<_>>(),
                );
            }
        }
        if texts.is_empty() {
            return Ok(());
        }
        let own = own.and_then(|own| Some((own.path().ok()?, own.to_judge().ok()?)));
        let instead = own
            .as_ref()
            .map(|(path, text)| (path.as_str(), text.as_str()));
        let Some(files) = RuleFiles::mentioning(host, &texts, instead)? else {
            return Ok(());
        };
        let evaluator = Evaluator::new(&files);
        for (disk, settings) in &wanted {
            let device = match Device::block(host, disk.name.as_str()) {
                Ok(Some(device)) => device,
                Ok(None) => continue,
                // The disk has disappeared.
                Err(error) if *error.kind() == HostErrorKind::Missing => continue,
                Err(error) => return Err(error),
            };
            let values = settings.iter();
            let values: Vec<(&str, &str)> = values
                .map(|setting| (setting.attribute.as_str(), setting.value.as_str()))
                .collect();
            let met = |attribute: &str, value: &str, _: &str| {
                let mut settings = settings.iter();
                let setting = settings.find(|setting| setting.attribute == attribute);
                setting.is_some_and(|setting| setting.is_met_by(value, host, disk))
            };
            for fight in evaluator.fights(&device, &values, met) {
                self.lacks_database |= !fight.is_certain() && device.database.is_none();
                self.add(
                    disk,
                    Judged {
                        text: fight.to_string(),
                        is_certain: fight.is_certain(),
                    },
                );
            }
        }
        Ok(())
    }

    fn add(&mut self, disk: &Disk, judged: Judged) {
        let known = self.all.iter_mut().find(|(known, _)| *known == judged);
        match known {
            Some((_, names)) => names.add(&disk.name),
            None => {
                let mut names = Names::default();
                names.add(&disk.name);
                self.all.push((judged, names));
            }
        }
    }

    /// Adds the notes, each once for all disks that share it.
    pub(crate) fn note(&self, at: &mut Planner<'_>, when: &str) {
        for (fight, names) in &self.all {
            at.note(format!("{when}{}: {}", names.text(), fight.text));
        }
        if self.lacks_database {
            at.note(
                "udev's database is missing, so rules that depend on its properties cannot be evaluated with certainty",
            );
        }
        if let Some(error) = &self.unknown {
            at.note(format!(
                "cannot determine whether udev rules set other values: {error}"
            ));
        }
    }

    /// The conflicts that are certain.
    pub(crate) fn certain(&self) -> impl Iterator<Item = String> {
        let all = self.all.iter().filter(|(fight, _)| fight.is_certain);
        all.map(|(fight, names)| format!("{}: {}", names.text(), fight.text))
    }
}

/// The settings of each disk that udev has events for. The settings that a multipath namespace has
/// on its paths are left out, because no udev rule can reach those.
fn wanted<'d>(taken: &[(&Rule, &'d Disk)]) -> Vec<(&'d Disk, Vec<Setting>)> {
    let wanted = taken.iter().map(|(rule, disk)| {
        let mut settings = settings::of(rule);
        settings.retain(|setting| disk.paths.is_empty() || !setting.is_of_requests);
        (*disk, settings)
    });
    wanted
        .filter(|(_, settings)| !settings.is_empty())
        .collect()
}

/// The texts of which a rule that sets an attribute contains at least one.
fn named(attribute: &str) -> impl Iterator<Item = &str> {
    // These set it without naming the file.
    const READ_AHEAD: [&str; 3] = ["--setra", "--setfra", "hdparm"];
    let name = attribute.rsplit('/').next().unwrap_or(attribute);
    let others = if name == "read_ahead_kb" {
        READ_AHEAD.as_slice()
    } else {
        &[]
    };
    std::iter::once(name).chain(others.iter().copied())
}
