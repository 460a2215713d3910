//! The verdict about one step: what to do about it, judged by what its knob shows.

use serde_json::Value;

use crate::journal::Entry;
use crate::knob_kind::KnobKind;
use crate::plan::{Before, Step};

/// What to do about a step, judged by what its knob shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The knob shows what we set, or a partial write of ours.
    PutBack,
    /// The step itself was undone, but its side effects may not have been.
    RestoreOnly,
    /// The knob shows its original value, or the step was never done.
    Already,
    /// The knob shows a value that another process has set.
    Theirs,
}

/// Decides without changing anything. `earlier` are the originals of this knob's earlier steps.
pub(super) fn judge<'v>(
    kind: &dyn KnobKind,
    entry: &Entry,
    seen: &Value,
    mut earlier: impl Iterator<Item = &'v Value>,
) -> Verdict {
    let Step { knob, from, to, .. } = &entry.step;
    let Before::Known(from) = from else {
        // The state before a step is recorded before the step is done.
        return Verdict::Already;
    };
    if seen == from {
        return if entry.undoing.is_some() {
            Verdict::RestoreOnly
        } else {
            Verdict::Already
        };
    }
    if seen == entry.left()
        || kind.satisfies(knob, seen, to)
        || kind.is_partial_write(knob, seen, from, to)
    {
        return Verdict::PutBack;
    }
    // A knob that is gone has no value to revert. One that shows an earlier original was reverted
    // further than this step.
    if kind.is_gone(knob, seen)
        || kind.satisfies(knob, seen, from)
        || earlier.any(|v| kind.satisfies(knob, seen, v))
    {
        return Verdict::Already;
    }
    Verdict::Theirs
}
