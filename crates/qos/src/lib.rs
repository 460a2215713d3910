//! Traffic shaping with CAKE: what leaves a device and what arrives at it, planned, applied over
//! netlink, verified, and put back exactly.
//!
//! ```no_run
//! use hosttune_core::{Session, Tuning};
//! use hosttune_qos::{Cake, Netlink, Rate, Shaper};
//!
//! let shaper = Shaper::new("eth0")
//!     .egress(&Cake::default().bandwidth(Rate::mbit(38)).diffserv4().ack_filter())
//!     .ingress(&Cake::default().bandwidth(Rate::mbit(85)).diffserv4().ingress());
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
//! Options are written in a program or in `tc`'s words, and what the kernel shows is compared with
//! them one by one:
//!
//! ```
//! use hosttune_qos::{Cake, LinkLayer, Rate, Seen, differences};
//!
//! let wanted = Cake::default().bandwidth(Rate::mbit(38)).diffserv4().ack_filter().link_layer(LinkLayer::PppoePtm);
//! assert_eq!(wanted, "bandwidth 38mbit diffserv4 ack-filter pppoe-ptm".parse()?);
//!
//! let seen = Seen::read(&"bandwidth 36mbit diffserv4 ack-filter pppoe-ptm".parse::<Cake>()?.to_attributes());
//! let differences = differences(&wanted, &seen);
//! assert_eq!(differences[0].to_string(), "bandwidth: 38mbit is wanted, 36mbit is set");
//! # Ok::<(), hosttune_qos::TextError>(())
//! ```
//!
//! # Vocabulary
//! - [`Cake`]: every option of CAKE; [`Seen`] is what the kernel shows of one.
//! - [`Netlink`]: the wire to the kernel, plugged into the host; [`netlink`] has what is said on it.
//! - [`RootQdisc`], [`IfbLink`], [`IngressHook`], [`Redirect`]: the knobs.
//! - [`Qdisc`]: a queueing discipline that is wanted: its kind, and its options as bytes.
//! - [`Shaper`]: the tuning; [`Shaper::statistics`] tells what its queueing disciplines have counted.
//! - [`PathCounters`]: whether packets take the way that was made for them, from two of
//!   [`Shaper::path`].

mod attribute;
mod bytes;
pub mod cake;
mod health;
mod ingress;
mod link;
pub mod netlink;
mod passage;
mod qdisc;
mod quantity;
mod rate;
mod redirect;
mod root_qdisc;
mod route;
mod shaper;
mod statistics;
#[cfg(feature = "testing")]
pub mod testing;

pub use bytes::Bytes;
pub use cake::{Cake, CakeOption, LinkLayer, RoundTripTime, Seen, TextError, differences};
pub use ingress::{HookState, IngressHook};
pub use link::{IfbLink, LinkState};
pub use netlink::Netlink;
pub use passage::{
    DeviceCounters, EgressCounters, IngressCounters, Passage, PathCounters, RedirectCounters,
    RootCounters, Station, Verdict,
};
pub use qdisc::Qdisc;
pub use quantity::QuantityError;
pub use rate::Rate;
pub use redirect::{Redirect, RedirectState};
pub use root_qdisc::{Attached, ExplicitRoot, RootQdisc, RootState};
pub use route::default_device;
pub use shaper::Shaper;
pub use statistics::{QueueStatistics, RootStatistics, ShaperStatistics};

/// Makes this crate's kinds of knob known to a session.
pub fn knobs(registry: &mut hosttune_core::Registry) {
    registry.add::<IfbLink>();
    registry.add::<RootQdisc>();
    registry.add::<IngressHook>();
    registry.add::<Redirect>();
}
