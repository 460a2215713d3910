//! Why a device is not lent, and what a user can consent to.

use std::fmt;

use hosttune_core::{Unsupported, UnsupportedKind};
use serde::{Deserialize, Serialize};

/// A consequence of a lend that no revert undoes, and that the user accepts.
///
/// Each covers exactly one reason of refusal; what is not listed here cannot be consented to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Consent {
    /// The disk that holds the root file system, `/boot`, `/usr`, `/var` or swap, or may be part of
    /// a ZFS pool; and the network card through which one of these may be mounted.
    VitalDisk,
    /// The network card with a default route.
    DefaultRoute,
    /// A network card whose interface is up or in another network namespace: addresses, routes and names
    /// set on it are lost, and so is the namespace that it is in.
    NetworkConfiguration,
    /// The only display controller, or the only one with a monitor.
    OnlyGpu,
    /// The only framebuffer on which the text console is drawn: fbcon is unbound while the device is
    /// lent, and bound again after its driver has come back.
    Console,
    /// The framebuffer that the firmware has left. vfio-pci removes it when it binds the device, and
    /// only the next boot makes another.
    FirmwareFramebuffer,
    /// Firmware uses memory with the device (an RMRR), so the kernel binds it but gives it to no
    /// virtual machine.
    ReservedRegion,
}

impl Consent {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::VitalDisk,
        Self::DefaultRoute,
        Self::NetworkConfiguration,
        Self::OnlyGpu,
        Self::Console,
        Self::FirmwareFramebuffer,
        Self::ReservedRegion,
    ];

    /// The word in a configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::VitalDisk => "vital-disk",
            Self::DefaultRoute => "default-route",
            Self::NetworkConfiguration => "network-configuration",
            Self::OnlyGpu => "only-gpu",
            Self::Console => "console",
            Self::FirmwareFramebuffer => "firmware-framebuffer",
            Self::ReservedRegion => "reserved-region",
        }
    }
}

impl fmt::Display for Consent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a device is not lent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// The device, or the selector that selects none.
    pub subject: String,
    /// The reason.
    pub unsupported: Unsupported,
    /// The consent that lifts it, if there is one.
    pub consent: Option<Consent>,
    /// Whether it holds only until the next boot: programs end with it.
    pub(crate) is_of_this_boot: bool,
}

impl Refusal {
    pub(crate) fn new(
        subject: impl fmt::Display,
        kind: UnsupportedKind,
        why: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self {
            subject: subject.to_string(),
            unsupported: Unsupported::new(kind, why).hint(hint),
            consent: None,
            is_of_this_boot: false,
        }
    }

    /// One that the next boot lifts.
    pub(crate) fn until_reboot(self) -> Self {
        Self {
            is_of_this_boot: true,
            ..self
        }
    }

    /// A refusal that this consent lifts.
    pub(crate) fn unless(
        subject: impl fmt::Display,
        consent: Consent,
        why: impl Into<String>,
    ) -> Self {
        let hint = format!("if that is intended, consent to {consent}: --consent {consent}");
        Self {
            consent: Some(consent),
            ..Self::new(subject, UnsupportedKind::SideEffects, why, hint)
        }
    }
}

/// Has each refusal that a consent lifts name all consents that the lend needs, also those that were given
/// already: what is typed replaces them.
pub(crate) fn name_all_consents(refusals: &mut [Refusal]) {
    let mut needed: Vec<Consent> = refusals
        .iter()
        .filter_map(|refusal| refusal.consent)
        .collect();
    needed.sort_unstable();
    needed.dedup();
    let names: Vec<&str> = needed.iter().map(|consent| consent.as_str()).collect();
    for refusal in refusals {
        if refusal.consent.is_some() {
            refusal.unsupported.hint = Some(format!(
                "if that is intended, consent to {}: --consent {}",
                names.join(" and "),
                names.join(",")
            ));
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.unsupported)
    }
}
