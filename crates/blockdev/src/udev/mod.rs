//! udev's rules, both ways: what a machine's own rules would do to a disk, and ours as a file.
//!
//! [`RuleFiles::read`] reads the rules of a host as systemd-udevd does, and
//! [`RuleFiles::outcome`] says what they leave an attribute of a disk at, rule by rule, with
//! what cannot be told said so. [`OwnRules`] is the other way: a file that has udev itself tune
//! disks as they come.
//!
//! ```
//! use hosttune_blockdev::udev::{Action, Device, Document, Outcome, RuleFiles};
//!
//! let text = "ACTION==\"add|change\", KERNEL==\"sd[a-z]\", ATTR{queue/scheduler}=\"bfq\"\n";
//! let rules = RuleFiles::of([("/etc/udev/rules.d/60-io.rules", Document::parse(text.as_bytes()))]);
//! let disk = Device::disk("sda");
//! let outcome = rules.outcome(&disk, Action::Add, "queue/scheduler");
//! assert!(matches!(outcome, Outcome::Set(ref setter) if setter.value.as_deref() == Some("bfq")));
//! // With the 27th disk the pattern ends.
//! let disk = Device::disk("sdaa");
//! assert_eq!(rules.outcome(&disk, Action::Add, "queue/scheduler"), Outcome::Untouched);
//! ```
//!
//! # Vocabulary
//! - [`Document`]: the text of one file, kept byte for byte; a [`Rule`] is a line of it, a list of
//!   [`Token`]s.
//! - [`RuleFiles`]: all files of a host in udev's order, masked ones among them.
//! - [`Device`]: what rules can see of one device.
//! - [`Setter`]: a rule that would set an attribute; [`Outcome`]: what all of them come to;
//!   [`Fight`]: where that is not what is wanted.
//! - [`NoteFights`]: says in a plan where the host's rules are in the way of ours.
//! - [`Note`]: a name in a rule that matches more or less than its author is likely to have meant.
//! - [`OwnRules`]: ours, from [`Condition`]s and values, or as
//!   [`Rules::to_udev`](crate::Rules::to_udev) makes them of rules for disks.
//!
//! Grammar and order of evaluation are those of systemd's `src/udev/udev-rules.c`, udev(7).

mod call;
mod case;
mod condition;
mod device;
mod evaluation;
mod fight;
mod files;
mod fnmatch;
mod names;
mod note_fights;
mod own;
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
pub use device::{Attributes, Device, Level};
pub use evaluation::{Action, Certainty, Evaluator, How, Setter};
pub use fight::{Fight, Outcome};
pub use files::{Place, RuleFile, RuleFiles};
pub use names::{Defect, Note};
pub use note_fights::NoteFights;
pub use own::{DiskRule, OwnRules, OwnRulesError};
pub use pattern::Pattern;
pub use problem::{Problem, ProblemKind};
pub use rendered::{Compared, RenderError};
pub use rule::{Rule, SyntaxError};
pub use text::{Content, Document, Line};
pub use token::{Key, Operator, Token, UnwritableError, Value};

pub(crate) use note_fights::Fights;
