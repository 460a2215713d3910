//! udev rules: evaluating those of a host for a disk, and writing our own.
//!
//! [`RuleFiles::read`] reads the rules of a host as systemd-udevd does, and [`RuleFiles::outcome`]
//! evaluates what they set an attribute of a disk to, rule by rule, marking what is uncertain.
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
//! - [`Document`]: the text of one file, kept byte for byte; a [`Rule`] is a line of it, a list of
//!   [`Token`]s.
//! - [`RuleFiles`]: all files of a host in udev's order, including masked ones.
//! - [`Device`]: what rules can read of a device.
//! - [`Setter`]: a rule that sets an attribute; [`Outcome`]: the combined result of all of them;
//!   [`Conflict`]: a result that differs from the requested value.
//! - [`NoteFights`]: adds notes to a plan where the host's rules conflict with ours.
//! - [`Note`]: a name pattern in a rule that probably matches more or less than its author
//!   intended.
//! - [`GeneratedRules`]: our rules, made of [`Condition`]s and values, or converted by
//!   [`Rules::to_udev`](crate::Rules::to_udev).
//!
//! The grammar and the order of evaluation are those of systemd's `src/udev/udev-rules.c` and
//! udev(7).

mod call;
mod case;
mod condition;
mod conflict;
mod device;
mod evaluation;
mod files;
mod fnmatch;
mod generated;
mod names;
mod note_fights;
mod pattern;
mod problem;
mod properties;
mod quoting;
mod rendered;
mod rule;
mod settings;
mod shell_pattern;
mod substitution;
mod text;
mod token;

pub use call::Call;
pub use case::Case;
pub use condition::Condition;
pub use conflict::{Conflict, Outcome};
pub use device::{Attributes, Device, Level};
pub use evaluation::{Action, Certainty, Evaluator, How, Setter};
pub use files::{Place, RuleFile, RuleFiles};
pub use generated::{DiskRule, GeneratedRules, GeneratedRulesError};
pub use names::{Defect, Note};
pub use note_fights::NoteFights;
pub use pattern::Pattern;
pub use problem::{Problem, ProblemKind};
pub use rendered::{Compared, RenderError};
pub use rule::{Rule, SyntaxError};
pub use text::{Content, Document, Line};
pub use token::{Key, Operator, Token, UnwritableError, Value};

pub(crate) use note_fights::Fights;
