//! What a command needs before it changes the host: the privileges, and the consent of a person.

use std::path::Path;

use super::failure::Failure;
use super::run::Run;

impl Run<'_> {
    /// Without a terminal for the prompt, `--yes` is required.
    pub(super) fn need_an_answer(&self, yes: bool, command: &str) -> Result<(), Failure> {
        if yes || self.streams.can_ask {
            return Ok(());
        }
        Err(Failure::usage(
            format!("{command} needs confirmation and this is not a terminal: use --yes"),
            format!(
                "{} --yes",
                self.global.invocation(self.profile.name(), command)
            ),
        ))
    }

    /// Fails early, before a plan is shown or a write is tried, if the process lacks the privileges for
    /// the running system. A tree may be changed by its owner.
    pub(super) fn need_root(&self, command: &str) -> Result<(), Failure> {
        let is_live = self
            .global
            .root
            .as_deref()
            .is_none_or(|root| root == Path::new("/"));
        if !is_live
            || self.global.user
            || !self.profile.needs_root()
            || self.is_root
            || has_capabilities()
        {
            return Ok(());
        }
        let name = self.profile.name();
        Err(Failure::NeedsRoot {
            command: command.to_owned(),
            hint: format!(
                "run it as root: sudo {}",
                self.global.invocation(name, command)
            ),
        })
    }
}

/// Whether this process has any capability.
fn has_capabilities() -> bool {
    rustix::thread::capabilities(None).is_ok_and(|sets| !sets.effective.is_empty())
}
