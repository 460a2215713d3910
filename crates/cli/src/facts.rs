//! `facts`: hardware, kernel and distribution of the host. It changes nothing and does not need root.

use std::path::Path;

use clap::Args;
use hosttune_core::{Error, Host, LinuxHost};
use hosttune_facts::Facts;
use hosttune_nvidia::NvidiaFacts;
use serde::Serialize;

use super::colour::visible;
use super::exit::Exit;
use super::failure::Failure;
use super::streams::Streams;

/// The arguments of `facts`.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct FactsArguments {
    /// Also show hardware addresses of network interfaces and UUIDs on the kernel command line
    #[arg(long)]
    identifiers: bool,
}

/// The facts as a document.
#[derive(Serialize)]
struct Document<'f> {
    #[serde(flatten)]
    facts: &'f Facts,
    /// `None` if they cannot be read.
    nvidia: Option<&'f NvidiaFacts>,
}

/// Prints the facts of the running host or of the tree beneath a directory.
pub(super) fn facts(
    arguments: &FactsArguments,
    root: Option<&Path>,
    as_json: bool,
    streams: &mut Streams,
) -> Result<Exit, Failure> {
    let root = root.unwrap_or(Path::new("/"));
    let host = Host::new(LinuxHost::at(root).map_err(Error::from)?);
    let facts = if arguments.identifiers {
        Facts::with_identifiers(&host)
    } else {
        Facts::of(&host)
    };
    let nvidia = NvidiaFacts::of(&host);
    if as_json {
        streams.document(&Document {
            facts: &facts,
            nvidia: nvidia.as_ref().ok(),
        })?;
        return Ok(Exit::Done);
    }
    let of_nvidia = match &nvidia {
        Ok(nvidia) => nvidia.to_string(),
        Err(error) => format!("unknown: {error}"),
    };
    let of_nvidia = of_nvidia
        .lines()
        .map(|gpu| format!("{:<15} {gpu}", "NVIDIA"));
    for line in facts
        .to_string()
        .lines()
        .map(str::to_owned)
        .chain(of_nvidia)
    {
        streams.print(&format!("{}\n", visible(&line)));
    }
    Ok(Exit::Done)
}
