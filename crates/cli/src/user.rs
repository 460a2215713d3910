//! `--user`: the settings of the user who runs the program, and `verify --probe`.

use std::path::Path;

use super::HostProfile;
use super::arguments::{Command, Global};
use super::failure::Failure;

/// Refuses `--user` where it has no effect or would act for another user, and `--probe` without it.
pub(super) fn check(
    profile: &dyn HostProfile,
    global: &Global,
    command: &Command,
    is_root: bool,
) -> Result<(), Failure> {
    let name = profile.name();
    if let Command::Verify { probe: true } = command
        && !(global.user && profile.has_user_settings())
    {
        let hint = match profile.has_user_settings() {
            true => format!("{name} --user verify --probe"),
            false => format!("{name} verify"),
        };
        return Err(Failure::usage(
            "--probe has no effect without --user: nothing else is probed",
            hint,
        ));
    }
    if !global.user {
        return Ok(());
    }
    if !profile.has_user_settings() {
        return Err(Failure::usage(
            format!("--user has no effect: {name} has no settings of a single user"),
            "omit it",
        ));
    }
    let root = global.root.as_deref();
    if root.is_some_and(|root| root != Path::new("/")) {
        return Err(Failure::usage(
            "--user is for the running system, and --root names a tree",
            "omit one of the two",
        ));
    }
    let option = match global.set.keys().next() {
        Some(option) => Some(option.as_str()),
        None if !global.with.is_empty() => Some("with"),
        None => None,
    };
    if let Some(option) = option {
        return Err(Failure::usage(
            format!("--{option} has no effect with --user"),
            "omit it",
        ));
    }
    if is_root {
        return Err(Failure::NotAsRoot {
            hint: format!(
                "run it as that user, without sudo: {}",
                global.invocation(name, command.name())
            ),
        });
    }
    Ok(())
}

impl Command {
    /// The command as it is typed.
    fn name(&self) -> &'static str {
        match self {
            Self::Plan { .. } => "plan",
            Self::Apply { .. } => "apply",
            Self::Verify { .. } => "verify",
            Self::Revert { .. } => "revert",
            Self::Confirm { .. } => "confirm",
            Self::Boot(_) => "boot",
            Self::Watch { .. } => "watch",
            Self::Status => "status",
            Self::Explain { .. } => "explain",
            Self::WhoSets { .. } => "who-sets",
            Self::Facts(_) => "facts",
            Self::Measure(_) => "measure",
            Self::Run(_) => "run",
            Self::RunStart(_) => "run-start",
            Self::RunWatchdog { .. } => "run-watchdog",
            Self::RunHold => "run-hold",
            Self::RunRecover => "run-recover",
            Self::Lend(_) => "lend",
            Self::Return(_) => "return",
            Self::Guest(_) => "guest",
            Self::Completions { .. } => "completions",
            Self::Manual(_) => "manual",
        }
    }
}
