//! `import`: what the configuration of another program sets up, as a command of a host program. It
//! changes nothing.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use hosttune_core::{Error, Host, LinuxHost};
use hosttune_qos::sqm::{self, SqmQueue};
use serde::Serialize;

use super::cake::typed_rate;
use super::colour::visible;
use super::exit::Exit;
use super::failure::Failure;
use super::report_file;
use super::streams::Streams;

/// Where OpenWrt has it.
const SQM: &str = "/etc/config/sqm";

/// The arguments of `import`.
#[derive(Debug, Clone, Args)]
pub(super) struct ImportArguments {
    #[command(subcommand)]
    from: From,
}

#[derive(Debug, Clone, Subcommand)]
enum From {
    /// The settings of sqm-scripts on OpenWrt
    Sqm {
        /// A file to read, or a pipe [default: /etc/config/sqm]
        file: Option<PathBuf>,
    },
}

/// `import.schema.json`.
#[derive(Debug, Serialize)]
struct Document<'a> {
    file: String,
    queues: Vec<QueueView<'a>>,
}

#[derive(Debug, Serialize)]
struct QueueView<'a> {
    name: Option<&'a str>,
    line: usize,
    enabled: bool,
    interface: &'a str,
    options: Vec<String>,
    notes: &'a [String],
}

/// Prints the command for each section of the file.
pub(super) fn import(
    arguments: &ImportArguments,
    root: Option<&Path>,
    as_json: bool,
    streams: &mut Streams,
) -> Result<Exit, Failure> {
    let From::Sqm { file } = &arguments.from;
    let (text, file) = match file {
        Some(file) => (report_file::read(file)?, file.display().to_string()),
        None => {
            let root = root.unwrap_or(Path::new("/"));
            let host = Host::new(LinuxHost::at(root).map_err(Error::from)?);
            (host.read_text(SQM).map_err(Error::from)?, SQM.to_owned())
        }
    };
    let queues = sqm::read(&text).map_err(|error| {
        Failure::usage(
            format!("{file}: {error}"),
            "the file must be one that sqm-scripts can use, such as /etc/config/sqm of OpenWrt",
        )
    })?;
    if as_json {
        let queues = queues
            .iter()
            .map(|queue| QueueView {
                name: queue.name.as_deref(),
                line: queue.line,
                enabled: queue.enabled,
                interface: &queue.interface,
                options: options(queue),
                notes: &queue.notes,
            })
            .collect();
        streams.document(&Document { file, queues })?;
        return Ok(Exit::Done);
    }
    for queue in &queues {
        let disabled = match queue.enabled {
            true => "",
            false => ", not enabled there",
        };
        let heading = format!("# {file}, line {}{disabled}", queue.line);
        let notes = queue.notes.iter().map(|note| format!("# note: {note}"));
        for line in std::iter::once(heading).chain(notes) {
            streams.print(&format!("{}\n", visible(&line)));
        }
        let words: Vec<String> = options(queue).iter().map(|word| quoted(word)).collect();
        streams.print(&format!(
            "gaming apply --only qos {}\n",
            visible(&words.join(" "))
        ));
    }
    Ok(Exit::Done)
}

/// The options of a host program for a queue.
fn options(queue: &SqmQueue) -> Vec<String> {
    let mut options = vec!["--device".to_owned(), queue.interface.clone()];
    for (rate, up, cake, words) in [
        (queue.upload, "--up", "--cake-up", &queue.cake_up),
        (queue.download, "--down", "--cake-down", &queue.cake_down),
    ] {
        let mut words = words.clone();
        match rate {
            // The scripts append their options to the rate: one among them counts.
            _ if typed_rate(&words).is_some() => {}
            Some(rate) => options.extend([up.to_owned(), rate.to_string()]),
            // The direction that is not shaped there.
            None => words.push_str(" unlimited"),
        }
        options.extend([cake.to_owned(), words]);
    }
    options
}

/// A word as a shell reads it back.
fn quoted(word: &str) -> String {
    let is_plain = |one: char| one.is_ascii_alphanumeric() || "-_.:/@".contains(one);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}
