//! The one place that prints, and that asks: two streams out, one in.
//!
//! A reader that goes away (`gaming plan | head -1`) ends the printing quietly and not the work:
//! what was begun is finished, and the exit code says how.

use std::io::{self, BufRead, IsTerminal, Write};

use serde::Serialize;

use super::colour::{Look, Role, visible};
use super::failure::Failure;
use super::json;

/// Where a command prints and asks.
pub(super) struct Streams {
    out: Box<dyn Write>,
    err: Box<dyn Write>,
    pub(super) answers: Box<dyn BufRead>,
    /// Whether somebody is there to read a question and answer it.
    pub(super) can_ask: bool,
    /// Whether somebody sees on standard error how far it has come.
    pub(super) shows_progress: bool,
    /// How standard output may look.
    pub(super) look: Look,
    err_look: Look,
    closed: bool,
    broken: Option<io::Error>,
}

impl Streams {
    /// The streams of this process.
    pub(super) fn of_process() -> Self {
        Self {
            out: Box::new(io::stdout()),
            err: Box::new(io::stderr()),
            answers: Box::new(io::BufReader::new(io::stdin())),
            can_ask: io::stdin().is_terminal() && io::stderr().is_terminal(),
            shows_progress: io::stderr().is_terminal(),
            look: Look::of(&io::stdout()),
            err_look: Look::of(&io::stderr()),
            closed: false,
            broken: None,
        }
    }

    /// Streams over anything.
    #[cfg(test)]
    pub(super) fn over(out: Box<dyn Write>, err: Box<dyn Write>, answers: Option<&str>) -> Self {
        Self {
            out,
            err,
            can_ask: answers.is_some(),
            shows_progress: false,
            answers: Box::new(io::Cursor::new(answers.unwrap_or_default().to_owned())),
            look: Look::plain(),
            err_look: Look::plain(),
            closed: false,
            broken: None,
        }
    }

    /// Prints to standard output.
    pub(super) fn print(&mut self, text: &str) {
        if self.closed {
            return;
        }
        let written = self
            .out
            .write_all(text.as_bytes())
            .and_then(|()| self.out.flush());
        if let Err(error) = written {
            self.closed = true;
            if error.kind() != io::ErrorKind::BrokenPipe {
                self.broken = Some(error);
            }
        }
    }

    /// Prints one JSON document.
    pub(super) fn document(&mut self, document: &impl Serialize) -> Result<(), Failure> {
        let mut text = serde_json::to_string_pretty(document)?;
        text.push('\n');
        self.print(&text);
        Ok(())
    }

    /// Prints to standard error. Where even that fails nobody is left to tell.
    pub(super) fn complain(&mut self, text: &str) {
        let _ = self
            .err
            .write_all(text.as_bytes())
            .and_then(|()| self.err.flush());
    }

    /// Whether standard output is gone.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Why standard output could not be written, if it was not merely closed by its reader.
    pub(super) fn broken(&mut self) -> Option<io::Error> {
        self.broken.take()
    }

    /// Tells a failure: to the person on standard error, to a program also as a document.
    pub(super) fn fail(&mut self, program: &str, failure: &Failure, as_document: bool) {
        let look = self.err_look;
        let mut text = format!(
            "{}: {}\n",
            look.paint(Role::Error, program),
            visible(&failure.to_string())
        );
        for cause in failure.chain() {
            text.push_str(&format!("  because: {}\n", visible(&cause)));
        }
        if let Some(hint) = failure.hint() {
            text.push_str(&format!("  try: {}\n", visible(&hint)));
        }
        self.complain(&text);
        if as_document && let Err(error) = self.document(&json::failed(failure)) {
            self.complain(&format!("{program}: {error}\n"));
        }
    }
}
