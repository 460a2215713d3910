//! Tests of this crate.

mod bench;
mod daemon_files;
mod drop_in;
mod effective;
mod merge;
mod odd_texts;
mod protocol;
mod runtime;
mod settings;
mod users;
mod wireplumber;

use hosttune_test_machine::cases;
