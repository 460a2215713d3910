//! One line of a journal: a checksum and a record.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::entry::Entry;
use super::log::{Open, Purpose};
use super::{FORMAT, JournalError};
use crate::knob::Lack;
use crate::plan::Step;

/// One record. The names are a file format: see `tests/journals`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "record")]
pub(crate) enum Record {
    /// The first line.
    Journal {
        version: u32,
        owner: String,
        program: String,
        /// How many bytes behind this line were written in one piece with it, from format 2 on:
        /// whatever of them cannot be read was there once.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bytes: Option<u64>,
        /// The kinds of knob that the owner's program knows.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        kinds: Vec<String>,
    },
    /// The whole intent of one apply; durable before the first turn. Ids count up from `first`.
    Begin {
        apply: u64,
        boot: String,
        first: u64,
        steps: Vec<Step>,
    },
    /// What a step starts from that was not settled when it was planned.
    From {
        id: u64,
        from: Value,
        disturbed: Vec<Value>,
    },
    /// A step was turned and read back; `after` is what it left of the knobs it disturbs, `shown`
    /// what the kernel made of it where that is not what its knob's own rule says.
    Turned {
        id: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        shown: Option<Value>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        after: Vec<Value>,
    },
    /// The kernel refused a step that is not required; it will not be tried again in this boot.
    Refused { id: u64, lack: Lack },
    /// An apply is finished.
    Done { apply: u64 },
    /// An undo begins, over these entries.
    Undo {
        purpose: Purpose,
        ids: Vec<u64>,
        force: bool,
    },
    /// A step that disturbs is about to be turned back; then these states are put back. Entries
    /// from `at` on did not exist yet.
    Undoing {
        id: u64,
        targets: Vec<Value>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<u64>,
    },
    /// The turn back was refused: the targets hold no longer.
    Kept { id: u64 },
    /// A step was turned back, and this is what it left of the knobs it disturbs.
    Reset { id: u64, seen: Vec<Value> },
    /// These entries are owed no more.
    Undone { ids: Vec<u64> },
    /// An undo is finished; what is not undone stays owed.
    End,
    /// A rewritten journal: all that is owed.
    Held {
        entries: Vec<Entry>,
        refusals: Vec<(Step, Lack, String)>,
        next: u64,
        applies: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        open: Option<Open>,
    },
}

impl Record {
    /// Whether the engine waits for this record to be on the disk, where it matters: a damaged
    /// line before one of these cannot be the end of an interrupted write.
    fn is_durable(&self) -> bool {
        matches!(
            self,
            Self::Journal { .. } | Self::Begin { .. } | Self::Held { .. }
        )
    }

    /// The entries that a mark is about. They were made durable before it was written.
    fn about(&self) -> Vec<u64> {
        match self {
            Self::From { id, .. }
            | Self::Turned { id, .. }
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

    /// The entries that this record declares.
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

/// The records of a file, and how many of its bytes they are.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    pub(crate) program: String,
    pub(crate) kinds: Vec<String>,
    pub(crate) records: Vec<Record>,
    /// The format of the file.
    pub(crate) version: u32,
    /// Where the next record goes: what stands behind is the rest of an interrupted write.
    pub(crate) length: u64,
    /// How many bytes stand behind.
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

/// Reads a journal file.
///
/// The first line that is not whole ends it, if that can be an interrupted
/// write: nothing the engine waited for may stand behind it. A mark behind it
/// may, since marks are not waited for and a power cut keeps blocks in any
/// order; then the marks from there on are lost, and how far the work came is
/// inferred from the host.
///
/// From format 2 on the header and the intent behind it replace a file as a whole, so neither can
/// be half there because a process died: where they cannot be read, something was changed that
/// nobody knows any more.
pub(crate) fn parse(bytes: &[u8], path: &str) -> Result<Parsed, JournalError> {
    let mut parsed = Parsed::default();
    let mut offset = 0;
    // Up to here the file was written in one piece.
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
            // A mark about an entry that nothing readable declares: the intent itself is what
            // cannot be read.
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
            // A mark about something that no line before it declares: that line has been taken out.
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

/// The version and program of a first line whose other fields this release need not know.
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
