//! Machines that several test programs share: one per kernel, owned by a broker.
//!
//! A start of the machine costs as much as ten tests, so all test programs of a run borrow the same machines
//! in turn. The broker is a separate process, because it has to outlive the test programs: `scripts/test`
//! starts it (the program `machines`), or else the first test that needs a machine does. It exits when its
//! last client has disconnected for whatever reason, and ends its machines.
//!
//! # Vocabulary
//! - [`serve`]: runs the broker.
//! - [`Borrowed`]: exclusive use of a shared machine by one test.
//! - [`hold`]: starts machines before the first test and keeps them running.
//!
//! A machine that is not given back, because its test failed or was killed, is not used again.

mod client;
mod lane;
mod protocol;
mod server;

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

pub use client::{Borrowed, Held, hold};
pub use server::serve;

use crate::inside::programs_directory;

/// Environment variable that makes a test program run the broker instead of its test.
pub(crate) const BROKER: &str = "HOSTTUNE_MACHINE_BROKER";

/// The directory of this build directory's broker: its socket, the lock that it holds, and its log.
#[derive(Debug)]
struct Place {
    directory: PathBuf,
    /// Gives a short path to the socket through `/proc/self/fd`: a socket path has at most 107 bytes, and
    /// the path of a checkout may be longer.
    open: File,
}

impl Place {
    fn open() -> io::Result<Self> {
        let directory = programs_directory().join("shared-machines");
        std::fs::create_dir_all(&directory)?;
        let open = File::open(&directory)?;
        Ok(Self { directory, open })
    }

    fn socket(&self) -> PathBuf {
        Path::new("/proc/self/fd")
            .join(self.open.as_raw_fd().to_string())
            .join("socket")
    }

    fn lock(&self) -> PathBuf {
        self.directory.join("lock")
    }

    fn log(&self) -> PathBuf {
        self.directory.join("log")
    }
}
