//! Which image a kernel is started with.

use std::io::{Read, empty};

use hosttune_core::{Host, HostError, HostErrorKind};

use crate::image::Image;
use crate::unified::initramfs_of_unified_image;

/// Where the boot partition and the EFI system partition are mounted.
const PARTITIONS: [&str; 3] = ["/boot", "/efi", "/boot/efi"];

/// Why an image is taken for that of a kernel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Evidence {
    /// The running kernel was started with it: `initrd=` in `/proc/cmdline`.
    CommandLine,
    /// A boot loader's entry file with this path names it, for this version or for a kernel of this release.
    EntryFile(String),
    /// Its name is the one that a distribution gives to the image of this release.
    Name,
    /// It is in a unified kernel image with the release in its name.
    UnifiedKernelImage,
}

/// An image on a host: one file, or several that the loader joins.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ImageFiles {
    /// The files in the order in which they are joined, as absolute paths.
    pub paths: Vec<String>,
    /// Why they are taken for the image.
    pub evidence: Evidence,
}

impl ImageFiles {
    /// Reads the image part by part.
    ///
    /// # Errors
    /// Any error from the host. An image that is damaged is no error: see
    /// [`incomplete`](crate::Image::incomplete).
    pub fn read(&self, host: &Host) -> Result<Image, HostError> {
        let mut joined: Box<dyn Read + Send> = Box::new(empty());
        for path in &self.paths {
            let reader = host.reader(path)?;
            joined = Box::new(joined.chain(reader));
        }
        if self.evidence != Evidence::UnifiedKernelImage {
            return Ok(Image::read(joined));
        }
        let inside = initramfs_of_unified_image(joined);
        let inside = inside.map_err(|error| {
            HostError::malformed(self.paths.join(" "), format!("it cannot be read: {error}"))
        })?;
        match inside {
            Some(inside) => Ok(Image::read(inside)),
            None => Err(HostError::malformed(
                self.paths.join(" "),
                "it is no unified kernel image with an initramfs inside",
            )),
        }
    }
}

/// The images that a kernel of this release may be started with, the ones with better evidence first; empty if none
/// is found. More than one is left where the files do not tell which of them the loader takes.
///
/// If the running kernel has the release and `initrd=` in its command line, that alone is the answer. Otherwise it
/// is what entry files of boot loaders name for the release, and the files with the names of Debian, Fedora, SUSE,
/// Arch and kernel-install, and unified kernel images with the release in their names.
///
/// # Errors
/// Any error from the host, except for what is missing or may not be read.
pub fn images_of(host: &Host, release: &str) -> Result<Vec<ImageFiles>, HostError> {
    let mut found = Vec::new();
    // A release becomes a part of paths.
    if release.is_empty() || release.contains('/') || release.starts_with('.') {
        return Ok(found);
    }
    if is_running(host, release)? {
        let paths = of_command_line(host)?;
        if !paths.is_empty() {
            return Ok(vec![ImageFiles {
                paths,
                evidence: Evidence::CommandLine,
            }]);
        }
    }
    of_entry_files(host, release, &mut found)?;
    by_name(host, release, &mut found)?;
    in_unified_images(host, release, &mut found)?;
    Ok(found)
}

fn add(found: &mut Vec<ImageFiles>, paths: Vec<String>, evidence: Evidence) {
    if !paths.is_empty() && !found.iter().any(|known| known.paths == paths) {
        found.push(ImageFiles { paths, evidence });
    }
}

fn text(host: &Host, path: &str) -> Result<Option<String>, HostError> {
    match host.read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if is_out_of_reach(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_out_of_reach(error: &HostError) -> bool {
    matches!(error.kind(), HostErrorKind::Missing | HostErrorKind::Denied)
        || error.is_not_a_directory()
}

fn names(host: &Host, directory: &str) -> Result<Vec<String>, HostError> {
    match host.list(directory) {
        Err(error) if is_out_of_reach(&error) => Ok(Vec::new()),
        listed => listed,
    }
}

fn exists(host: &Host, path: &str) -> Result<bool, HostError> {
    match host.exists(path) {
        Err(error) if is_out_of_reach(&error) => Ok(false),
        exists => exists,
    }
}

fn is_running(host: &Host, release: &str) -> Result<bool, HostError> {
    Ok(text(host, "/proc/sys/kernel/osrelease")?.is_some_and(|of| of.trim() == release))
}

/// The absolute path of a file that a loader names from the root of its partition.
fn of_loader(host: &Host, first: &[&str], name: &str) -> Result<Option<String>, HostError> {
    let name = name.replace('\\', "/");
    let name = name.trim_start_matches('/');
    if name.split('/').any(|part| part == "..") {
        return Ok(None);
    }
    // Where /boot is not a partition of its own, GRUB's paths begin with /boot.
    for partition in first.iter().chain(&PARTITIONS).chain(&[""]) {
        let path = format!("{partition}/{name}");
        if exists(host, &path)? {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Empty also if a file that is named does not exist: then it is on a partition that is not mounted.
fn of_command_line(host: &Host) -> Result<Vec<String>, HostError> {
    let line = text(host, "/proc/cmdline")?.unwrap_or_default();
    let mut paths = Vec::new();
    // A name with a blank cannot be given to the EFI stub.
    let words = line.split_ascii_whitespace();
    for name in words.filter_map(|word| word.strip_prefix("initrd=")) {
        match of_loader(host, &[], name)? {
            Some(path) => paths.push(path),
            None => return Ok(Vec::new()),
        }
    }
    Ok(paths)
}

fn of_entry_files(
    host: &Host,
    release: &str,
    found: &mut Vec<ImageFiles>,
) -> Result<(), HostError> {
    for partition in PARTITIONS {
        let directory = format!("{partition}/loader/entries");
        for name in names(host, &directory)? {
            if !name.ends_with(".conf") {
                continue;
            }
            let path = format!("{directory}/{name}");
            let Some(text) = text(host, &path)? else {
                continue;
            };
            let mut images = Vec::new();
            let mut is_of_release = false;
            let mut is_complete = true;
            for line in text.lines() {
                let Some((key, value)) = line.trim().split_once([' ', '\t']) else {
                    continue;
                };
                match key {
                    "version" => is_of_release |= value.trim() == release,
                    "linux" => is_of_release |= has_part(value.trim(), release),
                    "initrd" => {
                        // GRUB's variables are empty unless another program sets them.
                        let words = value.split_ascii_whitespace();
                        for word in words.filter(|word| !word.starts_with('$')) {
                            match of_loader(host, &[partition], word)? {
                                Some(path) => images.push(path),
                                None => is_complete = false,
                            }
                        }
                    }
                    _ => {}
                }
            }
            if is_of_release && is_complete {
                add(found, images, Evidence::EntryFile(path));
            }
        }
    }
    Ok(())
}

/// Whether a part of a path is the release, or ends in it behind a `-`: `/vmlinuz-6.1.0`, `/ID/6.1.0/linux`.
fn has_part(path: &str, release: &str) -> bool {
    path.split(['/', '\\']).any(|part| {
        let before = part.strip_suffix(release);
        before.is_some_and(|before| before.is_empty() || before.ends_with('-'))
    })
}

fn by_name(host: &Host, release: &str, found: &mut Vec<ImageFiles>) -> Result<(), HostError> {
    let mut paths = vec![
        format!("/boot/initrd.img-{release}"),
        format!("/boot/initramfs-{release}.img"),
        format!("/boot/initrd-{release}"),
    ];
    for modules in ["/usr/lib/modules", "/lib/modules"] {
        // Arch's kernels have one name for all releases of a package.
        if let Some(package) = text(host, &format!("{modules}/{release}/pkgbase"))? {
            let package = package.trim();
            if !package.is_empty() && !package.contains('/') {
                paths.push(format!("/boot/initramfs-{package}.img"));
            }
        }
        for name in ["initramfs.img", "initrd"] {
            paths.push(format!("{modules}/{release}/{name}"));
        }
    }
    let mut tokens: Vec<String> = Vec::new();
    for file in ["/etc/kernel/entry-token", "/etc/machine-id"] {
        let token = text(host, file)?.unwrap_or_default();
        let token = token.trim();
        if !token.is_empty() && !token.contains('/') && !token.starts_with('.') {
            tokens.push(token.to_owned());
        }
    }
    for partition in PARTITIONS {
        for token in &tokens {
            let directory = format!("{partition}/{token}/{release}");
            for name in names(host, &directory)? {
                if name.starts_with("initrd") || name.starts_with("initramfs") {
                    paths.push(format!("{directory}/{name}"));
                }
            }
        }
    }
    for path in paths {
        if is_named_by_an_entry(found, &path) || !exists(host, &path)? {
            continue;
        }
        // /lib is a symlink to /usr/lib.
        if path.starts_with("/lib/") && is_named_by_an_entry(found, &format!("/usr{path}")) {
            continue;
        }
        add(found, vec![path], Evidence::Name);
    }
    Ok(())
}

fn is_named_by_an_entry(found: &[ImageFiles], path: &str) -> bool {
    let mut paths = found.iter().flat_map(|image| &image.paths);
    paths.any(|known| known == path)
}

fn in_unified_images(
    host: &Host,
    release: &str,
    found: &mut Vec<ImageFiles>,
) -> Result<(), HostError> {
    for partition in PARTITIONS {
        let directory = format!("{partition}/EFI/Linux");
        for name in names(host, &directory)? {
            let stem = name.strip_suffix(".efi").unwrap_or_default();
            // Boot counting: NAME+LEFT-DONE.efi.
            let stem = stem.rsplit_once('+').map_or(stem, |(stem, _)| stem);
            if has_part(stem, release) || stem.ends_with(release) {
                let path = format!("{directory}/{name}");
                add(found, vec![path], Evidence::UnifiedKernelImage);
            }
        }
    }
    Ok(())
}
