//! Typed sysctl keys and values, and the files that set them.

pub mod catalogue;
mod conf;
mod glob;
mod key;
mod number;
mod sources;
mod value;

pub use conf::{Assignment, Document, EditError, Entry, Problem, ProblemKind, Statement};
pub use key::{Expansion, Key, KeyError, KeyPattern, PROC_SYS};
pub use sources::{
    Content, DIRECTORIES, Directories, Loader, Place, SYSCTL_CONF, Setting, SourceFile, Sources,
    SourcesError, Standing,
};
pub use value::{IntegerRange, Unit, Value, ValueError, ValueType};
