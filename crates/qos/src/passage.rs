//! Whether packets take the way that was made for them: counters along it, read twice.
//!
//! Everything can be there as wanted and still shape nothing: a program at the device takes the
//! packets before the filter does, the card forwards them by itself, or the IFB was taken down.
//! Only the counters tell.

use std::fmt;

use hosttune_core::{Error, HostError, Session};
use serde::{Deserialize, Serialize};

use crate::netlink::{LinkStatistics, Netlink, TrafficControl, TrafficStatistics, View};
use crate::redirect::Redirect;
use crate::root_qdisc::standing_at_root;
use crate::shaper::Shaper;

/// What has been counted along the way of the packets until a moment.
///
/// Read from the device inwards and back out again, so that of two readings it is certain which
/// packets came in between: those that the later one saw on its way in and the earlier one did not
/// yet see on its way out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathCounters {
    /// Of the device; nothing where there is none.
    pub device: Option<DeviceCounters>,
    /// What is to happen to what leaves, and what has.
    pub egress: Option<EgressCounters>,
    /// What is to happen to what arrives, and what has.
    pub ingress: Option<IngressCounters>,
}

/// Of the device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceCounters {
    /// Its number: another device of that name has another.
    pub index: u32,
    /// What it had counted when the reading began.
    pub first: LinkStatistics,
    /// What it had counted when the reading ended.
    pub last: LinkStatistics,
}

/// Of what leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EgressCounters {
    /// Of the root of the device; nothing where none is shown.
    pub root: Option<RootCounters>,
}

/// Of what arrives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IngressCounters {
    /// Of our redirect; nothing where there is none, or more than one.
    pub redirect: Option<RedirectCounters>,
    /// Of the root of the IFB; nothing where none is shown.
    pub ifb: Option<RootCounters>,
}

/// Of the filter that sends what arrives through the IFB.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedirectCounters {
    /// The number of the device that it leads to; zero where that has gone.
    pub to: u32,
    /// What it had counted before the roots were read.
    pub first: TrafficStatistics,
    /// What it had counted after that.
    pub last: TrafficStatistics,
}

/// Of a root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootCounters {
    /// The number of its link.
    pub link: u32,
    /// Its kind.
    pub kind: String,
    /// Its handle.
    pub handle: u32,
    /// What it had counted.
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
    /// What has been counted until now along the way of the packets.
    ///
    /// # Errors
    /// Where no wire is plugged in, and what the kernel answers.
    pub fn path(&self, session: &Session) -> Result<PathCounters, Error> {
        let (wire, view) = (session.host().wire::<Netlink>()?, View::of(session.host())?);
        let chosen = self.with_ifb_chosen(session.host())?;
        let read = || -> Result<PathCounters, HostError> {
            let (Some(link), Some(first)) = (
                wire.link(&self.device)?,
                wire.link_statistics(&self.device)?,
            ) else {
                return Ok(self.without_device());
            };
            let ours = Redirect::new(&self.device, &chosen.ifb);
            let redirect = |shaped: bool| match shaped {
                true => ours.counted(view, &link),
                false => Ok(None),
            };
            let into = redirect(self.ingress.is_some())?;
            let all = wire.qdiscs()?;
            let out = redirect(into.is_some())?;
            let ifb = match self.ingress {
                Some(_) => wire.link(&chosen.ifb)?,
                None => None,
            };
            let root = |index| standing_at_root(&all, index).map(RootCounters::of);
            let Some(last) = wire.link_statistics(&self.device)? else {
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
        };
        Ok(read()?)
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

/// A place along the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Station {
    /// The device.
    Device,
    /// Its root.
    Root,
    /// The filter that sends what arrives through the IFB.
    Redirect,
    /// The root of the IFB.
    Ifb,
}

impl fmt::Display for Station {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Device => "the device",
            Self::Root => "the root of the device",
            Self::Redirect => "the redirect",
            Self::Ifb => "the root of the IFB",
        })
    }
}

/// What two readings say about one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
#[non_exhaustive]
pub enum Verdict {
    /// Packets went the whole way.
    Flows,
    /// There were none: nothing can be said.
    Idle,
    /// Packets wait to be shaped, and none has left yet.
    Waits,
    /// The device has had packets, and none of them came to where they are shaped.
    Bypassed,
    /// Packets came to where they are shaped, and none left from there, nor waits.
    Lost,
    /// This is not there.
    Missing {
        /// What.
        station: Station,
    },
    /// This was put there or began to count anew between the readings: nothing can be said.
    Restarted {
        /// What.
        station: Station,
    },
    /// The kernel does not tell what it has counted here.
    Untold {
        /// Where.
        station: Station,
    },
}

impl Verdict {
    /// Whether packets are not shaped, or lost.
    pub fn is_trouble(&self) -> bool {
        matches!(self, Self::Bypassed | Self::Lost | Self::Missing { .. })
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Bypassed => Some(
                "something takes the packets before: a program at the device (bpftool net), a filter of an earlier priority (tc filter show), or the card itself (ethtool -k, hw-tc-offload and flow tables)",
            ),
            Self::Lost => Some(
                "look whether the IFB is there and up (ip link), and what its root drops (tc -s qdisc); taking the redirect away lets packets through at once: revert",
            ),
            Self::Missing { .. } => Some("apply again"),
            Self::Idle => Some("send something through the device and read again"),
            Self::Restarted { .. } => Some("read again"),
            Self::Flows | Self::Waits | Self::Untold { .. } => None,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flows => f.write_str("packets flow"),
            Self::Idle => f.write_str("there were no packets"),
            Self::Waits => f.write_str("packets wait"),
            Self::Bypassed => f.write_str("packets are not shaped: they bypass it"),
            Self::Lost => f.write_str("packets are lost"),
            Self::Missing { station } => write!(f, "{station} is missing"),
            Self::Restarted { station } => write!(f, "{station} began to count anew"),
            Self::Untold { station } => {
                write!(f, "the kernel does not tell the counters of {station}")
            }
        }
    }
}

/// What went along the way between two readings. Only whether a count is above zero says something:
/// packets are merged and cut on the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passage {
    /// Packets that the device received, less those that came while it was read.
    pub received_packets: Option<u64>,
    /// Packets that the redirect took.
    pub redirected_packets: Option<u64>,
    /// Packets that left the root of the IFB.
    pub ifb_packets: Option<u64>,
    /// Packets that the root of the IFB dropped.
    pub ifb_drops: Option<u64>,
    /// Packets that left the root of the device.
    pub root_packets: Option<u64>,
    /// Packets that the root of the device dropped.
    pub root_drops: Option<u64>,
    /// Packets that the device sent, less those that left while it was read.
    pub transmitted_packets: Option<u64>,
    /// What that says about what leaves; nothing where that is not shaped.
    pub egress: Option<Verdict>,
    /// What that says about what arrives; nothing where that is not shaped.
    pub ingress: Option<Verdict>,
}

/// How much more; nothing where it is not told, or less than before.
fn more<N: Into<u64>>(earlier: Option<N>, later: Option<N>) -> Option<u64> {
    later?.into().checked_sub(earlier?.into())
}

impl PathCounters {
    /// What went along the way from this reading until a later one.
    ///
    /// Some drivers ask their hardware once a second: two seconds between the readings, with
    /// traffic in between, make it certain.
    pub fn until(&self, later: &Self) -> Passage {
        let device = |count: fn(&LinkStatistics) -> Option<u64>| {
            let (earlier, later) = (self.device.as_ref()?, later.device.as_ref()?);
            more(count(&earlier.last), count(&later.first)).filter(|_| earlier.index == later.index)
        };
        let mut passage = Passage {
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
            let root = Leg::of(Station::Root, earlier, egress.root.as_ref());
            passage.root_packets = root.as_ref().ok().map(|leg| leg.packets);
            passage.root_drops = root.as_ref().ok().map(|leg| leg.drops);
            let sent = passage.transmitted_packets;
            passage.egress = Some(said(there.and_then(|()| {
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
                Station::Ifb,
                earlier.and_then(|ingress| ingress.ifb.as_ref()),
                ingress.ifb.as_ref(),
            );
            passage.redirected_packets = redirect.as_ref().ok().map(|taken| taken.at_most);
            passage.ifb_packets = ifb.as_ref().ok().map(|leg| leg.packets);
            passage.ifb_drops = ifb.as_ref().ok().map(|leg| leg.drops);
            let received = passage.received_packets;
            passage.ingress = Some(said(there.and_then(|()| arriving(received, redirect, ifb))));
        }
        passage
    }

    fn same_device(&self, later: &Self) -> Result<(), Verdict> {
        let station = Station::Device;
        match (&self.device, &later.device) {
            (_, None) => Err(Verdict::Missing { station }),
            (Some(earlier), Some(later)) if earlier.index == later.index => Ok(()),
            (_, Some(_)) => Err(Verdict::Restarted { station }),
        }
    }
}

const UNTOLD_DEVICE: Verdict = Verdict::Untold {
    station: Station::Device,
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
        // It led somewhere that is no more.
        Err(Verdict::Missing { .. }) => return Ok(Verdict::Lost),
        ifb => ifb?,
    };
    Ok(match ifb.verdict() {
        Some(verdict) => verdict,
        None if redirect.at_least > 0 => Verdict::Lost,
        // They came while this was read.
        None => Verdict::Waits,
    })
}

/// What a root let through.
#[derive(Clone, Copy)]
struct Leg {
    packets: u64,
    drops: u64,
    queued: u32,
}

impl Leg {
    fn of(
        station: Station,
        earlier: Option<&RootCounters>,
        later: Option<&RootCounters>,
    ) -> Result<Self, Verdict> {
        let later = later.ok_or(Verdict::Missing { station })?;
        let earlier = earlier
            .filter(|earlier| earlier.is_the_same(later))
            .ok_or(Verdict::Restarted { station })?;
        let (earlier, later) = (&earlier.counted, &later.counted);
        if later.packets.is_none() || later.drops.is_none() {
            return Err(Verdict::Untold { station });
        }
        let anew = Verdict::Restarted { station };
        Ok(Self {
            packets: more(earlier.packets, later.packets).ok_or(anew)?,
            drops: more(earlier.drops, later.drops).ok_or(anew)?,
            queued: later.queued_packets.unwrap_or_default(),
        })
    }

    /// Nothing where no packet came.
    fn verdict(&self) -> Option<Verdict> {
        match self {
            Self { packets: 1.., .. } => Some(Verdict::Flows),
            Self { queued: 1.., .. } => Some(Verdict::Waits),
            Self { drops: 1.., .. } => Some(Verdict::Lost),
            _ => None,
        }
    }
}

/// What the redirect took.
#[derive(Clone, Copy)]
struct Taken {
    /// Certainly before the later reading of what comes behind it.
    at_least: u64,
    /// With those that came while it was read.
    at_most: u64,
}

impl Taken {
    fn of(
        earlier: Option<&RedirectCounters>,
        later: Option<&RedirectCounters>,
    ) -> Result<Self, Verdict> {
        let station = Station::Redirect;
        let later = later.ok_or(Verdict::Missing { station })?;
        let earlier = earlier.ok_or(Verdict::Restarted { station })?;
        if later.first.packets.is_none() || later.last.packets.is_none() {
            return Err(Verdict::Untold { station });
        }
        let at_most = more(earlier.first.packets, later.last.packets);
        Ok(Self {
            at_most: at_most.ok_or(Verdict::Restarted { station })?,
            at_least: more(earlier.last.packets, later.first.packets).unwrap_or_default(),
        })
    }
}

impl fmt::Display for Passage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |count: Option<u64>| count.map_or("?".to_owned(), |count| count.to_string());
        let mut lines = Vec::new();
        if let Some(verdict) = &self.egress {
            lines.push(format!(
                "leaving: {verdict} (root {}, dropped {}, device {})",
                shown(self.root_packets),
                shown(self.root_drops),
                shown(self.transmitted_packets)
            ));
        }
        if let Some(verdict) = &self.ingress {
            lines.push(format!(
                "arriving: {verdict} (device {}, redirect {}, IFB {}, dropped {})",
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
