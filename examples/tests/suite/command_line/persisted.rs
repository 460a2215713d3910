//! What `--persist` keeps across reboots, and what it must not keep.

use super::tree::Tree;

const KEPT: &str = "etc/sysctl.d/60-hosttune-gaming.conf";

/// The value of swappiness is for the zram device that apply creates, which does not survive a reboot.
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

    // It is kept only if another program certainly creates zram at boot: it is configured and installed.
    let generator = "usr/lib/systemd/system-generators/zram-generator";
    let shipped = "usr/lib/systemd/zram-generator.conf";
    let conf = "etc/systemd/zram-generator.conf";
    let drop_in = "etc/systemd/zram-generator.conf.d/a.conf";
    let removed = "etc/default/zramswap";
    for (path, text, is_kept) in [
        (removed, "ALGO=zstd\n", false),
        (shipped, "[zram0]\nzram-size = ram / 2\n", false),
        (generator, "", true),
        // An empty file in /etc overrides the one in /usr/lib.
        (conf, "", false),
        (conf, "[zram0]\nzram-size = ram / 2\n", true),
        (drop_in, "[zram0]\nzram-size = 0\n", false),
        (drop_in, "[zram0]\nmount-point = /var/tmp\n", false),
        (drop_in, "# [zram0]\n", true),
    ] {
        tree.put(path, text);
        let ran = tree.gaming(&typed);
        assert_eq!(ran.exit, 0, "{ran:?}");
        let file = std::fs::read_to_string(tree.at(KEPT)).unwrap();
        let has = file.contains("vm.swappiness = 100");
        assert_eq!(has, is_kept, "{path} {text:?}: {file}");
    }
    assert_eq!(tree.gaming(&["revert", "--yes"]).exit, 0);
    assert!(!tree.at(KEPT).exists());
}
