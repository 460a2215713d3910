//! Users without root have a host tuned while their command runs.
//!
//! A helper runs as root and listens on a Unix socket that only one group can open. A client connects, names an
//! installed host program in one line of JSON, and keeps the connection: the connection is the lease. The helper
//! starts that host program with fixed arguments and hands the connection to it; the program applies, answers,
//! and reverts when the connection ends. The helper itself changes nothing, and its end does not end a lease.
//!
//! - [`protocol`]: the lines that are exchanged, their version and their limits.
//! - [`client`]: connecting, asking, and holding a lease.
//! - [`Installed`]: which host programs the helper executes, and how it makes sure that only root wrote them.
//! - [`Peer`]: who is on the other side of a connection.
//! - [`admission`]: how many connections and leases there can be.
//! - [`Server`]: the helper's loop.
//! - [`lease`]: the host program's side of a connection.
//!
//! ```
//! use hosttune_helper::protocol::{Answer, Request};
//!
//! let request = Request::new("gaming", "game --fullscreen").only(["cpu"]);
//! let line = request.format();
//! assert_eq!(Request::parse(&line), Ok(request));
//! // A helper of another version says so instead of guessing.
//! assert!(Request::parse(br#"{"version":2,"host":"gaming"}"#).is_err());
//! # let _ = Answer::parse(b"");
//! ```

pub mod admission;
pub mod client;
mod installed;
pub mod lease;
mod listener;
mod peer;
pub mod protocol;
mod server;

pub use installed::{Installed, InstalledHost, NotExecuted};
pub use listener::{ListenError, Listening, listen, listener_on_stdin};
pub use peer::Peer;
pub use server::Server;

/// Where the helper listens.
pub const SOCKET: &str = "/run/hosttune/run.sock";

/// The group whose members may connect.
pub const GROUP: &str = "hosttune";

/// Where root installs the host programs that the helper executes.
pub const HOSTS: &str = "/usr/lib/hosttune/hosts";
