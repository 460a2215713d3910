//! uevents.
