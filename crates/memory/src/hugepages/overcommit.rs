//! Limit on surplus hugepages.

use std::fmt;

use hosttune_core::{
    Host, HostError, HostErrorKind, Knob, Unsupported, UnsupportedKind, attribute,
};
use serde::{Deserialize, Serialize};

use super::{DIRECTORY, Pool, missing, size};

/// Maximum number of surplus pages of one size, in KiB, that the kernel may allocate beyond the pool.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Overcommit(pub u64);

/// State of that limit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OvercommitState {
    /// This kernel has no pages of this size.
    Missing,
    /// The limit in pages.
    Pages(u64),
}

impl Overcommit {
    fn path(&self) -> String {
        format!("{DIRECTORY}/hugepages-{}kB/nr_overcommit_hugepages", self.0)
    }
}

impl fmt::Display for Overcommit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "overcommitted hugepages of {}", size(self.0))
    }
}

impl Knob for Overcommit {
    const NAME: &'static str = "hugepages-overcommit";
    type State = OvercommitState;

    fn read(&self, host: &Host) -> Result<OvercommitState, HostError> {
        Ok(attribute::read_number(host, self.path())?
            .map_or(OvercommitState::Missing, OvercommitState::Pages))
    }

    fn set(&self, host: &mut Host, to: &OvercommitState) -> Result<(), HostError> {
        let OvercommitState::Pages(pages) = to else {
            return Err(attribute::no_value(self.path(), "it cannot be removed"));
        };
        let written = host.write_value(self.path(), format!("{pages}\n").as_bytes());
        written.map_err(|error| match error.kind() {
            HostErrorKind::Refused => {
                let unsupported = Unsupported::new(
                    UnsupportedKind::ValueUnavailable,
                    format!("this kernel does not overcommit pages of {}", size(self.0)),
                )
                .hint("request them as a pool instead");
                error.with_kind(HostErrorKind::NotApplicable(unsupported))
            }
            _ => error,
        })
    }

    fn unsupported(
        &self,
        host: &Host,
        to: &OvercommitState,
    ) -> Result<Option<Unsupported>, HostError> {
        Ok(match (to, self.read(host)?) {
            (OvercommitState::Pages(_), OvercommitState::Missing) => {
                Some(missing(host, &Pool::of_size(self.0))?)
            }
            (OvercommitState::Pages(_), OvercommitState::Pages(_)) => {
                host.unwritable_here(self.path())?
            }
            (OvercommitState::Missing, _) => None,
        })
    }

    fn is_gone(&self, seen: &OvercommitState) -> bool {
        *seen == OvercommitState::Missing
    }

    fn show(&self, state: &OvercommitState) -> String {
        match state {
            OvercommitState::Missing => "missing".to_owned(),
            OvercommitState::Pages(pages) => pages.to_string(),
        }
    }
}
