//! The running kernel of the machine, as these tests see and change it.

use hosttune_core::Session;
use hosttune_test_machine::{Snapshot, Subtree};

use crate::namespace::backend;

pub(crate) fn session() -> Session {
    session_of("qos-test")
}

pub(crate) fn session_of(owner: &str) -> Session {
    Session::live(owner)
        .unwrap()
        .with(hosttune_qos::knobs)
        .with_backend(backend())
}

pub(crate) fn snapshot() -> Snapshot {
    Snapshot::of(&[Subtree::Links, Subtree::Qdiscs])
}
