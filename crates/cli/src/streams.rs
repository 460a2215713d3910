//! Output and prompts: the only place that prints and reads answers.
//!
//! A reader that closes the pipe (`gaming plan | head -1`) silently ends the printing but not the work:
//! the command runs to its end, and the exit code reports the result.

use std::io::{self, BufRead, IsTerminal, Write};

use serde::Serialize;

use super::colour::{Look, Role, visible};
use super::failure::Failure;
use super::json;

/// The streams that a command prints to and reads answers from.
pub(super) struct Streams {
    out: Box<dyn Write>,
    err: Box<dyn Write>,
    pub(super) answers: Box<dyn BufRead>,
    /// Whether a prompt can be shown and answered on a terminal.
    pub(super) can_ask: bool,
    /// Whether progress is shown on standard error.
    pub(super) shows_progress: bool,
    /// The text style of standard output.
    pub(super) look: Look,
    err_look: Look,
    closed: bool,
    broken: Option<io::Error>,
}

impl Streams {
    /// The streams of this process.
    pub(super) fn of_process() -> Self {
        // Each question is a system call.
        let (out_is_terminal, err_is_terminal) =
            (io::stdout().is_terminal(), io::stderr().is_terminal());
        Self {
            out: Box::new(io::stdout()),
            err: Box::new(io::stderr()),
            answers: Box::new(io::BufReader::new(io::stdin())),
            can_ask: err_is_terminal && io::stdin().is_terminal(),
            shows_progress: err_is_terminal,
            look: Look::of(&io::stdout(), out_is_terminal),
            err_look: Look::of(&io::stderr(), err_is_terminal),
            closed: false,
            broken: None,
        }
    }

    /// Streams over the given writers and answers.
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

    /// Prints to standard error. A failure is ignored: it could not be reported anywhere.
    pub(super) fn complain(&mut self, text: &str) {
        let _ = self
            .err
            .write_all(text.as_bytes())
            .and_then(|()| self.err.flush());
    }

    /// Whether standard output can no longer be written.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Why standard output could not be written, unless its reader merely closed it.
    pub(super) fn broken(&mut self) -> Option<io::Error> {
        self.broken.take()
    }

    /// Reports a failure on standard error, and also as a JSON document if requested.
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
