//! The settings of a rule for disks, as attributes of a disk's directory.

use hosttune_core::{Host, Knob};

use crate::attribute::Attribute;
use crate::disk::Disk;
use crate::queue_attribute::{QueueAttribute, page};
use crate::rule::Rule;
use crate::scheduler::SchedulerName;
use crate::tunable::{SchedulerTunable, TunableState};

/// One attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    /// Relative to the disk's directory.
    pub(super) attribute: String,
    pub(super) value: String,
    /// Whether a multipath NVMe namespace has the attribute on its paths.
    pub(super) is_of_requests: bool,
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Scheduler,
    Queue(Attribute),
    Tunable(SchedulerName, String),
}

/// The settings of a rule, in the order in which a plan sets them.
pub(super) fn of(rule: &Rule) -> Vec<Setting> {
    let set = &rule.set;
    let mut settings = Vec::new();
    if let Some(scheduler) = &set.scheduler {
        settings.push(Setting {
            attribute: "queue/scheduler".to_owned(),
            value: scheduler.to_string(),
            is_of_requests: true,
            what: What::Scheduler,
        });
    }
    let queue = set.queue.iter().map(|(attribute, value)| Setting {
        attribute: format!("queue/{attribute}"),
        value: value.to_string(),
        is_of_requests: attribute.is_of_requests(),
        what: What::Queue(*attribute),
    });
    let (requests, others): (Vec<_>, Vec<_>) = queue.partition(|setting| setting.is_of_requests);
    settings.extend(requests);
    for (tunable, value) in &set.tunables {
        let Some(scheduler) = &set.scheduler else {
            break;
        };
        settings.push(Setting {
            attribute: format!("queue/iosched/{tunable}"),
            value: value.to_string(),
            is_of_requests: true,
            what: What::Tunable(scheduler.clone(), tunable.clone()),
        });
    }
    settings.extend(others);
    settings
}

/// The schedulers of kernels before 5.0, which existing udev rules still name. A newer kernel
/// refuses them and changes nothing.
const OLD_SCHEDULERS: [&str; 3] = ["noop", "cfq", "anticipatory"];

impl Setting {
    /// Whether a value written by another program satisfies this one: an alias, a value that the
    /// kernel rounds to the same, or one that it certainly refuses.
    pub(super) fn is_met_by(&self, value: &str, host: &Host, disk: &Disk) -> bool {
        match &self.what {
            What::Scheduler => {
                let value = value.trim();
                // The kernel compares only these letters of the name.
                let value = if value.starts_with("none") {
                    "none"
                } else {
                    value
                };
                let name: Option<SchedulerName> = value.parse().ok();
                name.is_some_and(|name| name.as_str() == self.value)
                    || OLD_SCHEDULERS.contains(&value)
            }
            What::Queue(attribute) => {
                let (Ok(theirs), Ok(ours)) = (value.trim_end().parse(), self.value.parse()) else {
                    return false;
                };
                let most = QueueAttribute::new(&disk.name, *attribute).most(host);
                let made = |value| attribute.predict(value, page(), most);
                theirs == ours || made(theirs).is_ok_and(|theirs| made(ours) == Ok(theirs))
            }
            What::Tunable(scheduler, name) => {
                let knob = SchedulerTunable::new(&disk.name, scheduler, name);
                let state = |value: &str| TunableState::Value(value.trim_end().to_owned());
                knob.satisfies(&state(value), &state(&self.value))
            }
        }
    }
}
