//! Whether packets pass through the shaper, judged from two readings of the counters along their
//! path.
//!
//! Everything can be configured as wanted and still shape nothing: a program on the device takes
//! the packets before the filter does, the card forwards them by itself, or the IFB was taken down.
//! Only the counters tell.

use std::fmt;

use hosttune_core::{Error, Host, HostError, Session};
use serde::{Deserialize, Serialize};

use crate::netlink::{LinkStatistics, Netlink, TrafficControl, TrafficStatistics, View};
use crate::redirect::Redirect;
use crate::root_qdisc::standing_at_root;
use crate::shaper::Shaper;

/// Counters along the path of the packets at one moment.
///
/// They are read from the device inwards and back out again. A packet certainly arrived between two
/// readings if the later one counted it on the way in and the earlier one had not yet counted it on
/// the way out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PathCounters {
    /// Counters of the device; `None` where there is no such device.
    pub device: Option<DeviceCounters>,
    /// Counters of egress; `None` where it is not to be shaped.
    pub egress: Option<EgressCounters>,
    /// Counters of ingress; `None` where it is not to be shaped.
    pub ingress: Option<IngressCounters>,
}

/// Counters of the device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DeviceCounters {
    /// Interface index; another device of the same name has another one.
    pub index: u32,
    /// Counters when the reading began.
    pub first: LinkStatistics,
    /// Counters when the reading ended.
    pub last: LinkStatistics,
}

/// Counters of egress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EgressCounters {
    /// Counters of the device's root qdisc; `None` where the kernel shows none.
    pub root: Option<RootCounters>,
}

/// Counters of ingress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct IngressCounters {
    /// Counters of our redirect; `None` where there is none, or more than one.
    pub redirect: Option<RedirectCounters>,
    /// Counters of the IFB's root qdisc; `None` where the kernel shows none.
    pub ifb: Option<RootCounters>,
}

/// Counters of the filter that sends incoming packets through the IFB.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RedirectCounters {
    /// Interface index of the device that it leads to; zero where that device is gone.
    pub to: u32,
    /// Counters before the root qdiscs were read.
    pub first: TrafficStatistics,
    /// Counters after the root qdiscs were read.
    pub last: TrafficStatistics,
}

/// Counters of a root qdisc.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RootCounters {
    /// Interface index of its device.
    pub link: u32,
    /// Kind of the qdisc.
    pub kind: String,
    /// Handle of the qdisc.
    pub handle: u32,
    /// Counters of the qdisc.
    pub counted: TrafficStatistics,
}

impl RootCounters {
    fn of(shown: &TrafficControl) -> Self {
        Self {
            link: shown.link,
            kind: shown.kind.clone(),
            handle: shown.handle,
            counted: shown.statistics().unwrap_or_default(),
        }
    }

    fn is_the_same(&self, other: &Self) -> bool {
        (self.link, &self.kind, self.handle) == (other.link, &other.kind, other.handle)
    }
}

impl Shaper {
    /// Reads the counters along the path of the packets.
    ///
    /// # Errors
    /// If the host has no netlink backend, or if the kernel refuses a request.
    pub fn path(&self, session: &Session) -> Result<PathCounters, Error> {
        let chosen = self.with_ifb_chosen(session.host())?;
        Ok(chosen.path_now(session.host())?)
    }

    /// The same, where the IFB is already chosen.
    pub(crate) fn path_now(&self, host: &Host) -> Result<PathCounters, HostError> {
        let (backend, view) = (host.backend::<Netlink>()?, View::fresh(host)?);
        let (Some(link), Some(first)) = (
            backend.link(&self.device)?,
            backend.link_statistics(&self.device)?,
        ) else {
            return Ok(self.without_device());
        };
        let ours = Redirect::new(&self.device, &self.ifb);
        let redirect = |shaped: bool| match shaped {
            true => ours.counted(view, &link),
            false => Ok(None),
        };
        let into = redirect(self.ingress.is_some())?;
        let all = backend.qdiscs()?;
        let out = redirect(into.is_some())?;
        let ifb = match self.ingress {
            Some(_) => backend.link(&self.ifb)?,
            None => None,
        };
        let root = |index| standing_at_root(&all, index).map(RootCounters::of);
        let Some(last) = backend.link_statistics(&self.device)? else {
            return Ok(self.without_device());
        };
        Ok(PathCounters {
            egress: self.egress.as_ref().map(|_| EgressCounters {
                root: root(link.index),
            }),
            ingress: self.ingress.as_ref().map(|_| IngressCounters {
                redirect: into
                    .zip(out)
                    .map(|((to, first), (_, last))| RedirectCounters { to, first, last }),
                ifb: ifb.and_then(|ifb| root(ifb.index)),
            }),
            device: Some(DeviceCounters {
                index: link.index,
                first,
                last,
            }),
        })
    }

    fn without_device(&self) -> PathCounters {
        PathCounters {
            device: None,
            egress: self.egress.as_ref().map(|_| EgressCounters { root: None }),
            ingress: self.ingress.as_ref().map(|_| IngressCounters {
                redirect: None,
                ifb: None,
            }),
        }
    }
}

/// A point on the path of the packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum PathPoint {
    /// The device.
    Device,
    /// The root qdisc of the device.
    Root,
    /// The filter that sends incoming packets through the IFB.
    Redirect,
    /// The root qdisc of the IFB.
    Ifb,
}

impl fmt::Display for PathPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Device => "the device",
            Self::Root => "the root qdisc of the device",
            Self::Redirect => "the redirect",
            Self::Ifb => "the root qdisc of the IFB",
        })
    }
}

/// What two readings say about one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
#[non_exhaustive]
pub enum Verdict {
    /// Packets passed through the shaper.
    Flows,
    /// There were no packets, so nothing can be said.
    Idle,
    /// Packets are queued in the shaper, and none has left it yet.
    Waits,
    /// The device counted packets, but none of them reached the shaper.
    Bypassed,
    /// Packets reached the shaper, but none left it and none is queued.
    Lost,
    /// A part of the path does not exist.
    Missing {
        /// The missing part.
        point: PathPoint,
    },
    /// A part of the path was created or restarted its counters between the readings, so nothing
    /// can be said.
    Restarted {
        /// The part that restarted.
        point: PathPoint,
    },
    /// The kernel does not report the counters of a part of the path.
    Untold {
        /// The part without counters.
        point: PathPoint,
    },
}

impl Verdict {
    /// Whether packets are lost or not shaped.
    pub fn is_trouble(&self) -> bool {
        matches!(self, Self::Bypassed | Self::Lost | Self::Missing { .. })
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Bypassed => Some(
                "something takes the packets before the shaper: a program on the device (bpftool net), a filter of an earlier priority (tc filter show), or the card itself (ethtool -k: hw-tc-offload; flow tables)",
            ),
            Self::Lost => Some(
                "check that the IFB exists and is up (ip link), and what its root qdisc drops (tc -s qdisc); to let packets through at once, remove the redirect: revert",
            ),
            Self::Missing { .. } => Some("apply again"),
            Self::Idle => Some("send traffic through the device and read again"),
            Self::Restarted { .. } => Some("read again"),
            Self::Flows | Self::Waits | Self::Untold { .. } => None,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flows => f.write_str("packets pass through the shaper"),
            Self::Idle => f.write_str("no packets were seen"),
            Self::Waits => f.write_str("packets are queued"),
            Self::Bypassed => f.write_str("packets are not shaped: they bypass the shaper"),
            Self::Lost => f.write_str("packets are lost"),
            Self::Missing { point } => write!(f, "{point} is missing"),
            Self::Restarted { point } => write!(f, "the counters of {point} restarted"),
            Self::Untold { point } => {
                write!(f, "the kernel does not report the counters of {point}")
            }
        }
    }
}

/// Packets counted along the path between two readings. Only whether a count is above zero means
/// something, because packets are merged and split on the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PathReport {
    /// Packets that the device received, except those that arrived during a reading.
    pub received_packets: Option<u64>,
    /// Packets that the redirect took.
    pub redirected_packets: Option<u64>,
    /// Packets that left the root qdisc of the IFB.
    pub ifb_packets: Option<u64>,
    /// Packets that the root qdisc of the IFB dropped.
    pub ifb_drops: Option<u64>,
    /// Packets that left the root qdisc of the device.
    pub root_packets: Option<u64>,
    /// Packets that the root qdisc of the device dropped.
    pub root_drops: Option<u64>,
    /// Packets that the device sent, except those that left during a reading.
    pub transmitted_packets: Option<u64>,
    /// Verdict about egress; `None` where it is not shaped.
    pub egress: Option<Verdict>,
    /// Verdict about ingress; `None` where it is not shaped.
    pub ingress: Option<Verdict>,
}

/// The increase of a counter; `None` where it is not reported, or is lower than before.
fn more<N: Into<u64>>(earlier: Option<N>, later: Option<N>) -> Option<u64> {
    later?.into().checked_sub(earlier?.into())
}

impl PathCounters {
    /// Compares this reading with a later one.
    ///
    /// Some drivers read their hardware's counters only once a second. Two seconds between the
    /// readings, with traffic in between, make the result reliable.
    pub fn until(&self, later: &Self) -> PathReport {
        let device = |count: fn(&LinkStatistics) -> Option<u64>| {
            let (earlier, later) = (self.device.as_ref()?, later.device.as_ref()?);
            more(count(&earlier.last), count(&later.first)).filter(|_| earlier.index == later.index)
        };
        let mut path_report = PathReport {
            received_packets: device(|link| link.received_packets),
            transmitted_packets: device(|link| link.transmitted_packets),
            redirected_packets: None,
            ifb_packets: None,
            ifb_drops: None,
            root_packets: None,
            root_drops: None,
            egress: None,
            ingress: None,
        };
        let there = self.same_device(later);
        if let Some(egress) = &later.egress {
            let earlier = self.egress.as_ref().and_then(|egress| egress.root.as_ref());
            let root = Leg::of(PathPoint::Root, earlier, egress.root.as_ref());
            path_report.root_packets = root.as_ref().ok().map(|leg| leg.packets);
            path_report.root_drops = root.as_ref().ok().map(|leg| leg.drops);
            let sent = path_report.transmitted_packets;
            path_report.egress = Some(said(there.and_then(|()| {
                let root = root?;
                Ok(match root.verdict() {
                    Some(verdict) => verdict,
                    None if sent.ok_or(UNTOLD_DEVICE)? > 0 => Verdict::Bypassed,
                    None => Verdict::Idle,
                })
            })));
        }
        if let Some(ingress) = &later.ingress {
            let earlier = self.ingress.as_ref();
            let redirect = Taken::of(
                earlier.and_then(|ingress| ingress.redirect.as_ref()),
                ingress.redirect.as_ref(),
            );
            let ifb = Leg::of(
                PathPoint::Ifb,
                earlier.and_then(|ingress| ingress.ifb.as_ref()),
                ingress.ifb.as_ref(),
            );
            path_report.redirected_packets = redirect.as_ref().ok().map(|taken| taken.at_most);
            path_report.ifb_packets = ifb.as_ref().ok().map(|leg| leg.packets);
            path_report.ifb_drops = ifb.as_ref().ok().map(|leg| leg.drops);
            let received = path_report.received_packets;
            path_report.ingress =
                Some(said(there.and_then(|()| arriving(received, redirect, ifb))));
        }
        path_report
    }

    fn same_device(&self, later: &Self) -> Result<(), Verdict> {
        let point = PathPoint::Device;
        match (&self.device, &later.device) {
            (_, None) => Err(Verdict::Missing { point }),
            (Some(earlier), Some(later)) if earlier.index == later.index => Ok(()),
            (_, Some(_)) => Err(Verdict::Restarted { point }),
        }
    }
}

const UNTOLD_DEVICE: Verdict = Verdict::Untold {
    point: PathPoint::Device,
};

fn said(verdict: Result<Verdict, Verdict>) -> Verdict {
    verdict.unwrap_or_else(|verdict| verdict)
}

fn arriving(
    received: Option<u64>,
    redirect: Result<Taken, Verdict>,
    ifb: Result<Leg, Verdict>,
) -> Result<Verdict, Verdict> {
    let redirect = redirect?;
    if redirect.at_most == 0 {
        ifb?;
        return Ok(match received.ok_or(UNTOLD_DEVICE)? {
            0 => Verdict::Idle,
            _ => Verdict::Bypassed,
        });
    }
    let ifb = match ifb {
        // The redirect leads to a device that no longer exists.
        Err(Verdict::Missing { .. }) => return Ok(Verdict::Lost),
        ifb => ifb?,
    };
    Ok(match ifb.verdict() {
        Some(verdict) => verdict,
        None if redirect.at_least > 0 => Verdict::Lost,
        // The packets may have arrived during the later reading.
        None => Verdict::Waits,
    })
}

/// What a root qdisc let through between two readings.
#[derive(Clone, Copy)]
struct Leg {
    packets: u64,
    drops: u64,
    queued: u32,
}

impl Leg {
    fn of(
        point: PathPoint,
        earlier: Option<&RootCounters>,
        later: Option<&RootCounters>,
    ) -> Result<Self, Verdict> {
        let later = later.ok_or(Verdict::Missing { point })?;
        let earlier = earlier
            .filter(|earlier| earlier.is_the_same(later))
            .ok_or(Verdict::Restarted { point })?;
        let (earlier, later) = (&earlier.counted, &later.counted);
        if later.packets.is_none() || later.drops.is_none() {
            return Err(Verdict::Untold { point });
        }
        let anew = Verdict::Restarted { point };
        Ok(Self {
            packets: more(earlier.packets, later.packets).ok_or(anew)?,
            drops: more(earlier.drops, later.drops).ok_or(anew)?,
            queued: later.queued_packets.unwrap_or_default(),
        })
    }

    /// `None` where no packet arrived.
    fn verdict(&self) -> Option<Verdict> {
        match self {
            Self { packets: 1.., .. } => Some(Verdict::Flows),
            Self { queued: 1.., .. } => Some(Verdict::Waits),
            Self { drops: 1.., .. } => Some(Verdict::Lost),
            _ => None,
        }
    }
}

/// Packets that the redirect took between two readings.
#[derive(Clone, Copy)]
struct Taken {
    /// Certainly taken before the later reading of the qdiscs behind it.
    at_least: u64,
    /// Includes those that arrived during a reading.
    at_most: u64,
}

impl Taken {
    fn of(
        earlier: Option<&RedirectCounters>,
        later: Option<&RedirectCounters>,
    ) -> Result<Self, Verdict> {
        let point = PathPoint::Redirect;
        let later = later.ok_or(Verdict::Missing { point })?;
        let earlier = earlier.ok_or(Verdict::Restarted { point })?;
        if later.first.packets.is_none() || later.last.packets.is_none() {
            return Err(Verdict::Untold { point });
        }
        let at_most = more(earlier.first.packets, later.last.packets);
        Ok(Self {
            at_most: at_most.ok_or(Verdict::Restarted { point })?,
            at_least: more(earlier.last.packets, later.first.packets).unwrap_or_default(),
        })
    }
}

impl fmt::Display for PathReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |count: Option<u64>| count.map_or("?".to_owned(), |count| count.to_string());
        let mut lines = Vec::new();
        if let Some(verdict) = &self.egress {
            lines.push(format!(
                "egress: {verdict} (root {}, dropped {}, device {})",
                shown(self.root_packets),
                shown(self.root_drops),
                shown(self.transmitted_packets)
            ));
        }
        if let Some(verdict) = &self.ingress {
            lines.push(format!(
                "ingress: {verdict} (device {}, redirect {}, IFB {}, dropped {})",
                shown(self.received_packets),
                shown(self.redirected_packets),
                shown(self.ifb_packets),
                shown(self.ifb_drops)
            ));
        }
        f.write_str(&lines.join("\n"))
    }
}

#[cfg(test)]
#[path = "passage_tests.rs"]
mod tests;
