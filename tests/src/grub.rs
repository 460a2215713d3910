//! A disk with GRUB and a stock kernel, booted by a BIOS as on a real machine; and GRUB's programs, as unpacked by
//! `scripts/machine`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cpio::newc::{Builder, ModeFileType};
use tempfile::TempDir;

use crate::error::file_error;
use crate::image::find_busybox;
use crate::qemu::QEMU;
use crate::{Kernel, MachineError, kernel};

/// Returns the directory with Debian 12's GRUB 2.06: `usr/bin/grub-editenv`, `usr/lib/grub/i386-pc` and others. None
/// of it is installed.
///
/// # Errors
/// Fails if `scripts/machine` has not unpacked it.
pub fn grub() -> Result<PathBuf, MachineError> {
    let unpacked = kernel::directory().join("grub");
    if unpacked.join("usr/bin/grub-mkimage").exists() {
        return Ok(unpacked.canonicalize().unwrap_or(unpacked));
    }
    Err(MachineError::NotFetched {
        what: "GRUB".to_owned(),
        directory: unpacked,
    })
}

/// Returns one of GRUB's programs, with the libraries that it needs.
///
/// # Errors
/// As [`grub`].
pub fn grub_program(name: &str) -> Result<Command, MachineError> {
    let directory = grub()?;
    let mut command = Command::new(directory.join("usr/bin").join(name));
    let libraries = ["lib", "usr/lib"].map(|lib| {
        let path = directory.join(lib).join("x86_64-linux-gnu");
        path.display().to_string()
    });
    command.env("LD_LIBRARY_PATH", libraries.join(":"));
    Ok(command)
}

/// The length of the disk, and where its only partition begins, in bytes.
const LENGTH: u64 = 128 << 20;
const PARTITION: u64 = 1 << 20;
const SECTOR: u64 = 512;

/// The program that the kernel starts: it prints the line that it was booted with, restarts the machine if that is
/// the line of a trial or has `test.restart=1`, and switches it off otherwise.
const INIT: &str = "#!/busybox sh
/busybox mount -t proc proc /proc
line=$(/busybox cat /proc/cmdline)
echo \"booted with: $line\" >/dev/console
case \" $line \" in
*' hosttune.trial='* | *' test.restart=1 '*) /busybox reboot -f ;;
*) /busybox poweroff -f ;;
esac
";

/// A disk image from which a BIOS starts GRUB, and GRUB a kernel.
#[derive(Debug)]
pub struct GrubDisk(TempDir);

impl GrubDisk {
    /// Makes a disk whose file system has this UUID and a copy of a directory as `/boot`, with GRUB's modules, a
    /// stock kernel of this name, and an initramfs whose init prints the kernel command line as `booted with: …`,
    /// restarts the machine if there is `hosttune.trial=` or `test.restart=1` on it, and switches it off otherwise.
    ///
    /// # Errors
    /// Fails if something is not unpacked, a program is missing, or there is no space.
    pub fn make(
        boot: &Path,
        uuid: &str,
        kernel: Kernel,
        vmlinuz: &str,
        initrd: &str,
    ) -> Result<Self, MachineError> {
        let directory = tempfile::Builder::new()
            .prefix("grub-disk-")
            .tempdir_in(kernel::directory())
            .map_err(file_error(&kernel::directory(), "written"))?;
        let disk = Self(directory);
        let tree = disk.0.path().join("tree");
        let target = tree.join("boot");
        let written = file_error(&target, "written");
        fs::create_dir_all(&tree).map_err(&written)?;
        let mut copy = Command::new("cp");
        run(copy.arg("-a").arg(boot).arg(&target), "cp", "coreutils")?;
        let source = kernel::directory().join(format!("linux-{kernel}/vmlinuz"));
        fs::copy(&source, target.join(vmlinuz)).map_err(file_error(&source, "copied"))?;
        fs::write(target.join(initrd), initramfs()?).map_err(&written)?;
        let modules = grub()?.join("usr/lib/grub/i386-pc");
        let mut copy = Command::new("cp");
        copy.arg("-r").arg(&modules).arg(target.join("grub"));
        run(&mut copy, "cp", "coreutils")?;
        disk.write(&tree, &modules, uuid)?;
        Ok(disk)
    }

    fn image(&self) -> PathBuf {
        self.0.path().join("disk")
    }

    /// Writes GRUB before the partition, and the file system into it.
    fn write(&self, tree: &Path, modules: &Path, uuid: &str) -> Result<(), MachineError> {
        let core = self.0.path().join("core.img");
        let mut make = grub_program("grub-mkimage")?;
        make.args(["-O", "i386-pc", "-p", "(hd0,msdos1)/boot/grub", "-d"])
            .arg(modules)
            .arg("-o")
            .arg(&core)
            .args(["biosdisk", "part_msdos", "ext2"]);
        run(&mut make, "grub-mkimage", "grub-common")?;
        let read = |path: &Path| fs::read(path).map_err(file_error(path, "read"));
        let mut bytes = read(&modules.join("boot.img"))?;
        // The partition table: one bootable partition of type Linux, to the end of the disk.
        let mut entry = vec![0x80, 0, 2, 0, 0x83, 0xff, 0xff, 0xff];
        for number in [PARTITION / SECTOR, (LENGTH - PARTITION) / SECTOR] {
            entry.extend(u32::try_from(number).unwrap_or_default().to_le_bytes());
        }
        entry.resize(64, 0);
        entry.extend([0x55, 0xaa]);
        bytes.truncate(446);
        bytes.extend(entry);
        // GRUB looks for its core from the second sector on.
        bytes.extend(read(&core)?);
        let image = self.image();
        fs::write(&image, bytes)
            .and_then(|()| {
                fs::OpenOptions::new()
                    .write(true)
                    .open(&image)?
                    .set_len(LENGTH)
            })
            .map_err(file_error(&image, "written"))?;
        let mut mke2fs = Command::new("mke2fs");
        mke2fs
            .args(["-q", "-F", "-t", "ext4", "-U", uuid, "-d"])
            .arg(tree)
            .arg("-E")
            .arg(format!("offset={PARTITION}"))
            .arg(&image)
            .arg(format!("{}k", (LENGTH - PARTITION) / 1024));
        run(path_for_admins(&mut mke2fs), "mke2fs", "e2fsprogs")
    }

    /// Starts a machine from the disk and waits until it has switched itself off. Returns what its kernels printed.
    ///
    /// # Errors
    /// Fails if QEMU cannot be started, or if the machine runs longer than the limit.
    pub fn boot(&self, limit: Duration) -> Result<String, MachineError> {
        let console = self.0.path().join("console");
        let mut qemu = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", QEMU])
            .args(["-accel", "tcg,thread=multi", "-m", "512", "-nodefaults"])
            .args(["-display", "none", "-serial"])
            .arg(format!("file:{}", console.display()))
            .arg("-drive")
            .arg(format!(
                "file={},format=raw,if=virtio",
                self.image().display()
            ))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|source| MachineError::NoProgram {
                program: QEMU,
                package: "qemu-system-x86",
                source,
            })?;
        let begun = Instant::now();
        let failed = file_error(&console, "read");
        loop {
            let ended = qemu.try_wait().map_err(&failed)?;
            let text = || {
                Ok(
                    String::from_utf8_lossy(&fs::read(&console).map_err(&failed)?)
                        .replace('\r', ""),
                )
            };
            match ended {
                Some(status) if status.success() => return text(),
                Some(status) => {
                    return Err(MachineError::Failed {
                        program: QEMU,
                        status,
                        said: text()?,
                    });
                }
                None if begun.elapsed() > limit => {
                    let _ = qemu.kill();
                    let status = qemu.wait().map_err(&failed)?;
                    return Err(MachineError::Failed {
                        program: QEMU,
                        status,
                        said: text()?,
                    });
                }
                None => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    /// Reads a file of the file system, by its path there.
    ///
    /// # Errors
    /// Fails if it cannot be read.
    pub fn read(&self, path: &str) -> Result<Vec<u8>, MachineError> {
        let mut debugfs = Command::new("debugfs");
        debugfs.args(["-R", &format!("cat {path}")]);
        debugfs.arg(format!("{}?offset={PARTITION}", self.image().display()));
        let output =
            path_for_admins(&mut debugfs)
                .output()
                .map_err(|source| MachineError::NoProgram {
                    program: "debugfs",
                    package: "e2fsprogs",
                    source,
                })?;
        Ok(output.stdout)
    }
}

fn path_for_admins(command: &mut Command) -> &mut Command {
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"))
}

fn run(
    command: &mut Command,
    program: &'static str,
    package: &'static str,
) -> Result<(), MachineError> {
    let output = command.output().map_err(|source| MachineError::NoProgram {
        program,
        package,
        source,
    })?;
    match output.status.success() {
        true => Ok(()),
        false => Err(MachineError::Failed {
            program,
            status: output.status,
            said: String::from_utf8_lossy(&output.stderr).into_owned(),
        }),
    }
}

fn initramfs() -> Result<Vec<u8>, MachineError> {
    let busybox = find_busybox()?;
    let file = |name: &str, bytes: Vec<u8>| {
        let entry = Builder::new(name)
            .mode(0o755)
            .set_mode_file_type(ModeFileType::Regular);
        (entry, std::io::Cursor::new(bytes))
    };
    let directory = |name: &str| {
        let entry = Builder::new(name)
            .mode(0o755)
            .set_mode_file_type(ModeFileType::Directory);
        (entry, std::io::Cursor::new(Vec::new()))
    };
    let console = Builder::new("dev/console")
        .mode(0o600)
        .set_mode_file_type(ModeFileType::Char)
        .rdev_major(5)
        .rdev_minor(1);
    let entries = [
        directory("proc"),
        directory("dev"),
        (console, std::io::Cursor::new(Vec::new())),
        file("busybox", kernel::read(&busybox)?),
        file("init", INIT.into()),
    ];
    cpio::write_cpio(entries.into_iter(), Vec::new()).map_err(|source| MachineError::File {
        path: "initramfs".into(),
        operation: "built",
        source,
    })
}
