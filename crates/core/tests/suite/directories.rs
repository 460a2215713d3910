//! Directories that one owner makes and several use: they go with the last file in them.

use hosttune_core::file::ConfigFile;
use hosttune_core::testing::laws::{self, Act, Fault};
use hosttune_core::testing::{CrashPoint, Machine, Memory, Moment, World};
use hosttune_core::{Error, Planner, Tuning};
use proptest::prelude::*;

use crate::laws::cases;
use crate::owners::acts;

/// Files, with their content.
#[derive(Debug, Clone)]
struct Files(Vec<(&'static str, u8)>);

impl Tuning for Files {
    fn declare(&self, planner: &mut Planner<'_>) -> Result<(), Error> {
        for (name, content) in &self.0 {
            let file = ConfigFile::new(format!("/etc/{name}"))?;
            let content = format!("{content}\n").into_bytes();
            planner.want_file(&file, content, "the files are in it")?;
        }
        Ok(())
    }
}

fn machine() -> Machine {
    Machine::new(Memory::new().directory("/etc"), |_| ())
}

fn files() -> impl Strategy<Value = Files> + Clone {
    let names = ["made/a", "made/b", "made/within/c", "d", "other/e"];
    let file = (prop::sample::select(names.to_vec()), 0..2_u8);
    prop::collection::vec(file, 1..4).prop_map(|mut files| {
        files.sort_unstable();
        files.dedup_by_key(|(name, _)| *name);
        Files(files)
    })
}

proptest! {
    #![proptest_config(cases(1_500))]

    #[test]
    fn directories_of_several_owners_go((acts, last) in acts(files(), false)) {
        laws::owners_in_any_order(&machine(), &acts, &last)?;
    }

    #[test]
    fn directories_of_owners_who_die_go((acts, last) in acts(files(), true)) {
        laws::owners_in_any_order(&machine(), &acts, &last)?;
    }
}

fn revert(machine: &Machine, owner: &str) -> hosttune_core::Reverted {
    let session = machine.session_of(owner, &CrashPoint::lives());
    session.unwrap().revert().unwrap()
}

fn apply(machine: &Machine, owner: &str, name: &'static str) {
    let mut session = machine.session_of(owner, &CrashPoint::lives()).unwrap();
    let _ = Files(vec![(name, 1)]).apply(&mut session).unwrap();
}

#[test]
fn a_directory_is_held_by_the_owner_of_a_file_in_it() {
    let machine = machine();
    let was = machine.snapshot();
    apply(&machine, "one", "made/a");
    apply(&machine, "two", "made/b");
    let reverted = revert(&machine, "one");
    assert!(reverted.not_reverted.is_empty(), "{reverted}");
    let directory = reverted.undone.last().unwrap();
    assert_eq!(directory.knob.text, "/etc/made");
    assert_eq!(directory.held_by.as_deref(), Some("two"));
    let reverted = revert(&machine, "two");
    assert!(reverted.not_reverted.is_empty(), "{reverted}");
    assert_eq!(machine.snapshot(), was);
    assert!(machine.store().is_empty());
}

/// The other owner was killed while it wrote its file, and its journal says so.
#[test]
fn a_directory_is_held_for_what_a_killed_owner_left_in_it() {
    let mut held = 0;
    for write in 0..12 {
        for moment in [Moment::Before, Moment::Within, Moment::After] {
            let acts = [
                Act {
                    owner: 0,
                    applies: Some(Files(vec![("made/a", 1)])),
                    fault: None,
                },
                Act {
                    owner: 1,
                    applies: Some(Files(vec![("made/b", 1)])),
                    fault: Some(Fault::Dies((write, moment))),
                },
            ];
            laws::owners_in_any_order(&machine(), &acts, &[0, 1])
                .unwrap_or_else(|broken| panic!("{write} {moment:?}: {broken}"));

            let machine = machine();
            apply(&machine, "one", "made/a");
            let dies = CrashPoint::dies_at(write, moment);
            let mut session = machine.session_of("two", &dies).unwrap();
            let _ = Files(vec![("made/b", 1)]).apply(&mut session);
            let reverted = revert(&machine, "one");
            held += usize::from(
                reverted
                    .undone
                    .iter()
                    .any(|undone| undone.held_by.is_some()),
            );
        }
    }
    assert!(held > 0);
}
