//! Traffic shaping: what leaves a device and what arrives at it, planned, applied over netlink,
//! verified, and put back exactly.
//!
//! ```no_run
//! use hosttune_core::{Session, Tuning};
//! use hosttune_qos::{Netlink, Qdisc, Shaper};
//!
//! // 100 Mbit/s out and 400 Mbit/s in, on a kernel that has no CAKE.
//! let shaper = Shaper::new("eth0")
//!     .egress(Qdisc::tbf(12_500_000, 50_000, 500_000))
//!     .ingress(Qdisc::tbf(50_000_000, 200_000, 2_000_000));
//! let mut session = Session::live("router")?
//!     .with(hosttune_qos::knobs)
//!     .plug(Netlink::open()?);
//! session.recover()?; // if an earlier run was killed half-way
//! shaper.apply(&mut session)?; // all of it, or nothing
//! assert!(shaper.verify(&session)?.is_as_wanted());
//! shaper.revert(&mut session)?; // what it was, but for what others have set since
//! # Ok::<(), hosttune_core::Error>(())
//! ```
//!
//! # Vocabulary
//! - [`Netlink`]: the wire to the kernel, plugged into the host; [`netlink`] has what is said on it.
//! - [`RootQdisc`], [`IfbLink`], [`IngressHook`], [`Redirect`]: the knobs.
//! - [`Qdisc`]: a queueing discipline that is wanted: its kind, and its options as bytes.
//! - [`Shaper`]: the tuning.

mod bytes;
mod ingress;
mod link;
pub mod netlink;
mod qdisc;
mod redirect;
mod root_qdisc;
mod shaper;
#[cfg(feature = "testing")]
pub mod testing;

pub use bytes::Bytes;
pub use ingress::{HookState, IngressHook};
pub use link::{IfbLink, LinkState};
pub use netlink::Netlink;
pub use qdisc::Qdisc;
pub use redirect::{Redirect, RedirectState};
pub use root_qdisc::{Attached, ExplicitRoot, RootQdisc, RootState};
pub use shaper::Shaper;

/// Makes this crate's kinds of knob known to a session.
pub fn knobs(registry: &mut hosttune_core::Registry) {
    registry.add::<IfbLink>();
    registry.add::<RootQdisc>();
    registry.add::<IngressHook>();
    registry.add::<Redirect>();
}
