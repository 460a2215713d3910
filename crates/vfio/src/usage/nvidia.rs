//! What NVIDIA's modules do with a card when its driver is unbound.

use hosttune_core::{Host, HostError, HostErrorKind, attribute};

/// NVIDIA's modules, as far as they decide whether unbinding a card returns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Nvidia {
    /// The version of the driver, such as `580.105.08`.
    pub(crate) version: Option<String>,
    /// Whether nvidia_drm is loaded, and with `modeset`.
    pub(crate) modeset: Modeset,
}

/// Whether nvidia_drm has opened the cards itself, which it does with `modeset=1` alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Modeset {
    /// It is not loaded, or does not set modes.
    #[default]
    Off,
    /// It has them open.
    On,
    /// Only root can read the parameter.
    Unknown,
}

/// What unbinding a card does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unbinding {
    /// It returns, if no process has the card open.
    Returns,
    /// It waits for nvidia_drm, for ever: the driver counts that as a use of the card.
    Hangs,
    /// It is not known which.
    Unknown,
}

/// The first version in which nvidia lets nvidia_drm go of a card before it waits for its users
/// (`nv_pci_remove` in `kernel-open/nvidia/nv-pci.c`; 580.65.06 does not).
const LETS_GO: [u32; 3] = [580, 105, 8];

const MODESET: &str = "/sys/module/nvidia_drm/parameters/modeset";

impl Nvidia {
    /// Reads the modules.
    pub(crate) fn read(host: &Host) -> Result<Self, HostError> {
        let modeset = match attribute::read(host, MODESET) {
            Ok(Some(value)) if value == "Y" => Modeset::On,
            Ok(_) => Modeset::Off,
            Err(error) if *error.kind() == HostErrorKind::Denied => Modeset::Unknown,
            Err(error) => return Err(error),
        };
        let version = attribute::read(host, "/sys/module/nvidia/version")?;
        Ok(Self { version, modeset })
    }

    /// What unbinding a card from the driver `nvidia` does.
    pub(crate) fn unbinding(&self) -> Unbinding {
        if self.modeset == Modeset::Off {
            return Unbinding::Returns;
        }
        let version = self.version.as_deref().and_then(parse);
        match (version, self.modeset) {
            (Some(version), _) if version >= LETS_GO => Unbinding::Returns,
            (Some(_), Modeset::On) => Unbinding::Hangs,
            _ => Unbinding::Unknown,
        }
    }
}

/// `580.105.08`, or two numbers in older ones.
fn parse(version: &str) -> Option<[u32; 3]> {
    let mut found = [0; 3];
    let mut numbers = version.split('.');
    for (place, slot) in found.iter_mut().enumerate() {
        match numbers.next() {
            Some(number) => *slot = number.parse().ok()?,
            None if place == 2 => {}
            None => return None,
        }
    }
    numbers.next().is_none().then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_versions_wait_for_nvidia_drm() {
        let unbinding = |version: Option<&str>, modeset| {
            let version = version.map(str::to_owned);
            Nvidia { version, modeset }.unbinding()
        };
        for (version, is) in [
            (Some("580.105.08"), Unbinding::Returns),
            (Some("590.44.01"), Unbinding::Returns),
            (Some("595.45"), Unbinding::Returns),
            (Some("580.65.06"), Unbinding::Hangs),
            (Some("550.90.07"), Unbinding::Hangs),
            (Some("525.53"), Unbinding::Hangs),
            (Some("580"), Unbinding::Unknown),
            (Some("580.105.08.1"), Unbinding::Unknown),
            (Some("580.x"), Unbinding::Unknown),
            (None, Unbinding::Unknown),
        ] {
            assert_eq!(unbinding(version, Modeset::On), is, "{version:?}");
            assert_eq!(unbinding(version, Modeset::Off), Unbinding::Returns);
        }
        let old = unbinding(Some("550.90.07"), Modeset::Unknown);
        assert_eq!(old, Unbinding::Unknown);
        let new = unbinding(Some("590.44.01"), Modeset::Unknown);
        assert_eq!(new, Unbinding::Returns);
    }
}
