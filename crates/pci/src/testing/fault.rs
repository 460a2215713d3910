//! Ways in which the fake bus fails.

use std::time::Duration;

use crate::address::Address;

/// A way in which the bus fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// A driver refuses to bind a function.
    BindRefused {
        /// The function.
        address: Address,
        /// The driver.
        driver: String,
        /// Its answer.
        errno: i32,
    },
    /// A driver defers its probe: the write fails with EAGAIN, and the driver is bound later.
    BindLate {
        /// The function.
        address: Address,
        /// The driver.
        driver: String,
        /// How much later.
        delay: Duration,
    },
    /// Unbinding a function fails.
    UnbindRefused {
        /// The function.
        address: Address,
        /// The kernel's answer.
        errno: i32,
    },
}
