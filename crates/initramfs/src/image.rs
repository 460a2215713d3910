//! What an image says about kernel modules.

use std::io::Read;

use crate::contents::{Contents, FileContent, Node};
use crate::limits::Limits;

/// Where modprobe looks for its configuration: kmod's directories (`modprobe.d(5)`), which the images of
/// initramfs-tools, dracut and mkinitcpio have too.
const MODPROBE: [&str; 5] = [
    "etc/modprobe.d",
    "run/modprobe.d",
    "usr/local/lib/modprobe.d",
    "usr/lib/modprobe.d",
    "lib/modprobe.d",
];

/// A file system in a file, into which dracut can put everything. It is not read.
const NESTED: [&str; 4] = [
    "squashfs-root.img",
    "squash-root.img",
    "squash/root.img",
    "erofs-root.img",
];

/// The program that built an image, by the files that it puts into each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Builder {
    /// initramfs-tools: `scripts/functions` and `conf/initramfs.conf`.
    InitramfsTools,
    /// dracut: `usr/lib/dracut`.
    Dracut,
    /// mkinitcpio: `config` and `init_functions`.
    Mkinitcpio,
}

/// A kernel module in an image.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModuleFile {
    /// The name of the module, with `_` for every `-`.
    pub name: String,
    /// The release of the kernel that it is for.
    pub release: String,
    /// The path in the image.
    pub path: String,
}

/// A file of modprobe.d in an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModprobeFile {
    /// The path under which modprobe reads it, with a leading `/`.
    pub path: String,
    /// The content.
    pub content: FileContent,
}

/// An image, with what matters for kernel modules and their options.
#[derive(Debug)]
pub struct Image {
    contents: Contents,
    modules: Vec<ModuleFile>,
}

impl Image {
    /// Reads an image.
    pub fn read(reader: impl Read) -> Self {
        Self::read_with_limits(reader, Limits::default())
    }

    /// As [`read`](Self::read), with other limits.
    pub fn read_with_limits(reader: impl Read, limits: Limits) -> Self {
        let wanted = |path: &str| {
            // The directory can be a symlink, so its name decides wherever it is.
            path.ends_with(".conf") && path.contains("modprobe.d/")
        };
        Self::of(Contents::read_with_limits(reader, limits, wanted))
    }

    /// What contents say that were read with the content of the files of modprobe.d.
    pub fn of(contents: Contents) -> Self {
        let mut modules: Vec<ModuleFile> = contents
            .iter()
            .filter(|(_, node)| matches!(node, Node::File(_) | Node::Symlink(_)))
            .filter_map(|(path, _)| module(path))
            .collect();
        modules.sort();
        Self { contents, modules }
    }

    /// Everything that is inside.
    pub fn contents(&self) -> &Contents {
        &self.contents
    }

    /// The kernel modules inside, by name.
    pub fn modules(&self) -> &[ModuleFile] {
        &self.modules
    }

    /// Whether a module for a kernel is inside; `-` and `_` are the same. `None` if it is not known: the image was
    /// not read to its end, or has a file system inside that is not read.
    pub fn has_module(&self, name: &str, release: &str) -> Option<bool> {
        let name = name.replace('-', "_");
        let mut modules = self.modules.iter();
        if modules.any(|module| module.name == name && module.release == release) {
            return Some(true);
        }
        self.incomplete().is_none().then_some(false)
    }

    /// The files that modprobe reads in the image, in the order of its directories. A directory that is reached by
    /// two names, as `/lib` and `/usr/lib`, is there once.
    pub fn modprobe_files(&self) -> Vec<ModprobeFile> {
        let mut files: Vec<ModprobeFile> = Vec::new();
        let mut seen: Vec<&str> = Vec::new();
        for directory in MODPROBE {
            for (path, node) in self.contents.in_directory(directory) {
                let name = path.rsplit('/').next().unwrap_or(path);
                let is_read = name.ends_with(".conf") && name.len() > 5 && !name.starts_with('.');
                if !is_read || seen.contains(&path) {
                    continue;
                }
                seen.push(path);
                let content = match node {
                    Node::File(content) => content.clone(),
                    // It masks the file of this name in the other directories.
                    Node::Symlink(target) if target == "/dev/null" => {
                        FileContent::Bytes(std::sync::Arc::default())
                    }
                    Node::Symlink(_) => match self.contents.get(path) {
                        Some(Node::File(FileContent::NotWanted)) => {
                            FileContent::Unknown("it is a symlink to a file that was not read")
                        }
                        Some(Node::File(content)) => content.clone(),
                        // modprobe passes over a symlink that leads nowhere.
                        _ => continue,
                    },
                    _ => continue,
                };
                files.push(ModprobeFile {
                    path: format!("/{directory}/{name}"),
                    content,
                });
            }
        }
        files
    }

    /// The program that built the image; `None` if no file tells.
    pub fn builder(&self) -> Option<Builder> {
        let has = |path| self.contents.get(path).is_some();
        if has("scripts/functions") && has("conf/initramfs.conf") {
            return Some(Builder::InitramfsTools);
        }
        if has("usr/lib/dracut") || has("lib/dracut") {
            return Some(Builder::Dracut);
        }
        (has("config") && has("init_functions")).then_some(Builder::Mkinitcpio)
    }

    /// Why something may be inside that is not listed, as a sentence; `None` if everything is known.
    pub fn incomplete(&self) -> Option<String> {
        if let Some(error) = self.contents.stopped_by() {
            return Some(error.to_string());
        }
        let mut nested = NESTED.iter();
        let nested = nested.find(|path| self.contents.get(path).is_some())?;
        Some(format!("it has its files in {nested}, which is not read"))
    }
}

/// The module at a path of an image: `usr/lib/modules/RELEASE/…/NAME.ko`, perhaps compressed.
fn module(path: &str) -> Option<ModuleFile> {
    let below = path
        .strip_prefix("usr/lib/modules/")
        .or_else(|| path.strip_prefix("lib/modules/"))?;
    let (release, below) = below.split_once('/')?;
    let file = below.rsplit('/').next()?;
    let name = [".ko", ".ko.xz", ".ko.zst", ".ko.gz"]
        .iter()
        .find_map(|ending| file.strip_suffix(ending))?;
    Some(ModuleFile {
        name: name.replace('-', "_"),
        release: release.to_owned(),
        path: path.to_owned(),
    })
}
