//! A variable of GRUB's environment block as a knob.

use std::fmt;

use hosttune_core::{Host, HostError, HostErrorKind, Knob, Lifetime, Operation, Unsupported};
use serde::{Deserialize, Serialize};

use super::environment_block::EnvironmentBlock;
use super::file_part::{self, FilePart, Written};

/// One variable of a GRUB environment block (`grubenv`), which GRUB can change at each boot.
///
/// A block that does not exist is created, and removed by the revert if nothing else is in it by
/// then. An empty value is what GRUB leaves of `next_entry` when it has started that entry, so it
/// counts as ours.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrubVariable {
    /// The file, an absolute path.
    pub block: String,
    /// The name of the variable.
    pub name: String,
}

impl GrubVariable {
    fn parsed(&self, bytes: &[u8]) -> Result<EnvironmentBlock, HostError> {
        EnvironmentBlock::parse(bytes).map_err(|error| {
            HostError::malformed(self.block.clone(), error.to_string()).with_hint(format!(
                "make a new one: grub-editenv {} create",
                self.block
            ))
        })
    }

    fn changed(&self, present: Option<&[u8]>, to: &FilePart) -> Result<Written, HostError> {
        let mut block = match present {
            Some(bytes) => self.parsed(bytes)?,
            None => EnvironmentBlock::new(),
        };
        match to {
            FilePart::Present(value) => block.set(&self.name, value).map_err(|error| {
                HostError::new(Operation::Write, self.to_string(), HostErrorKind::Refused)
                    .wanted(value.clone())
                    .detail(error.to_string())
            })?,
            FilePart::NoFile | FilePart::Absent | FilePart::HalfWritten(_) => {
                block.remove(&self.name);
            }
        }
        let is_ours_alone = *to == FilePart::NoFile && block == EnvironmentBlock::new();
        Ok(match is_ours_alone {
            true => Written::Removed,
            false => Written::Bytes(block.bytes()),
        })
    }
}

impl fmt::Display for GrubVariable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.name, self.block)
    }
}

impl Knob for GrubVariable {
    const NAME: &'static str = "grub-variable";
    const LIFETIME: Lifetime = Lifetime::Disk;
    type State = FilePart;

    fn read(&self, host: &Host) -> Result<FilePart, HostError> {
        file_part::read(host, &self.block, |bytes| {
            let value = self.parsed(bytes)?.get(&self.name);
            let text = value.map(String::from_utf8).transpose();
            text.map_err(|_| HostError::malformed(self.to_string(), "it is not UTF-8 text"))
        })
    }

    fn set(&self, host: &mut Host, to: &FilePart) -> Result<(), HostError> {
        file_part::write(host, &self.block, |present| self.changed(present, to))
    }

    fn satisfies(&self, seen: &FilePart, wanted: &FilePart) -> bool {
        seen.satisfies(wanted)
    }

    fn unsupported(&self, host: &Host, _: &FilePart) -> Result<Option<Unsupported>, HostError> {
        file_part::unsupported(host, &self.block)
    }

    fn original(&self, seen: &FilePart) -> Option<FilePart> {
        Some(seen.whole().clone())
    }

    fn is_partial_write(&self, seen: &FilePart, from: &FilePart, to: &FilePart) -> bool {
        let is_used_up = seen.text() == Some("") && matches!(to, FilePart::Present(_));
        is_used_up || seen.is_partial_write(from, to)
    }

    fn out_of_reach(
        &self,
        host: &Host,
        identity: Option<&str>,
        _: &FilePart,
    ) -> Result<Option<String>, HostError> {
        let was = file_part::file_system(identity);
        host.file_out_of_reach(&self.block, was.as_ref())
    }

    fn identity(&self, host: &Host) -> Result<Option<String>, HostError> {
        file_part::identity(host, &self.block)
    }

    /// What is on another file system is out of reach, and not another file.
    fn is_same_thing(_: &str, _: &str) -> bool {
        true
    }

    fn show(&self, state: &FilePart) -> String {
        state.show(|text| match text {
            "" => "empty".to_owned(),
            text => text.to_owned(),
        })
    }
}
