//! The files of a machine in memory, and how it answers writes.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::fate::Fate;
use crate::error::{HostError, Operation};
use crate::host::{Entry, EntryKind, FileContent, Fs, Host, RootKind};

const ENOENT: i32 = 2;
const EACCES: i32 = 13;
const EEXIST: i32 = 17;
const ENOTDIR: i32 = 20;
const EISDIR: i32 = 21;
const EINVAL: i32 = 22;
const ENOTEMPTY: i32 = 39;

/// How a file answers a write: given the tree, the file's path and the value without its
/// newline; an error is an errno. What it set in the tree before an error stays.
#[derive(Clone)]
pub struct Behaviour(Arc<Answer>);

type Answer = dyn Fn(&mut Tree, &Path, &str) -> Result<(), i32> + Send + Sync;

impl Behaviour {
    /// Any behaviour.
    pub fn new(
        answer: impl Fn(&mut Tree, &Path, &str) -> Result<(), i32> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(answer))
    }

    /// Takes any value.
    pub fn takes_all() -> Self {
        Self::new(|tree, path, value| {
            tree.set(path, value);
            Ok(())
        })
    }

    /// Takes an integer in a range, EINVAL for anything else.
    pub fn integer(range: std::ops::RangeInclusive<i64>) -> Self {
        Self::new(move |tree, path, value| {
            let number: i64 = value.trim().parse().map_err(|_| EINVAL)?;
            if !range.contains(&number) {
                return Err(EINVAL);
            }
            tree.set(path, &number.to_string());
            Ok(())
        })
    }

    /// Takes an integer and rounds it down to a multiple, with success.
    pub fn rounds_down_to(multiple: i64) -> Self {
        Self::new(move |tree, path, value| {
            let number: i64 = value.trim().parse().map_err(|_| EINVAL)?;
            tree.set(path, &(number - number.rem_euclid(multiple)).to_string());
            Ok(())
        })
    }

    /// Takes one of some words, EINVAL for any other.
    pub fn one_of<S: Into<String>>(words: impl IntoIterator<Item = S>) -> Self {
        let words: Vec<String> = words.into_iter().map(Into::into).collect();
        Self::new(move |tree, path, value| {
            let value = value.trim();
            if !words.iter().any(|word| word == value) {
                return Err(EINVAL);
            }
            tree.set(path, value);
            Ok(())
        })
    }

    /// Takes as many integers as stand in the file, one after the other: the first that is none
    /// gives EINVAL and what came before it has landed. Too few leave the others, too many are
    /// not looked at, both with success.
    pub fn vector() -> Self {
        Self::new(|tree, path, value| {
            let mut fields: Vec<String> = tree
                .get(path)
                .unwrap_or_default()
                .split_whitespace()
                .map(str::to_owned)
                .collect();
            let mut answer = Ok(());
            for (field, new) in fields.iter_mut().zip(value.split_whitespace()) {
                match new.parse::<i64>() {
                    Ok(number) => *field = number.to_string(),
                    Err(_) => {
                        answer = Err(EINVAL);
                        break;
                    }
                }
            }
            tree.set(path, &fields.join("\t"));
            answer
        })
    }

    /// Answers every write with an errno and changes nothing.
    pub fn refuses(errno: i32) -> Self {
        Self::new(move |_, _, _| Err(errno))
    }

    /// Does as another behaviour does, `delay` later, and says at once that it is done.
    #[must_use]
    pub fn late(self, delay: Duration) -> Self {
        Self::new(move |tree, path, value| {
            tree.later(delay, path, value, self.clone());
            Ok(())
        })
    }

    /// After a write that another behaviour takes, sets other files: what a real one resets.
    #[must_use]
    pub fn then(self, reset: impl Fn(&mut Tree, &str) + Send + Sync + 'static) -> Self {
        Self::new(move |tree, path, value| {
            (self.0)(tree, path, value)?;
            reset(tree, value);
            Ok(())
        })
    }
}

impl fmt::Debug for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Behaviour")
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    File(FileContent),
    Directory,
    Link(PathBuf),
}

/// A value on its way.
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
    nodes: BTreeMap<PathBuf, Node>,
    behaviours: BTreeMap<PathBuf, Behaviour>,
    pending: Vec<Pending>,
    now: Duration,
}

impl Tree {
    /// A file's value without its newline; `None` where there is no such file.
    pub fn get(&self, path: impl AsRef<Path>) -> Option<String> {
        match self.nodes.get(path.as_ref())? {
            Node::File(content) => {
                let text = String::from_utf8_lossy(&content.bytes);
                Some(text.strip_suffix('\n').unwrap_or(&text).to_owned())
            }
            Node::Directory | Node::Link(_) => None,
        }
    }

    /// Sets a file's value, newline added, making the file and its directories where they are
    /// not there.
    pub fn set(&mut self, path: impl AsRef<Path>, value: &str) {
        let path = path.as_ref();
        let bytes = format!("{value}\n").into_bytes();
        if let Some(Node::File(content)) = self.nodes.get_mut(path) {
            content.bytes = bytes;
            return;
        }
        self.put(path, Node::File(FileContent::new(bytes)));
    }

    /// Takes a file away.
    pub fn remove(&mut self, path: impl AsRef<Path>) {
        self.nodes.remove(path.as_ref());
    }

    /// Lets a value arrive at a file after a time.
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

    fn put(&mut self, path: &Path, node: Node) {
        for parent in path.ancestors().skip(1) {
            self.nodes
                .entry(parent.to_owned())
                .or_insert(Node::Directory);
        }
        self.nodes.insert(path.to_owned(), node);
    }

    fn pass_time(&mut self, time: Duration) {
        self.now += time;
        while let Some(at) = self.pending.iter().position(|value| value.due <= self.now) {
            let Pending {
                path,
                value,
                behaviour,
                ..
            } = self.pending.remove(at);
            // Nobody is there any more to be told an error.
            let _ = (behaviour.0)(self, &path, &value);
        }
    }

    /// Follows symlinks with `/` as their root, the last one only where asked.
    fn resolve(&self, path: &Path, follow_last: bool) -> Result<PathBuf, i32> {
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
}

/// A machine's files; clones share them, [`fork`](Self::fork) copies them.
#[derive(Debug, Clone, Default)]
pub struct Memory(Arc<Mutex<Tree>>);

impl Memory {
    /// No files at all.
    pub fn new() -> Self {
        Self::default()
    }

    /// A copy that lives on its own.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self(Arc::new(Mutex::new(self.tree().clone())))
    }

    /// Adds a file with a value (newline added) and how it answers writes.
    #[must_use]
    pub fn file(self, path: impl AsRef<Path>, value: &str, behaviour: Behaviour) -> Self {
        let path = path.as_ref();
        let mut tree = self.tree();
        tree.set(path, value);
        tree.behaviours.insert(path.to_owned(), behaviour);
        drop(tree);
        self
    }

    /// Changes how a file answers writes; the file need not be there yet.
    #[must_use]
    pub fn behaving(self, path: impl AsRef<Path>, behaviour: Behaviour) -> Self {
        self.tree()
            .behaviours
            .insert(path.as_ref().to_owned(), behaviour);
        self
    }

    /// Adds a file as it is: bytes, mode, owner.
    #[must_use]
    pub fn content(self, path: impl AsRef<Path>, content: FileContent) -> Self {
        self.tree().put(path.as_ref(), Node::File(content));
        self
    }

    /// Changes a file's permission bits; `0o444` is what the kernel gives a key that a namespace
    /// may only read.
    #[must_use]
    pub fn mode(self, path: impl AsRef<Path>, mode: u32) -> Self {
        if let Some(Node::File(content)) = self.tree().nodes.get_mut(path.as_ref()) {
            content.mode = mode;
        }
        self
    }

    /// Adds an empty directory.
    #[must_use]
    pub fn directory(self, path: impl AsRef<Path>) -> Self {
        self.tree().put(path.as_ref(), Node::Directory);
        self
    }

    /// Adds a symlink.
    #[must_use]
    pub fn link(self, path: impl AsRef<Path>, target: impl Into<PathBuf>) -> Self {
        self.tree().put(path.as_ref(), Node::Link(target.into()));
        self
    }

    /// Copies files of another host beneath `directory`, their values as they are; files that
    /// cannot be read stay behind. Every file takes any value until told otherwise.
    ///
    /// # Errors
    /// Where a directory cannot be listed.
    pub fn captured(self, from: &Host, directory: impl AsRef<Path>) -> Result<Self, HostError> {
        let mut directories = vec![directory.as_ref().to_owned()];
        while let Some(directory) = directories.pop() {
            for name in from.list(&directory)? {
                let path = directory.join(name);
                match from.entry(&path)?.map(|entry| entry.kind) {
                    Some(EntryKind::Directory) => directories.push(path),
                    Some(EntryKind::File) => {
                        if let Ok(Some(content)) = from.file(&path) {
                            self.tree().put(&path, Node::File(content));
                        }
                    }
                    Some(EntryKind::Link(target)) => self.tree().put(&path, Node::Link(target)),
                    Some(EntryKind::Other) | None => {}
                }
            }
        }
        Ok(self)
    }

    /// What somebody else does: sets a file's value past any journal, as the kernel would.
    ///
    /// # Errors
    /// The errno that the file answers with.
    pub fn write(&self, path: impl AsRef<Path>, value: &str) -> Result<(), i32> {
        self.tree().write(path.as_ref(), value)
    }

    /// A file's value without its newline.
    pub fn get(&self, path: impl AsRef<Path>) -> Option<String> {
        self.tree().get(path)
    }

    /// Changes the tree in any way, past any behaviour.
    pub fn change<T>(&self, change: impl FnOnce(&mut Tree) -> T) -> T {
        change(&mut self.tree())
    }

    /// Everything there is to see: a line for each path.
    pub fn picture(&self) -> BTreeMap<String, String> {
        let tree = self.tree();
        let shown = tree.nodes.iter().map(|(path, node)| {
            let node = match node {
                Node::File(content) => format!(
                    "{:04o} {}:{} {}",
                    content.mode,
                    content.uid,
                    content.gid,
                    String::from_utf8_lossy(&content.bytes)
                ),
                Node::Directory => "directory".to_owned(),
                Node::Link(target) => format!("→ {}", target.display()),
            };
            (path.display().to_string(), node)
        });
        shown.collect()
    }

    /// A host over these files, in a process with this fate.
    pub fn host(&self, fate: &Fate) -> MemoryHost {
        MemoryHost {
            memory: self.clone(),
            fate: fate.clone(),
        }
    }

    fn tree(&self) -> MutexGuard<'_, Tree> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tree {
    fn write(&mut self, path: &Path, value: &str) -> Result<(), i32> {
        let path = self.resolve(path, true)?;
        match self.nodes.get(&path) {
            None => return Err(ENOENT),
            Some(Node::Directory) => return Err(EISDIR),
            Some(Node::File(content)) if content.mode & 0o200 == 0 => return Err(EACCES),
            Some(Node::File(_) | Node::Link(_)) => {}
        }
        let behaviour = self.behaviours.get(&path).cloned();
        (behaviour.unwrap_or_else(Behaviour::takes_all).0)(self, &path, value)
    }
}

/// A [`Host`]'s files in memory, for one process.
#[derive(Debug)]
pub struct MemoryHost {
    memory: Memory,
    fate: Fate,
}

fn fail(operation: Operation, path: &Path, errno: i32) -> HostError {
    HostError::from_errno(operation, path.display().to_string(), errno)
}

fn replacement_of(path: &Path) -> PathBuf {
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy())
        .unwrap_or_default();
    path.with_file_name(format!(".{name}.hosttune-new"))
}

impl Fs for MemoryHost {
    fn root_kind(&self) -> RootKind {
        let running = self
            .memory
            .tree()
            .nodes
            .contains_key(Path::new("/proc/sys"));
        if running {
            RootKind::Live
        } else {
            RootKind::Image
        }
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, HostError> {
        match self.file(path)? {
            Some(content) if content.mode & 0o400 == 0 => Err(fail(Operation::Read, path, EACCES)),
            Some(content) => Ok(content.bytes),
            None => Err(fail(Operation::Read, path, ENOENT)),
        }
    }

    fn list(&self, directory: &Path) -> Result<Vec<String>, HostError> {
        let tree = self.memory.tree();
        let directory = tree
            .resolve(directory, true)
            .map_err(|errno| fail(Operation::List, directory, errno))?;
        match tree.nodes.get(&directory) {
            Some(Node::Directory) => {}
            Some(_) => return Err(fail(Operation::List, &directory, ENOTDIR)),
            None => return Err(fail(Operation::List, &directory, ENOENT)),
        }
        let inside = tree.nodes.keys().filter(|path| {
            path.parent() == Some(&directory) && path.as_path() != directory.as_path()
        });
        Ok(inside
            .filter_map(|path| path.file_name())
            .map(|name| name.to_string_lossy().into_owned())
            .collect())
    }

    fn entry(&self, path: &Path) -> Result<Option<Entry>, HostError> {
        let tree = self.memory.tree();
        let path = tree
            .resolve(path, false)
            .map_err(|errno| fail(Operation::Read, path, errno))?;
        Ok(tree.nodes.get(&path).map(|node| match node {
            Node::File(content) => Entry {
                kind: EntryKind::File,
                mode: content.mode,
            },
            Node::Directory => Entry {
                kind: EntryKind::Directory,
                mode: 0o755,
            },
            Node::Link(target) => Entry {
                kind: EntryKind::Link(target.clone()),
                mode: 0o777,
            },
        }))
    }

    fn file(&self, path: &Path) -> Result<Option<FileContent>, HostError> {
        let tree = self.memory.tree();
        let path = tree
            .resolve(path, true)
            .map_err(|errno| fail(Operation::Read, path, errno))?;
        match tree.nodes.get(&path) {
            Some(Node::File(content)) => Ok(Some(content.clone())),
            Some(Node::Directory) => Err(fail(Operation::Read, &path, EISDIR)),
            Some(Node::Link(_)) | None => Ok(None),
        }
    }

    fn half_written(&self, path: &Path) -> Result<bool, HostError> {
        Ok(self.memory.tree().nodes.contains_key(&replacement_of(path)))
    }

    fn write_value(&mut self, path: &Path, bytes: &[u8]) -> Result<(), HostError> {
        let value = String::from_utf8_lossy(bytes);
        let value = value.strip_suffix('\n').unwrap_or(&value);
        self.memory
            .tree()
            .write(path, value)
            .map_err(|errno| fail(Operation::Write, path, errno).wanted(value))
    }

    fn put_file(&mut self, path: &Path, content: &FileContent) -> Result<(), HostError> {
        let mut tree = self.memory.tree();
        match path.parent().and_then(|parent| tree.nodes.get(parent)) {
            Some(Node::Directory) => {}
            Some(_) => return Err(fail(Operation::Create, path, ENOTDIR)),
            None => return Err(fail(Operation::Create, path, ENOENT)),
        }
        if tree.nodes.get(path) == Some(&Node::Directory) {
            return Err(fail(Operation::Create, path, EISDIR));
        }
        let replacement = replacement_of(path);
        if self.fate.is_cut_short() {
            let half = content.bytes[..content.bytes.len() / 2].to_vec();
            tree.nodes
                .insert(replacement, Node::File(FileContent::new(half)));
            return Ok(());
        }
        tree.nodes.remove(&replacement);
        tree.nodes
            .insert(path.to_owned(), Node::File(content.clone()));
        Ok(())
    }

    fn create_directory(&mut self, path: &Path) -> Result<(), HostError> {
        let mut tree = self.memory.tree();
        if tree.nodes.contains_key(path) {
            return Err(fail(Operation::Create, path, EEXIST));
        }
        match path.parent().and_then(|parent| tree.nodes.get(parent)) {
            Some(Node::Directory) => {}
            _ => return Err(fail(Operation::Create, path, ENOENT)),
        }
        tree.nodes.insert(path.to_owned(), Node::Directory);
        Ok(())
    }

    fn remove(&mut self, path: &Path) -> Result<(), HostError> {
        let mut tree = self.memory.tree();
        let leftover = tree.nodes.remove(&replacement_of(path)).is_some();
        let empty = !tree
            .nodes
            .keys()
            .any(|inside| inside.parent() == Some(path));
        match tree.nodes.get(path) {
            None if leftover => return Ok(()),
            None => return Err(fail(Operation::Remove, path, ENOENT)),
            Some(Node::Directory) if !empty => {
                return Err(fail(Operation::Remove, path, ENOTEMPTY));
            }
            Some(_) => {}
        }
        tree.nodes.remove(path);
        Ok(())
    }

    fn pause(&self, time: Duration) {
        self.memory.tree().pass_time(time);
    }
}

/// What a boot makes anew.
const VOLATILE: [&str; 3] = ["/proc", "/sys", "/dev"];

impl Tree {
    /// Puts what lives in the running kernel to what it is at boot.
    pub(super) fn reboot(&mut self, pristine: &Memory) {
        let volatile = |path: &Path| VOLATILE.iter().any(|root| path.starts_with(root));
        let at_boot = pristine.tree();
        self.nodes.retain(|path, _| !volatile(path));
        for (path, node) in at_boot.nodes.iter().filter(|(path, _)| volatile(path)) {
            self.nodes.insert(path.clone(), node.clone());
        }
        self.pending.clear();
    }
}
