//! What several tests need.

use hosttune_core::Host;
use hosttune_core::testing::{CrashPoint, World};
use hosttune_pci::Address;
use hosttune_vfio::testing::Machine;
use hosttune_vfio::{Assessment, Consent, Lend, Role, Selector, Session};

pub(crate) const GPU: &str = "0000:01:00.0";
pub(crate) const AUDIO: &str = "0000:01:00.1";
pub(crate) const NIC: &str = "0000:02:00.0";
pub(crate) const NVME: &str = "0000:03:00.0";

pub(crate) fn at(address: &str, ids: &str) -> Selector {
    Selector::at(address.parse().unwrap(), ids.parse().unwrap())
}

pub(crate) fn gpu() -> Selector {
    at(GPU, "10de:2684")
}

pub(crate) fn nic() -> Selector {
    at(NIC, "8086:10d3")
}

pub(crate) fn nvme() -> Selector {
    at(NVME, "144d:a80a")
}

/// The graphics card of the desktop, which has the only monitor.
pub(crate) fn lend_gpu() -> Lend {
    Lend::new([gpu()]).consent(Consent::OnlyGpu)
}

pub(crate) fn host(machine: &Machine) -> Host {
    machine.host(&CrashPoint::lives())
}

pub(crate) fn session(machine: &Machine) -> Session {
    machine.session(&CrashPoint::lives()).unwrap()
}

pub(crate) fn driver(machine: &Machine, address: &str) -> Option<String> {
    let address: Address = address.parse().unwrap();
    hosttune_pci::driver(&host(machine), address).unwrap()
}

pub(crate) fn assess(machine: &Machine, lend: &Lend) -> Assessment {
    Assessment::of(&host(machine), lend).unwrap()
}

/// What is refused, one line for each reason.
pub(crate) fn refused(machine: &Machine, lend: &Lend) -> Vec<String> {
    let assessment = assess(machine, lend);
    for refusal in &assessment.refusals {
        let hint = refusal.unsupported.hint.as_deref().unwrap_or_default();
        assert!(!hint.is_empty(), "no hint: {refusal}");
    }
    assessment
        .refusals
        .iter()
        .map(ToString::to_string)
        .collect()
}

pub(crate) fn lent(assessment: &Assessment) -> Vec<String> {
    assessment
        .lent
        .iter()
        .map(|device| device.address.to_string())
        .collect()
}

pub(crate) fn role(assessment: &Assessment, address: &str) -> Option<(Role, String)> {
    let address: Address = address.parse().unwrap();
    let verdict = assessment
        .verdicts
        .iter()
        .find(|verdict| verdict.address == address)?;
    Some((verdict.role, verdict.why.clone()))
}
