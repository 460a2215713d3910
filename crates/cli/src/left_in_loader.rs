//! What is left in the boot loader's files after a revert, and where words of a trial were copied to.

use hosttune_boot::boot_loader::{BootParameters, Leftover, leftovers};
use hosttune_boot::boot_once::{Leak, leaks};
use hosttune_core::Session;

use super::Options;
use super::run::Run;

/// What was found in the boot loader's files.
#[derive(Debug, Default)]
pub(super) struct Left {
    leaks: Vec<Leak>,
    leftovers: Vec<Leftover>,
    /// Why nothing can be told.
    unknown: Option<String>,
}

impl Left {
    /// As notes.
    pub(super) fn notes(&self) -> Vec<String> {
        let leaks = self.leaks.iter().map(ToString::to_string);
        let leftovers = self.leftovers.iter().map(ToString::to_string);
        leaks.chain(leftovers).chain(self.unknown.clone()).collect()
    }

    /// The generated menu that still has parameters.
    pub(super) fn generated(&self) -> Option<&Leftover> {
        self.leftovers.iter().find(|left| left.is_generated)
    }
}

impl Run<'_> {
    /// The kernel parameters to look for: those of the profile, with its optional parts, which may have
    /// been requested, and those that are kept for GRUB now.
    pub(super) fn loader_parameters(&self, session: &Session) -> Option<BootParameters> {
        let candidates = self.profile.candidates().iter();
        let options = Options {
            persist: true,
            with: candidates.map(|&name| name.to_owned()).collect(),
            ..self.options(session)
        };
        let (_, parameters) = self.profile.boot_parameters(&options)?;
        // What cannot be read must not keep anything from being reverted.
        let with_earlier = parameters.clone().with_earlier(session.host());
        Some(with_earlier.unwrap_or(parameters))
    }

    /// Where words of a trial were copied to, and the parameters that are still in the boot loader's files
    /// and that no journal knows.
    pub(super) fn left_in_the_loader(
        &self,
        session: &Session,
        parameters: Option<&BootParameters>,
    ) -> Left {
        let Some(parameters) = parameters else {
            return Left::default();
        };
        let Ok(status) = session.status() else {
            // The command itself has failed with this.
            return Left::default();
        };
        let pending = status.pending.iter().map(|pending| &pending.knob);
        let host = session.host();
        let found = leaks(host).and_then(|leaks| {
            Ok(Left {
                leaks,
                leftovers: leftovers(host, parameters, pending)?,
                unknown: None,
            })
        });
        found.unwrap_or_else(|error| Left {
            unknown: Some(format!(
                "the boot loader's files cannot be searched for parameters that are left: {error}"
            )),
            ..Left::default()
        })
    }
}
