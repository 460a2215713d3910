//! The tests of `hosttune-spa-json`.

mod dump;
mod laws;
mod oracle;
mod reading;
mod types;

use hosttune_test_machine::cases;
