//! Which host programs the helper executes.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::protocol::is_host_name;

/// The directory in which root installs host programs.
///
/// A program is opened once, after every directory above it was opened one beneath the other without following a
/// symlink and found to be root's and not writable by others. It is executed by that descriptor, so a file that is
/// put in its place later is not executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    directory: PathBuf,
    /// The owner that is trusted beside root: the user of this process.
    us: u32,
}

/// An installed host program, opened.
#[derive(Debug)]
pub struct InstalledHost {
    file: OwnedFd,
    name: String,
}

/// Why a host program is not executed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotExecuted {
    /// There is none of this name.
    #[error("{} does not exist", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Others than root could have written it.
    #[error("{}: {why}", path.display())]
    Untrusted {
        /// The file or the directory.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// It cannot be opened.
    #[error("{}: {}", path.display(), io::Error::from(*errno))]
    Failed {
        /// The file or the directory.
        path: PathBuf,
        /// The kernel's error.
        errno: Errno,
    },
}

impl Installed {
    /// The host programs in a directory.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            us: rustix::process::geteuid().as_raw(),
        }
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Opens a host program.
    ///
    /// # Errors
    /// If it does not exist, or others than root could have written it or replaced it.
    pub fn open(&self, name: &str) -> Result<InstalledHost, NotExecuted> {
        let path = self.directory.join(name);
        if !is_host_name(name) {
            return Err(NotExecuted::Missing { path });
        }
        let directory = self.open_directory()?;
        // Without waiting for the other end of a pipe, and without a terminal that would become this process's.
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&directory, name, flags, Mode::empty())
            .map_err(|errno| not_opened(&path, errno))?;
        let untrusted = |why| NotExecuted::Untrusted {
            path: path.clone(),
            why,
        };
        let stat = rustix::fs::fstat(&file).map_err(|errno| not_opened(&path, errno))?;
        if !FileType::from_raw_mode(stat.st_mode).is_file() {
            return Err(untrusted("it is not a regular file".to_owned()));
        }
        self.trust(&stat, false).map_err(untrusted)?;
        if stat.st_mode & 0o111 == 0 {
            return Err(untrusted(format!(
                "it is not executable (mode {:04o})",
                stat.st_mode & 0o7777
            )));
        }
        let mut start = [0; 2];
        if rustix::io::pread(&file, &mut start, 0) == Ok(2) && &start == b"#!" {
            // The kernel would give its interpreter a path that exists in this process alone.
            return Err(untrusted("it is a script, not a program".to_owned()));
        }
        Ok(InstalledHost {
            file,
            name: name.to_owned(),
        })
    }

    /// The names of all files in the directory that could be host programs; whether they are, [`open`](Self::open)
    /// says. Empty if there is no such directory.
    ///
    /// # Errors
    /// If the directory is not trusted or cannot be listed.
    pub fn names(&self) -> Result<Vec<String>, NotExecuted> {
        let directory = match self.open_directory() {
            Ok(directory) => directory,
            Err(NotExecuted::Missing { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let fail = |errno| not_opened(&self.directory, errno);
        let mut names = Vec::new();
        for entry in Dir::read_from(&directory).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            if let Ok(name) = entry.file_name().to_str()
                && is_host_name(name)
            {
                names.push(name.to_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn open_directory(&self) -> Result<OwnedFd, NotExecuted> {
        let mut shown = PathBuf::from("/");
        let refused = |path: &Path, why: &str| NotExecuted::Untrusted {
            path: path.to_owned(),
            why: why.to_owned(),
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = |holder: Option<&OwnedFd>, segment: &OsStr, shown: &Path| {
            let opened = match holder {
                Some(holder) => rustix::fs::openat(holder, segment, flags, Mode::empty()),
                None => rustix::fs::openat(CWD, "/", flags, Mode::empty()),
            };
            match opened {
                Err(Errno::NOTDIR) => Err(refused(shown, "it is a symlink or no directory")),
                opened => opened.map_err(|errno| not_opened(shown, errno)),
            }
        };
        let mut segments = self.directory.components();
        if segments.next() != Some(Component::RootDir) {
            return Err(refused(&self.directory, "it is not an absolute path"));
        }
        let mut holder = open(None, OsStr::new("/"), &shown)?;
        let segments: Vec<_> = segments.collect();
        for number in 0..=segments.len() {
            let stat = rustix::fs::fstat(&holder).map_err(|errno| not_opened(&shown, errno))?;
            let is_above = number < segments.len();
            self.trust(&stat, is_above)
                .map_err(|why| refused(&shown, &why))?;
            let Some(segment) = segments.get(number) else {
                break;
            };
            let Component::Normal(segment) = segment else {
                return Err(refused(&self.directory, "it contains '..'"));
            };
            shown.push(segment);
            holder = open(Some(&holder), segment, &shown)?;
        }
        // A descriptor of O_PATH cannot be listed.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(&holder, ".", flags, Mode::empty())
            .map_err(|errno| not_opened(&shown, errno))
    }

    /// Rejects what others than root could have written. `is_above`: a directory further up, in which others may
    /// add files if it is sticky, because they cannot replace root's directories in it.
    fn trust(&self, stat: &Stat, is_above: bool) -> Result<(), String> {
        if stat.st_uid != 0 && stat.st_uid != self.us {
            return Err(format!("it belongs to user {}, not to root", stat.st_uid));
        }
        let is_sticky = is_above && stat.st_mode & 0o1000 != 0;
        if stat.st_mode & 0o022 != 0 && !is_sticky {
            return Err(format!(
                "its mode is {:04o}: others can write to it",
                stat.st_mode & 0o7777
            ));
        }
        Ok(())
    }
}

impl InstalledHost {
    /// The command that executes it with these arguments: nothing of this process's environment, `/` as the
    /// working directory, and a process group of its own, so that Ctrl-C at the helper's terminal ends no lease.
    #[expect(
        clippy::disallowed_methods,
        reason = "executing an installed host program is what the helper is for"
    )]
    pub fn command(&self, arguments: &[impl AsRef<OsStr>]) -> Command {
        // The new process has the same descriptors until it executes the file.
        let mut command = Command::new(format!("/proc/self/fd/{}", self.file.as_raw_fd()));
        command
            .arg0(&self.name)
            .args(arguments)
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }
}

fn not_opened(path: &Path, errno: Errno) -> NotExecuted {
    let path = path.to_owned();
    match errno {
        Errno::NOENT => NotExecuted::Missing { path },
        Errno::LOOP => NotExecuted::Untrusted {
            path,
            why: "it is a symlink".to_owned(),
        },
        errno => NotExecuted::Failed { path, errno },
    }
}

/// Whether only root (or the user of this process) can write to a directory, which is not followed if it is a
/// symlink.
pub(crate) fn is_private(path: &Path) -> Result<Stat, NotExecuted> {
    let stat = rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|errno| not_opened(path, errno))?;
    let why = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Installed::new("/").trust(&stat, false),
        _ => Err("it is not a directory".to_owned()),
    };
    match why {
        Ok(()) => Ok(stat),
        Err(why) => Err(NotExecuted::Untrusted {
            path: path.to_owned(),
            why,
        }),
    }
}
