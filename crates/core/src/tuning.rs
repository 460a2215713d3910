//! What somebody wants of a host, as plain data.

use crate::error::Error;
use crate::plan::{Plan, Planner};
use crate::report::Report;
use crate::session::{Applied, Reverted, Session};

/// What somebody wants of a host.
///
/// [`declare`](Self::declare) is the only method an author writes: it says what
/// is wanted given what the host shows. The four verbs come with it.
pub trait Tuning {
    /// Says what is wanted.
    ///
    /// # Errors
    /// Where the tuning cannot be said for this host at all. A knob that does not
    /// apply here is no error: the planner reports it.
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error>;

    /// What would be turned, without turning it or writing anything.
    ///
    /// # Errors
    /// What is required does not apply, two parts conflict, or the journal cannot be read.
    fn plan(&self, session: &Session) -> Result<Plan, Error> {
        session.plan(|at| self.declare(at))
    }

    /// Turns everything, or nothing: a step that fails takes the others back.
    ///
    /// # Errors
    /// As [`plan`](Self::plan), and [`Error::RolledBack`] or
    /// [`Error::RollbackIncomplete`] where a step failed.
    fn apply(&self, session: &mut Session) -> Result<Applied, Error> {
        session.apply_reviewed(|at| self.declare(at), |_| true)
    }

    /// How each wish stands.
    ///
    /// # Errors
    /// As [`plan`](Self::plan), except that drift is an answer and not an error.
    fn verify(&self, session: &Session) -> Result<Report, Error> {
        session.verify(|at| self.declare(at))
    }

    /// Puts back everything the session's owner turned, whatever tuning it was for.
    ///
    /// # Errors
    /// Where the journal cannot be used or another process is at work. What had
    /// to be left is in [`Reverted::left`].
    fn revert(&self, session: &mut Session) -> Result<Reverted, Error> {
        session.revert()
    }
}

impl<T: Tuning + ?Sized> Tuning for &T {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        (**self).declare(at)
    }
}

impl<T: Tuning + ?Sized> Tuning for Box<T> {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        (**self).declare(at)
    }
}

impl<T: Tuning> Tuning for Vec<T> {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        self.iter().try_for_each(|tuning| tuning.declare(at))
    }
}

/// A tuning under a name: a part.
impl<T: Tuning> Tuning for (&str, T) {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        at.part(self.0, &self.1);
        Ok(())
    }
}

/// A tuning under a name: a part.
impl<T: Tuning> Tuning for (String, T) {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        at.part(&self.0, &self.1);
        Ok(())
    }
}

/// Wanting nothing.
/// What a person should know beside a plan and a report; it wants nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note(pub String);

impl Tuning for Note {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        if at.is_selected() {
            at.note(self.0.clone());
        }
        Ok(())
    }
}

impl Tuning for () {
    fn declare(&self, _: &mut Planner<'_>) -> Result<(), Error> {
        Ok(())
    }
}
