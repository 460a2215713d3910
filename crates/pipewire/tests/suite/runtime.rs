//! Settings of a running daemon: the laws on a fake, the grades, and real daemons.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests make the directories that their daemons work in, start those, say what is not run, and fail where they cannot go on"
)]

mod bench;
mod daemons;
mod grades;
mod laws;
mod refined;
mod refused;
mod sockets;
