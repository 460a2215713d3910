//! The real `tc`, kept running because starting it takes longer than a hundred of its commands.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A `tc` that reads one command per line and continues after a failed one.
pub(crate) struct Tc {
    child: Child,
    commands: Option<ChildStdin>,
    shown: BufReader<ChildStdout>,
}

impl Tc {
    pub(crate) fn started() -> Self {
        let mut child = Command::new("tc")
            .args(["-force", "-batch", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            commands: child.stdin.take(),
            shown: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    /// Creates a new CAKE from these words and returns the line that is shown for it.
    pub(crate) fn made(&mut self, device: &str, words: &str) -> String {
        let line = self.try_to_make(device, words);
        assert!(
            line.starts_with("qdisc cake "),
            "tc refuses {words}: {line}"
        );
        line
    }

    /// The previous qdisc is gone afterwards, even if the words are refused.
    pub(crate) fn try_to_make(&mut self, device: &str, words: &str) -> String {
        // A qdisc of another kind in between, so that nothing of the previous one is kept. Deleting
        // would fail if there is none.
        self.say(&format!("qdisc replace dev {device} root pfifo"));
        self.say(&format!("qdisc replace dev {device} root cake {words}"));
        // Without `root`: `tc` remembers it from line to line, and exits if it is given twice.
        self.say(&format!("qdisc show dev {device}"));
        let mut line = String::new();
        self.shown.read_line(&mut line).unwrap();
        line.trim_end_matches('\n').to_owned()
    }

    fn say(&mut self, command: &str) {
        writeln!(self.commands.as_mut().unwrap(), "{command}").unwrap();
    }
}

impl Drop for Tc {
    fn drop(&mut self) {
        self.commands = None;
        let _ = self.child.wait();
    }
}

/// Whether `tc` accepts the words, in a process of its own.
pub(crate) fn takes_alone(device: &str, words: &str) -> bool {
    Command::new("tc")
        .args(["qdisc", "replace", "dev", device, "root", "cake"])
        .args(words.split_ascii_whitespace())
        .stderr(Stdio::null())
        .status()
        .unwrap()
        .success()
}

/// Deletes the root qdisc, if there is one.
pub(crate) fn deleted(device: &str) {
    let _ = Command::new("tc")
        .args(["qdisc", "delete", "dev", device, "root"])
        .stderr(Stdio::null())
        .status();
}
