//! A tree with the sources of the facts and nothing else, captured from this machine.

use std::ffi::OsString;
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};

use hosttune_core::{Host, LinuxHost};

/// Copies what matches `patterns` under `/` into a directory, links as links.
pub(crate) fn capture(patterns: &[&str], into: &Path) {
    for pattern in patterns {
        for found in glob::glob(pattern).unwrap() {
            // For this process, a directory that it may not read is empty.
            let Ok(found) = found else { continue };
            bring(&found, into);
        }
    }
}

/// A host with this directory as its root.
pub(crate) fn host_at(root: &Path) -> Host {
    Host::new(LinuxHost::at(root).unwrap())
}

/// Copies one path with the directories and links on the way to it.
fn bring(path: &Path, into: &Path) {
    let copy_of = |real: &Path| into.join(real.strip_prefix("/").unwrap());
    let mut real = PathBuf::from("/");
    // The names that are still to be resolved, the next one last.
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
