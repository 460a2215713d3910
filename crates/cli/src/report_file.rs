//! The files named on the command line for a report, and for an earlier report to compare with.
//!
//! Writing a report does not tune the host, and there is nothing to revert. It therefore bypasses the
//! host abstraction and is not journalled.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// A file named on the command line that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {}", .path.display())]
pub(super) struct ReportFileError {
    what: &'static str,
    path: PathBuf,
    source: io::Error,
    /// Whether the given path is wrong, rather than the disk.
    pub(super) is_usage: bool,
}

/// A report that is written to a temporary file and renamed into place once it is complete. A reader
/// sees either the previous report or the new one, and a failed run loses nothing.
#[derive(Debug)]
pub(super) struct ReportFile {
    path: PathBuf,
    aside: PathBuf,
    file: File,
    is_in_place: bool,
}

impl ReportFile {
    /// Creates the temporary file before the measurement, so that a missing directory is reported before
    /// a minute of measuring and not after it.
    pub(super) fn begin(path: &Path) -> Result<Self, ReportFileError> {
        let failed = |source| ReportFileError {
            what: "write",
            path: path.to_owned(),
            source,
            is_usage: false,
        };
        let Some(name) = path.file_name() else {
            return Err(ReportFileError {
                is_usage: true,
                ..failed(io::ErrorKind::IsADirectory.into())
            });
        };
        if is_something_else(path) {
            // A rename would replace a device or a symbolic link with a regular file.
            let why = "it exists and is not a regular file";
            return Err(ReportFileError {
                is_usage: true,
                ..failed(io::Error::new(io::ErrorKind::AlreadyExists, why))
            });
        }
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}", std::process::id()));
        let aside = path.with_file_name(hidden);
        let file = create(&aside).map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            aside,
            file,
            is_in_place: false,
        })
    }

    /// Writes the report and renames it into place.
    pub(super) fn finish(mut self, text: &str) -> Result<(), ReportFileError> {
        let written = self
            .file
            .write_all(text.as_bytes())
            .and_then(|()| self.file.sync_all())
            .and_then(|()| put_in_place(&self.aside, &self.path));
        self.is_in_place = written.is_ok();
        written.map_err(|source| ReportFileError {
            what: "write",
            path: self.path.clone(),
            source,
            is_usage: false,
        })
    }
}

impl Drop for ReportFile {
    fn drop(&mut self) {
        if !self.is_in_place {
            remove(&self.aside);
        }
    }
}

/// The maximum size of a report that is read. One of an hour has less than a megabyte.
const LONGEST: u64 = 16 << 20;

/// Reads a report. The file may be a pipe from another program: no lock is held while waiting for it, and
/// the length is limited.
#[expect(
    clippy::disallowed_methods,
    reason = "an earlier report, named by the user; it is not part of the host, so --root does not apply"
)]
pub(super) fn read(path: &Path) -> Result<String, ReportFileError> {
    let failed = |source| ReportFileError {
        what: "read",
        path: path.to_owned(),
        source,
        is_usage: true,
    };
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LONGEST + 1).read_to_end(&mut bytes))
        .map_err(failed)?;
    if bytes.len() as u64 > LONGEST {
        let why = format!(
            "it is longer than {} MiB, so it is not a report",
            LONGEST >> 20
        );
        return Err(failed(io::Error::other(why)));
    }
    String::from_utf8(bytes).map_err(|_| failed(io::Error::other("it is not UTF-8 text")))
}

/// The error for a file that is not a report.
pub(super) fn no_report(path: &Path, source: serde_json::Error) -> ReportFileError {
    ReportFileError {
        what: "read a measurement from",
        path: path.to_owned(),
        source: source.into(),
        is_usage: true,
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a report path given by the user, examined without following a link"
)]
fn is_something_else(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|there| !there.is_file())
}

#[expect(
    clippy::disallowed_methods,
    reason = "a new file with a unique name: no existing file is touched"
)]
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

#[expect(
    clippy::disallowed_methods,
    reason = "replaces the report that the user named, and only with a complete one"
)]
fn put_in_place(aside: &Path, path: &Path) -> io::Result<()> {
    std::fs::rename(aside, path)
}

#[expect(
    clippy::disallowed_methods,
    reason = "removes the temporary file that was created here"
)]
fn remove(aside: &Path) {
    let _ = std::fs::remove_file(aside);
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::disallowed_methods,
        reason = "these tests read the files that were written"
    )]

    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(directory).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_report_is_whole_or_is_not_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("report.json");
        let report = ReportFile::begin(&path).unwrap();
        assert!(!path.exists());
        report.finish("first").unwrap();
        assert_eq!(read(&path).unwrap(), "first");
        drop(ReportFile::begin(&path).unwrap());
        assert_eq!(read(&path).unwrap(), "first", "given up");
        ReportFile::begin(&path).unwrap().finish("second").unwrap();
        assert_eq!(read(&path).unwrap(), "second");
        assert_eq!(names(directory.path()), ["report.json"]);
    }

    #[test]
    fn a_report_may_come_through_a_pipe_and_has_an_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pipe");
        let mode = rustix::fs::Mode::RWXU;
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let writing = path.clone();
        let writer = std::thread::spawn(move || std::fs::write(writing, "piped").unwrap());
        assert_eq!(read(&path).unwrap(), "piped");
        writer.join().unwrap();
        for endless in ["/dev/zero", "sparse"] {
            let path = directory.path().join(endless);
            if endless == "sparse" {
                let file = File::create(&path).unwrap();
                file.set_len(60 << 30).unwrap();
            }
            let error = read(&path).unwrap_err();
            assert!(error.is_usage, "{error}");
            let source = std::error::Error::source(&error).unwrap().to_string();
            assert!(source.contains("longer than"), "{source}");
        }
    }

    #[test]
    fn devices_links_and_directories_are_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink("/nowhere", &link).unwrap();
        for path in [
            Path::new("/dev/null"),
            &link,
            directory.path(),
            Path::new("/"),
        ] {
            let error = ReportFile::begin(path).unwrap_err();
            assert!(error.is_usage, "{error}");
        }
        let nowhere = directory.path().join("no/report.json");
        assert!(!ReportFile::begin(&nowhere).unwrap_err().is_usage);
        assert_eq!(names(directory.path()), ["link"]);
    }
}
