//! `run --explain`: what would happen, without changing anything.

use std::ffi::OsStr;
use std::time::{Duration, Instant};

use hosttune_core::host::RootKind;
use hosttune_helper::client::Connection;
use hosttune_run::Ended;
use hosttune_run::priority::NiceScope;
use hosttune_run::starter::{Start, StartReport, Starter};
use hosttune_run::weight::{CommandGroup, weight_of_nice};
use serde::Serialize;

use super::colour::visible;
use super::exit::Exit;
use super::failure::Failure;
use super::run::Run;
use super::run_command::{RunArguments, shown};
use super::run_helped::TunedBy;
use super::{json, text};

/// What would be run, and how: a part of `run.schema.json`.
#[derive(Debug, Serialize)]
pub(super) struct ExplainedCommand {
    /// The command as it was typed.
    typed: String,
    /// The file, or `null` if there is none that can be executed.
    path: Option<String>,
    /// Why there is none.
    problem: Option<String>,
    /// The exit code if the command cannot be started.
    exit_code: Option<u8>,
    /// As whom it runs, or `null` for the user of this process.
    user: Option<String>,
    nice: Option<i32>,
    /// Against which processes the nice value counts.
    nice_counts: Option<String>,
    /// The `cpu.weight` that its control group is given for the nice value.
    weight: Option<u16>,
    /// Against which control groups the weight counts, or why it is not set.
    weight_counts: Option<String>,
    environment: Vec<Variable>,
    /// The power profile that would be held, and the daemon at which.
    power_profile: Option<String>,
    /// Who would tune the host, or `null` if the command would run without the tuning; a note says why.
    tuned_by: Option<&'static str>,
    notes: Vec<String>,
}

/// Who would tune the host for a run.
struct Way {
    tuned_by: Option<&'static str>,
    nice: Option<i32>,
    notes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Variable {
    name: String,
    /// `null` if it is removed.
    value: Option<String>,
}

impl Run<'_> {
    pub(super) fn explain_run(
        &mut self,
        arguments: &RunArguments,
        start: &Start,
    ) -> Result<Exit, Failure> {
        let session = self.session_of(&self.run_owner())?;
        if session.host().root_kind() == RootKind::Image {
            return Err(Failure::usage(
                "run needs a running kernel, and --root names an image",
                "omit --root",
            ));
        }
        let mut by = self.explained_way(arguments, start);
        if let TunedBy::Helper(_) = self.tuned_by(arguments)
            && self.global.only.is_empty()
        {
            self.global.only = self.profile.open_to_users().part_names();
        }
        by.notes
            .extend(self.would_hold_power_profile(arguments.wait));
        let tuning = self.tuning(&session)?;
        let session = self.narrowed(session, &*tuning)?;
        let plan = tuning.plan(&session)?;
        let mut command = self.explained_command(arguments, start, by)?;
        command.power_profile = self
            .power_profile
            .clone()
            .filter(|_| command.tuned_by.is_some());
        let exit = match &command.problem {
            None => Exit::Done,
            Some(_) => Exit::Refused,
        };
        if self.global.json {
            self.streams
                .document(&json::run_explained(&command, &plan))?;
            return Ok(exit);
        }
        let text = lines(&command) + "\n" + &text::planned(&self.page(&session), &plan, true);
        self.streams.print(&text);
        Ok(exit)
    }

    /// Who would tune the host, and what is to be said about it.
    fn explained_way(&self, arguments: &RunArguments, start: &Start) -> Way {
        let TunedBy::Helper(socket) = self.tuned_by(arguments) else {
            return Way {
                tuned_by: Some("this-process"),
                nice: start.nice,
                notes: Vec::new(),
            };
        };
        let mut way = Way {
            tuned_by: Some("helper"),
            nice: start.nice,
            notes: Vec::new(),
        };
        let request = self.request(arguments, start);
        // The helper and the host program that root has installed decide, and not this program.
        let asked = self.need_no_tree().and_then(|()| {
            let until = Instant::now() + Duration::from_secs(arguments.wait.into());
            Connection::open(&socket, until)
                .and_then(|connection| connection.explain(&request, until))
                .map_err(|why| self.unavailable(why))
        });
        match asked {
            Ok(admitted) => {
                if request.nice.is_some() {
                    way.nice = admitted.nice;
                }
                way.notes.extend(admitted.notes);
            }
            Err(why) => {
                way.tuned_by = None;
                if request.nice.is_some() {
                    way.nice = None;
                }
                way.notes
                    .push(format!("the command would run without the tuning: {why}"));
                way.notes
                    .extend(why.hint().map(|hint| format!("try: {hint}")));
            }
        }
        way
    }

    /// The command as the starter finds it, with the identity that it will have.
    fn explained_command(
        &self,
        arguments: &RunArguments,
        start: &Start,
        way: Way,
    ) -> Result<ExplainedCommand, Failure> {
        let name = OsStr::new(self.profile.name());
        let hidden = ["run-start".into()];
        let is_helped = way.tuned_by != Some("this-process");
        // Without root it could not set the value, which the helper sets.
        let own = Start {
            nice: way.nice.filter(|_| !is_helped),
            ..start.clone()
        };
        let mut starter =
            Starter::spawn(name, &hidden, &own, &arguments.command).map_err(Failure::Process)?;
        let report = starter.report();
        let pid = starter.pid().as_raw_pid();
        let (weight, weight_counts) = match (way.nice, is_helped) {
            (None, _) => (None, None),
            (Some(_), true) => {
                let why = "not set: only a run that root starts sets it";
                (None, Some(why.to_owned()))
            }
            (Some(nice), false) => match self.command_group(&[pid]) {
                CommandGroup::Own(group) => {
                    let counts = format!(
                        "counts against the control groups beside {}",
                        group.directory
                    );
                    (Some(weight_of_nice(nice)), Some(counts))
                }
                CommandGroup::NotOwn(why) => (None, Some(format!("not set: {why}"))),
            },
        };
        starter.dismiss();
        let (path, problem, status, mut notes) = match report.map_err(Failure::Process)? {
            StartReport::Found { path, notes } => {
                (Some(path.display().to_string()), None, None, notes)
            }
            StartReport::Failed { status, why } => (None, Some(why), Some(status), Vec::new()),
        };
        let has = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        if start.account.is_some() && !has("DISPLAY") && !has("WAYLAND_DISPLAY") {
            notes.push(
                "neither DISPLAY nor WAYLAND_DISPLAY is set, so it can open no window: \
                 sudo --preserve-env=DISPLAY,WAYLAND_DISPLAY,XAUTHORITY keeps them"
                    .to_owned(),
            );
        }
        Ok(ExplainedCommand {
            typed: shown(&arguments.command),
            path,
            problem,
            exit_code: status,
            user: start.account.as_ref().map(|account| account.name.clone()),
            nice: way.nice,
            nice_counts: way.nice.map(|_| NiceScope::of_this_process().to_string()),
            weight,
            weight_counts,
            environment: start
                .environment
                .iter()
                .map(|(name, value)| Variable {
                    name: name.clone(),
                    value: value.clone(),
                })
                .collect(),
            power_profile: None,
            tuned_by: way.tuned_by,
            notes: [notes, way.notes].concat(),
        })
    }
}

fn lines(command: &ExplainedCommand) -> String {
    let mut text = format!("command: {}\n", visible(&command.typed));
    let mut line = |label: &str, value: &str| {
        text.push_str(&format!("  {label:<12} {}\n", visible(value)));
    };
    match (&command.path, &command.problem) {
        (Some(path), _) => line("file", path),
        (None, Some(problem)) => line(
            "cannot start",
            &format!(
                "{problem} (exit code {})",
                command.exit_code.unwrap_or(Ended::NOT_STARTED.status())
            ),
        ),
        (None, None) => {}
    }
    if let Some(user) = &command.user {
        line("user", user);
    }
    if let (Some(nice), Some(counts)) = (command.nice, &command.nice_counts) {
        line("nice", &format!("{nice}, which counts {counts}"));
        line("I/O priority", "follows the nice value");
    }
    match (command.weight, &command.weight_counts) {
        (Some(weight), Some(counts)) => line("cpu.weight", &format!("{weight}, which {counts}")),
        (None, Some(why)) => line("cpu.weight", why),
        (_, None) => {}
    }
    for variable in &command.environment {
        match &variable.value {
            Some(value) => line("environment", &format!("{}={value}", variable.name)),
            None => line("environment", &format!("without {}", variable.name)),
        }
    }
    if let Some(profile) = &command.power_profile {
        line(
            "profile",
            &format!("{profile} is held; it sets the governor"),
        );
    }
    line("tuned by", command.tuned_by.unwrap_or("nothing"));
    for note in &command.notes {
        line("note", note);
    }
    line(
        "at its end",
        "everything below is reverted, when no other run needs it",
    );
    text
}
