//! Changes of other network namespaces: they stay in the journal until a process in that namespace
//! reverts them, or the namespace is gone.

use std::collections::BTreeSet;

use super::{NotReverted, NotRevertedReason, PendingRevert, Session};
use crate::error::{Error, plural};
use crate::host::Whereabouts;
use crate::journal::{Log, Store, Writer};
use crate::plan::Step;

/// What is printed for a knob that only another network namespace shows.
const UNKNOWN_HERE: &str = "unknown in this network namespace";

impl Session {
    /// Reads the journal for the network namespace of this thread.
    pub(super) fn read_log(&self, store: &dyn Store, writer: Option<Writer>) -> Result<Log, Error> {
        let here = self.host.network_namespace()?;
        let log = Log::load(store, &self.owner, writer, &self.boot, here.as_deref());
        log.map_err(Error::Journal)
    }

    /// Drops what has ended with its network namespace.
    pub(super) fn forget_gone_namespaces(&self, log: &mut Log) {
        let steps = log.elsewhere.values().map(|entry| &entry.step);
        let namespaces: BTreeSet<String> = steps
            .filter_map(|step| step.network_namespace.clone())
            .collect();
        for namespace in namespaces {
            if self.host.whereabouts(&namespace) == Whereabouts::Gone {
                let changes = plural(log.forget_namespace(&namespace), "change");
                log.notes.push(format!(
                    "{changes} ended with the network namespace {namespace}"
                ));
            }
        }
    }

    /// Which other network namespace a step belongs to, and how it is entered.
    fn other_namespace(&self, step: &Step) -> String {
        let namespace = step.network_namespace.as_deref().unwrap_or_default();
        let belongs = format!("it belongs to another network namespace ({namespace})");
        match self.host.whereabouts(namespace) {
            Whereabouts::Entered(command) => {
                format!("{belongs}: run this there, with '{command}' before the command")
            }
            Whereabouts::Unknown | Whereabouts::Gone => format!("{belongs}: run this there"),
        }
    }

    /// A step of another network namespace, as not reverted.
    pub(super) fn left_elsewhere(&self, step: &Step) -> NotReverted {
        NotReverted {
            part: step.part.clone(),
            knob: step.knob.clone(),
            ours: step.to_text.clone(),
            original: self.original(step),
            seen: UNKNOWN_HERE.to_owned(),
            reason: NotRevertedReason::AnotherNetworkNamespace(self.other_namespace(step)),
        }
    }

    /// A step of another network namespace, as pending.
    pub(super) fn pending_elsewhere(&self, step: &Step) -> PendingRevert {
        PendingRevert {
            part: step.part.clone(),
            knob: step.knob.clone(),
            ours: step.to_text.clone(),
            original: self.original(step),
            seen: UNKNOWN_HERE.to_owned(),
            is_ours: false,
            replaced: None,
            absent: Some(self.other_namespace(step)),
            identity: step.identity.clone(),
            network_namespace: step.network_namespace.clone(),
        }
    }
}
