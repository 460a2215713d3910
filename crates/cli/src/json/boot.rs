//! The document of `boot --list`.

use serde::Serialize;

use super::super::boot::ModeRow;

/// What `boot --list --json` prints.
#[derive(Debug, Serialize)]
pub(in super::super) struct BootModes {
    modes: Vec<Mode>,
}

#[derive(Debug, Serialize)]
struct Mode {
    name: String,
    entry: String,
    parameters: Vec<String>,
    state: &'static str,
    is_next: Option<bool>,
    is_met: Option<bool>,
}

pub(in super::super) fn boot_modes(rows: &[ModeRow]) -> BootModes {
    let modes = rows.iter().map(|row| Mode {
        name: row.mode.mode.clone(),
        entry: row.mode.id(),
        parameters: row
            .mode
            .settings
            .iter()
            .map(|one| one.setting.to_string())
            .collect(),
        state: row.state.entry.as_str(),
        is_next: row.state.is_next,
        is_met: row.state.is_met,
    });
    BootModes {
        modes: modes.collect(),
    }
}
