//! Captured trees: files are ordinary, but setting one key of a pair changes the other as in the kernel.

use std::fs;
use std::path::{Path, PathBuf};

use hosttune_core::{Session, Tuning};
use hosttune_sysctl::{SysctlSet, Wanted};

struct Tree(tempfile::TempDir);

impl Tree {
    fn new(files: &[(&str, &str)]) -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(tree.0.path().join("run")).unwrap();
        tree.put(
            "kernel/random/boot_id",
            "7c9d9d1e-9a6c-4d0b-8a4e-0123456789ab",
        );
        tree.put("kernel/osrelease", "6.12.0");
        for (path, value) in files {
            tree.put(path, value);
        }
        tree
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join("proc/sys").join(path)
    }

    fn put(&self, path: &str, value: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).unwrap();
        fs::write(path, format!("{value}\n")).unwrap();
    }

    fn get(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    fn session(&self) -> Session {
        Session::at(self.0.path(), "captured")
            .unwrap()
            .with(hosttune_sysctl::knobs)
    }
}

fn set(key: &str, value: u64) -> SysctlSet {
    SysctlSet::new([Wanted::new(key, value)])
}

/// Setting one of the two sets the other to 0, and so does reverting it.
#[test]
fn of_two_keys_that_exclude_each_other_the_other_is_set_to_zero() {
    for (key, value, other, original) in [
        ("vm.dirty_bytes", 268_435_456, "vm/dirty_ratio", "20"),
        (
            "vm.dirty_background_bytes",
            67_108_864,
            "vm/dirty_background_ratio",
            "10",
        ),
        ("vm.dirty_ratio", 15, "vm/dirty_bytes", "268435456"),
    ] {
        let file = key.replace('.', "/");
        let tree = Tree::new(&[(&file, "0"), (other, original)]);
        let tuning = set(key, value);
        let _ = tuning.apply(&mut tree.session()).unwrap();
        assert_eq!(tree.get(&file), format!("{value}\n"), "{key}");
        assert_eq!(tree.get(other), "0\n", "{key}");
        assert!(tuning.verify(&tree.session()).unwrap().is_as_wanted());
        let reverted = tree.session().revert().unwrap();
        assert_eq!(reverted.not_reverted, [], "{key}");
        assert_eq!(tree.get(&file), "0\n", "{key}");
        assert_eq!(tree.get(other), format!("{original}\n"), "{key}");
    }
}
