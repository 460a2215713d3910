//! A stock PipeWire that sees only the files of one case.

use std::path::{Path, PathBuf};
use std::process::Command;

use hosttune_core::LinuxHost;
use hosttune_core::host::Host;
use hosttune_pipewire::merge::{ConfigFiles, Environment};
use hosttune_test_machine::PipeWire;
use tempfile::TempDir;

/// The home directory in a case. It is below `/etc`, because that directory is the case's own.
pub(crate) const HOME: &str = "/etc/home";

/// The files of a case, and the environment of its daemon.
pub(crate) struct Tree {
    root: TempDir,
    variables: Vec<(String, String)>,
}

impl Tree {
    /// Creates the files. A path that ends with `/` is a directory, and a text that begins with `→ `
    /// is the target of a link.
    pub(crate) fn new(files: &[(&str, &[u8])], variables: &[(&str, &str)]) -> Self {
        let root = tempfile::tempdir().expect("a temporary directory");
        let mut variables: Vec<(String, String)> = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        variables.push(("HOME".to_owned(), HOME.to_owned()));
        let tree = Self { root, variables };
        for directory in ["usr/share/pipewire", "etc/pipewire", "etc/home"] {
            make_directory(&tree.root.path().join(directory));
        }
        for (path, text) in files {
            tree.put(path, text);
        }
        tree
    }

    fn put(&self, path: &str, text: &[u8]) {
        let file = self.root.path().join(path.trim_start_matches('/'));
        if path.ends_with('/') {
            return make_directory(&file);
        }
        make_directory(file.parent().expect("a path below the root"));
        if let Some(target) = text.strip_prefix("→ ".as_bytes()) {
            let target = String::from_utf8_lossy(target).into_owned();
            std::os::unix::fs::symlink(target, file).expect("a link is made");
            return;
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "these are files of the test bench"
        )]
        std::fs::write(file, text).expect("a file is written");
    }

    pub(crate) fn host(&self) -> Host {
        Host::new(LinuxHost::at(self.root.path()).expect("the tree is opened"))
    }

    /// What the crate reads of these files.
    pub(crate) fn files(&self, main: &str) -> ConfigFiles {
        ConfigFiles::collect(&self.host(), &self.environment(), main).expect("the files are read")
    }

    pub(crate) fn environment(&self) -> Environment {
        let variables = self.variables.iter();
        Environment::from_variables(variables.map(|(name, value)| (name.as_str(), value.as_str())))
    }

    /// Runs a script in namespaces of its own, in which `/etc` and `/usr/share` are this tree's.
    /// Returns whether it succeeded, and its output.
    #[expect(
        clippy::disallowed_methods,
        reason = "this runs the programs that the crate is compared with"
    )]
    pub(crate) fn run(&self, version: PipeWire, script: &str) -> (bool, String) {
        let root = self.root.path().display();
        let inside = format!(
            "mount -t tmpfs none /etc && mount -t tmpfs none /usr/share || exit 99\n\
             cp -a {root}/etc/. /etc && cp -a {root}/usr/share/. /usr/share || exit 99\n{script}"
        );
        let mut command = Command::new("unshare");
        if !is_root() {
            command.arg("--map-root-user");
        }
        command
            .args([
                "--mount",
                "--net",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
            ])
            .args(["sh", "-c", &inside])
            .env_clear()
            .envs(version.environment().expect("run scripts/machine"))
            .envs(self.variables.iter().cloned());
        let output = command.output().expect("unshare starts");
        assert_ne!(
            output.status.code(),
            Some(99),
            "the files of the case are not mounted: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.success(), text)
    }
}

fn is_root() -> bool {
    hosttune_core::host::FileContent::new("").uid == 0
}

fn make_directory(path: &Path) {
    #[expect(
        clippy::disallowed_methods,
        reason = "these are directories of the test bench"
    )]
    std::fs::create_dir_all(path).expect("a directory is made");
}

/// The text of a file that a version ships.
pub(crate) fn shipped(version: PipeWire, name: &str) -> Vec<u8> {
    let directory: PathBuf = version.directory().expect("run scripts/machine");
    let path = directory.join("usr/share/pipewire").join(name);
    #[expect(
        clippy::disallowed_methods,
        reason = "this is a file of the test bench"
    )]
    std::fs::read(path).expect("a shipped file is read")
}
