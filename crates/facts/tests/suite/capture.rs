//! A tree with what facts are read from and nothing else, taken from the machine that runs this.

use std::ffi::OsString;
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};

use hosttune_core::{Host, LinuxHost};

/// Copies what `patterns` match beneath `/` into a directory, links as links.
pub(crate) fn capture(patterns: &[&str], into: &Path) {
    for pattern in patterns {
        for found in glob::glob(pattern).unwrap() {
            // A directory that may not be looked into holds nothing for this process.
            let Ok(found) = found else { continue };
            bring(&found, into);
        }
    }
}

/// A host over the tree beneath a directory.
pub(crate) fn host_at(root: &Path) -> Host {
    Host::new(LinuxHost::at(root).unwrap())
}

/// Copies one path with all that leads to it.
fn bring(path: &Path, into: &Path) {
    let copy_of = |real: &Path| into.join(real.strip_prefix("/").unwrap());
    let mut real = PathBuf::from("/");
    // What is still to be gone, the next name last.
    let mut left: Vec<OsString> = names(path);
    while let Some(name) = left.pop() {
        if name == ".." {
            real.pop();
            continue;
        }
        let here = real.join(&name);
        let Ok(metadata) = std::fs::symlink_metadata(&here) else {
            return;
        };
        if metadata.is_symlink() {
            let target = std::fs::read_link(&here).unwrap();
            if !is_there(&copy_of(&here)) {
                symlink(&target, copy_of(&here)).unwrap();
            }
            if left.is_empty() && !here.is_file() {
                return;
            }
            if target.is_absolute() {
                real = PathBuf::from("/");
            }
            left.extend(names(&target));
        } else if metadata.is_dir() {
            real = here;
            if !is_there(&copy_of(&real)) {
                std::fs::create_dir(copy_of(&real)).unwrap();
            }
        } else {
            let bytes = std::fs::read(&here).unwrap_or_default();
            std::fs::write(copy_of(&here), bytes).unwrap();
            return;
        }
    }
}

fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// The names of a path, the first one last.
fn names(path: &Path) -> Vec<OsString> {
    let names = path.components().rev().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    names.collect()
}
