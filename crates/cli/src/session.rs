//! The session and the tuning of a command: which host, whose journal, which parts.

use std::path::Path;

use hosttune_boot::boot_once::{BOOT_ONCE, TRIAL};
use hosttune_core::host::RootKind;
use hosttune_core::{Selection, Session, Status, Tuning};

use super::Options;
use super::boot;
use super::confirm;
use super::failure::Failure;
use super::run::Run;

impl Run<'_> {
    /// A session without `--only` applied.
    pub(super) fn session(&self) -> Result<Session, Failure> {
        self.session_of(self.profile.name())
    }

    /// The same with the journal of another owner.
    pub(super) fn session_of(&self, owner: &str) -> Result<Session, Failure> {
        Ok(match self.plain_session(owner)? {
            session if session.host().root_kind() == RootKind::Live => {
                self.with_generators(session)
            }
            session => session,
        })
    }

    /// The session of this profile, which runs no generators whatever was typed.
    pub(super) fn session_without_generators(&self) -> Result<Session, Failure> {
        self.plain_session(self.profile.name())
    }

    fn plain_session(&self, owner: &str) -> Result<Session, Failure> {
        let name = self.profile.name();
        let session = match &self.global.root {
            Some(root) if root != Path::new("/") => Session::at(root, owner)?,
            Some(_) | None => Session::live(owner)?,
        };
        let session = match session.host().root_kind() {
            RootKind::Live => self.profile.with_backend(session),
            _ => session,
        };
        let mut session = session
            .with(|registry| self.profile.register(registry))
            .with(hosttune_run::weight::knobs)
            .program(format!("{name} {}", self.profile.version()));
        session.strict(self.global.strict);
        Ok(session)
    }

    pub(super) fn tuning(&self, session: &Session) -> Result<Box<dyn Tuning>, Failure> {
        Ok(self.profile.tuning(&self.options(session))?)
    }

    pub(super) fn options(&self, session: &Session) -> Options {
        let is_image = session.host().root_kind() == RootKind::Image;
        Options {
            persist: self.global.persist || is_image,
            try_boot: self.global.try_boot,
            regenerate: self.global.regenerate,
            while_running: session.owner() == self.run_owner(),
            power_profile_is_held: self.power_profile.is_some(),
            user: self.global.user,
            with: self.global.with.clone(),
            set: self.global.set.clone(),
        }
    }

    /// The session with `--only` applied, for commands that work on the journal. The names of the
    /// profile's parts are accepted in addition to those in the journal.
    pub(super) fn narrowed_to_pending(
        &self,
        session: Session,
        status: &Status,
    ) -> Result<Session, Failure> {
        if self.global.only.is_empty() {
            return Ok(session);
        }
        let tuning = self.tuning(&session)?;
        let mut known = session.parts(|at| tuning.declare(at)).unwrap_or_default();
        if confirm::has_trials(self.profile) {
            add_names(&mut known, TRIAL);
        }
        if boot::has_modes(self.profile) {
            add_names(&mut known, BOOT_ONCE);
        }
        for guest in self.profile.guests() {
            add_names(&mut known, guest);
        }
        self.narrow(session, known, status)
    }

    /// The session with `--only` applied; its names are checked against the tuning's parts.
    pub(super) fn narrowed(
        &self,
        session: Session,
        tuning: &dyn Tuning,
    ) -> Result<Session, Failure> {
        if self.global.only.is_empty() {
            return Ok(session);
        }
        let known = session.parts(|at| tuning.declare(at))?;
        self.narrow(session, known, &Status::default())
    }

    fn narrow(
        &self,
        mut session: Session,
        mut known: Vec<String>,
        status: &Status,
    ) -> Result<Session, Failure> {
        for pending in &status.pending {
            add_names(&mut known, &pending.part);
        }
        for name in &self.global.only {
            if !known.contains(name) {
                return Err(Failure::unknown("part", name, &known));
            }
        }
        session.only(Selection::only(self.global.only.iter().cloned()));
        Ok(session)
    }

    /// The part of the status that `--only` selects.
    pub(super) fn selected(&self, mut status: Status) -> Status {
        let selection = Selection::only(self.global.only.iter().cloned());
        status
            .pending
            .retain(|pending| selection.admits(&pending.part.split('/').collect::<Vec<_>>()));
        status
    }

    pub(super) fn check_candidates(&self) -> Result<(), Failure> {
        let known = self.profile.candidates();
        for name in &self.global.with {
            if !known.contains(&name.as_str()) {
                let known: Vec<String> = known.iter().map(|&name| name.to_owned()).collect();
                return Err(Failure::unknown("optional part", name, &known));
            }
        }
        Ok(())
    }
}

fn add_names(names: &mut Vec<String>, part: &str) {
    for name in part.split('/').filter(|name| !name.is_empty()) {
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
}
