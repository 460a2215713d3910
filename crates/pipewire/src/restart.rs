//! What a running daemon has loaded and would not load again.

use hosttune_core::{Host, HostError};

use crate::effective::Clock;
use crate::merge::{ConfigFiles, Environment, Merged};
use crate::runtime::PipeWire;

/// Says what the running daemon has loaded that its files do not give any more, or not yet: it reads
/// them only when it starts. `None` if the next start changes nothing, if no daemon runs, or if it
/// cannot be told.
///
/// `environment` is that of the user whose daemon it is.
///
/// # Errors
/// If the daemon or the files cannot be read.
pub fn pending_restart(
    host: &Host,
    environment: &Environment,
) -> Result<Option<String>, HostError> {
    let Ok(daemon) = host.backend::<PipeWire>() else {
        return Ok(None);
    };
    let Some(view) = daemon.view(host.look())? else {
        return Ok(None);
    };
    let Some(version) = view.version() else {
        return Ok(None);
    };
    let files = ConfigFiles::collect(host, environment, "pipewire.conf")?;
    let merged = Merged::of(version, &files);
    let next = merged.properties("context.properties", view.core.property("cpu.vm.name"));
    if merged.failure.is_some() || !merged.unread.is_empty() || !next.undetermined.is_empty() {
        return Ok(None);
    }
    let has = Clock::loaded(version, |key| view.core.property(key));
    let next = Clock::loaded(version, |key| next.get(key));
    let rates = |clock: &Clock| {
        let rates: Vec<String> = clock
            .allowed_rates
            .iter()
            .map(|rate| rate.0.to_string())
            .collect();
        format!("[ {} ]", rates.join(", "))
    };
    let differing: Vec<String> = [
        (
            "default.clock.rate",
            has.rate.0.to_string(),
            next.rate.0.to_string(),
        ),
        ("default.clock.allowed-rates", rates(&has), rates(&next)),
        (
            "default.clock.quantum",
            has.quantum.0.to_string(),
            next.quantum.0.to_string(),
        ),
        (
            "default.clock.min-quantum",
            has.min_quantum.0.to_string(),
            next.min_quantum.0.to_string(),
        ),
        (
            "default.clock.max-quantum",
            has.max_quantum.0.to_string(),
            next.max_quantum.0.to_string(),
        ),
    ]
    .into_iter()
    .filter(|(_, has, next)| has != next)
    .map(|(key, has, next)| format!("{key} {has} (its files give {next})"))
    .collect();
    Ok((!differing.is_empty()).then(|| {
        format!(
            "the running PipeWire keeps what it has loaded until it is restarted with 'systemctl --user restart pipewire.service', which interrupts sound: {}",
            differing.join(", ")
        )
    }))
}
