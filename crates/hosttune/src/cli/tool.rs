//! `hosttune`: what can be asked of any host, without a profile.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use super::exit::Exit;
use super::facts::{self, FactsArguments};
use super::run::{answered, misunderstood};
use super::streams::Streams;

const NAME: &str = "hosttune";

/// What can be asked of any host; a host binary, such as gaming, tunes one
#[derive(Debug, Parser)]
#[command(name = NAME, bin_name = NAME, version, disable_help_subcommand = true)]
struct Arguments {
    /// Print one JSON document instead of text (schemas: docs/schemas)
    #[arg(long, global = true)]
    json: bool,
    /// Look at the tree beneath DIR: a captured tree (with proc and sys) or an image
    #[arg(long, global = true, value_name = "DIR")]
    root: Option<PathBuf>,
    #[command(subcommand)]
    question: Question,
}

#[derive(Debug, Subcommand)]
enum Question {
    /// Show what the host is made of and what runs on it; changes nothing
    Facts(FactsArguments),
}

/// Runs the program `hosttune`; for its `main`.
pub fn tool() -> ExitCode {
    let mut streams = Streams::of_process();
    ask(std::env::args_os(), &mut streams).into()
}

/// Answers what the arguments ask, the program's name among them as the first.
pub(super) fn ask(arguments: impl IntoIterator<Item = OsString>, streams: &mut Streams) -> Exit {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let parsed = match Arguments::try_parse_from(&arguments) {
        Ok(parsed) => parsed,
        Err(error) => return misunderstood(&error, &arguments, streams),
    };
    let Question::Facts(asked) = parsed.question;
    let outcome = facts::facts(&asked, parsed.root.as_deref(), parsed.json, streams);
    answered(NAME, outcome, parsed.json, false, streams)
}
