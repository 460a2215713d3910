//! `hosttune`: the commands that need no host profile.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use super::boot_units::{self, InstallArguments, UninstallArguments};
use super::exit::Exit;
use super::facts::{self, FactsArguments};
use super::import::{self, ImportArguments};
use super::pci;
use super::run::{answered, misunderstood};
use super::streams::Streams;

const NAME: &str = "hosttune";

/// Query any host, and have one tuned at boot; to tune one, use a host binary such as gaming
#[derive(Debug, Parser)]
#[command(name = NAME, bin_name = NAME, version)]
struct Arguments {
    /// Print one JSON document instead of text (schemas: docs/schemas)
    #[arg(long, global = true)]
    json: bool,
    /// Work on the tree beneath DIR: a captured tree (with proc and sys) or an image
    #[arg(long, global = true, value_name = "DIR")]
    root: Option<PathBuf>,
    #[command(subcommand)]
    question: Question,
}

#[derive(Debug, Subcommand)]
enum Question {
    /// Show the hardware, kernel and distribution of the host; changes nothing
    Facts(FactsArguments),
    /// Show the PCI devices by IOMMU group: ids, driver, resets, what uses them; changes nothing
    Pci,
    /// Print the command that sets up what the configuration of another program does; changes nothing
    Import(ImportArguments),
    /// Write systemd units that apply a host at boot, and for users without root; stopping them reverts nothing
    InstallUnits(InstallArguments),
    /// Remove these units; what they have applied stays until the host program reverts it
    UninstallUnits(UninstallArguments),
}

/// Runs the program `hosttune`; called from its `main`.
pub fn tool() -> ExitCode {
    tool_with(std::env::args_os()).into()
}

/// Runs the program `hosttune` with these arguments in this process; the first one is the program's name.
pub fn tool_with(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    ask(arguments, &mut Streams::of_process())
}

/// Runs the command line given by the arguments; the first one is the program's name.
pub(super) fn ask(arguments: impl IntoIterator<Item = OsString>, streams: &mut Streams) -> Exit {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let parsed = match Arguments::try_parse_from(&arguments) {
        Ok(parsed) => parsed,
        Err(error) => return misunderstood(&error, &arguments, streams),
    };
    let (root, json) = (parsed.root.as_deref(), parsed.json);
    let changes = !matches!(
        parsed.question,
        Question::Facts(_) | Question::Pci | Question::Import(_)
    );
    let outcome = match &parsed.question {
        Question::Facts(asked) => facts::facts(asked, root, json, streams),
        Question::Pci => pci::pci(root, json, streams),
        Question::Import(asked) => import::import(asked, root, json, streams),
        Question::InstallUnits(asked) => boot_units::install(asked, root, json, streams),
        Question::UninstallUnits(asked) => boot_units::uninstall(asked, root, json, streams),
    };
    answered(NAME, outcome, json, changes, streams)
}
