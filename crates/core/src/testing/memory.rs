//! The files of a simulated machine, and the host that reads and writes them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::behaviour::Behaviour;
use super::crash_point::CrashPoint;
use super::tree::{Node, Tree};
use crate::host::{Entry, EntryKind, FileContent, Fs, Host, HostError, Operation, RootKind};

const ENOENT: i32 = 2;
const EACCES: i32 = 13;
const EEXIST: i32 = 17;
const ENOTDIR: i32 = 20;
const EISDIR: i32 = 21;
const ENOTEMPTY: i32 = 39;

/// A machine's files. Clones share them; [`fork`](Self::fork) copies them.
#[derive(Debug, Clone, Default)]
pub struct Memory(Arc<Mutex<Tree>>);

impl Memory {
    /// Creates a machine without files.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns an independent copy.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self(Arc::new(Mutex::new(self.tree().clone())))
    }

    /// Adds a file with a value (a newline is appended) and the behaviour that answers its writes.
    #[must_use]
    pub fn file(self, path: impl AsRef<Path>, value: &str, behaviour: Behaviour) -> Self {
        let path = path.as_ref();
        let mut tree = self.tree();
        tree.set(path, value);
        tree.behaviours.insert(path.to_owned(), behaviour);
        drop(tree);
        self
    }

    /// Changes how a file answers writes. The file need not exist yet.
    #[must_use]
    pub fn behaving(self, path: impl AsRef<Path>, behaviour: Behaviour) -> Self {
        self.tree()
            .behaviours
            .insert(path.as_ref().to_owned(), behaviour);
        self
    }

    /// Adds a file with its exact bytes, mode and owner.
    #[must_use]
    pub fn content(self, path: impl AsRef<Path>, content: FileContent) -> Self {
        self.tree().put(path.as_ref(), Node::File(content));
        self
    }

    /// Changes a file's permission bits. The kernel uses `0o444` for a key that a namespace may only read.
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

    /// Copies the files below `directory` from another host with their current values.
    ///
    /// Files that cannot be read are skipped. Each file accepts any value until it gets a behaviour.
    ///
    /// # Errors
    /// Fails if a directory cannot be listed.
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

    /// Sets a file's value as another process would: the kernel answers, and no journal records it.
    ///
    /// # Errors
    /// Returns the errno that the file answers with.
    pub fn write(&self, path: impl AsRef<Path>, value: &str) -> Result<(), i32> {
        self.tree().write(path.as_ref(), value)
    }

    /// Returns a file's value without its newline.
    pub fn get(&self, path: impl AsRef<Path>) -> Option<String> {
        self.tree().get(path)
    }

    /// Changes the tree directly, bypassing every behaviour.
    pub fn change<T>(&self, change: impl FnOnce(&mut Tree) -> T) -> T {
        change(&mut self.tree())
    }

    /// Returns the complete visible state: one entry per path.
    pub fn snapshot(&self) -> BTreeMap<String, String> {
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

    /// Returns a host over these files for a process with this fate.
    pub fn host(&self, crash_point: &CrashPoint) -> MemoryHost {
        MemoryHost {
            memory: self.clone(),
            crash_point: crash_point.clone(),
        }
    }

    fn tree(&self) -> MutexGuard<'_, Tree> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The files of a [`Host`] in memory, for one process.
#[derive(Debug)]
pub struct MemoryHost {
    memory: Memory,
    crash_point: CrashPoint,
}

impl MemoryHost {
    fn reads(&self, operation: Operation, path: &Path) -> Result<(), HostError> {
        let failed = |errno| fail(operation, path, errno);
        self.crash_point.reads().map_err(failed)
    }
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
        self.reads(Operation::List, directory)?;
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
        self.reads(Operation::Read, path)?;
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
        self.reads(Operation::Read, path)?;
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
        self.reads(Operation::Read, path)?;
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
        if self.crash_point.is_refused() {
            // A process that survives the failure removes its unfinished file.
            tree.nodes.remove(&replacement);
            return Ok(());
        }
        if self.crash_point.is_cut_short() {
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

    /// The firmware changes a variable as a whole. A process that is killed before it has written leaves
    /// an empty file, as efivarfs does before Linux 6.14.
    fn put_firmware_variable(&mut self, path: &Path, bytes: &[u8]) -> Result<(), HostError> {
        let mut tree = self.memory.tree();
        if path.parent().and_then(|parent| tree.nodes.get(parent)) != Some(&Node::Directory) {
            return Err(fail(Operation::Write, path, ENOENT));
        }
        if self.crash_point.is_refused() {
            return Ok(());
        }
        let is_new = !tree.nodes.contains_key(path);
        let bytes = match self.crash_point.is_cut_short() {
            true if is_new => &[],
            true => return Ok(()),
            false => bytes,
        };
        tree.nodes
            .insert(path.to_owned(), Node::File(FileContent::new(bytes)));
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
