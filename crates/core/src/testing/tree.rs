//! The files of a simulated machine and the delayed writes to them.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::behaviour::Behaviour;
use crate::host::FileContent;

const ENOENT: i32 = 2;
const EACCES: i32 = 13;
const EISDIR: i32 = 21;

/// Directories that a reboot resets.
const VOLATILE: [&str; 3] = ["/proc", "/sys", "/dev"];

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    File(FileContent),
    Directory,
    Link(PathBuf),
}

/// A delayed write.
#[derive(Debug, Clone)]
struct Pending {
    due: Duration,
    path: PathBuf,
    value: String,
    behaviour: Behaviour,
}

/// The files of a machine, as a [`Behaviour`] sees them.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    pub(super) nodes: BTreeMap<PathBuf, Node>,
    pub(super) behaviours: BTreeMap<PathBuf, Behaviour>,
    pending: Vec<Pending>,
    now: Duration,
}

impl Tree {
    /// Returns a file's value without its newline, or `None` if the file does not exist.
    pub fn get(&self, path: impl AsRef<Path>) -> Option<String> {
        match self.nodes.get(path.as_ref())? {
            Node::File(content) => {
                let text = String::from_utf8_lossy(&content.bytes);
                Some(text.strip_suffix('\n').unwrap_or(&text).to_owned())
            }
            Node::Directory | Node::Link(_) => None,
        }
    }

    /// Sets a file's value (a newline is appended). Creates the file and its directories if needed.
    pub fn set(&mut self, path: impl AsRef<Path>, value: &str) {
        let path = path.as_ref();
        let bytes = format!("{value}\n").into_bytes();
        if let Some(Node::File(content)) = self.nodes.get_mut(path) {
            content.bytes = bytes;
            return;
        }
        self.put(path, Node::File(FileContent::new(bytes)));
    }

    /// Removes a file.
    pub fn remove(&mut self, path: impl AsRef<Path>) {
        self.nodes.remove(path.as_ref());
    }

    /// Writes a value to a file after a delay.
    pub fn later(
        &mut self,
        delay: Duration,
        path: impl AsRef<Path>,
        value: &str,
        behaviour: Behaviour,
    ) {
        self.pending.push(Pending {
            due: self.now + delay,
            path: path.as_ref().to_owned(),
            value: value.to_owned(),
            behaviour,
        });
    }

    pub(super) fn put(&mut self, path: &Path, node: Node) {
        for parent in path.ancestors().skip(1) {
            self.nodes
                .entry(parent.to_owned())
                .or_insert(Node::Directory);
        }
        self.nodes.insert(path.to_owned(), node);
    }

    pub(super) fn pass_time(&mut self, time: Duration) {
        self.now += time;
        while let Some(at) = self.pending.iter().position(|value| value.due <= self.now) {
            let Pending {
                path,
                value,
                behaviour,
                ..
            } = self.pending.remove(at);
            // No caller is left to report an error to.
            let _ = behaviour.answer(self, &path, &value);
        }
    }

    /// Resolves symlinks below `/`, the last component only if requested.
    pub(super) fn resolve(&self, path: &Path, follow_last: bool) -> Result<PathBuf, i32> {
        let mut done = PathBuf::from("/");
        let mut left: Vec<PathBuf> = vec![path.to_owned()];
        let mut links = 0;
        while let Some(next) = left.pop() {
            let mut parts = next.components();
            let Some(part) = parts.next() else { continue };
            let rest = parts.as_path().to_owned();
            let last = rest.as_os_str().is_empty() && left.iter().all(|p| p.as_os_str().is_empty());
            if !rest.as_os_str().is_empty() {
                left.push(rest);
            }
            match part {
                Component::RootDir => done = PathBuf::from("/"),
                Component::ParentDir => {
                    done.pop();
                }
                Component::Normal(name) => {
                    let here = done.join(name);
                    match self.nodes.get(&here) {
                        Some(Node::Link(target)) if follow_last || !last => {
                            links += 1;
                            if links > 40 {
                                return Err(40); // ELOOP
                            }
                            left.push(target.clone());
                        }
                        _ => done = here,
                    }
                }
                Component::CurDir | Component::Prefix(_) => {}
            }
        }
        Ok(done)
    }

    pub(super) fn write(&mut self, path: &Path, value: &str) -> Result<(), i32> {
        let path = self.resolve(path, true)?;
        match self.nodes.get(&path) {
            None => return Err(ENOENT),
            Some(Node::Directory) => return Err(EISDIR),
            Some(Node::File(content)) if content.mode & 0o200 == 0 => return Err(EACCES),
            Some(Node::File(_) | Node::Link(_)) => {}
        }
        let behaviour = self.behaviours.get(&path).cloned();
        let behaviour = behaviour.unwrap_or_else(Behaviour::takes_all);
        behaviour.answer(self, &path, value)
    }

    /// Resets the state of the running kernel to its boot values.
    pub(super) fn reboot(&mut self, at_boot: &Self) {
        let volatile = |path: &Path| VOLATILE.iter().any(|root| path.starts_with(root));
        self.nodes.retain(|path, _| !volatile(path));
        for (path, node) in at_boot.nodes.iter().filter(|(path, _)| volatile(path)) {
            self.nodes.insert(path.clone(), node.clone());
        }
        self.pending.clear();
    }
}
