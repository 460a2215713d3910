//! The kernel command line: reading it as the kernel does, and changing single parameters of it.
//!
//! This crate works on text and reads no files. Where the line is written on a host depends on its
//! boot loader; what the running kernel got is in `/proc/cmdline`.
//!
//! ```
//! use hosttune_kernel_command_line::{CommandLineSetting, KernelCommandLine};
//!
//! let mut line = KernelCommandLine::parse("root=/dev/sda1 ro mitigations=auto quiet");
//! CommandLineSetting::equals("mitigations", "off").apply(&mut line)?;
//! assert_eq!(line.to_string(), "root=/dev/sda1 ro mitigations=off quiet");
//! # Ok::<(), hosttune_kernel_command_line::LineError>(())
//! ```
//!
//! # How the kernel reads the line
//! - Blanks separate arguments, except within `"`. A quote is removed at the start and end of an
//!   argument or of its value; elsewhere it is part of the text. There are no escapes.
//! - `-` and `_` are the same in names, and not in values.
//! - Of a parameter that occurs several times the last occurrence counts, except for
//!   [those of which each counts](each_counts), such as `console`.
//! - `--` ends the kernel's arguments; the rest goes to init. modprobe reads on behind it.
//! - At most [`LONGEST_LINE`] bytes are read, and the rest is cut without a message.
//!
//! Other programs read the same line with other rules: initramfs-tools knows no quotes at all,
//! so parameters that it reads are refused with blanks.

mod argument;
mod line;
mod parameter;
mod setting;

pub use argument::{Argument, is_unbalanced, ranges, same_name, written};
pub use line::{KernelCommandLine, LONGEST_LINE, LineError, RUNNING_LINE};
pub use parameter::{adds_up, each_counts};
pub use setting::CommandLineSetting;
