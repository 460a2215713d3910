//! SR-IOV: physical functions and the virtual functions that they provide.

use hosttune_core::{Host, HostError};
use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::attribute::{link_name, parsed};
use crate::stuck::is_stuck;

/// The part of a function in SR-IOV.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sriov {
    /// It has no part in it.
    None,
    /// It can provide virtual functions.
    Physical {
        /// How many it can provide at most.
        total: u32,
        /// How many it provides now. Its driver removes them when it is unbound.
        provided: u32,
    },
    /// It is a virtual function.
    Virtual {
        /// The physical function that provides it.
        of: Address,
    },
}

impl Sriov {
    /// Reads the part of a function; `None` also for one that [is stuck](crate::is_stuck), of which
    /// the kernel does not tell it.
    ///
    /// # Errors
    /// If a file exists and cannot be read or understood.
    pub fn read(host: &Host, address: Address) -> Result<Self, HostError> {
        if let Some(name) = link_name(host, address, "physfn")? {
            let of = name.parse().map_err(|error: crate::NotAnAddress| {
                HostError::malformed(address.file("physfn"), error.to_string())
            })?;
            return Ok(Self::Virtual { of });
        }
        if is_stuck(host, address)? {
            return Ok(Self::None);
        }
        let total = parsed::<u32>(host, address, "sriov_totalvfs")?;
        let Some(total) = total.filter(|total| *total > 0) else {
            return Ok(Self::None);
        };
        let provided = parsed::<u32>(host, address, "sriov_numvfs")?.unwrap_or(0);
        Ok(Self::Physical { total, provided })
    }
}
