//! What a journal holds, and what the host shows for it.

use serde_json::Value;

use super::{PendingRevert, Session, Status};
use crate::error::Error;
use crate::host::HostErrorKind;
use crate::journal::{Entry, Log};
use crate::plan::{Before, Step};

impl Session {
    /// The changes in the journal and what the host shows for them. Only reads.
    ///
    /// # Errors
    /// If the journal cannot be used.
    pub fn status(&self) -> Result<Status, Error> {
        let _look = self.host.begin_read();
        let mut log = self.load()?;
        self.follow_renamed(&mut log);
        let pending = log
            .entries
            .values()
            .filter(|entry| !log.is_repeated(entry))
            .map(|entry| self.pending(&log, entry))
            .collect::<Result<Vec<_>, _>>()?;
        let elsewhere = log.elsewhere.values();
        let elsewhere = elsewhere.map(|entry| self.pending_elsewhere(&entry.step));
        Ok(Status {
            pending: pending.into_iter().chain(elsewhere).collect(),
            open: self.provisional(&log)?,
            refused: log
                .refused
                .iter()
                .map(|refused| format!("{}: {}", refused.step.knob, refused.unsupported))
                .collect(),
            by_reboot: log.dropped,
        })
    }

    fn pending(&self, log: &Log, entry: &Entry) -> Result<PendingRevert, Error> {
        let step = &entry.step;
        let kind = self.registry.find(&step.knob.kind)?;
        let seen = kind.read(&step.knob, &self.host);
        // The value that it has after all owners have reverted: if this step only holds the value
        // of another owner's step below it, that owner's original comes first.
        let first = log.first_start(&step.knob).filter(|_| entry.is_hold());
        let from = first.unwrap_or(&step.from);
        // A value from a later step, of any owner, is ours and not from another process.
        let is_ours = |seen: &Value| {
            let mut since = log.since(entry);
            since.any(|later| {
                let Step { knob, from, to, .. } = &later.step;
                let is_partial_write = match from {
                    Before::Known(from) => kind.is_partial_write(knob, seen, from, to),
                    Before::DependsOnEarlierStep => false,
                };
                later.left() == seen || kind.satisfies(knob, seen, to) || is_partial_write
            })
        };
        // What cannot be asked is told by the state.
        let out_of_reach = kind
            .out_of_reach(&step.knob, &self.host, step.identity.as_deref(), &step.to)
            .unwrap_or_default();
        Ok(PendingRevert {
            part: step.part.clone(),
            knob: step.knob.clone(),
            identity: step.identity.clone(),
            network_namespace: None,
            ours: step.to_text.clone(),
            original: match from {
                Before::Known(state) => kind.show(&step.knob, state),
                Before::DependsOnEarlierStep => step.from_text.clone(),
            },
            is_ours: seen.as_ref().is_ok_and(is_ours),
            replaced: log
                .replaced_after(entry, |left| {
                    let (knob, to) = (&step.knob, &step.to);
                    let partial = |from| kind.is_partial_write(knob, left, from, to);
                    kind.satisfies(knob, left, to) || step.from.known().is_some_and(partial)
                })
                .map(|theirs| kind.show(&step.knob, theirs)),
            absent: match &seen {
                _ if out_of_reach.is_some() => out_of_reach,
                Err(error) if *error.kind() == HostErrorKind::Gone => {
                    Some("it no longer exists".to_owned())
                }
                Err(error) => Some(format!("it cannot be read: {error}")),
                Ok(_) if self.is_replaced(step) => Some(kind.replaced().to_owned()),
                Ok(seen) if kind.is_gone(&step.knob, seen) => {
                    Some("it no longer exists".to_owned())
                }
                Ok(seen) => kind.hidden(&step.knob, seen),
            },
            seen: seen.map_or_else(
                |error| error.to_string(),
                |seen| kind.show(&step.knob, &seen),
            ),
        })
    }
}
