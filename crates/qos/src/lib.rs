//! Traffic shaping with CAKE: what leaves a device and what arrives at it, planned, applied over
//! netlink, verified, and put back exactly.
//!
//! ```no_run
//! use hosttune_boot::Modules;
//! use hosttune_core::{Session, Tuning};
//! use hosttune_qos::{Cake, Netlink, Rate, Shaper};
//!
//! let shaper = Shaper::new("eth0")
//!     .egress(&Cake::default().bandwidth(Rate::mbit(38)).diffserv4().ack_filter())
//!     .ingress(&Cake::default().bandwidth(Rate::mbit(85)).diffserv4().ingress());
//! let mut session = Session::live("router")?
//!     .with(hosttune_qos::knobs)
//!     .plug(Netlink::open()?)
//!     .plug(Modules::live());
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
//! - [`Shaper`]: the tuning; [`Shaper::statistics`] tells what its queueing disciplines have
//!   counted, and [`Shaper::watch`] keeps a device shaped that comes and goes.
//! - [`PathCounters`]: whether packets take the way that was made for them, from two of
//!   [`Shaper::path`].
//! - [`manager`]: who else manages a device, and would put its own in place of this.
//! - [`measure`]: whether it helps: latency under load.
//!
//! # What netlink does not show
//! A program attached to `tcx` (Linux 6.6, `bpf(2)` only) is asked before any filter. Where it ends
//! the chain, what arrives never comes to the redirect; a filter that the hardware has taken over
//! sees its packets before this kernel does. Neither is touched, and neither shows in a plan or
//! in `verify`, which compares what stands where: what goes past it shows in the counters, which
//! then stand still on the IFB while those of the device advance. That the hardware has taken over
//! the redirect itself is noted.

mod attribute;
mod bytes;
pub mod cake;
mod circumstances;
mod earlier_filters;
mod hardware_address;
mod health;
mod ifb_choice;
mod ifb_owner;
mod ingress;
mod kernel_part;
mod link;
mod link_identity;
pub mod manager;
pub mod measure;
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
pub mod watch;

pub use bytes::Bytes;
pub use cake::{Cake, CakeOption, LinkLayer, RoundTripTime, Seen, TextError, differences};
pub use hardware_address::{HardwareAddress, NotAnAddress};
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
pub use watch::{StoodBack, WatchEvent};

/// Makes this crate's kinds of knob known to a session, and the modules of [`hosttune_boot`].
pub fn knobs(registry: &mut hosttune_core::Registry) {
    hosttune_boot::knobs(registry);
    registry.add::<IfbLink>();
    registry.add::<RootQdisc>();
    registry.add::<IngressHook>();
    registry.add::<Redirect>();
}
