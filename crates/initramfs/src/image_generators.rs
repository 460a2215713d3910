//! The backend that runs the programs which make initramfs images.

use std::fmt;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::Duration;

use hosttune_core::child::{Child, NotRun};
use hosttune_core::{HostError, HostErrorKind, Operation, Unsupported, UnsupportedKind};

use crate::generator::InitramfsGenerator;

/// The programs that make initramfs images: those of the system, or a fake of them.
pub trait ImageGenerator: fmt::Debug + Send {
    /// The image that the generator makes now for the kernel with this release, which no loader reads yet.
    ///
    /// # Errors
    /// If the generator fails, does not end in time, or writes nothing.
    fn build(&mut self, generator: InitramfsGenerator, release: &str)
    -> Result<Vec<u8>, HostError>;

    /// Removes what a generator that was killed has left in [`WORKING_DIRECTORY`].
    ///
    /// # Errors
    /// If it is there and cannot be removed.
    fn clear(&mut self) -> Result<(), HostError>;

    /// The free space of the file system with this directory, in bytes; `None` if it is not known.
    fn free_space(&self, directory: &str) -> Option<u64>;
}

/// The directory in which generators work: only root can open it, and it is there only while one runs.
///
/// It is not below `/run`, which is in memory and often smaller than an image, nor in `/boot`, where a loader or a
/// kernel's package could take a file for an image.
pub const WORKING_DIRECTORY: &str = "/var/cache/hosttune-initramfs";

/// The largest image that is taken, in bytes.
pub(crate) const LARGEST_IMAGE: u64 = 1 << 30;

/// An image with all modules and xz takes some minutes on a slow processor.
const TIME_LIMIT: Duration = Duration::from_secs(900);

const ENVIRONMENT: [(&str, &str); 3] = [
    ("HOME", "/root"),
    ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
    // All three put temporary files here, and what they leave behind when they are killed is removed with it.
    ("TMPDIR", WORKING_DIRECTORY),
];

/// The backend of a host whose generators may be run. Without it this crate runs none.
#[derive(Debug)]
pub struct ImageGenerators(Box<dyn ImageGenerator>);

impl ImageGenerators {
    /// The programs of this system.
    #[must_use]
    pub fn live() -> Self {
        Self::over(Installed)
    }

    /// Any other programs.
    #[must_use]
    pub fn over(programs: impl ImageGenerator + 'static) -> Self {
        Self(Box::new(programs))
    }

    pub(crate) fn build(
        &mut self,
        generator: InitramfsGenerator,
        release: &str,
    ) -> Result<Vec<u8>, HostError> {
        self.0.build(generator, release)
    }

    pub(crate) fn clear(&mut self) -> Result<(), HostError> {
        self.0.clear()
    }

    pub(crate) fn free_space(&self, directory: &str) -> Option<u64> {
        self.0.free_space(directory)
    }
}

/// The programs of this system.
#[derive(Debug)]
struct Installed;

impl InitramfsGenerator {
    fn child(self, image: &str, release: &str) -> Child {
        let child = match self {
            Self::InitramfsTools => Child::new(&["/usr/sbin/mkinitramfs", "/usr/bin/mkinitramfs"])
                .arguments(["-o", image, release]),
            Self::Dracut => Child::new(&["/usr/bin/dracut", "/usr/sbin/dracut"]).arguments([
                "--force",
                "--tmpdir",
                WORKING_DIRECTORY,
                image,
                release,
            ]),
            Self::Mkinitcpio => Child::new(&["/usr/bin/mkinitcpio"]).arguments([
                "-k",
                release,
                "-t",
                WORKING_DIRECTORY,
                "-g",
                image,
            ]),
        };
        child
            .environment(ENVIRONMENT)
            .makes_changes()
            .time_limit(TIME_LIMIT)
    }

    /// What to type to see why it fails.
    pub(crate) fn attempt(self, release: &str) -> String {
        let file = "/var/tmp/initramfs-attempt";
        match self {
            Self::InitramfsTools => format!("mkinitramfs -o {file} {release}"),
            Self::Dracut => format!("dracut --force {file} {release}"),
            Self::Mkinitcpio => format!("mkinitcpio -k {release} -g {file}"),
        }
    }
}

impl ImageGenerator for Installed {
    fn build(
        &mut self,
        generator: InitramfsGenerator,
        release: &str,
    ) -> Result<Vec<u8>, HostError> {
        self.clear()?;
        let made = std::fs::DirBuilder::new()
            .mode(0o700)
            .create(WORKING_DIRECTORY);
        made.map_err(|error| of_work(Operation::Create, &error))?;
        let image = format!("{WORKING_DIRECTORY}/image");
        let built = run(generator, &image, release);
        let cleared = self.clear();
        let built = built?;
        cleared.map(|()| built)
    }

    fn clear(&mut self) -> Result<(), HostError> {
        #[expect(
            clippy::disallowed_methods,
            reason = "a tree of files of generators, outside of every value"
        )]
        match std::fs::remove_dir_all(WORKING_DIRECTORY) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(of_work(Operation::Remove, &error))
            }
            _ => Ok(()),
        }
    }

    fn free_space(&self, directory: &str) -> Option<u64> {
        let found = rustix::fs::statvfs(Path::new(directory)).ok()?;
        found.f_bavail.checked_mul(found.f_frsize)
    }
}

fn of_work(operation: Operation, error: &std::io::Error) -> HostError {
    let errno = error.raw_os_error().unwrap_or_default();
    HostError::from_errno(operation, WORKING_DIRECTORY, errno)
}

fn run(generator: InitramfsGenerator, image: &str, release: &str) -> Result<Vec<u8>, HostError> {
    let name = generator.as_str();
    let failed = |detail: String| {
        HostError::new(Operation::Backend, name, HostErrorKind::Other)
            .detail(detail)
            .with_hint(format!(
                "run {} and correct what it reports; no loader reads that file",
                generator.attempt(release)
            ))
    };
    match generator.child(image, release).run() {
        Ok(ended) if ended.is_success() => {}
        Ok(ended) => return Err(failed(ended.failure())),
        Err(NotRun::NotInstalled) => {
            return Err(HostError::not_applicable(
                Operation::Backend,
                name,
                Unsupported::new(
                    UnsupportedKind::NoBackend,
                    format!("{name} is not installed"),
                )
                .hint(format!("install the package with {name}")),
            ));
        }
        Err(error) => return Err(failed(error.to_string())),
    }
    #[expect(
        clippy::disallowed_methods,
        reason = "a file of the generator, which is no value of the host"
    )]
    let (size, bytes) = (
        std::fs::symlink_metadata(image).map(|data| (data.is_file(), data.len())),
        || std::fs::read(image),
    );
    match size {
        Ok((true, size)) if size > LARGEST_IMAGE => Err(failed(format!(
            "it succeeded, and its image has {size} bytes, which is more than the limit of {LARGEST_IMAGE}"
        ))),
        Ok((true, 1..)) => bytes().map_err(|error| of_work(Operation::Read, &error)),
        _ => Err(failed("it succeeded and has written no image".to_owned())),
    }
}
