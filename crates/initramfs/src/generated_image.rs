//! An initramfs image that is made anew, as a knob.

use std::fmt;

use crc32fast::Hasher;
use hosttune_core::file::{ConfigFile, FileState};
use hosttune_core::host::{FileSystem, RootKind};
use hosttune_core::{
    Host, HostError, HostErrorKind, Knob, Lifetime, Operation, Unsupported, UnsupportedKind,
    child_guard,
};
use serde::{Deserialize, Serialize};

use crate::contents::FileContent;
use crate::generator::{InitramfsGenerator, installed_generator};
use crate::image::Image;
use crate::image_generators::{ImageGenerators, LARGEST_IMAGE, WORKING_DIRECTORY};

/// The image of one kernel, with its copy of one file of modprobe.d.
///
/// The image is made anew by the generator of the system, in [`WORKING_DIRECTORY`]. What was made is read to its end
/// and compared with the image in use; only then it replaces that image, by a rename. So the old or the new image is
/// there whole whenever the program, the generator or the machine is stopped.
///
/// A revert makes the image anew too, from the configuration as it then is: the image of before is not kept, because
/// it is as large as the free space of many `/boot`, and the image is not the same byte for byte. An image without
/// the file counts as reverted, whoever has made it.
///
/// The session needs the backend [`ImageGenerators`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct GeneratedImage {
    /// The image, as an absolute path.
    path: String,
    /// The release of the kernel that is started with it.
    release: String,
    /// The file of modprobe.d, as an absolute path on the host.
    file: String,
}

/// The state of an image. A copy of the file is the CRC-32 of its bytes; `None` if the file is not inside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ImageState {
    /// There is no image.
    Absent,
    /// There is one with this copy.
    Image {
        /// The copy.
        copy: Option<String>,
    },
    /// There is one with this copy, and beside it or in [`WORKING_DIRECTORY`] is what an interrupted change has left.
    HalfMade {
        /// The copy.
        copy: Option<String>,
    },
    /// What is there cannot be read to its end.
    Unreadable {
        /// Why.
        reason: String,
    },
    /// Requested: an image that is made from the configuration, with this copy.
    Made {
        /// The copy.
        copy: String,
    },
}

/// What is known of the image in use, for a comparison with the new one.
struct InUse {
    entries: usize,
    has_modules: bool,
}

/// The copy of a file with these bytes.
fn copy_of(bytes: &[u8]) -> String {
    let mut crc = Hasher::new();
    crc.update(bytes);
    format!("{:08x}", crc.finalize())
}

impl GeneratedImage {
    /// The image at a path, for a kernel with this release, and its copy of the file of modprobe.d.
    pub fn new(
        path: impl Into<String>,
        release: impl Into<String>,
        file: impl Into<String>,
    ) -> Self {
        Self {
            path: path.into(),
            release: release.into(),
            file: file.into(),
        }
    }

    /// What is requested: the image is made anew, with a copy of these bytes.
    pub fn with_copy(bytes: &[u8]) -> ImageState {
        ImageState::Made {
            copy: copy_of(bytes),
        }
    }

    fn image(&self, host: &Host) -> Result<Image, HostError> {
        Ok(Image::read(host.reader(&self.path)?))
    }

    /// The copy that an image has of the file, or why that is not known.
    fn copy_in(&self, image: &Image) -> Result<Option<String>, String> {
        if let Some(why) = image.incomplete() {
            return Err(why);
        }
        let files = image.modprobe_files();
        match files.iter().find(|file| file.path == self.file) {
            None => Ok(None),
            Some(file) => match &file.content {
                FileContent::Bytes(bytes) => Ok(Some(copy_of(bytes))),
                _ => Err(format!("{} inside is not known", self.file)),
            },
        }
    }

    /// The copy that an image gets which is made now.
    fn copy_on_the_host(&self, host: &Host) -> Result<Option<String>, HostError> {
        match host.read(&self.file) {
            Ok(bytes) => Ok(Some(copy_of(&bytes))),
            Err(error) if *error.kind() == HostErrorKind::Missing => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn refused(&self, why: impl Into<String>) -> HostError {
        HostError::new(Operation::Create, &*self.path, HostErrorKind::Refused).detail(why)
    }

    /// Makes the image anew.
    fn make(&self, host: &mut Host) -> Result<(), HostError> {
        let Some(generator) = installed_generator(host)? else {
            return Err(HostError::not_applicable(
                Operation::Create,
                &*self.path,
                no_generator(),
            ));
        };
        let copy = self.copy_on_the_host(host)?;
        let old = self.image(host)?;
        let in_use = old.incomplete().is_none().then(|| InUse::of(&old, self));
        drop(old);
        let bytes =
            host.change::<ImageGenerators, _>(|programs| programs.build(generator, &self.release))?;
        let new = Image::read(&*bytes);
        if let Some(why) = self.objection(&new, in_use.as_ref(), copy.as_deref(), generator) {
            let name = generator.as_str();
            return Err(self
                .refused(format!(
                    "{name} succeeded, and its image was not taken: {why}; the old image stays"
                ))
                .with_hint(format!(
                    "run {} and look what it makes; no loader reads that file",
                    generator.attempt(&self.release)
                )));
        }
        drop(new);
        let now = host.file_without_bytes(&self.path)?;
        let Some(now) = now else {
            return Err(self.refused("the image was removed while a new one was made"));
        };
        host.put_file(
            &self.path,
            &hosttune_core::host::FileContent { bytes, ..now },
        )
    }

    /// Why a new image must not replace the one in use; `None` if it may.
    fn objection(
        &self,
        new: &Image,
        in_use: Option<&InUse>,
        copy: Option<&str>,
        generator: InitramfsGenerator,
    ) -> Option<String> {
        let has = match self.copy_in(new) {
            Ok(has) => has,
            Err(why) => return Some(why),
        };
        let contents = new.contents();
        if contents.segments().is_empty() || contents.get("init").is_none() {
            return Some("it has no /init, which the kernel starts".to_owned());
        }
        if new
            .builder()
            .is_some_and(|builder| builder != generator.builder())
        {
            return Some("another program has built it".to_owned());
        }
        if has.as_deref() != copy {
            let what = match (copy, has) {
                (Some(_), None) => "has no copy of",
                _ => "has another copy of",
            };
            return Some(format!("it {what} {}", self.file));
        }
        let new = InUse::of(new, self);
        let old = in_use?;
        if old.has_modules && !new.has_modules {
            return Some(format!("it has no modules for {}", self.release));
        }
        // The number does not depend on the compression.
        (new.entries < old.entries / 2).then(|| {
            format!(
                "it has {} entries, and the image in use has {}",
                new.entries, old.entries
            )
        })
    }

    /// Why the image that is there is not replaced by one of this generator.
    fn unfit(
        &self,
        host: &Host,
        generator: InitramfsGenerator,
    ) -> Result<Option<Unsupported>, HostError> {
        let name = generator.as_str();
        let command = generator.rebuild_command();
        let image = match self.image(host) {
            Err(error) if *error.kind() == HostErrorKind::Missing => {
                return Ok(Some(
                    Unsupported::new(UnsupportedKind::Missing, "there is no image")
                        .hint(format!("mount the file system of {}", self.path)),
                ));
            }
            image => image?,
        };
        if let Some(why) = image.incomplete() {
            return Ok(Some(
                Unsupported::new(
                    UnsupportedKind::Other,
                    format!("a new image could not be compared with this one: {why}"),
                )
                .hint(format!("run {command}")),
            ));
        }
        if let Some(builder) = image.builder()
            && builder != generator.builder()
        {
            return Ok(Some(
                Unsupported::new(
                    UnsupportedKind::Managed,
                    format!("{name} is installed, and another program has built this image"),
                )
                .hint("rebuild the image with the program that has built it"),
            ));
        }
        // mkinitcpio makes it with options that are in a preset.
        if self.path.contains("-fallback") {
            return Ok(Some(
                Unsupported::new(
                    UnsupportedKind::Managed,
                    "it is a fallback image, which is made with options of its own",
                )
                .hint(format!("run {command}")),
            ));
        }
        let programs = host.backend::<ImageGenerators>()?;
        let directory = self.path.rsplit_once('/').map_or("/", |(parent, _)| parent);
        let (Some(free), Some(size)) =
            (programs.free_space(directory), host.file_size(&self.path)?)
        else {
            return Ok(None);
        };
        // The new image is beside the old one before it replaces it, and may be larger.
        let needed = size + size / 8 + (1 << 20);
        Ok((free < needed).then(|| {
            Unsupported::new(
                UnsupportedKind::Other,
                format!(
                    "{directory} has {} MiB free, and a new image beside the old one takes {}",
                    free >> 20,
                    needed.div_ceil(1 << 20)
                ),
            )
            .hint("remove a kernel that is not used, or run this again when there is room")
        }))
    }

    /// Removes what an interrupted change has left. The image stays.
    fn clear(&self, host: &mut Host) -> Result<(), HostError> {
        if host.exists(WORKING_DIRECTORY)? {
            host.change::<ImageGenerators, _>(ImageGenerators::clear)?;
        }
        if host.half_written(&self.path)?
            && let Some(now) = host.file_without_bytes(&self.path)?
        {
            // The leftover is removed when the file is replaced.
            let bytes = host.read_up_to(&self.path, LARGEST_IMAGE)?;
            host.put_file(
                &self.path,
                &hosttune_core::host::FileContent { bytes, ..now },
            )?;
        }
        Ok(())
    }
}

impl InUse {
    fn of(image: &Image, knob: &GeneratedImage) -> Self {
        let mut modules = image.modules().iter();
        Self {
            entries: image.contents().iter().count(),
            has_modules: modules.any(|module| module.release == knob.release),
        }
    }
}

fn no_generator() -> Unsupported {
    Unsupported::new(
        UnsupportedKind::NoBackend,
        "no program is installed that is known here to build initramfs images",
    )
    .hint("rebuild the image with the program that has built it")
}

/// Whether Debian's configuration forbids that images are changed.
fn is_forbidden(host: &Host) -> Result<bool, HostError> {
    match host.read("/etc/initramfs-tools/update-initramfs.conf") {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes)
            .lines()
            .rev()
            .find_map(|line| line.trim().strip_prefix("update_initramfs="))
            .is_some_and(|value| value.trim_matches(['"', '\'']) == "no")),
        Err(error) if *error.kind() == HostErrorKind::Missing => Ok(false),
        Err(error) => Err(error),
    }
}

impl fmt::Display for GeneratedImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path)
    }
}

impl Knob for GeneratedImage {
    const NAME: &'static str = "initramfs-image";
    const LIFETIME: Lifetime = Lifetime::Disk;
    const IS_GENERATED: bool = true;
    type State = ImageState;

    fn read(&self, host: &Host) -> Result<ImageState, HostError> {
        let is_left = host.exists(WORKING_DIRECTORY)?;
        if is_left && host.root_kind() == RootKind::Live {
            // The generator that an earlier program has started may still be at work.
            child_guard::wait(&self.path)?;
        }
        let image = match self.image(host) {
            Err(error) if *error.kind() == HostErrorKind::Missing => return Ok(ImageState::Absent),
            image => image?,
        };
        Ok(match self.copy_in(&image) {
            Err(reason) => ImageState::Unreadable { reason },
            Ok(copy) if is_left || host.half_written(&self.path)? => ImageState::HalfMade { copy },
            Ok(copy) => ImageState::Image { copy },
        })
    }

    fn set(&self, host: &mut Host, to: &ImageState) -> Result<(), HostError> {
        if !matches!(to, ImageState::Image { .. } | ImageState::Made { .. }) {
            return Err(self.refused("this is not a state that can be set"));
        }
        self.clear(host)?;
        let seen = self.read(host)?;
        if self.satisfies(&seen, to) {
            return Ok(());
        }
        self.make(host)
    }

    /// An image without the file counts for the original, whatever that had.
    fn satisfies(&self, seen: &ImageState, wanted: &ImageState) -> bool {
        match (seen, wanted) {
            (ImageState::Image { copy: Some(seen) }, ImageState::Made { copy }) => seen == copy,
            (ImageState::Image { copy: None }, ImageState::Image { .. }) => true,
            _ => seen == wanted,
        }
    }

    /// An image is what was requested, or the step fails.
    fn rounds(&self, _: &ImageState, _: &ImageState) -> bool {
        false
    }

    fn unsupported(&self, host: &Host, to: &ImageState) -> Result<Option<Unsupported>, HostError> {
        if !matches!(to, ImageState::Made { .. }) {
            return Ok(None);
        }
        if host.root_kind() != RootKind::Live {
            return Ok(Some(
                Unsupported::new(
                    UnsupportedKind::NotRunning,
                    "the programs that build images look at the running system, and this is a tree",
                )
                .hint("rebuild the image in the tree: chroot DIR update-initramfs -u"),
            ));
        }
        let Some(generator) = installed_generator(host)? else {
            return Ok(Some(no_generator()));
        };
        let command = generator.rebuild_command();
        if host.backend::<ImageGenerators>().is_err() {
            return Ok(Some(
                Unsupported::new(
                    UnsupportedKind::NoBackend,
                    "this program has no backend that builds initramfs images",
                )
                .hint(format!(
                    "run {command}, or add the backend ImageGenerators::live() to the session"
                )),
            ));
        }
        if generator == InitramfsGenerator::InitramfsTools && is_forbidden(host)? {
            return Ok(Some(
                Unsupported::new(
                    UnsupportedKind::Managed,
                    "update_initramfs=no in /etc/initramfs-tools/update-initramfs.conf forbids to change images",
                )
                .hint(format!("set it to yes, or run {command}")),
            ));
        }
        let file = ConfigFile::new(&self.path)?;
        if let Some(unsupported) = file.unsupported(host, &FileState::Absent)? {
            return Ok(Some(unsupported));
        }
        self.unfit(host, generator)
    }

    fn original(&self, seen: &ImageState) -> Option<ImageState> {
        match seen {
            ImageState::Image { copy } | ImageState::HalfMade { copy } => {
                Some(ImageState::Image { copy: copy.clone() })
            }
            _ => None,
        }
    }

    fn is_partial_write(&self, seen: &ImageState, from: &ImageState, to: &ImageState) -> bool {
        let ImageState::HalfMade { copy } = seen else {
            return false;
        };
        let whole = ImageState::Image { copy: copy.clone() };
        self.satisfies(&whole, from) || self.satisfies(&whole, to)
    }

    /// The kernel was removed.
    fn is_gone(&self, seen: &ImageState) -> bool {
        *seen == ImageState::Absent
    }

    /// `/boot` may be a file system of its own, which is not mounted now.
    fn out_of_reach(
        &self,
        host: &Host,
        identity: Option<&str>,
        _: &ImageState,
    ) -> Result<Option<String>, HostError> {
        let was = identity.and_then(|text| serde_json::from_str::<FileSystem>(text).ok());
        host.file_out_of_reach(&self.path, was.as_ref())
    }

    fn identity(&self, host: &Host) -> Result<Option<String>, HostError> {
        let system = host.file_system(&self.path)?;
        Ok(system.and_then(|system| serde_json::to_string(&system).ok()))
    }

    /// It is the same image. What is on another file system is out of reach.
    fn is_same_thing(_: &str, _: &str) -> bool {
        true
    }

    fn show(&self, state: &ImageState) -> String {
        let name = self.file.rsplit('/').next().unwrap_or(&self.file);
        match state {
            ImageState::Absent => "absent".to_owned(),
            ImageState::Image { copy: None } => format!("image without {name}"),
            ImageState::Image { copy: Some(_) } => format!("image with a copy of {name}"),
            ImageState::HalfMade { .. } => {
                "image, and a leftover of an interrupted change".to_owned()
            }
            ImageState::Unreadable { reason } => format!("unreadable: {reason}"),
            ImageState::Made { .. } => format!("image made anew, with {name}"),
        }
    }
}
