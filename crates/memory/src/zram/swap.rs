//! A zram device in use as swap.

use std::fmt;
use std::time::Duration;

use hosttune_core::{Host, HostError, HostErrorKind, Knob, Operation, Unsupported};
use serde::{Deserialize, Serialize};

use super::backend::{Zram, node};
use super::device::no_device;
use super::header::{Header, HeaderState, SwapHeader};
use crate::swap::Area;

/// Use of a device as swap, by its number.
///
/// It is switched off only if its header is ours. A device that another process has created in its place
/// stays in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Swap(pub u32);

/// Whether a device is swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SwapState {
    /// It is not.
    Off,
    /// It is, with this priority; the highest is used first. The kernel itself assigns negative ones.
    On(i32),
}

impl fmt::Display for Swap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "zram{} as swap", self.0)
    }
}

/// Whether a header on this device is one of ours, whatever its label.
pub(super) fn is_ours(host: &Host, number: u32, header: &SwapHeader) -> Result<bool, HostError> {
    Ok(SwapHeader::ours(host, number, "", 0)?.uuid == header.uuid)
}

impl Swap {
    fn refused(self, why: &str) -> HostError {
        let subject = format!("{} as swap", node(self.0));
        HostError::new(Operation::Backend, subject, HostErrorKind::Busy).detail(why)
    }
}

impl Knob for Swap {
    const NAME: &'static str = "zram-swap";
    /// swapoff continues if the process that started it is killed.
    const SETTLE: Duration = Duration::from_secs(2);
    type State = SwapState;

    fn read(&self, host: &Host) -> Result<SwapState, HostError> {
        let areas = Area::all(host)?;
        let area = areas.iter().find(|area| area.zram() == Some(self.0));
        Ok(area.map_or(SwapState::Off, |area| SwapState::On(area.priority)))
    }

    fn set(&self, host: &mut Host, to: &SwapState) -> Result<(), HostError> {
        let number = self.0;
        let SwapState::On(priority) = to else {
            match Header(number).read(host)? {
                HeaderState::Swap(header) if is_ours(host, number, &header)? => {}
                _ => return Err(self.refused("another process has made it swap")),
            }
            return host.change::<Zram, ()>(|zram| zram.devices_mut().swap_off(number));
        };
        let Ok(priority) = u16::try_from(*priority) else {
            return Err(self.refused("only the kernel itself assigns negative priorities"));
        };
        host.change::<Zram, ()>(|zram| zram.devices_mut().swap_on(number, priority))
    }

    fn unsupported(&self, host: &Host, to: &SwapState) -> Result<Option<Unsupported>, HostError> {
        if *to == SwapState::Off {
            return Ok(None);
        }
        no_device(host, self.0)
    }

    fn show(&self, state: &SwapState) -> String {
        match state {
            SwapState::Off => "off".to_owned(),
            SwapState::On(priority) => format!("on, priority {priority}"),
        }
    }
}
