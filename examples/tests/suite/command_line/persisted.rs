//! What `--persist` keeps for the next boot, and what it must not.

use super::tree::Tree;

const KEPT: &str = "etc/sysctl.d/60-hosttune-gaming.conf";

/// The zram that swappiness is for is made by apply, and is gone after the next boot.
#[test]
fn swappiness_for_zram_is_kept_only_where_zram_is() {
    let tree = Tree::new();
    let typed = ["apply", "--yes", "--persist", "--only", "sysctl"];
    let ran = tree.gaming(&typed);
    assert_eq!(ran.exit, 0, "{ran:?}");
    assert_eq!(tree.value("vm/swappiness"), "100");
    let file = std::fs::read_to_string(tree.at(KEPT)).unwrap();
    assert!(!file.contains("swappiness"), "{file}");
    assert!(file.contains("vm.dirty_ratio"), "{file}");
    let told = tree.gaming(&["plan", "--persist", "--only", "sysctl"]).out;
    assert!(
        told.contains("vm.swappiness = 100 is not kept across reboots"),
        "{told}"
    );
    assert_eq!(
        tree.gaming(&["verify", "--persist", "--only", "sysctl"])
            .exit,
        0
    );

    // Another program makes zram at each boot.
    let conf = "etc/systemd/zram-generator.conf";
    tree.put(conf, "[zram0]\nzram-size = ram / 2");
    let ran = tree.gaming(&typed);
    assert_eq!(ran.exit, 0, "{ran:?}");
    let file = std::fs::read_to_string(tree.at(KEPT)).unwrap();
    assert!(file.contains("vm.swappiness = 100"), "{file}");
    assert_eq!(tree.gaming(&["revert", "--yes"]).exit, 0);
    assert!(!tree.at(KEPT).exists());
}
