//! A set of requests for a host, as plain data.

use crate::error::Error;
use crate::plan::{Plan, Planner};
use crate::report::Report;
use crate::session::{Applied, Reverted, Session};

/// A set of requests for a host.
///
/// [`declare`](Self::declare) is the only method to implement: it declares the requests, given what
/// the host shows. Plan, apply, verify and revert are provided. Tuples of up to eight tunings, vectors
/// and references are tunings too; a pair of a name and a tuning is a [part](Planner::part).
pub trait Tuning {
    /// Declares the requests.
    ///
    /// # Errors
    /// If the tuning cannot be expressed for this host at all. A knob that is unsupported here is
    /// not an error: the planner reports it.
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error>;

    /// The changes that an apply would make. Changes and writes nothing.
    ///
    /// # Errors
    /// A required setting is unsupported, two parts conflict, or the journal cannot be read.
    fn plan(&self, session: &Session) -> Result<Plan, Error> {
        session.plan(|at| self.declare(at))
    }

    /// Makes all changes or none: if a step fails, the earlier ones are undone.
    ///
    /// # Errors
    /// As [`plan`](Self::plan), and [`Error::RolledBack`] or [`Error::RollbackIncomplete`] if a
    /// step failed.
    fn apply(&self, session: &mut Session) -> Result<Applied, Error> {
        session.apply_reviewed(|at| self.declare(at), |_| true)
    }

    /// Checks every request.
    ///
    /// # Errors
    /// As [`plan`](Self::plan), except that drift is a result and not an error.
    fn verify(&self, session: &Session) -> Result<Report, Error> {
        session.verify(|at| self.declare(at))
    }

    /// Reverts what the session's owner has changed for this tuning: everything that was done for its
    /// named parts, also with other options then, and the knobs that it declares now.
    ///
    /// What the owner has changed besides is in [`Reverted::remaining`] and stays in effect;
    /// [`Session::revert`] reverts that too. A tuning without named parts is known only by the knobs
    /// that it declares: one that declares others than it did when it was applied leaves those behind.
    ///
    /// # Errors
    /// If the tuning cannot be declared for this host, the journal cannot be used, or another process
    /// holds the lock. Changes that could not be reverted are in [`Reverted::not_reverted`].
    fn revert(&self, session: &mut Session) -> Result<Reverted, Error> {
        session.revert_declared(|at| self.declare(at))
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

/// Tuples of tunings of different types, declared in their order.
macro_rules! tuples {
    ($(($($name:ident)+),)+) => { $(
        impl<$($name: Tuning),+> Tuning for ($($name,)+) {
            #[expect(non_snake_case, reason = "each variable is named after its type")]
            fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
                let ($($name,)+) = self;
                $($name.declare(at)?;)+
                Ok(())
            }
        }
    )+ };
}

tuples! {
    (A B),
    (A B C),
    (A B C D),
    (A B C D E),
    (A B C D E F),
    (A B C D E F G),
    (A B C D E F G H),
}

/// A tuning with a name: a part.
impl<T: Tuning> Tuning for (&str, T) {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        at.part(self.0, &self.1);
        Ok(())
    }
}

/// A tuning with a name: a part.
impl<T: Tuning> Tuning for (String, T) {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        at.part(&self.0, &self.1);
        Ok(())
    }
}

/// A note for people, shown with a plan and a report; it requests nothing.
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

/// The empty tuning.
impl Tuning for () {
    fn declare(&self, _: &mut Planner<'_>) -> Result<(), Error> {
        Ok(())
    }
}
