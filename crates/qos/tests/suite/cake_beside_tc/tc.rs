//! The real `tc`, held open: a start of it takes longer than a hundred of its commands.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// `tc` that takes commands, one a line, and goes on after one that fails.
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

    /// Makes a new CAKE of these words and gives the line that is then shown.
    pub(crate) fn made(&mut self, device: &str, words: &str) -> String {
        let line = self.try_to_make(device, words);
        assert!(
            line.starts_with("qdisc cake "),
            "tc refuses {words}: {line}"
        );
        line
    }

    /// Whatever was there before is gone, also where the words are refused.
    pub(crate) fn try_to_make(&mut self, device: &str, words: &str) -> String {
        // Of another kind, so that nothing of it is kept; deleting it would have `tc` fail where
        // there is none.
        self.say(&format!("qdisc replace dev {device} root pfifo"));
        self.say(&format!("qdisc replace dev {device} root cake {words}"));
        // Not `root`: `tc` remembers that from one line to the next, and ends where it is said twice.
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

/// Whether `tc` takes the words in a process of its own.
pub(crate) fn takes_alone(device: &str, words: &str) -> bool {
    Command::new("tc")
        .args(["qdisc", "replace", "dev", device, "root", "cake"])
        .args(words.split_ascii_whitespace())
        .stderr(Stdio::null())
        .status()
        .unwrap()
        .success()
}

/// Takes the root qdisc away, if there is one.
pub(crate) fn deleted(device: &str) {
    let _ = Command::new("tc")
        .args(["qdisc", "delete", "dev", device, "root"])
        .stderr(Stdio::null())
        .status();
}
