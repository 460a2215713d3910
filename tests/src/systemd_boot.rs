//! A disk from which a UEFI firmware starts systemd-boot, and systemd-boot a stock kernel; and the firmware. Both are
//! Debian's, as unpacked by `scripts/machine`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use std::io::Write;

use crate::disk::make_disk;
use crate::error::file_error;
use crate::{MachineError, kernel};

/// The length of the disk. Its only partition begins after the first MiB and ends before the last, where the copy of
/// the partition table is.
const LENGTH: u64 = 128 << 20;
const MARGIN: u64 = 1 << 20;
const SECTOR: u64 = 512;

/// How long systemd-boot shows its menu: not at all.
const LOADER: &str = "timeout 0\n";

/// The firmware of a machine and the disk that it starts from.
#[derive(Debug, Clone)]
pub(crate) struct Firmware {
    /// The program of the firmware, which is only read.
    pub(crate) code: PathBuf,
    /// The variables of the firmware, which it and the kernel change.
    pub(crate) variables: PathBuf,
    /// The disk with the EFI system partition.
    pub(crate) disk: PathBuf,
}

/// What the only entry of the menu starts.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    /// The kernel release, as `uname -r` prints it.
    pub(crate) release: &'a str,
    pub(crate) vmlinuz: &'a Path,
    pub(crate) initramfs: &'a Path,
    /// The kernel command line.
    pub(crate) line: &'a str,
    /// `/etc/machine-id`.
    pub(crate) machine_id: &'a str,
}

impl Entry<'_> {
    /// The directory of its kernel, as kernel-install names it.
    fn directory(&self) -> String {
        format!("{}/{}", self.machine_id, self.release)
    }

    /// The file in `loader/entries`, as kernel-install of Debian 12 writes it.
    fn text(&self) -> String {
        let directory = self.directory();
        format!(
            "title      Debian GNU/Linux 12 (bookworm)\n\
             version    {release}\n\
             machine-id {id}\n\
             sort-key   debian\n\
             options    {line}\n\
             linux      /{directory}/linux\n\
             initrd     /{directory}/initrd.img\n",
            release = self.release,
            id = self.machine_id,
            line = self.line,
        )
    }
}

/// Makes the firmware's variables and the disk in this directory.
pub(crate) fn make(directory: &Path, entry: &Entry<'_>) -> Result<Firmware, MachineError> {
    let (ovmf, loader) = (unpacked("ovmf", "OVMF")?, systemd_boot()?);
    let made = Firmware {
        code: ovmf.join("usr/share/OVMF/OVMF_CODE_4M.fd"),
        variables: directory.join("variables"),
        disk: directory.join("system-partition"),
    };
    let empty = ovmf.join("usr/share/OVMF/OVMF_VARS_4M.fd");
    fs::copy(&empty, &made.variables).map_err(file_error(&empty, "copied"))?;

    make_disk(&made.disk, LENGTH)?;
    let sectors = (LENGTH - 2 * MARGIN) / SECTOR;
    let table = format!(
        "label: gpt\nstart={}, size={sectors}, type=U\n",
        MARGIN / SECTOR
    );
    let mut sfdisk = program("sbin/sfdisk")?;
    run(sfdisk.arg("-q").arg(&made.disk), "sfdisk", table.as_bytes())?;
    let partition = format!("{}@@{MARGIN}", made.disk.display());
    let mut mformat = program("usr/bin/mformat")?;
    // The geometry means nothing here, and mformat needs one.
    mformat.args(["-i", &partition, "-T", &sectors.to_string()]);
    run(mformat.args(["-h", "64", "-s", "32", "::"]), "mformat", b"")?;

    let tree = directory.join("tree");
    let files = [
        ("EFI/BOOT/BOOTX64.EFI".to_owned(), Source::File(&loader)),
        (
            "loader/loader.conf".to_owned(),
            Source::Text(LOADER.to_owned()),
        ),
        (
            format!("loader/entries/{}-{}.conf", entry.machine_id, entry.release),
            Source::Text(entry.text()),
        ),
        (
            format!("{}/linux", entry.directory()),
            Source::File(entry.vmlinuz),
        ),
        (
            format!("{}/initrd.img", entry.directory()),
            Source::File(entry.initramfs),
        ),
    ];
    for (name, source) in files {
        let path = tree.join(name);
        let written = file_error(&path, "written");
        fs::create_dir_all(path.parent().unwrap_or(&tree)).map_err(&written)?;
        match source {
            Source::File(from) => fs::copy(from, &path).map(|_| ()),
            Source::Text(text) => fs::write(&path, text),
        }
        .map_err(&written)?;
    }
    let mut mcopy = program("usr/bin/mcopy")?;
    mcopy.args(["-s", "-i", &partition]);
    for top in fs::read_dir(&tree).map_err(file_error(&tree, "listed"))? {
        mcopy.arg(top.map_err(file_error(&tree, "listed"))?.path());
    }
    run(mcopy.arg("::"), "mcopy", b"")?;
    fs::remove_dir_all(&tree).map_err(file_error(&tree, "removed"))?;
    Ok(made)
}

/// Where a file of the disk comes from.
enum Source<'a> {
    File(&'a Path),
    Text(String),
}

/// Returns the loader. That it is unpacked says that the programs are, too.
fn systemd_boot() -> Result<PathBuf, MachineError> {
    let directory = unpacked("systemd-boot", "systemd-boot")?;
    Ok(directory.join("usr/lib/systemd/boot/efi/systemd-bootx64.efi"))
}

fn unpacked(name: &str, what: &str) -> Result<PathBuf, MachineError> {
    let directory = kernel::directory().join(name);
    if directory.exists() {
        return Ok(directory);
    }
    Err(MachineError::NotFetched {
        what: what.to_owned(),
        directory,
    })
}

/// Returns a program that writes the disk, with the library that it needs.
fn program(path: &str) -> Result<Command, MachineError> {
    let directory = unpacked("systemd-boot", "systemd-boot")?;
    let mut command = Command::new(directory.join(path));
    command.env(
        "LD_LIBRARY_PATH",
        directory.join("usr/lib/x86_64-linux-gnu"),
    );
    Ok(command)
}

fn run(command: &mut Command, program: &'static str, input: &[u8]) -> Result<(), MachineError> {
    let no_program = |source| MachineError::NoProgram {
        program,
        package: match program {
            "sfdisk" => "fdisk",
            _ => "mtools",
        },
        source,
    };
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(no_program)?;
    // One that exits early says in its exit status what is wrong.
    let _ = child.stdin.take().map(|mut stdin| stdin.write_all(input));
    let output = child.wait_with_output().map_err(no_program)?;
    match output.status.success() {
        true => Ok(()),
        false => Err(MachineError::Failed {
            program,
            status: output.status,
            said: String::from_utf8_lossy(&output.stderr).into_owned(),
        }),
    }
}
