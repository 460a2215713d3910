//! Settings of a running daemon: the laws on a fake, the grades, and real daemons.

mod bench;
mod daemons;
mod grades;
mod laws;
mod refused;
