//! A journal that lost its end, and a forced revert in which a change is refused.

use hosttune_core::Tuning;
use hosttune_core::journal::JournalLocation;
use hosttune_core::testing::{CrashPoint, Moment};

use super::{Machine, shaper};

/// Cuts the journal of a shaped device at every length, after `then`, and reverts. Returns how often all was
/// back; nothing that is not named may remain.
fn cut_anywhere(then: impl Fn(&Machine)) -> usize {
    let shaped = Machine::new();
    let before = shaped.kernel.snapshot();
    let _ = shaper("w0").apply(&mut shaped.session()).unwrap();
    let place = JournalLocation::Volatile;
    let whole = shaped.store.bytes(place, "router").unwrap();
    let mut back = 0;
    for length in 0..=whole.len() {
        let machine = shaped.fork();
        machine.store.set_bytes(place, "router", &whole[..length]);
        then(&machine);
        // The packets that are lost until the revert are lost.
        let has_lost = machine.kernel.snapshot().contains_key("lost");
        let Ok(reverted) = machine.session().revert() else {
            continue;
        };
        if reverted.not_reverted.is_empty() {
            let mut after = machine.kernel.snapshot();
            if has_lost {
                after.remove("lost");
            }
            assert_eq!(after, before, "cut at {length}: {reverted:#?}");
            assert!(machine.store.is_empty(), "cut at {length}");
            back += 1;
        }
    }
    back
}

#[test]
fn a_journal_cut_anywhere_gives_the_device_back_or_says_so() {
    let back = cut_anywhere(|_| {});
    assert!(back > 300, "{back}");
}

/// A redirect to an IFB that another program has deleted loses every packet.
#[test]
fn a_redirect_to_a_deleted_ifb_is_removed_wherever_the_journal_is_cut() {
    let back = cut_anywhere(|machine| machine.kernel.pull_out("ifb0"));
    assert!(back > 300, "{back}");
}

/// A forced revert goes on past what is refused, and tells what is left as it is at the end.
#[test]
fn a_forced_revert_names_nothing_that_it_has_deleted() {
    let shaped = Machine::new();
    let before = shaped.kernel.snapshot();
    let _ = shaper("w0").apply(&mut shaped.session()).unwrap();
    for change in 0..12 {
        for moment in [Moment::Before, Moment::After] {
            let machine = shaped.fork();
            let crash_point = CrashPoint::fails_at(change, moment);
            let mut session = machine.session_of_fate(&crash_point);
            let reverted = session.force(true).revert().unwrap();
            for left in &reverted.not_reverted {
                let is_absent = matches!(left.seen.as_str(), "absent" | "no device");
                assert!(!is_absent, "{change} {moment:?}: {left}");
            }
            assert_eq!(machine.session().revert().unwrap().not_reverted, []);
            assert_eq!(machine.kernel.snapshot(), before, "{change} {moment:?}");
        }
    }
}
