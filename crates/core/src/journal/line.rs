//! A line of a journal: a checksum and a record.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::entry::Entry;
use super::log::{Open, Purpose};
use super::{FORMAT, JournalError};
use crate::plan::Step;
use crate::unsupported::Unsupported;

/// A record. The names are a file format: see `tests/journals`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "record")]
pub(crate) enum Record {
    /// The first line.
    Journal {
        version: u32,
        owner: String,
        program: String,
        /// The number of bytes after this line that were written in one piece with it, from format
        /// 2 on. If any of them cannot be read, they were damaged later.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bytes: Option<u64>,
        /// The knob types that the owner's program knows.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        kinds: Vec<String>,
    },
    /// The whole intent of an apply; durable before the first change. IDs count up from `first`.
    Begin {
        apply: u64,
        boot: String,
        first: u64,
        steps: Vec<Step>,
    },
    /// The state before a step, if it was not known when the step was planned.
    From {
        id: u64,
        from: Value,
        #[serde(rename = "disturbed")]
        affected: Vec<Value>,
    },
    /// A step was done and read back. `after` has the states that it left its side effects in,
    /// `shown` what the kernel rounded the value to, if the knob's own rule does not cover it.
    #[serde(rename = "turned")]
    Changed {
        id: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        shown: Option<Value>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        after: Vec<Value>,
        /// The identity of the device, if it did not exist yet when the step was planned.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        identity: Option<String>,
    },
    /// The kernel refused a step that is not required. It is not tried again in this boot.
    Refused {
        id: u64,
        #[serde(rename = "lack")]
        unsupported: Unsupported,
    },
    /// An apply is finished.
    Done { apply: u64 },
    /// An undo of these entries begins.
    Undo {
        purpose: Purpose,
        ids: Vec<u64>,
        force: bool,
    },
    /// A step with side effects is about to be undone, after which these states are restored.
    /// Entries from `at` on did not exist yet.
    Undoing {
        id: u64,
        targets: Vec<Value>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<u64>,
    },
    /// Undoing the step was refused: the targets no longer apply.
    Kept { id: u64 },
    /// A step was undone; `seen` has the states that this left its side effects in.
    Reset { id: u64, seen: Vec<Value> },
    /// These entries are no longer pending.
    Undone { ids: Vec<u64> },
    /// An undo is finished; entries that were not undone stay pending.
    End,
    /// A rewritten journal with everything that is pending.
    Held {
        entries: Vec<Entry>,
        refusals: Vec<(Step, Unsupported, String)>,
        next: u64,
        applies: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        open: Option<Open>,
    },
}

impl Record {
    /// Whether the engine waits for this record to be on the disk, where it matters. A damaged line
    /// before such a record cannot be the end of an interrupted write.
    fn is_durable(&self) -> bool {
        matches!(
            self,
            Self::Journal { .. } | Self::Begin { .. } | Self::Held { .. }
        )
    }

    /// The entries that a mark refers to. They were made durable before it was written.
    fn about(&self) -> Vec<u64> {
        match self {
            Self::From { id, .. }
            | Self::Changed { id, .. }
            | Self::Refused { id, .. }
            | Self::Undoing { id, .. }
            | Self::Kept { id }
            | Self::Reset { id, .. } => vec![*id],
            Self::Undone { ids } => ids.clone(),
            Self::Journal { .. }
            | Self::Begin { .. }
            | Self::Done { .. }
            | Self::Undo { .. }
            | Self::End
            | Self::Held { .. } => Vec::new(),
        }
    }

    /// The entries that this record adds.
    fn declares(&self) -> Vec<u64> {
        match self {
            Self::Begin { first, steps, .. } => (*first..*first + steps.len() as u64).collect(),
            Self::Held { entries, .. } => entries.iter().map(|entry| entry.id).collect(),
            _ => Vec::new(),
        }
    }

    pub(crate) fn encode(&self, into: &mut Vec<u8>) -> Result<(), JournalError> {
        let json = serde_json::to_string(self)
            .map_err(|error| JournalError::Unwritable(error.to_string()))?;
        let sum = crc32fast::hash(json.as_bytes());
        into.extend_from_slice(format!("{sum:08x} {json}\n").as_bytes());
        Ok(())
    }
}

/// The records of a file, and the number of bytes that they take.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    pub(crate) program: String,
    pub(crate) kinds: Vec<String>,
    pub(crate) records: Vec<Record>,
    /// The format of the file.
    pub(crate) version: u32,
    /// Where the next record goes; anything behind it is the rest of an interrupted write.
    pub(crate) length: u64,
    /// The number of bytes behind it.
    pub(crate) cut: u64,
}

fn decode(line: &[u8]) -> Option<Record> {
    let (sum, json) = line.split_at_checked(9)?;
    let sum = std::str::from_utf8(sum.strip_suffix(b" ")?).ok()?;
    let sum = u32::from_str_radix(sum, 16).ok()?;
    (crc32fast::hash(json) == sum)
        .then(|| serde_json::from_slice(json).ok())
        .flatten()
}

/// Parses a journal file.
///
/// The first incomplete line ends the file if it can be an interrupted write: no record that the
/// engine waited for may follow it. Marks may follow it, since the engine does not wait for marks
/// and a power cut keeps blocks in any order. The marks from there on are then lost, and the
/// progress of the work is inferred from the host.
///
/// From format 2 on, the header and the intent after it replace a file as a whole, so a killed
/// process cannot leave either of them incomplete. If they cannot be read, the file was damaged
/// later and the changes are unknown.
pub(crate) fn parse(bytes: &[u8], path: &str) -> Result<Parsed, JournalError> {
    let mut parsed = Parsed::default();
    let mut offset = 0;
    // The end of what was written in one piece.
    let mut intact = 0;
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n').enumerate();
    let damaged = |number: usize, offset: usize| JournalError::Damaged {
        path: path.to_owned(),
        line: number + 1,
        unread: bytes.len() - offset,
    };
    if bytes.is_empty() {
        return Err(damaged(0, 0));
    }
    let mut declared: HashSet<u64> = HashSet::new();
    let mut last = 0;
    for (number, line) in lines.by_ref() {
        last = number;
        let record = line.strip_suffix(b"\n").and_then(decode);
        let Some(record) = record else {
            let newer = line.strip_suffix(b"\n").and_then(version);
            if let Some((version, program)) = newer.filter(|(version, _)| *version > FORMAT) {
                return Err(JournalError::Newer {
                    path: path.to_owned(),
                    version,
                    program,
                });
            }
            let declared = |id: &u64| declared.contains(id);
            // A mark refers to an entry that no readable line adds, so the intent itself is
            // unreadable.
            let proves_damage = |record: Record| {
                record.is_durable()
                    || !record.about().iter().all(declared)
                    || matches!(record, Record::Done { apply } if !parsed.records.iter().any(
                        |known| matches!(known, Record::Begin { apply: begun, .. } if *begun == apply)))
            };
            let damage_behind = lines
                .filter_map(|(_, line)| line.strip_suffix(b"\n").and_then(decode))
                .any(proves_damage);
            if number == 0 || damage_behind {
                return Err(damaged(number, offset));
            }
            break;
        };
        match (&record, number) {
            (
                Record::Journal {
                    version,
                    program,
                    bytes,
                    kinds,
                    ..
                },
                0,
            ) => {
                if *version > FORMAT {
                    return Err(JournalError::Newer {
                        path: path.to_owned(),
                        version: *version,
                        program: program.clone(),
                    });
                }
                parsed.version = *version;
                parsed.program.clone_from(program);
                parsed.kinds.clone_from(kinds);
                intact = line.len() as u64 + bytes.unwrap_or(0);
            }
            (_, 0) | (Record::Journal { .. }, _) => return Err(damaged(number, offset)),
            // A mark refers to an entry that no earlier line adds: that line was removed.
            _ if !record.about().iter().all(|id| declared.contains(id)) => {
                return Err(damaged(number, offset));
            }
            _ => {
                declared.extend(record.declares());
                parsed.records.push(record);
            }
        }
        offset += line.len();
    }
    parsed.length = offset as u64;
    parsed.cut = (bytes.len() - offset) as u64;
    if parsed.length < intact {
        return Err(damaged(last + usize::from(parsed.cut == 0), offset));
    }
    Ok(parsed)
}

/// The version and program in a first line whose other fields this release may not know.
fn version(line: &[u8]) -> Option<(u32, String)> {
    #[derive(Deserialize)]
    struct First {
        record: String,
        version: u32,
        #[serde(default)]
        program: String,
    }
    let first: First = serde_json::from_slice(line.get(9..)?).ok()?;
    (first.record == "journal").then_some((first.version, first.program))
}
