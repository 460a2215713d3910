//! Runs commands: from the command line to the exit code.

use std::ffi::OsString;
use std::time::{Duration, Instant};

use hosttune_core::host::RootKind;
use hosttune_core::{Applied, Error, Finding, Plan, Session, State, Status, Tuning};

use super::arguments::{self, Command, Global};
use super::ask::ask;
use super::ending::Ending;
use super::exit::Exit;
use super::failure::Failure;
use super::guest::{GuestArguments, LoanArguments};
use super::streams::Streams;
use super::text::{self, Page};
use super::{
    HostProfile, confirm, explain, facts, guest, json, manual, measure, regenerate, run_command,
    user, watch, who_sets,
};

/// Runs the command line given by the arguments; the first one is the program's name.
pub(super) fn run(
    profile: &dyn HostProfile,
    arguments: impl IntoIterator<Item = OsString>,
    streams: &mut Streams,
) -> Exit {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let parsed = match arguments::parse(profile, arguments.clone()) {
        Ok(parsed) => parsed,
        Err(error) => {
            let is_of_run = arguments::is_of_run(profile, &arguments);
            // Standard output is the command's.
            let as_document = if is_of_run { &[] } else { arguments.as_slice() };
            return match misunderstood(&error, as_document, streams) {
                Exit::Usage if is_of_run => Exit::NotStarted,
                exit => exit,
            };
        }
    };
    let command = parsed.command.unwrap_or(Command::Plan { exit_code: false });
    let mut run = Run {
        profile,
        global: parsed.global,
        is_root: rustix::process::geteuid().is_root(),
        power_profile: None,
        streams,
    };
    let changes = matches!(
        command,
        Command::Apply { .. }
            | Command::Confirm { .. }
            | Command::Revert { .. }
            | Command::Lend(_)
            | Command::Return(_)
    ) || matches!(&command, Command::Boot(arguments) if arguments.changes());
    let outcome = run.command(&command);
    let as_json = run.global.json;
    if let Command::Run(arguments) = &command
        && !arguments.explain
    {
        // It ends as its command, and standard output is the command's; so this was not started.
        answered(profile.name(), outcome, false, changes, streams);
        return Exit::NotStarted;
    }
    answered(profile.name(), outcome, as_json, changes, streams)
}

/// Reports a failure, if any, and returns the exit code of a command.
pub(super) fn answered(
    program: &str,
    outcome: Result<Exit, Failure>,
    as_json: bool,
    changes: bool,
    streams: &mut Streams,
) -> Exit {
    let exit = match outcome {
        Ok(exit) => exit,
        Err(failure) => {
            streams.fail(program, &failure, as_json);
            failure.exit()
        }
    };
    match streams.broken() {
        None => exit,
        Some(error) => {
            streams.complain(&format!(
                "{program}: cannot write the output\n  because: {error}\n"
            ));
            // The changes were made, whether or not they could be reported.
            if changes { exit } else { exit.undelivered() }
        }
    }
}

impl Exit {
    /// The exit code of an answer that could not be delivered.
    fn undelivered(self) -> Self {
        match self {
            Self::Done | Self::Drift => Self::Refused,
            other => other,
        }
    }
}

/// Prints clap's message: help and version to standard output; everything else is a usage error.
pub(super) fn misunderstood(
    error: &clap::Error,
    arguments: &[OsString],
    streams: &mut Streams,
) -> Exit {
    let text = error.render().to_string();
    if !error.use_stderr() {
        streams.print(&text);
        if let Some(error) = streams.broken() {
            streams.complain(&format!("cannot write the output: {error}\n"));
            return Exit::Refused;
        }
        return Exit::Done;
    }
    streams.complain(&text);
    if arguments.iter().any(|argument| argument == "--json") {
        let first = text.split("\n\n").next().unwrap_or_default();
        let message = first.trim().strip_prefix("error: ").unwrap_or(first);
        let failure = Failure::usage(message, "run with --help to see the commands and options");
        if let Err(error) = streams.document(&json::failed(&failure)) {
            streams.complain(&format!("{error}\n"));
        }
    }
    Exit::Usage
}

/// The interval between retries while another run holds the lock. A run with few changes takes
/// milliseconds.
pub(super) const AGAIN: Duration = Duration::from_millis(50);

pub(super) struct Run<'a> {
    pub(super) profile: &'a dyn HostProfile,
    pub(super) global: Global,
    /// Whether the effective user is root.
    pub(super) is_root: bool,
    /// The power profile that a run of this process holds or would hold, and the daemon at which, for people.
    pub(super) power_profile: Option<String>,
    pub(super) streams: &'a mut Streams,
}

impl Run<'_> {
    fn command(&mut self, command: &Command) -> Result<Exit, Failure> {
        self.check_candidates()?;
        confirm::check(self.profile, &self.global)?;
        regenerate::check(self.profile, &self.global, command)?;
        user::check(self.profile, &self.global, command, self.is_root)?;
        // What runs have changed belongs to root.
        if !self.global.user
            && matches!(
                command,
                Command::Apply { dry_run: false, .. }
                    | Command::Confirm { .. }
                    | Command::Revert { .. }
                    | Command::Watch { .. }
            )
        {
            self.revert_killed_runs(!matches!(command, Command::Revert { .. }));
        }
        match command {
            Command::Plan { exit_code } => self.plan(*exit_code),
            Command::Apply { dry_run: true, .. } => self.plan(false),
            Command::Apply { yes, wait, .. } => self.apply(*yes, wait.unwrap_or(0)),
            Command::Verify { probe } => self.verify(*probe),
            Command::Revert { yes, force } => self.revert(*yes, *force, 0),
            Command::Confirm { yes } => self.confirm(*yes),
            Command::Boot(arguments) => self.boot(arguments),
            Command::Watch { yes } => self.watch(*yes),
            Command::Run(arguments) => self.run_command(arguments),
            Command::RunStart(arguments) => run_command::start(self.profile.name(), arguments),
            Command::RunWatchdog { runner } => self.watch_over_run(*runner),
            Command::RunHold => self.hold_run(),
            Command::RunRecover => self.recover_runs(),
            Command::Status => self.status(),
            Command::Explain { knob } => self.explain(knob),
            Command::WhoSets { key } => self.who_sets(key),
            Command::Facts(arguments) => {
                let Global { root, json, .. } = &self.global;
                facts::facts(arguments, root.as_deref(), *json, self.streams)
            }
            Command::Measure(arguments) => {
                let name = self.profile.name();
                measure::measure(arguments, &self.global, name, self.streams)
            }
            Command::Lend(arguments) => self.lend(arguments),
            Command::Return(arguments) => self.hand_back(arguments),
            Command::Guest(arguments) => self.guest(arguments),
            Command::Completions { shell } => {
                manual::completions(*shell, self.profile, self.streams)
            }
            Command::Manual(asked) => manual::manual(asked, self.profile, self.streams),
        }
    }

    fn plan(&mut self, exit_code: bool) -> Result<Exit, Failure> {
        let session = self.session()?;
        let tuning = self.tuning(&session)?;
        let session = self.narrowed(session, &*tuning)?;
        let plan = match tuning.plan(&session) {
            // The notes say of each device why it is refused or what is decided of it.
            Err(error @ Error::NotApplicable(_)) if !self.global.json => {
                if let Ok(report) = tuning.verify(&session) {
                    let text = text::refused(&self.page(&session), &report.notes);
                    self.streams.print(&text);
                }
                return Err(error.into());
            }
            plan => plan?,
        };
        if self.global.json {
            self.streams.document(&json::planned(&plan))?;
        } else {
            let text = text::planned(&self.page(&session), &plan, false);
            self.streams.print(&text);
        }
        let to_do = !plan.is_empty() || plan.provisional.is_some();
        let unknown = plan.findings.iter().any(is_unknown);
        Ok(if exit_code && (to_do || unknown) {
            Exit::Drift
        } else {
            Exit::Done
        })
    }

    fn apply(&mut self, yes: bool, wait: u16) -> Result<Exit, Failure> {
        self.need_an_answer(yes, "apply")?;
        self.need_root("apply")?;
        let ending = self.ending("apply")?;
        let begun = Instant::now();
        let mut outcome = self.try_apply(yes, &ending);
        // Nothing has been shown or asked yet: that happens only once the lock is held.
        while matches!(&outcome, Err(failure) if failure.is_locked())
            && begun.elapsed() < Duration::from_secs(wait.into())
            && !ending.stop().is_requested()
        {
            std::thread::sleep(AGAIN);
            outcome = self.try_apply(yes, &ending);
        }
        match outcome {
            Err(failure) if self.global.json && failure.exit() != Exit::Usage => {
                let name = self.profile.name();
                self.streams.fail(name, &failure, false);
                self.streams.document(&json::apply_failed(&failure))?;
                Ok(failure.exit())
            }
            other => other,
        }
    }

    fn try_apply(&mut self, yes: bool, ending: &Ending) -> Result<Exit, Failure> {
        let mut session = self.session()?;
        session.stopped_by(ending.stop());
        let tuning = self.tuning(&session)?;
        let session = self.narrowed(session, &*tuning)?;
        self.apply_to(session, &*tuning, yes, ending)
    }

    /// Shows the plan of a tuning, asks, and applies it.
    pub(super) fn apply_to(
        &mut self,
        mut session: Session,
        tuning: &dyn Tuning,
        yes: bool,
        ending: &Ending,
    ) -> Result<Exit, Failure> {
        let page = self.page(&session);
        let as_text = !self.global.json;
        if !yes
            && let Ok(Status {
                open: Some(open), ..
            }) = session.status()
        {
            // Recovery changes the host, and it runs before the question below.
            let question = if as_text {
                self.streams.print(&text::first(&page, &open));
                "Continue?".to_owned()
            } else {
                format!("First: {open}. Continue?")
            };
            if self.streams.is_closed() || !ask(self.streams, &question) {
                return self.tell_applied(&page, &Applied::declined(), None);
            }
        }
        let streams = &mut *self.streams;
        let mut shown = None;
        let review = |plan: &Plan| {
            if as_text {
                streams.print(&text::planned(&page, plan, true));
            }
            shown = Some(plan.clone());
            if plan.is_empty() || yes {
                return true;
            }
            // A plan that could not be shown cannot be confirmed.
            let changes = text::count(plan.steps.len(), "change", "changes");
            !streams.is_closed() && ending.at_rest(|| ask(streams, &format!("Apply {changes}?")))
        };
        let applied = ending.at_work(|| session.apply_reviewed(|at| tuning.declare(at), review))?;
        // The kernel closes all remaining descriptors at exit; closing each one here costs a system call.
        std::mem::forget(session);
        self.tell_applied(&page, &applied, shown.as_ref())
    }

    pub(super) fn tell_applied(
        &mut self,
        page: &Page,
        applied: &Applied,
        shown: Option<&Plan>,
    ) -> Result<Exit, Failure> {
        if self.global.json {
            self.streams.document(&json::applied(applied))?;
        } else {
            self.streams.print(&text::applied(page, applied, shown));
        }
        let recovered = applied.recovered.as_ref();
        Ok(if recovered.is_some_and(|first| !first.is_complete()) {
            Exit::Incomplete
        } else if applied.declined {
            Exit::Refused
        } else if applied.findings.iter().any(is_unknown) {
            Exit::Drift
        } else {
            Exit::Done
        })
    }

    fn verify(&mut self, probe: bool) -> Result<Exit, Failure> {
        let session = self.session()?;
        let tuning = self.tuning(&session)?;
        let session = self.narrowed(session, &*tuning)?;
        let mut report = tuning.verify(&session)?;
        let options = self.options(&session);
        self.profile
            .refine(session.host(), &options, probe, &mut report);
        let fails = !report.is_as_wanted();
        if self.global.json {
            self.streams.document(&json::verified(&report))?;
        } else {
            let text = text::verified(&self.page(&session), &report, fails);
            self.streams.print(&text);
        }
        Ok(if fails { Exit::Drift } else { Exit::Done })
    }

    fn watch(&mut self, yes: bool) -> Result<Exit, Failure> {
        self.need_an_answer(yes, "watch")?;
        self.need_root("watch")?;
        let session = self.session()?;
        if session.host().root_kind() != RootKind::Live {
            return Err(Failure::usage(
                "watch needs the running system, and --root names a tree",
                "omit --root",
            ));
        }
        let options = self.options(&session);
        let watched = self.profile.watched(session.host(), &options)?;
        if watched.is_empty() {
            return Err(Failure::usage(
                format!("{} has nothing to watch", self.profile.name()),
                "use apply instead",
            ));
        }
        let watched = watch::chosen(watched, &self.global.only)?;
        let names: Vec<String> = watched.iter().map(ToString::to_string).collect();
        let question = format!("Keep {} until interrupted?", names.join(", and "));
        if !yes && !ask(self.streams, &question) {
            return Ok(Exit::Refused);
        }
        let mut sessions = vec![session];
        while sessions.len() < watched.len() {
            sessions.push(self.session()?);
        }
        let watched = watched.into_iter().zip(sessions).collect();
        watch::watch(watched, self.global.json, self.streams)
    }

    fn status(&mut self) -> Result<Exit, Failure> {
        let session = self.session()?;
        let status = session.status()?;
        let session = self.narrowed_to_pending(session, &status)?;
        let status = self.selected(status);
        let (trial, unreadable) = self.trial(&session, &status);
        let notes = [
            whose_journal(&session),
            confirm::notes(&session, trial.as_ref())?,
            self.left_in_the_loader(&session, self.loader_parameters(&session).as_ref())
                .notes(),
            self.stays_until_restart(&session, &[]),
            unreadable.into_iter().collect(),
        ]
        .concat();
        let runs = self.runs()?;
        if self.global.json {
            let document = json::standing(&status, &notes, &runs, trial.as_ref());
            self.streams.document(&document)?;
        } else {
            let page = self.page(&session);
            let held = runs.status.pending.len();
            let text = text::standing(&page, &status, &notes, held) + &text::runs(&page, &runs);
            self.streams.print(&text);
        }
        Ok(Exit::Done)
    }

    /// `lend`: the part of the guest is applied without a question.
    fn lend(&mut self, arguments: &LoanArguments) -> Result<Exit, Failure> {
        let name = guest::chosen(self.profile, arguments.guest.as_deref())?;
        self.need_root("lend")?;
        self.global.only = vec![name.to_owned()];
        self.apply(true, guest::WAIT)
    }

    /// `return`: the part of the guest is reverted without a question.
    fn hand_back(&mut self, arguments: &LoanArguments) -> Result<Exit, Failure> {
        let name = guest::chosen(self.profile, arguments.guest.as_deref())?;
        self.need_root("return")?;
        self.global.only = vec![name.to_owned()];
        self.revert(true, false, guest::WAIT)
    }

    fn guest(&mut self, arguments: &GuestArguments) -> Result<Exit, Failure> {
        let session = self.session()?;
        let options = self.options(&session);
        guest::guest(
            arguments,
            self.profile,
            &self.global,
            session.host(),
            &options,
            self.streams,
        )
    }

    fn explain(&mut self, knob: &str) -> Result<Exit, Failure> {
        let session = self.session()?;
        let tuning = self.tuning(&session)?;
        let session = self.narrowed(session, &*tuning)?;
        let report = tuning.verify(&session)?;
        // If a required setting is unsupported there is no plan, but the rest can still be explained.
        let plan = tuning.plan(&session).ok();
        let status = session.status().map_err(|error| error.to_string());
        let explanation = explain::explain(knob, &report, plan.as_ref(), status)?;
        if self.global.json {
            self.streams.document(&json::explained(&explanation))?;
        } else {
            let text = text::explained(&self.page(&session), &explanation);
            self.streams.print(&text);
        }
        Ok(Exit::Done)
    }

    fn who_sets(&mut self, key: &str) -> Result<Exit, Failure> {
        let session = self.session()?;
        let answer = who_sets::who_sets(session.host(), key)?;
        if self.global.json {
            self.streams.document(&json::who_sets(&answer))?;
        } else {
            let text = text::who_sets(&self.page(&session), &answer);
            self.streams.print(&text);
        }
        Ok(Exit::Done)
    }

    pub(super) fn ending(&self, verb: &'static str) -> Result<Ending, Failure> {
        let revert = self.global.invocation(self.profile.name(), "revert");
        Ending::taken(verb, self.profile.name(), revert).map_err(Failure::Signals)
    }

    pub(super) fn page(&self, session: &Session) -> Page {
        Page {
            look: self.streams.look,
            name: self.profile.name(),
            machine: text::machine(session.host(), &self.global),
            global: self.global.clone(),
            is_root: self.is_root,
        }
    }
}

/// A note about a journal that is not root's: on the running system every user has a separate one.
pub(super) fn whose_journal(session: &Session) -> Vec<String> {
    let user = rustix::process::geteuid();
    if user.is_root() || session.host().root_kind() != RootKind::Live {
        return Vec::new();
    }
    vec![format!(
        "this is the journal of user {}; the changes made by root are in root's journal, which only root can read",
        user.as_raw()
    )]
}

/// Whether the value could not be read.
fn is_unknown(finding: &Finding) -> bool {
    matches!(finding.state, State::Unverifiable { .. })
}
