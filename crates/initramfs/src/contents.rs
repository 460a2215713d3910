//! What an image contains after the kernel has unpacked it.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::sync::Arc;

use crate::archive::{Archive, Entry, Segment};
use crate::error::{Place, ReadError, ReadErrorKind};
use crate::header::EntryType;
use crate::limits::Limits;

/// The most bytes of a file that is kept.
const LARGEST_FILE: u32 = 1 << 20;

/// The most bytes of all files that are kept, and of all names and targets of symlinks.
const LARGEST_TOTAL: usize = 32 << 20;

/// The most bytes that are kept of hard-linked files of which no name is wanted so far.
const LARGEST_LINKED: usize = 4 << 20;

/// How many symlinks the kernel follows in one path.
const MOST_LINKS: usize = 40;

/// How many names a path may have, with those of the symlinks in it. The kernel has no such limit; without one, an
/// image of long chains of symlinks would take hours.
const MOST_NAMES: usize = 200;

/// The directories that the kernel has before it unpacks an image (`usr/default_cpio_list`).
const DIRECTORIES: [&str; 3] = ["", "dev", "root"];

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Node {
    /// A regular file.
    File(FileContent),
    /// A directory.
    Directory,
    /// A symlink with this target.
    Symlink(String),
    /// A device, a pipe or a socket.
    Special,
}

/// The content of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileContent {
    /// It was wanted, and this is it.
    Bytes(Arc<[u8]>),
    /// It was not wanted.
    NotWanted,
    /// It was wanted and is not known, with the reason.
    Unknown(&'static str),
}

/// An image as the kernel leaves it when all segments are unpacked: names, and the content of some files.
///
/// Names are those of the files as they are reached, without a leading `/`: an entry `lib/a` is at `usr/lib/a`
/// if the image has a symlink from `lib` to `usr/lib`. Bytes of names that are not UTF-8 are replaced.
///
/// ```
/// use hosttune_initramfs::Contents;
///
/// # fn show(file: impl std::io::Read) {
/// let contents = Contents::read(file, |path| path.ends_with(".conf"));
/// for (path, node) in contents.iter() {
///     println!("{path}: {node:?}");
/// }
/// if let Some(error) = contents.stopped_by() {
///     println!("what follows is not known: {error}");
/// }
/// # }
/// # show(&b""[..]);
/// ```
#[derive(Debug, Default)]
pub struct Contents {
    nodes: BTreeMap<String, Node>,
    segments: Vec<Segment>,
    stopped_by: Option<ReadError>,
}

impl Contents {
    /// Reads an image, and keeps the content of the files that `wants` wants, of at most 1 MiB each and 32 MiB
    /// together. A path is given to `wants` as it is in the archive, and as it is reached.
    pub fn read(reader: impl Read, wants: impl Fn(&str) -> bool) -> Self {
        Self::read_with_limits(reader, Limits::default(), wants)
    }

    /// As [`read`](Self::read), with other limits.
    pub fn read_with_limits(
        reader: impl Read,
        limits: Limits,
        wants: impl Fn(&str) -> bool,
    ) -> Self {
        let mut archive = Archive::with_limits(reader, limits);
        let mut unpacking = Unpacking::default();
        let stopped_by = unpacking.unpack(&mut archive, &wants).err();
        Self {
            nodes: unpacking.nodes,
            segments: archive.segments().to_vec(),
            stopped_by,
        }
    }

    /// The paths and what is there, in the order of their bytes.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.nodes.iter().map(|(path, node)| (&**path, node))
    }

    /// What is at a path, whose symlinks are followed; a leading `/` makes no difference. `None` if nothing is there.
    pub fn get(&self, path: &str) -> Option<&Node> {
        let path = resolved(&self.nodes, path, true)?;
        self.nodes.get(&path)
    }

    /// The paths directly in a directory, whose symlinks are followed, with what is there.
    pub fn in_directory(&self, directory: &str) -> impl Iterator<Item = (&str, &Node)> {
        let prefix = match resolved(&self.nodes, directory, true) {
            Some(path) if path.is_empty() => Some(String::new()),
            Some(path) => Some(format!("{path}/")),
            None => None,
        };
        let start = prefix.clone().unwrap_or_default();
        let from_there = self.nodes.range(start..);
        from_there
            .map_while(move |(path, node)| {
                let name = path.strip_prefix(prefix.as_deref()?)?;
                Some((!name.is_empty() && !name.contains('/')).then_some((&**path, node)))
            })
            .flatten()
    }

    /// The segments of the image.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Why the image was not read to its end; `None` if it was. Then what was not found may still be there.
    pub fn stopped_by(&self) -> Option<&ReadError> {
        self.stopped_by.as_ref()
    }
}

/// The state of unpacking.
#[derive(Default)]
struct Unpacking {
    nodes: BTreeMap<String, Node>,
    kept: usize,
    names: usize,
    linked: Linked,
}

/// Hard links of the archive that is read: the content is at one of the names, in GNU cpio at the last.
#[derive(Default)]
struct Linked {
    files: HashMap<(u32, (u32, u32)), LinkedFile>,
    kept: usize,
}

#[derive(Default)]
struct LinkedFile {
    wanted: Vec<String>,
    content: Option<FileContent>,
}

impl Unpacking {
    fn unpack<R: Read>(
        &mut self,
        archive: &mut Archive<R>,
        wants: &dyn Fn(&str) -> bool,
    ) -> Result<(), ReadError> {
        let mut archives = 0;
        loop {
            let Some(mut entry) = archive.next_entry()? else {
                self.end_of_links();
                return Ok(());
            };
            // The kernel forgets hard links at the end of each archive.
            if archives != entry.archive_number() {
                archives = entry.archive_number();
                self.end_of_links();
            }
            let name = entry.name_lossy().into_owned();
            let Some(path) = resolved(&self.nodes, &name, false) else {
                return Err(limit(
                    archive,
                    name,
                    "the number of names in a path",
                    MOST_NAMES,
                ));
            };
            self.names += path.len();
            if self.names > LARGEST_TOTAL {
                return Err(limit(
                    archive,
                    name,
                    "the length of all names",
                    LARGEST_TOTAL,
                ));
            }
            // The kernel creates no directory that has no entry, and without one it passes over the file.
            if path.is_empty() || !self.has_directory_of(&path) {
                continue;
            }
            let is_wanted = wants(&name) || wants(&path);
            let node = match entry.header().entry_type() {
                EntryType::Directory => Node::Directory,
                EntryType::Special => Node::Special,
                EntryType::Symlink => {
                    let target = entry.content(crate::header::LONGEST_NAME)?;
                    let target = target.unwrap_or_default();
                    let end = target.iter().position(|byte| *byte == 0);
                    let target = &target[..end.unwrap_or(target.len())];
                    self.names += target.len();
                    Node::Symlink(String::from_utf8_lossy(target).into_owned())
                }
                EntryType::File if entry.header().links > 1 => {
                    self.linked_file(&mut entry, &path, is_wanted)?
                }
                EntryType::File if is_wanted => Node::File(self.content(&mut entry)?),
                EntryType::File => Node::File(FileContent::NotWanted),
            };
            self.put(path, node);
        }
    }

    fn has_directory_of(&self, path: &str) -> bool {
        let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
        DIRECTORIES.contains(&directory)
            || matches!(self.nodes.get(directory), Some(Node::Directory))
    }

    /// A directory stays one if it comes again; anything else is replaced, with what was below it.
    fn put(&mut self, path: String, node: Node) {
        if matches!(self.nodes.get(&path), Some(Node::Directory)) {
            if node == Node::Directory {
                return;
            }
            // The kernel removes only an empty directory.
            let below = format!("{path}/");
            let next = self.nodes.range(below.clone()..).next();
            if next.is_some_and(|(path, _)| path.starts_with(&below)) {
                return;
            }
        }
        self.nodes.insert(path, node);
    }

    fn content<R: Read>(&mut self, entry: &mut Entry<'_, R>) -> Result<FileContent, ReadError> {
        if self.kept + entry.header().size as usize > LARGEST_TOTAL {
            return Ok(FileContent::Unknown(
                "the wanted files are larger than 32 MiB",
            ));
        }
        Ok(match entry.content(LARGEST_FILE)? {
            Some(bytes) => {
                self.kept += bytes.len();
                FileContent::Bytes(bytes.into())
            }
            None => FileContent::Unknown("the file is larger than 1 MiB"),
        })
    }

    fn linked_file<R: Read>(
        &mut self,
        entry: &mut Entry<'_, R>,
        path: &str,
        is_wanted: bool,
    ) -> Result<Node, ReadError> {
        let key = (entry.header().inode, entry.header().device);
        let size = entry.header().size;
        let file = self.linked.files.entry(key).or_default();
        let is_any_wanted = is_wanted || !file.wanted.is_empty();
        if is_wanted {
            file.wanted.push(path.to_owned());
        }
        if size > 0 {
            let has_room = self.linked.kept + size as usize <= LARGEST_LINKED;
            let content = if is_any_wanted {
                self.content(entry)?
            } else if has_room {
                // A later name of the file may be wanted.
                match entry.content(LARGEST_FILE)? {
                    Some(bytes) => FileContent::Bytes(bytes.into()),
                    None => FileContent::Unknown("the file is larger than 1 MiB"),
                }
            } else {
                FileContent::Unknown("its content is at another name, and was not kept")
            };
            let file = self.linked.files.entry(key).or_default();
            if let FileContent::Bytes(bytes) = &content {
                self.linked.kept += bytes.len();
            }
            file.content = Some(content);
            self.give_content(key);
        }
        let known = self
            .linked
            .files
            .get(&key)
            .and_then(|file| file.content.clone());
        Ok(Node::File(match known {
            Some(content) if is_wanted => content,
            // Without content so far the file is empty, until another name brings it.
            None if is_wanted => FileContent::Bytes(Arc::default()),
            _ => FileContent::NotWanted,
        }))
    }

    /// Gives the content of a file to its wanted names.
    fn give_content(&mut self, key: (u32, (u32, u32))) {
        let Some(file) = self.linked.files.get(&key) else {
            return;
        };
        let Some(content) = &file.content else {
            return;
        };
        for path in &file.wanted {
            if let Some(Node::File(known)) = self.nodes.get_mut(path) {
                *known = content.clone();
            }
        }
    }

    fn end_of_links(&mut self) {
        self.linked = Linked::default();
    }
}

fn limit<R: Read>(
    archive: &Archive<R>,
    name: String,
    what: &'static str,
    limit: usize,
) -> ReadError {
    ReadError {
        kind: ReadErrorKind::Limit {
            what,
            limit: limit as u64,
        },
        segment: archive.segments().last().map_or(0, |one| one.offset),
        place: Place::Behind(name),
    }
}

/// The path that the kernel reaches by this one, without a leading `/`. The last name is followed too if `is_last`.
/// `None` if there are too many names or symlinks.
fn resolved(nodes: &BTreeMap<String, Node>, path: &str, is_last: bool) -> Option<String> {
    let mut names = 0;
    let mut add = |left: &mut Vec<String>, path: &str| {
        names += path.bytes().filter(|byte| *byte == b'/').count() + 1;
        let has_room = names <= MOST_NAMES;
        if has_room {
            let parts = path.rsplit('/').filter(|name| !matches!(*name, "" | "."));
            left.extend(parts.map(str::to_owned));
        }
        has_room
    };
    let mut left = Vec::new();
    if !add(&mut left, path) {
        return None;
    }
    let mut reached = String::new();
    let mut links = 0;
    while let Some(name) = left.pop() {
        if name == ".." {
            reached.truncate(reached.rfind('/').unwrap_or(0));
            continue;
        }
        let length = reached.len();
        if !reached.is_empty() {
            reached.push('/');
        }
        reached.push_str(&name);
        if left.is_empty() && !is_last {
            return Some(reached);
        }
        if let Some(Node::Symlink(target)) = nodes.get(&reached) {
            links += 1;
            reached.truncate(if target.starts_with('/') { 0 } else { length });
            if links > MOST_LINKS || !add(&mut left, target) {
                return None;
            }
        }
    }
    Some(reached)
}
