//! The records of runs: who holds the tuning.

use serde::{Deserialize, Serialize};

use crate::liveness::Liveness;
use crate::process::ProcessId;

/// The version of the records' format.
const FORMAT: u32 = 1;

/// One run: the process that reverts when it ends, and what it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The process that waits for the command. The run lasts as long as it.
    pub runner: ProcessId,
    /// The process that reverts if the runner is killed.
    pub watchdog: Option<ProcessId>,
    /// The process that becomes the command.
    pub command_pid: i32,
    /// The command as it was typed, for people.
    pub command: String,
    /// The user for whom a helper runs the host program; `None` if root has started the run itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<u32>,
    /// The network namespace of the runner, as `net:[4026531840]`: what it tunes there is reverted when
    /// the last run of that namespace ends. `None` if it is not known, as in records of earlier releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_namespace: Option<String>,
    /// The PID namespace of the runner, as `pid:[4026531836]`: the numbers of this record are those of that
    /// namespace. `None` if the kernel has none, and in records of earlier releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid_namespace: Option<String>,
    /// The power profile that the runner holds and the daemon at which, for people. `None` if it holds none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power_profile: Option<String>,
}

/// The records of one owner's runs, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunRecords(pub Vec<RunRecord>);

#[derive(Serialize, Deserialize)]
struct File {
    format: u32,
    runs: Vec<RunRecord>,
}

/// The records cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnreadableRecords {
    /// It is not what this program writes.
    #[error("not a list of runs: {0}")]
    Malformed(String),
    /// A newer release wrote it.
    #[error("format {0}, and this program reads format {FORMAT}")]
    Newer(u32),
}

impl RunRecords {
    /// Parses the content of a file. An empty one has no runs.
    ///
    /// # Errors
    /// If it is damaged or of a newer format. It is replaced as a whole, so it is never half-written.
    pub fn parse(bytes: &[u8]) -> Result<Self, UnreadableRecords> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let malformed = |error: serde_json::Error| UnreadableRecords::Malformed(error.to_string());
        let head: Head = serde_json::from_slice(bytes).map_err(malformed)?;
        if head.format != FORMAT {
            return Err(UnreadableRecords::Newer(head.format));
        }
        let file: File = serde_json::from_slice(bytes).map_err(malformed)?;
        Ok(Self(file.runs))
    }

    /// The content of a file.
    ///
    /// # Errors
    /// None that can occur: the types have an encoding.
    pub fn format(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut bytes = serde_json::to_vec(&File {
            format: FORMAT,
            runs: self.0.clone(),
        })?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// The runs whose runner has not ended, as far as that is known.
    #[must_use]
    pub fn not_ended(&self, liveness: impl Fn(&RunRecord) -> Liveness) -> Self {
        let runs = self.0.iter();
        let left = runs.filter(|run| liveness(run) != Liveness::Ended);
        Self(left.cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn process() -> impl Strategy<Value = ProcessId> {
        (1..i32::MAX, any::<u64>(), "[0-9a-f-]{0,36}").prop_map(|(pid, start_ticks, boot)| {
            ProcessId {
                pid,
                start_ticks,
                boot,
            }
        })
    }

    fn records() -> impl Strategy<Value = RunRecords> {
        let run = (
            process(),
            proptest::option::of(process()),
            any::<i32>(),
            ".{0,40}",
            proptest::option::of(any::<u32>()),
            proptest::option::of("net:\\[[0-9]{1,10}\\]"),
            proptest::option::of("pid:\\[[0-9]{1,10}\\]"),
            proptest::option::of("[a-z-]{1,12} at [a-z.]{1,20}"),
        );
        let run = run.prop_map(
            |(
                runner,
                watchdog,
                command_pid,
                command,
                user,
                network_namespace,
                pid_namespace,
                power_profile,
            )| {
                RunRecord {
                    runner,
                    watchdog,
                    command_pid,
                    command,
                    user,
                    network_namespace,
                    pid_namespace,
                    power_profile,
                }
            },
        );
        proptest::collection::vec(run, 0..4).prop_map(RunRecords)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(records in records()) {
            let bytes = records.format().unwrap();
            prop_assert_eq!(RunRecords::parse(&bytes), Ok(records));
        }

        #[test]
        fn any_bytes_are_records_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = RunRecords::parse(&bytes);
        }
    }

    #[test]
    fn a_newer_format_is_not_taken_for_no_runs() {
        let newer = br#"{"format": 2, "holds": []}"#;
        assert_eq!(RunRecords::parse(newer), Err(UnreadableRecords::Newer(2)));
        assert!(RunRecords::parse(b"{}").is_err());
        assert_eq!(RunRecords::parse(b""), Ok(RunRecords::default()));
    }
}
