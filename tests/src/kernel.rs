//! The stock kernels that `scripts/machine` has unpacked.

use std::fmt;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;

use crate::MachineError;

/// A stock Debian kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kernel {
    /// The kernel of Debian 12, an old long-term kernel.
    Linux6_1,
    /// The next long-term kernel.
    Linux6_12,
    /// The newest kernel in Debian's backports, which changes over time.
    Newest,
}

impl Kernel {
    /// All kernels, the oldest first.
    pub const ALL: [Self; 3] = [Self::Linux6_1, Self::Linux6_12, Self::Newest];

    /// Returns the name for command lines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Linux6_1 => "6.1",
            Self::Linux6_12 => "6.12",
            Self::Newest => "newest",
        }
    }

    /// Returns the name of its tests, as the macros make them.
    #[must_use]
    pub fn test_name(self) -> &'static str {
        match self {
            Self::Linux6_1 => "linux_6_1",
            Self::Linux6_12 => "linux_6_12",
            Self::Newest => "newest",
        }
    }

    /// Whether a release (`uname -r`) can be that of this kernel.
    ///
    /// The newest kernel may have any release that belongs to neither of the others; its exact release is that of
    /// the unpacked package.
    #[must_use]
    pub fn is_release(self, release: &str) -> bool {
        let of = |series: &str| {
            release
                .strip_prefix(series)
                .is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_digit()))
        };
        match self {
            Self::Linux6_1 => of("6.1"),
            Self::Linux6_12 => of("6.12"),
            Self::Newest => !of("6.1") && !of("6.12"),
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Kernel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|kernel| kernel.name() == text);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("unknown kernel {text:?}: use one of {names}")
        })
    }
}

/// Returns the directory of `scripts/machine`: `HOSTTUNE_MACHINE`, or `target/machine` beside this crate.
#[must_use]
pub(crate) fn directory() -> PathBuf {
    std::env::var_os("HOSTTUNE_MACHINE").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/machine"),
        PathBuf::from,
    )
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, MachineError> {
    fs::read(path).map_err(|source| MachineError::File {
        path: path.to_owned(),
        operation: "read",
        source,
    })
}

/// An unpacked kernel.
#[derive(Debug, Clone)]
pub(crate) struct Unpacked {
    directory: PathBuf,
    /// The kernel release (`uname -r`).
    pub(crate) release: String,
}

impl Unpacked {
    pub(crate) fn find(kernel: Kernel) -> Result<Self, MachineError> {
        Self::find_in(&directory(), kernel)
    }

    fn find_in(machine: &Path, kernel: Kernel) -> Result<Self, MachineError> {
        let directory = machine.join(format!("linux-{kernel}"));
        let Ok(release) = fs::read_to_string(directory.join("release")) else {
            return Err(MachineError::NotFetched {
                what: format!("Debian's kernel {kernel}"),
                directory,
            });
        };
        let release = release.trim().to_owned();
        if !kernel.is_release(&release) {
            return Err(MachineError::Corrupt {
                path: directory.join("release"),
                problem: format!("{release:?}, which is not a release of Linux {kernel}"),
                directory,
            });
        }
        Ok(Self { directory, release })
    }

    /// Returns the directory of its modules, which is `/lib/modules/RELEASE` where the kernel is installed.
    pub(crate) fn modules(&self) -> PathBuf {
        self.directory
            .join("root/usr/lib/modules")
            .join(&self.release)
    }

    /// Returns the path of the kernel as it is installed, which a boot loader starts.
    pub(crate) fn vmlinuz(&self) -> PathBuf {
        self.directory.join("vmlinuz")
    }

    /// Returns the path of the decompressed kernel, and creates it if it does not exist.
    ///
    /// QEMU starts an ELF file at its PVH entry point. Decompression in the guest would take three seconds under
    /// emulation.
    pub(crate) fn vmlinux(&self) -> Result<PathBuf, MachineError> {
        let made = self.directory.join("vmlinux");
        if made.exists() {
            return Ok(made);
        }
        let image = self.vmlinuz();
        let bytes = read(&image)?;
        let corrupt = |problem: &str| MachineError::Corrupt {
            path: image.clone(),
            problem: problem.to_owned(),
            directory: self.directory.clone(),
        };
        let (compression, payload) =
            payload(&bytes).ok_or_else(|| corrupt("not a readable x86 boot image"))?;
        let elf = compression.undo(payload)?;
        if !elf.starts_with(b"\x7fELF") {
            return Err(corrupt("a boot image without an ELF file"));
        }
        // Several tests may do this at the same time: each writes its own file, and the last one remains.
        let written = |source| MachineError::File {
            path: made.clone(),
            operation: "written",
            source,
        };
        let mut file = tempfile::NamedTempFile::new_in(&self.directory).map_err(written)?;
        file.write_all(&elf).map_err(written)?;
        file.persist(&made).map_err(|error| written(error.error))?;
        Ok(made)
    }
}

/// A compression format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    Xz,
    Zstandard,
}

impl Compression {
    fn of(bytes: &[u8]) -> Option<Self> {
        [
            (&b"\xfd7zXZ\0"[..], Self::Xz),
            (b"\x28\xb5\x2f\xfd", Self::Zstandard),
        ]
        .into_iter()
        .find_map(|(magic, compression)| bytes.starts_with(magic).then_some(compression))
    }

    /// Decompresses with the program of the format.
    pub(crate) fn undo(self, bytes: &[u8]) -> Result<Vec<u8>, MachineError> {
        let (program, package) = match self {
            Self::Xz => ("xz", "xz-utils"),
            Self::Zstandard => ("zstd", "zstd"),
        };
        let no_program = |source| MachineError::NoProgram {
            program,
            package,
            source,
        };
        let mut child = Command::new(program)
            .args(["-d", "-c"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(no_program)?;
        let input = child.stdin.take();
        let output = std::thread::scope(|scope| {
            // If it exits early, its exit status says more than the failed write to its input.
            scope.spawn(move || input.map(|mut input| input.write_all(bytes)));
            child.wait_with_output()
        })
        .map_err(no_program)?;
        if output.status.success() {
            Ok(output.stdout)
        } else {
            Err(MachineError::Failed {
                program,
                status: output.status,
                said: String::from_utf8_lossy(&output.stderr).into_owned(),
            })
        }
    }
}

/// Returns the compressed kernel in an x86 boot image (boot protocol 2.08 and newer, 2007).
///
/// The header is described in the kernel's `Documentation/arch/x86/boot.rst`. The last four bytes of the payload
/// are the decompressed size, which is not part of any of the compression formats except `gzip`.
fn payload(image: &[u8]) -> Option<(Compression, &[u8])> {
    const SETUP_SECTORS: usize = 0x1f1;
    const MAGIC: usize = 0x202;
    const PAYLOAD_OFFSET: usize = 0x248;
    const PAYLOAD_LENGTH: usize = 0x24c;
    const SIZE: usize = 4;
    let word = |at: usize| -> Option<usize> {
        let bytes = image.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    };
    if image.get(MAGIC..MAGIC + 4)? != b"HdrS" {
        return None;
    }
    let setup = match *image.get(SETUP_SECTORS)? {
        // The protocol defines 0 as 4, for compatibility with boot loaders from 1995.
        0 => 4,
        sectors => usize::from(sectors),
    };
    let start = (setup + 1) * 512 + word(PAYLOAD_OFFSET)?;
    let end = start + word(PAYLOAD_LENGTH)?.checked_sub(SIZE)?;
    let payload = image.get(start..end)?;
    Some((Compression::of(payload)?, payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_no_other_series() {
        assert!(Kernel::Linux6_1.is_release("6.1.0-56-amd64"));
        assert!(!Kernel::Linux6_1.is_release("6.12.117+deb12-amd64"));
        assert!(Kernel::Linux6_12.is_release("6.12.117+deb12-amd64"));
        assert!(!Kernel::Linux6_12.is_release("6.1.0-56-amd64"));
        assert!(Kernel::Newest.is_release("7.2.12+deb13-amd64"));
        assert!(!Kernel::Newest.is_release("6.12.117+deb12-amd64"));
        assert!(Kernel::Linux6_1.is_release("6.1"));
    }

    #[test]
    fn a_name_is_read_back() {
        for kernel in Kernel::ALL {
            assert_eq!(kernel.to_string().parse(), Ok(kernel));
        }
        let refused = "6.2".parse::<Kernel>().unwrap_err();
        assert_eq!(
            refused,
            "unknown kernel \"6.2\": use one of 6.1, 6.12, newest"
        );
    }

    #[test]
    fn without_a_kernel_it_is_said_what_to_run() {
        let empty = tempfile::tempdir().unwrap();
        let error = Unpacked::find_in(empty.path(), Kernel::Linux6_12).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "Debian's kernel 6.12 is not in {}/linux-6.12: run scripts/machine",
                empty.path().display()
            )
        );
    }

    #[test]
    fn another_kernel_s_release_is_refused() {
        let machine = tempfile::tempdir().unwrap();
        let directory = machine.path().join("linux-6.1");
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("release"), "6.12.1-amd64\n").unwrap();
        let error = Unpacked::find_in(machine.path(), Kernel::Linux6_1).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("not a release of Linux 6.1"), "{text}");
        assert!(text.ends_with("and run scripts/machine"), "{text}");
    }

    #[test]
    fn no_image_that_is_cut_or_something_else_is_taken_for_one() {
        let mut image = vec![0; 2048];
        assert_eq!(payload(&image), None);
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x1f1] = 1;
        image[0x248..0x24c].copy_from_slice(&16_u32.to_le_bytes());
        image[0x24c..0x250].copy_from_slice(&20_u32.to_le_bytes());
        assert_eq!(payload(&image), None, "nothing that is known is inside");
        image[1040..1044].copy_from_slice(b"\x28\xb5\x2f\xfd");
        let (compression, inside) = payload(&image).unwrap();
        assert_eq!((compression, inside.len()), (Compression::Zstandard, 16));
        for length in 0..1040 + 16 {
            assert_eq!(payload(&image[..length]), None, "{length}");
        }
        image[0x24c..0x250].copy_from_slice(&3_u32.to_le_bytes());
        assert_eq!(payload(&image), None, "shorter than its size");
    }

    #[test]
    fn what_is_no_archive_is_an_error_with_what_was_said() {
        let error = Compression::Xz.undo(b"nothing compressed").unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("xz failed (exit status: 1)"), "{text}");
        assert!(text.contains("format not recognized"), "{text}");
    }
}
