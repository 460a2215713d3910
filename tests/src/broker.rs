//! Machines that several test programs share: one for each kernel, owned by a broker.
//!
//! A start of the machine costs as much as ten tests, so all test programs of a run borrow the same ones
//! and take turns. The broker is a process of its own, because test programs come and go: `scripts/test`
//! starts it (the program `machines`), else the first test that needs a machine does. It ends with its
//! last client, however that ended, and its machines end with it.
//!
//! # Vocabulary
//! - [`serve`]: is the broker.
//! - [`Borrowed`]: a shared machine while a test has it; nobody else has it meanwhile.
//! - [`hold`]: has machines started ahead of the first test, and kept.
//!
//! A machine that was not given back, because its test failed or was killed, is not used again.

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

/// Set in the environment of a test program that is to be the broker instead of running its test.
pub(crate) const BROKER: &str = "HOSTTUNE_MACHINE_BROKER";

/// Where the broker of this build directory is found: a socket, the lock that it holds, and what it said.
#[derive(Debug)]
struct Place {
    directory: PathBuf,
    /// Kept open, since the path of a socket may have at most 107 bytes and a checkout's may be longer:
    /// through this descriptor the path is always short.
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
