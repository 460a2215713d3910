//! modprobe.d(5): reading and writing its files, and who sets an option of a module.
//!
//! | What | How modprobe reads it |
//! |---|---|
//! | order of files | by base name, over all [`DIRECTORIES`]; the last value of a parameter wins |
//! | the same name twice | only the file in the higher directory is read; a link to `/dev/null` masks too, a link that leads nowhere does not |
//! | a backslash at the end of a line | the next line is part of it, also if it is a comment |
//! | `#` after blanks or after options | no comment |
//! | `-` and `_` | the same in names of modules and parameters |
//! | several `options` lines | passed to the kernel in order, as one text |
//! | several `install` or `softdep` lines | the first that matches; the names are patterns |
//! | the kernel command line | `module.parameter=value` comes after all files |
//!
//! None of it acts on a module that is built into the kernel; see
//! [`is_built_in`](crate::module::is_built_in).

mod directories;
mod document;
mod install_command;
mod kernel_arguments;
mod merged;
mod name_pattern;
mod statement;

pub use directories::{ConfigurationFile, DIRECTORIES};
pub use document::{Document, EditError, Entry, Problem};
pub use install_command::InstallLoad;
pub use merged::{ModprobeConfiguration, SetOption, Source};
pub use statement::{ProblemKind, Statement};
