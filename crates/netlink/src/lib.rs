//! rtnetlink, one message at a time: requests and answers as bytes, with the kernel's own text in
//! every error.
//!
//! ```no_run
//! use hosttune_netlink::numbers::{IFLA_IFNAME, RTM_GETLINK};
//! use hosttune_netlink::{Attributes, KernelSocket, Request, Rtnetlink, find};
//!
//! /// The size of `struct ifinfomsg`, which is zero in a request for all links.
//! const FIXED: usize = 16;
//!
//! let socket = KernelSocket::open()?;
//! let request = Request::new(RTM_GETLINK, 0, vec![0; FIXED], Attributes::new(), "list the links", "");
//! for link in socket.dump(&request)? {
//!     let attributes = link.payload.get(FIXED..).unwrap_or_default();
//!     if let Some(name) = find(attributes, IFLA_IFNAME) {
//!         println!("{}", name.text());
//!     }
//! }
//! # Ok::<(), hosttune_netlink::HostError>(())
//! ```
//!
//! Messages are kept as raw bytes, because they may come from a kernel newer than this program. An
//! attribute with an unknown number or size costs no other one, and what is restored later is sent
//! in the bytes that the kernel dumped. What a link, a qdisc or a filter means is left to the crates
//! that use this one.
//!
//! # Vocabulary
//! - [`Request`], [`Message`]: what is sent, and what is received.
//! - [`Attributes`] builds a sequence of attributes; [`attributes`] and [`find`] read one.
//! - [`Rtnetlink`]: answers requests; [`KernelSocket`] is the running kernel's.
//! - [`Acknowledgement`]: the kernel's answer with its extended acknowledgement; [`NetlinkError`] is
//!   the error made of it.
//! - [`Monitor`]: reports changes of links, traffic control and routes; [`KernelMonitor`] is the
//!   running kernel's.
//! - [`numbers`]: constants of the kernel's headers.
//!
//! # First kernel version
//! | Feature | Linux |
//! | --- | --- |
//! | the kernel's own text in errors (extended acknowledgements) | 4.12 |

mod acknowledgement;
mod attribute;
mod attributes;
mod error;
mod monitor;
pub mod numbers;
mod request;
mod rtnetlink;
mod socket;

pub use acknowledgement::Acknowledgement;
pub use attribute::{Attribute, AttributeIter, push_attribute};
pub use attributes::{Attributes, attributes, find, u32_at};
pub use error::NetlinkError;
pub use monitor::{KernelMonitor, Monitor, Notice, Subject, WaitOutcome};
pub use request::{Message, Request};
pub use rtnetlink::Rtnetlink;
pub use socket::KernelSocket;

// One dependency is enough for a program that uses only this crate.
pub use hosttune_core::{HostError, Stop};
