//! `revert`: undoes what the journal has, and tells what stays all the same.

use std::time::{Duration, Instant};

use super::ask::ask;
use super::exit::Exit;
use super::failure::Failure;
use super::run::{AGAIN, Run, whose_journal};
use super::{confirm, json, text};

impl Run<'_> {
    pub(super) fn revert(&mut self, yes: bool, force: bool, wait: u16) -> Result<Exit, Failure> {
        self.need_an_answer(yes, "revert")?;
        let begun = Instant::now();
        let mut outcome = self.try_revert(yes, force);
        // Nothing has been shown or asked with --yes before the lock is held.
        while matches!(&outcome, Err(failure) if failure.is_locked())
            && begun.elapsed() < Duration::from_secs(wait.into())
        {
            std::thread::sleep(AGAIN);
            outcome = self.try_revert(yes, force);
        }
        match outcome {
            Err(failure) if self.global.json && failure.exit() != Exit::Usage => {
                let name = self.profile.name();
                self.streams.fail(name, &failure, false);
                self.streams.document(&json::revert_failed(&failure))?;
                Ok(failure.exit())
            }
            other => other,
        }
    }

    fn try_revert(&mut self, yes: bool, force: bool) -> Result<Exit, Failure> {
        let ending = self.ending("revert")?;
        let mut session = self.session()?;
        session.force(force).stopped_by(ending.stop());
        let status = session.status()?;
        let mut session = self.narrowed_to_pending(session, &status)?;
        let page = self.page(&session);
        let status = self.selected(status);
        let notes = whose_journal(&session);
        let had_trial = confirm::is_pending(&status);
        let something = !status.pending.is_empty() || status.open.is_some();
        if something && !yes {
            if !self.global.json {
                let text = text::standing(&page, &status, &notes, 0);
                self.streams.print(&text);
            }
            let question = match status.pending.len() {
                0 => "Finish the interrupted earlier run?".to_owned(),
                pending => format!("Revert {}?", text::count(pending, "change", "changes")),
            };
            if self.streams.is_closed() || !ask(self.streams, &question) {
                if self.global.json {
                    self.streams.document(&json::revert_declined())?;
                } else {
                    self.streams.print("\nDeclined: nothing was changed.\n");
                }
                return Ok(Exit::Refused);
            }
        }
        let parameters = self.loader_parameters(&session);
        let mut reverted = ending.at_work(|| session.revert())?;
        // What a run has changed may have been kept by what was reverted just now.
        let (by_runs, failure) = match self.reverted_of_killed_runs(force, &mut reverted) {
            Ok(notes) => (notes, None),
            Err(failure) => (Vec::new(), Some(failure)),
        };
        let of_trial = confirm::after_revert(&session, had_trial)?;
        let exit = Exit::of_reverted(&reverted);
        let (left, exit) =
            self.left_after_revert(&mut session, parameters.as_ref(), exit, &ending)?;
        let exit = failure.as_ref().map_or(exit, Failure::exit);
        let stays = self.stays_until_restart(&session, &reverted.undone);
        let in_the_initramfs = self.left_in_the_initramfs(&session, &reverted);
        let notes = [
            notes,
            by_runs,
            reverted.notes.clone(),
            of_trial,
            left,
            stays,
            in_the_initramfs.into_iter().collect(),
        ]
        .concat();
        let unrecorded = reverted.unrecorded.as_ref().map(|unrecorded| {
            let again = self.global.invocation(self.profile.name(), "revert");
            Failure::unrecorded(unrecorded, exit, &again)
        });
        if self.global.json {
            let failure = failure.as_ref().or(unrecorded.as_ref());
            let document = json::reverted(&reverted, &notes, failure);
            self.streams.document(&document)?;
        } else {
            let text = text::reverted(&page, &reverted, &notes);
            self.streams.print(&text);
        }
        for failure in failure.iter().chain(&unrecorded) {
            self.streams.fail(self.profile.name(), failure, false);
        }
        let is_kept = self.say_what_runs_hold();
        Ok(match exit {
            Exit::Done if is_kept => Exit::Drift,
            exit => exit,
        })
    }
}
