//! The commands that run tuned, as a part of `status`.

use super::super::run_shared::Runs;
use super::{Page, count, visible};

/// The runs and what they hold; empty if there is neither.
pub(in super::super) fn runs(page: &Page, runs: &Runs) -> String {
    let mut text = String::new();
    if !runs.active.0.is_empty() {
        text.push_str("\n  commands that run tuned\n");
    }
    for (run, share) in runs.each() {
        let watchdog = match &run.watchdog {
            Some(watchdog) => format!("watchdog {}", watchdog.pid),
            None => "no watchdog".to_owned(),
        };
        let user = match run.user {
            Some(user) => format!(", for user {user}"),
            None => String::new(),
        };
        let elsewhere = match &run.pid_namespace {
            Some(namespace) if runs.unknown.0.contains(run) => format!("; numbers in {namespace}"),
            _ => String::new(),
        };
        text.push_str(&format!(
            "    {:<9} {}  (runner {}, {watchdog}{user}{elsewhere})\n",
            run.command_pid,
            visible(&run.command),
            run.runner.pid
        ));
        if runs.unknown.0.contains(run) {
            text.push_str(
                "              whether it still runs cannot be known from this PID namespace\n",
            );
        }
        if let Some(profile) = &run.power_profile {
            text.push_str(&format!(
                "              holds the power profile {}\n",
                visible(profile)
            ));
        }
        if let Some(share) = share {
            text.push_str(&format!("              {}\n", visible(&share.to_string())));
        }
    }
    let pending = &runs.status.pending;
    if !pending.is_empty() {
        let until = if runs.active.0.is_empty() {
            "left by runs that have ended"
        } else {
            "held by them until the last one ends"
        };
        let changes = count(pending.len(), "change", "changes");
        text.push_str(&format!("\n  {changes} {until}\n"));
    }
    for pending in pending {
        text.push_str(&format!(
            "    {:<35} {} {} {}\n",
            visible(&pending.knob.text),
            visible(&pending.original),
            page.look.arrow(),
            visible(&pending.ours)
        ));
    }
    if let Some(open) = &runs.status.open {
        text.push_str(&format!("    {}\n", visible(open)));
    }
    if runs.active.0.is_empty() && !text.is_empty() {
        text.push_str(&format!("\n{}\n", page.changing("Revert", "revert")));
    }
    text
}
