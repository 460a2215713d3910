//! Counters of a shaper's queueing disciplines.

use std::fmt;

use hosttune_core::{Error, HostError, Session};
use serde::{Deserialize, Serialize};

use crate::cake::{Statistics, TinName};
use crate::netlink::{Netlink, TrafficControl, TrafficStatistics, format_handle};
use crate::root_qdisc::standing_at_root;
use crate::shaper::Shaper;

/// Counters of both root qdiscs of a shaper, since they were created.
///
/// In JSON the name of each number has its unit. [`Display`](fmt::Display) formats a short table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ShaperStatistics {
    /// Root of the device; `None` where egress is not shaped, or the kernel shows no root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress: Option<RootStatistics>,
    /// Root of the IFB; `None` where ingress is not shaped, or the kernel shows no root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress: Option<RootStatistics>,
}

/// Counters of a root qdisc.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RootStatistics {
    /// Device that it is attached to.
    pub device: String,
    /// Counters of the root itself.
    #[serde(flatten)]
    pub root: QueueStatistics,
    /// Counters of its children, one for each queue of the device, where its kind has them:
    /// `cake_mq` counts its tins there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queues: Vec<QueueStatistics>,
}

/// Counters of one queueing discipline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct QueueStatistics {
    /// Its kind, as `tc` names it.
    pub kind: String,
    /// Its handle, or that of its parent where it has none, as `tc` writes it.
    pub handle: String,
    /// The counters that every qdisc has.
    #[serde(flatten)]
    pub counted: TrafficStatistics,
    /// The counters that only CAKE has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cake: Option<Statistics>,
}

impl QueueStatistics {
    fn of(shown: &TrafficControl) -> Self {
        Self {
            kind: shown.kind.clone(),
            handle: format_handle(match shown.handle {
                0 => shown.parent,
                handle => handle,
            }),
            counted: shown.statistics().unwrap_or_default(),
            cake: shown.cake_statistics(),
        }
    }
}

impl RootStatistics {
    fn of(device: &str, index: u32, all: &[TrafficControl]) -> Option<Self> {
        let root = standing_at_root(all, index)?;
        let under = |one: &&TrafficControl| {
            one.link == index && root.handle != 0 && one.parent >> 16 == root.handle >> 16
        };
        let mut under: Vec<_> = all.iter().filter(under).collect();
        under.sort_by_key(|one| one.parent);
        Some(Self {
            device: device.to_owned(),
            root: QueueStatistics::of(root),
            queues: under.into_iter().map(QueueStatistics::of).collect(),
        })
    }
}

impl Shaper {
    /// Reads the counters of the shaper's queueing disciplines.
    ///
    /// # Errors
    /// If the host has no netlink backend, or if the kernel refuses a request.
    pub fn statistics(&self, session: &Session) -> Result<ShaperStatistics, Error> {
        let backend = session.host().backend::<Netlink>()?;
        let chosen = self.with_ifb_chosen(session.host())?;
        let all = backend.qdiscs().map_err(HostError::from)?;
        let of = |shaped: bool, device: &str| -> Result<_, HostError> {
            let link = if shaped { backend.link(device)? } else { None };
            Ok(link.and_then(|link| RootStatistics::of(device, link.index, &all)))
        };
        Ok(ShaperStatistics {
            egress: of(self.egress.is_some(), &self.device)?,
            ingress: of(self.ingress.is_some(), &chosen.ifb)?,
        })
    }
}

/// Formats a counter, or `?` where the kernel does not report it.
fn shown(count: Option<impl fmt::Display>) -> String {
    count.map_or("?".to_owned(), |count| count.to_string())
}

impl fmt::Display for ShaperStatistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [("egress", &self.egress), ("ingress", &self.ingress)];
        let mut between = "";
        for (direction, root) in all {
            if let Some(root) = root {
                write!(f, "{between}{direction} {root}")?;
                between = "\n";
            }
        }
        Ok(())
    }
}

impl fmt::Display for RootStatistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.device, self.root)?;
        self.queues
            .iter()
            .try_for_each(|queue| write!(f, "\n{queue}"))
    }
}

impl fmt::Display for QueueStatistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counted = &self.counted;
        write!(
            f,
            "{} {}, {} packets, {} bytes, {} dropped, {} queued",
            self.kind,
            self.handle,
            shown(counted.packets),
            shown(counted.bytes),
            shown(counted.drops),
            shown(counted.queued_packets)
        )?;
        let Some(cake) = &self.cake else {
            return Ok(());
        };
        write!(
            f,
            "\n  {:<12}{:>12}{:>15}{:>9}{:>9}{:>10}{:>10}",
            "tin", "packets", "bytes", "dropped", "marked", "peak µs", "mean µs"
        )?;
        for (place, tin) in cake.tins.iter().enumerate() {
            write!(
                f,
                "\n  {:<12}{:>12}{:>15}{:>9}{:>9}{:>10}{:>10}",
                TinName::of(place, cake.tins.len()),
                shown(tin.sent_packets),
                shown(tin.sent_bytes),
                shown(tin.dropped_packets),
                shown(tin.ecn_marked_packets),
                shown(tin.peak_delay_microseconds),
                shown(tin.average_delay_microseconds)
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cake::Tin;

    fn voice() -> ShaperStatistics {
        let mut cake = Statistics::default();
        cake.tins.resize(3, Tin::default());
        cake.tins[2].sent_packets = Some(7);
        let queue = QueueStatistics {
            kind: "cake".to_owned(),
            handle: "4854:".to_owned(),
            counted: TrafficStatistics {
                packets: Some(7),
                bytes: Some(700),
                ..TrafficStatistics::default()
            },
            cake: Some(cake),
        };
        ShaperStatistics {
            egress: Some(RootStatistics {
                device: "wan".to_owned(),
                root: queue,
                queues: Vec::new(),
            }),
            ingress: None,
        }
    }

    #[test]
    fn the_table_names_the_tins_and_tells_zero_from_unknown() {
        let table = voice().to_string();
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(
            lines[0],
            "egress wan: cake 4854:, 7 packets, 700 bytes, ? dropped, ? queued"
        );
        assert_eq!(lines.len(), 5, "{table}");
        assert!(lines[3].starts_with("  Best Effort "), "{table}");
        let voice: Vec<_> = lines[4].split_whitespace().collect();
        assert_eq!(voice[..3], ["Voice", "7", "?"]);
    }

    #[test]
    fn json_has_the_units_and_is_read_back() {
        let json = serde_json::to_value(voice()).unwrap();
        assert_eq!(json["egress"]["bytes"], 700);
        assert_eq!(json["egress"]["cake"]["tins"][2]["sent_packets"], 7);
        let read: ShaperStatistics = serde_json::from_value(json).unwrap();
        assert_eq!(read, voice());
    }
}
