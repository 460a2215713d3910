//! The initramfs, which boots the machine until it can use the programs of the build machine.
//!
//! The initramfs contains no distribution. The build machine's `/usr` is shared with the test machine,
//! read-only, so the programs installed here (`tc`, `udevadm`, `modprobe`) exist there in the same version. The
//! initramfs contains only what is needed before that, and the machine's own `/etc` and `/var`.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use cpio::newc::{Builder, ModeFileType};

use crate::MachineError;
use crate::kernel::{Compression, Unpacked, read};

/// A directory of the build machine that is shared with the test machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Share {
    /// The 9p mount tag.
    pub(crate) tag: String,
    /// The path on the build machine.
    pub(crate) from: PathBuf,
    /// The path in the guest.
    pub(crate) at: PathBuf,
}

/// The contents of `/etc/machine-id`, without the newline.
pub(crate) const MACHINE_ID: &str = "0123456789abcdef0123456789abcdef";

/// Mount tag of the build machine's `/usr`, which `guest/init` mounts by itself.
pub(crate) const USR: &str = "usr";

/// The modules that must be loaded before `/usr` can be mounted.
const BEFORE_USR: [&str; 3] = ["virtio_pci", "9pnet_virtio", "9p"];

/// The configuration for the guest's scripts.
#[derive(Debug, Clone)]
pub(crate) struct Told<'a> {
    pub(crate) shares: &'a [Share],
    /// Paths that exist when all drivers are bound to their devices.
    pub(crate) devices: &'a [String],
    /// Whether to load the drivers of all devices.
    pub(crate) coldplug: bool,
    /// Whether the machine has the disk with `/etc` and `/var`, which survives a power cut.
    pub(crate) state: bool,
    /// Whether the build machine's systemd is its init.
    pub(crate) systemd: bool,
    /// Whether a UEFI firmware starts it, from a disk with an EFI system partition.
    pub(crate) uefi: bool,
}

struct Image(Vec<(Builder, Cursor<Vec<u8>>)>);

impl Image {
    fn entry(&mut self, path: &str, kind: ModeFileType, mode: u32, bytes: Vec<u8>) {
        let number = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        let builder = Builder::new(path)
            .ino(number)
            .mode(mode)
            .set_mode_file_type(kind);
        self.0.push((builder, Cursor::new(bytes)));
    }

    fn directory(&mut self, path: &str, mode: u32) {
        self.entry(path, ModeFileType::Directory, mode, Vec::new());
    }

    fn file(&mut self, path: &str, mode: u32, bytes: impl Into<Vec<u8>>) {
        self.entry(path, ModeFileType::Regular, mode, bytes.into());
    }

    fn link(&mut self, path: &str, to: &str) {
        self.entry(path, ModeFileType::Symlink, 0o777, to.into());
    }
}

/// Builds the cpio archive.
pub(crate) fn image(kernel: &Unpacked, told: &Told<'_>) -> Result<Vec<u8>, MachineError> {
    let mut image = Image(Vec::new());
    for (path, mode) in [
        ("proc", 0o755),
        ("sys", 0o755),
        ("dev", 0o755),
        ("usr", 0o755),
        ("run", 0o755),
        ("tmp", 0o1777),
        ("root", 0o700),
        ("boot", 0o755),
        ("lib", 0o755),
        ("lib/modules", 0o755),
        ("etc", 0o755),
        ("etc/sysctl.d", 0o755),
        ("etc/modprobe.d", 0o755),
        ("etc/alternatives", 0o755),
        ("var", 0o755),
        ("var/cache", 0o755),
        ("var/lib", 0o755),
        ("var/log", 0o755),
        ("var/tmp", 0o1777),
    ] {
        image.directory(path, mode);
    }
    for (path, to) in [
        ("bin", "usr/bin"),
        ("sbin", "usr/sbin"),
        ("lib64", "usr/lib64"),
        ("var/run", "/run"),
        ("etc/mtab", "../proc/self/mounts"),
        ("etc/os-release", "../usr/lib/os-release"),
    ] {
        image.link(path, to);
    }
    // A real directory, because the modules are not below the build machine's /usr. The other entries are
    // links into /usr/lib.
    for (name, _) in links(Path::new("/usr/lib"))? {
        if name != "modules" {
            image.link(&format!("lib/{name}"), &format!("../usr/lib/{name}"));
        }
    }
    // Programs such as awk are links through this directory.
    for (name, to) in links(Path::new("/etc/alternatives"))? {
        if let Some(to) = to {
            image.link(&format!("etc/alternatives/{name}"), &to);
        }
    }
    for (path, text) in [
        (
            "etc/passwd",
            "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534::/:/bin/false\n",
        ),
        ("etc/group", "root:x:0:\nnogroup:x:65534:\n"),
        (
            "etc/nsswitch.conf",
            "passwd: files\ngroup: files\nhosts: files\n",
        ),
        ("etc/hosts", "127.0.0.1 localhost\n"),
        ("etc/hostname", "machine\n"),
        ("etc/machine-id", &*format!("{MACHINE_ID}\n")),
    ] {
        image.file(path, 0o644, text);
    }
    image.file("init", 0o755, include_str!("../guest/init"));
    image.file("session", 0o755, include_str!("../guest/session"));
    image.file("systemd", 0o755, include_str!("../guest/systemd"));
    image.file("commands", 0o755, include_str!("../guest/commands"));
    let busybox = find_busybox()?;
    image.file("busybox", 0o755, read(&busybox)?);
    for (position, (name, bytes)) in modules(kernel, &BEFORE_USR)?.into_iter().enumerate() {
        image.file(&format!("boot/{position:02}-{name}.ko"), 0o644, bytes);
    }
    let shares = told.shares.iter().filter(|share| share.tag != USR);
    let shares: String = shares
        .map(|share| format!("{} {}\n", share.tag, share.at.display()))
        .collect();
    image.file("shares", 0o644, shares);
    let devices: String = told
        .devices
        .iter()
        .map(|path| format!("{path}\n"))
        .collect();
    image.file("devices", 0o644, devices);
    let yes = |told: bool| if told { "yes" } else { "no" };
    let (coldplug, state, uefi) = (yes(told.coldplug), yes(told.state), yes(told.uefi));
    let init = if told.systemd { "systemd" } else { "session" };
    image.file(
        "machine",
        0o644,
        format!("coldplug={coldplug}\nstate={state}\nuefi={uefi}\ninit={init}\n"),
    );

    cpio::write_cpio(image.0.into_iter(), Vec::new()).map_err(|source| MachineError::File {
        path: "initramfs".into(),
        operation: "built",
        source,
    })
}

/// Returns the names in a directory of the build machine, sorted, with the targets of symlinks.
fn links(directory: &Path) -> Result<Vec<(String, Option<String>)>, MachineError> {
    let failed = |source| MachineError::File {
        path: directory.to_owned(),
        operation: "listed",
        source,
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let to = fs::read_link(entry.path()).ok();
        found.push((
            entry.file_name().to_string_lossy().into_owned(),
            to.map(|to| to.to_string_lossy().into_owned()),
        ));
    }
    found.sort();
    Ok(found)
}

/// Returns the path of busybox, which is static because no libraries are available early at boot.
pub(crate) fn find_busybox() -> Result<PathBuf, MachineError> {
    let places = ["/usr/bin/busybox", "/bin/busybox"];
    let found = places.iter().map(PathBuf::from).find(|path| path.exists());
    found.ok_or_else(|| MachineError::NoProgram {
        program: "busybox",
        package: "busybox-static",
        source: std::io::ErrorKind::NotFound.into(),
    })
}

/// Returns these modules and their dependencies, decompressed, in load order.
fn modules(kernel: &Unpacked, names: &[&str]) -> Result<Vec<(String, Vec<u8>)>, MachineError> {
    let directory = kernel.modules();
    let index = directory.join("modules.dep");
    let text = String::from_utf8_lossy(&read(&index)?).into_owned();
    let paths = load_order(&text, names);
    // A module that is not listed must be built in, or the machine would boot without /usr.
    let builtin = directory.join("modules.builtin");
    let builtin = String::from_utf8_lossy(&read(&builtin)?).into_owned();
    for name in names {
        let is_there = |path: &str| module_name(path) == *name;
        if !paths.iter().any(|path| is_there(path)) && !builtin.lines().any(is_there) {
            return Err(MachineError::Corrupt {
                path: index,
                problem: format!("missing {name}, which the machine needs to start"),
                directory,
            });
        }
    }
    let load = |path: &str| {
        let bytes = read(&directory.join(path))?;
        let compression = match path.rsplit('.').next() {
            Some("xz") => Some(Compression::Xz),
            Some("zst") => Some(Compression::Zstandard),
            _ => None,
        };
        let bytes = match compression {
            Some(compression) => compression.undo(&bytes)?,
            None => bytes,
        };
        Ok((module_name(path), bytes))
    };
    paths.into_iter().map(load).collect()
}

/// Returns the name of the module in a file: `9p` for `kernel/fs/9p/9p.ko.xz`. A dash in the file name is an
/// underscore in the name of the module.
fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split(".ko").next().unwrap_or(file).replace('-', "_")
}

/// Returns the files of these modules and of their dependencies from `modules.dep`, in load order.
fn load_order<'a>(index: &'a str, names: &[&str]) -> Vec<&'a str> {
    let mut order: Vec<&str> = Vec::new();
    for name in names {
        let line = index.lines().filter_map(|line| line.split_once(':'));
        let found = line
            .into_iter()
            .find(|(path, _)| module_name(path) == *name);
        let Some((path, needs)) = found else { continue };
        // depmod lists the dependencies in reverse load order.
        for needed in needs.split_whitespace().rev().chain([path]) {
            if !order.contains(&needed) {
                order.push(needed);
            }
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    const INDEX: &str = "\
kernel/drivers/virtio/virtio.ko.xz:
kernel/drivers/virtio/virtio_ring.ko.xz:
kernel/drivers/virtio/virtio_pci.ko.xz: kernel/drivers/virtio/virtio_ring.ko.xz kernel/drivers/virtio/virtio.ko.xz
kernel/fs/9p/9p.ko.xz: kernel/net/9p/9pnet.ko.xz kernel/fs/netfs/netfs.ko.xz
kernel/net/9p/9pnet.ko.xz:
kernel/sound/pci/hda/snd-hda-intel.ko:
";

    #[test]
    fn a_module_comes_behind_what_it_needs_and_once() {
        assert_eq!(
            load_order(INDEX, &["virtio_pci", "snd_hda_intel", "virtio_ring", "9p"]),
            [
                "kernel/drivers/virtio/virtio.ko.xz",
                "kernel/drivers/virtio/virtio_ring.ko.xz",
                "kernel/drivers/virtio/virtio_pci.ko.xz",
                "kernel/sound/pci/hda/snd-hda-intel.ko",
                "kernel/fs/netfs/netfs.ko.xz",
                "kernel/net/9p/9pnet.ko.xz",
                "kernel/fs/9p/9p.ko.xz",
            ]
        );
        assert!(load_order(INDEX, &["built_in"]).is_empty());
    }
}
