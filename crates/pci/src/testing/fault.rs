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
    /// A driver does not return when it is asked to bind a function, until
    /// [`release`](super::Bus::release).
    BindHangs {
        /// The function.
        address: Address,
        /// The driver.
        driver: String,
    },
    /// The driver of a function does not return when it is asked to release it, until
    /// [`release`](super::Bus::release).
    UnbindHangs {
        /// The function.
        address: Address,
    },
}
