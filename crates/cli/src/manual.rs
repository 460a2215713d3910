//! Completion scripts and manual pages, which follow from the command line itself.

use clap::Args;
use clap_complete::Shell;

use super::HostProfile;
use super::arguments;
use super::exit::Exit;
use super::failure::Failure;
use super::streams::Streams;

/// The arguments of `manual`.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct ManualArguments {
    /// The command, such as apply; without it, the page of the program
    command: Option<String>,
}

/// Prints a completion script.
pub(super) fn completions(
    shell: Shell,
    profile: &dyn HostProfile,
    streams: &mut Streams,
) -> Result<Exit, Failure> {
    let mut command = shown(profile);
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, profile.name(), &mut script);
    streams.print(&String::from_utf8_lossy(&script));
    Ok(Exit::Done)
}

/// Prints a page in the format of man(7).
pub(super) fn manual(
    asked: &ManualArguments,
    profile: &dyn HostProfile,
    streams: &mut Streams,
) -> Result<Exit, Failure> {
    let program = shown(profile);
    let page = match &asked.command {
        None => program,
        Some(name) => {
            let is_meant = |command: &&clap::Command| command.get_name() == name;
            let Some(command) = program.get_subcommands().find(is_meant) else {
                let known: Vec<String> = program
                    .get_subcommands()
                    .map(|command| command.get_name().to_owned())
                    .collect();
                return Err(Failure::unknown("command", name, &known));
            };
            command
                .clone()
                .display_name(format!("{}-{name}", profile.name()))
                .bin_name(format!("{} {name}", profile.name()))
                .version(profile.version())
                // Only the program has the option.
                .disable_version_flag(true)
        }
    };
    let mut text = Vec::new();
    let manual =
        clap_mangen::Man::new(page).source(format!("{} {}", profile.name(), profile.version()));
    manual.render(&mut text).map_err(Failure::Process)?;
    streams.print(&String::from_utf8_lossy(&text));
    Ok(Exit::Done)
}

/// The command line without the commands that only this program itself starts, or that the profile
/// does not have: clap's generators also print what is hidden.
fn shown(profile: &dyn HostProfile) -> clap::Command {
    let all = arguments::command(profile);
    let shown = all
        .get_subcommands()
        .filter(|command| !command.is_hide_set());
    clap::Command::new(profile.name())
        .bin_name(profile.name())
        .version(profile.version())
        .about(all.get_about().cloned().unwrap_or_default())
        .after_help(all.get_after_help().cloned().unwrap_or_default())
        .args(all.get_arguments().cloned())
        .subcommands(shown.cloned())
}
