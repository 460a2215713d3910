//! Shaping that persists while the device is unplugged and plugged in, beside other programs that
//! manage it.
//!
//! First the decisions alone, for any order of events; then on the fake kernel, with a simulated
//! clock; then on stock kernels, with the usual tools.

mod decisions;
mod fake;
mod kernel;
