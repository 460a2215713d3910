//! The memory node that a device is attached to.

use hosttune_core::{Host, HostError};

use crate::address::Address;
use crate::attribute::text;

/// The NUMA node of a device, whose memory it reaches without crossing to another processor
/// (`numa_node`, since Linux 2.6.30). `None` where the firmware does not say (-1), as on most machines
/// with one processor.
///
/// # Errors
/// If the file exists and cannot be read or understood.
pub fn numa_node(host: &Host, address: Address) -> Result<Option<u32>, HostError> {
    let Some(number) = text(host, address, "numa_node")? else {
        return Ok(None);
    };
    if number == "-1" {
        return Ok(None);
    }
    let malformed = |_| {
        HostError::malformed(
            address.file("numa_node"),
            format!("'{}' is not the number of a node", number.escape_debug()),
        )
    };
    number.parse().map(Some).map_err(malformed)
}
