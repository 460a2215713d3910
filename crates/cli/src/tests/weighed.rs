//! The weight of a command's control group that is not set.

use hosttune_core::{Session, Tuning};
use hosttune_run::weight::{CgroupWeight, CommandWeight};

use super::super::failure::Failure;
use super::super::run_shared::why_not_weighed;

/// What is said of a weight on a tree whose group shows this.
fn said_of(content: &str) -> Vec<String> {
    let tree = tempfile::tempdir().unwrap();
    let directory = "/sys/fs/cgroup/game.scope";
    let below = tree.path().join(&directory[1..]);
    std::fs::create_dir_all(&below).unwrap();
    std::fs::create_dir_all(tree.path().join("proc/sys")).unwrap();
    std::fs::write(below.join("cpu.weight"), content).unwrap();
    let mut session = Session::at(tree.path(), "gaming.run")
        .unwrap()
        .with(hosttune_run::weight::knobs);
    let weight = CommandWeight {
        group: CgroupWeight {
            directory: directory.to_owned(),
        },
        nice: -10,
    };
    let weighed = weight.apply(&mut session).map_err(Failure::from);
    why_not_weighed(&weight, &weighed)
}

#[test]
fn a_weight_that_is_not_set_is_said() {
    assert_eq!(said_of("100\n"), [""; 0]);
    for (content, why) in [("0\n", "cpu.idle is on"), ("heavy\n", "is not a number")] {
        let said = said_of(content).join("\n");
        assert!(said.contains("cpu.weight") && said.contains(why), "{said}");
    }
}
