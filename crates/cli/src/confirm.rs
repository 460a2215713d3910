//! `confirm`: keeps the kernel parameters that the running boot tries; and what `status` and `revert` say
//! of a trial.

use hosttune_boot::boot_loader::BootParameters;
use hosttune_boot::boot_once::{TRIAL, Trial, TrialState, running_mark};
use hosttune_core::{AnyKnob, Error, Plan, Selection, Session, Status, Tuning};

use super::arguments::Global;
use super::ask::ask;
use super::colour::visible;
use super::exit::Exit;
use super::failure::Failure;
use super::run::Run;
use super::{HostProfile, Options, text};

/// Refuses `--try-boot` where it has no effect.
pub(super) fn check(profile: &dyn HostProfile, global: &Global) -> Result<(), Failure> {
    if !global.try_boot {
        return Ok(());
    }
    let Some((part, _)) = profile.boot_parameters(&Options::default()) else {
        return Err(Failure::usage(
            format!(
                "--try-boot has no effect: {} has no kernel parameters",
                profile.name()
            ),
            "omit it",
        ));
    };
    if !global.only.is_empty() && !global.only.iter().any(|name| name == part) {
        return Err(Failure::usage(
            format!("--try-boot has no effect: --only does not name {part}"),
            format!("add {part} to --only, or omit --try-boot"),
        ));
    }
    Ok(())
}

/// Whether kernel parameters of this profile can be tried.
pub(super) fn has_trials(profile: &dyn HostProfile) -> bool {
    profile.boot_parameters(&Options::default()).is_some()
}

/// Whether the journal has a change that belongs to a trial.
pub(super) fn is_pending(status: &Status) -> bool {
    of_trial(status).next().is_some()
}

/// The knobs of the changes that belong to a trial.
fn of_trial(status: &Status) -> impl Iterator<Item = &AnyKnob> {
    let is_trial = |part: &str| part.split('/').any(|name| name == TRIAL);
    let pending = status.pending.iter();
    let pending = pending.filter(move |pending| is_trial(&pending.part));
    pending.map(|pending| &pending.knob)
}

/// The notes of `status`: what became of the trial.
pub(super) fn notes(session: &Session, trial: Option<&Trial>) -> Result<Vec<String>, Failure> {
    let mark = running_mark(session.host()).map_err(Error::from)?;
    if mark.is_none() && trial.is_none() {
        return Ok(Vec::new());
    }
    let mut notes: Vec<String> = trial.iter().map(ToString::to_string).collect();
    if let Some(mark) = mark
        && trial.is_none_or(|trial| trial.state != TrialState::Running)
    {
        notes.push(format!(
            "the running kernel has the line of trial {mark}, which is over: it has panic=10 until the next boot"
        ));
    }
    Ok(notes)
}

/// The notes of a revert that took a trial back.
pub(super) fn after_revert(session: &Session, had_trial: bool) -> Result<Vec<String>, Failure> {
    match had_trial {
        true => notes(session, None),
        false => Ok(Vec::new()),
    }
}

impl Run<'_> {
    /// The trial of this profile, if the journal has one; a file of it that is damaged is a note.
    pub(super) fn trial(
        &self,
        session: &Session,
        status: &Status,
    ) -> (Option<Trial>, Option<String>) {
        if !is_pending(status) {
            return (None, None);
        }
        match Trial::of(session.host(), self.profile.name()) {
            Ok(trial) => (trial.map(|trial| trial.among(of_trial(status))), None),
            Err(error) => (None, Some(format!("the trial cannot be read: {error}"))),
        }
    }

    /// Keeps what is tried, then removes the entry of the trial. Killed between the two, it is repeated:
    /// the first step has nothing to do then.
    pub(super) fn confirm(&mut self, yes: bool) -> Result<Exit, Failure> {
        let name = self.profile.name();
        self.need_an_answer(yes, "confirm")?;
        self.need_root("confirm")?;
        let ending = self.ending("confirm")?;
        let mut session = self.session()?;
        session.stopped_by(ending.stop());
        let options = Options {
            persist: true,
            try_boot: false,
            ..self.options(&session)
        };
        let Some((part, parameters)) = self.profile.boot_parameters(&options) else {
            return Err(Failure::usage(
                format!("{name} has no kernel parameters"),
                "run with --help to see the commands",
            ));
        };
        let trial = running(&session, name, &parameters)?;
        let page = self.page(&session);
        // What cannot be kept must not end the trial as if it were kept.
        let required = parameters
            .settings
            .into_iter()
            .map(|one| match one.can_be_kept() {
                true => one.required(),
                false => one,
            });
        let kept = BootParameters::new(parameters.name, required).generate(parameters.is_generated);
        let tuning = (part, kept);
        let as_text = !self.global.json;
        let streams = &mut *self.streams;
        let mut shown = None;
        let mut is_declined = false;
        let review = |plan: &Plan| {
            if as_text {
                streams.print(&text::planned(&page, plan, true));
            }
            shown = Some(plan.clone());
            let question = format!("Keep the parameters of trial {}?", trial.id);
            let is_agreed =
                yes || (!streams.is_closed() && ending.at_rest(|| ask(streams, &question)));
            is_declined = !is_agreed;
            is_agreed
        };
        let applied = ending.at_work(|| session.apply_reviewed(|at| tuning.declare(at), review))?;
        if !is_declined {
            session.only(Selection::only([TRIAL]));
            let reverted = ending.at_work(|| session.revert())?;
            let exit = Exit::of_reverted(&reverted);
            if exit != Exit::Done {
                for left in &reverted.not_reverted {
                    self.streams
                        .complain(&format!("{name}: {}\n", visible(&left.to_string())));
                }
                self.tell_applied(&page, &applied, shown.as_ref())?;
                return Ok(exit);
            }
        }
        self.tell_applied(&page, &applied, shown.as_ref())
    }
}

/// The trial that runs with these parameters.
fn running(session: &Session, name: &str, parameters: &BootParameters) -> Result<Trial, Failure> {
    let Some(trial) = Trial::of(session.host(), name).map_err(Error::from)? else {
        return Err(Failure::NoTrial {
            why: "no kernel parameters are tried".to_owned(),
            hint: format!("{name} apply --persist --try-boot, then reboot"),
        });
    };
    if trial.state != TrialState::Running {
        return Err(Failure::NoTrial {
            why: trial.to_string(),
            hint: match trial.state {
                TrialState::Waiting => "reboot".to_owned(),
                _ => format!("{name} status"),
            },
        });
    }
    let wanted = parameters.tried(session.host()).map_err(Error::from)?;
    if trial.parameters != wanted {
        return Err(Failure::NoTrial {
            why: format!(
                "trial {} tries {}, and these options request {wanted}",
                trial.id, trial.parameters
            ),
            hint: format!(
                "use the options of the trial, such as --with, or cancel it: {name} revert --only trial"
            ),
        });
    }
    Ok(trial)
}
