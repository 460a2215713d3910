//! udev rules for disks: evaluating those of a host, and writing our own.
//!
//! Parsing and evaluation are those of [`hosttune_udev_rules`], which is re-exported here.
//! [`GeneratedRules`] writes a file with which udev itself tunes disks as they are added.
//!
//! ```
//! use hosttune_blockdev::udev::{Action, Device, Document, Outcome, RuleFiles};
//!
//! let text = "ACTION==\"add|change\", KERNEL==\"sd[a-z]\", ATTR{queue/scheduler}=\"bfq\"\n";
//! let rules = RuleFiles::of([("/etc/udev/rules.d/60-io.rules", Document::parse(text.as_bytes()))]);
//! let disk = Device::disk("sda");
//! let outcome = rules.outcome(&disk, Action::Add, "queue/scheduler");
//! assert!(matches!(outcome, Outcome::Set(ref setter) if setter.value.as_deref() == Some("bfq")));
//! // The pattern does not match the 27th disk.
//! let disk = Device::disk("sdaa");
//! assert_eq!(rules.outcome(&disk, Action::Add, "queue/scheduler"), Outcome::Untouched);
//! ```
//!
//! # Vocabulary
//! - [`NoteFights`]: adds notes to a plan where the host's rules conflict with ours.
//! - [`Note`]: a name pattern in a rule that probably matches more or less than its author
//!   intended.
//! - [`GeneratedRules`]: our rules, made of [`Condition`]s and values, or converted by
//!   [`Rules::to_udev`](crate::Rules::to_udev).

mod call;
mod case;
mod condition;
mod generated;
mod names;
mod note_fights;
mod rendered;
mod settings;
mod shell_pattern;

pub use call::Call;
pub use case::Case;
pub use condition::Condition;
pub use generated::{DiskRule, GeneratedRules, GeneratedRulesError};
pub use hosttune_udev_rules::{
    Action, Attributes, Certainty, Conflict, Content, Device, Document, Evaluator, How, Key, Level,
    Line, Operator, Outcome, Pattern, Place, Problem, ProblemKind, Rule, RuleFile, RuleFiles,
    Setter, SyntaxError, Token, UnwritableError, Value,
};
pub use names::{Defect, Note};
pub use note_fights::NoteFights;
pub use rendered::{Compared, RenderError};

pub(crate) use note_fights::Fights;
