//! Traffic shaping with CAKE, for egress and ingress: planned, applied over netlink, verified, and
//! reverted exactly.
//!
//! ```no_run
//! use hosttune_qos::{Cake, Modules, Netlink, Rate, Session, Shaper, Tuning};
//!
//! let shaper = Shaper::new("eth0")
//!     .egress(&Cake::default().bandwidth(Rate::mbit(38)).diffserv4().ack_filter())
//!     .ingress(&Cake::default().bandwidth(Rate::mbit(85)).diffserv4().ingress());
//! let mut session = Session::live("router")?
//!     .with(hosttune_qos::knobs)
//!     .with_backend(Netlink::open()?)
//!     .with_backend(Modules::live());
//! session.recover()?; // in case an earlier run was killed half-way
//! println!("{}", shaper.apply(&mut session)?); // all of it, or nothing
//! assert!(shaper.verify(&session)?.is_as_wanted());
//! println!("{}", shaper.revert(&mut session)?); // restores everything that nobody else has changed since
//! # Ok::<(), hosttune_qos::Error>(())
//! ```
//!
//! Options are set with methods or parsed from `tc`'s words, and are compared one by one with those
//! that the kernel shows:
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
//! - [`Cake`]: every option of CAKE; [`Seen`] has the options that the kernel shows.
//! - [`Netlink`]: the backend that talks to the kernel; [`netlink`] has its messages.
//! - [`RootQdisc`], [`IfbLink`], [`IngressHook`], [`Redirect`]: the knobs.
//! - [`Qdisc`]: a requested queueing discipline: its kind, and its options as bytes.
//! - [`Shaper`]: the tuning; [`Shaper::statistics`] reads the counters of its queueing disciplines,
//!   and [`Shaper::watch`] keeps a hot-plugged device shaped.
//! - [`PathCounters`]: two of them, from [`Shaper::path`], tell whether packets pass through the
//!   shaper.
//! - [`sqm`]: what an `/etc/config/sqm` of OpenWrt sets up, in the words of this crate.
//! - [`manager`]: other programs that manage a device and would replace its queueing disciplines.
//!
//! # What netlink does not show
//! A program attached to `tcx` (Linux 6.6, `bpf(2)` only) runs before any filter. If it ends the
//! chain, incoming packets never reach the redirect. It is never touched. With the feature `bpf`, a
//! plan and `verify` ask for such programs and judge by the counters: if packets arrive and none
//! reaches the redirect within a second, the redirect is overridden, and the programs are named; if
//! none arrives, that is said to be unknown. [`IngressPrograms`] is what they ask.
//!
//! A filter that is offloaded to the hardware sees its packets before this kernel does, and shows
//! neither in a plan nor in `verify`. [`Shaper::path`] tells it by the counters: those of the IFB
//! stop while those of the device advance. A redirect that is itself offloaded to the hardware is
//! noted.
//!
//! # First kernel version
//! | Feature | Linux |
//! | --- | --- |
//! | ifb, the hook for incoming packets, redirection by `u32` | 2.6 |
//! | redirection by `matchall`; without it, `u32` is used | 4.8 |
//! | the kernel's own text in errors | 4.12 |
//! | CAKE | 4.19 |
//! | [`cake::CakeOption::Fwmark`] (`fwmark` in `tc`) | 5.1 |
//! | the permanent address of a link, by which one that was made anew is recognised | 5.6 |
//! | the bus and the address of a link's hardware | 5.14 |
//! | programs at `tcx`, and asking for them | 6.6 |
//! | `cake_mq`, a shaper for each queue: told apart, not set up | 7.0 |

mod bytes;
pub mod cake;
mod circumstances;
mod earlier_filters;
mod hardware_address;
mod health;
mod ifb_choice;
mod ifb_owner;
mod ifb_users;
mod ingress;
mod ingress_programs;
mod kernel_part;
mod link;
mod link_identity;
pub mod manager;
pub mod netlink;
mod path_report;
mod qdisc;
mod quantity;
mod rate;
mod redirect;
mod root_qdisc;
mod route;
mod shaper;
pub mod sqm;
mod statistics;
#[cfg(feature = "testing")]
pub mod testing;
pub mod watch;

pub use bytes::Bytes;
pub use cake::{Cake, CakeOption, LinkLayer, RoundTripTime, Seen, TextError, differences};
pub use hardware_address::{HardwareAddress, NotAnAddress};
pub use ingress::{HookState, IngressHook};
pub use ingress_programs::{IngressProgram, IngressPrograms};
pub use link::{IfbLink, LinkState};
pub use netlink::Netlink;
pub use path_report::{
    DeviceCounters, EgressCounters, IngressCounters, PathCounters, PathPoint, PathReport,
    RedirectCounters, RootCounters, Verdict,
};
pub use qdisc::Qdisc;
pub use quantity::QuantityError;
pub use rate::Rate;
pub use redirect::{Redirect, RedirectState};
pub use root_qdisc::{Attached, ExplicitRoot, RootQdisc, RootState};
pub use route::default_device;
pub use shaper::Shaper;
pub use statistics::{QueueStatistics, RootStatistics, ShaperStatistics};
pub use watch::{WatchEvent, Yielded};

// One dependency is enough for a program that uses only this crate.
pub use hosttune_core::{Error, Session, Tuning};
pub use hosttune_modules::Modules;

/// Registers this crate's kinds of knob with a session, and the modules of [`hosttune_modules`].
pub fn knobs(registry: &mut hosttune_core::Registry) {
    hosttune_modules::knobs(registry);
    registry.add::<IfbLink>();
    registry.add::<RootQdisc>();
    registry.add::<IngressHook>();
    registry.add::<Redirect>();
}
