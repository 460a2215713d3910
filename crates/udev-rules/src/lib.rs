//! udev rules: parsing them without loss, evaluating them for a device without running them, and
//! writing them.
//!
//! [`RuleFiles::read`] reads the rules of a host as systemd-udevd does, and [`RuleFiles::outcome`]
//! evaluates what they set an attribute of a block device to, rule by rule, marking what is
//! uncertain.
//!
//! ```
//! use hosttune_udev_rules::{Action, Device, Document, Outcome, RuleFiles};
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
//! A rule is written from its tokens, so that it is parsed as it was meant:
//!
//! ```
//! use hosttune_udev_rules::{Key, Operator, Rule, Token};
//!
//! let rule = Rule::new([
//!     Token::new(Key::Subsystem, Operator::Equal, "net"),
//!     Token::new(Key::Attr, Operator::Assign, "1000").of("tx_queue_len"),
//! ]);
//! assert_eq!(rule.to_text()?, r#"SUBSYSTEM=="net", ATTR{tx_queue_len}="1000""#);
//! # Ok::<(), hosttune_udev_rules::UnwritableError>(())
//! ```
//!
//! # Vocabulary
//! - [`Document`]: the text of one file, kept byte for byte; a [`Rule`] is a line of it, a list of
//!   [`Token`]s.
//! - [`RuleFiles`]: all files of a host in udev's order, including masked ones.
//! - [`Device`]: what rules can read of a device.
//! - [`Setter`]: a rule that sets an attribute; [`Outcome`]: the combined result of all of them;
//!   [`Conflict`]: a result that differs from the requested value.
//! - [`Problem`]: what udevd ignores in a file, or takes otherwise than it is written.
//!
//! The grammar and the order of evaluation are those of systemd's `src/udev/udev-rules.c` and
//! udev(7).

mod conflict;
mod device;
mod evaluation;
mod files;
mod pattern;
mod problem;
mod properties;
mod quoting;
mod rule;
mod substitution;
mod text;
mod token;

pub use conflict::{Conflict, Outcome};
pub use device::{Attributes, Device, Level};
pub use evaluation::{Action, Certainty, Evaluator, How, Setter};
pub use files::{Place, RuleFile, RuleFiles};
pub use pattern::Pattern;
pub use problem::{Problem, ProblemKind, SyntaxError};
pub use rule::Rule;
pub use text::{Content, Document, Line};
pub use token::{Key, Operator, Token, UnwritableError, Value};

// One dependency is enough for a program that uses only this crate.
pub use hosttune_core::{Host, HostError};
