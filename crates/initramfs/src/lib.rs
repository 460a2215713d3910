//! Initramfs images of Linux, read as the kernel unpacks them.
//!
//! ```
//! use hosttune_initramfs::{Compression, Image};
//!
//! # fn show(file: impl std::io::Read) {
//! let image = Image::read(file);
//! for module in image.modules() {
//!     println!("{} of {}", module.name, module.release);
//! }
//! for file in image.modprobe_files() {
//!     println!("{}: {:?}", file.path, file.content);
//! }
//! if let Some(why) = image.incomplete() {
//!     println!("what is not listed may still be there: {why}");
//! }
//! # }
//! # show(&b""[..]);
//! ```
//!
//! # Vocabulary
//! - [`Archive`]: the entries of an image, one after the other, from any reader. [`Segment`]s follow each other in
//!   any order, plain ones for microcode and compressed ones, with zeros between them.
//! - [`Contents`]: what is there when all entries are unpacked: later ones replace earlier ones, symlinks lead
//!   elsewhere, hard links share content.
//! - [`Image`]: the kernel modules and the modprobe.d files inside, for the layouts of initramfs-tools, dracut and
//!   mkinitcpio.
//! - [`images_of`]: the image of a kernel on a host; [`initramfs_of_unified_image`]: the one inside a UEFI program.
//! - [`GeneratedImage`]: the knob: an image that is made anew by the program that builds images on this host;
//!   [`ImageGenerators`] is the backend that runs it, and [`installed_generator`] tells which it is.
//!
//! gzip, xz, zstd and LZ4 are read, each with a feature of this crate that is on by default; bzip2, LZMA and LZO
//! are named in an error. Time and memory have [`Limits`]; no input makes it panic.

mod archive;
mod compression;
mod contents;
mod copies;
mod error;
mod generated_image;
mod generator;
mod header;
mod image;
mod image_generators;
mod limits;
mod location;
#[cfg(feature = "lz4")]
mod lz4_legacy;
mod source;
mod stream;
mod unified;

pub use archive::{Archive, Entry, Segment};
pub use compression::Compression;
pub use contents::{Contents, FileContent, Node};
pub use copies::copies_of;
pub use error::{Place, ReadError, ReadErrorKind};
pub use generated_image::{GeneratedImage, ImageState};
pub use generator::{InitramfsGenerator, installed_generator, rebuild_command};
pub use header::{EntryType, Header};
pub use image::{Builder, Image, ModprobeFile, ModuleFile};
pub use image_generators::{ImageGenerator, ImageGenerators, WORKING_DIRECTORY};
pub use limits::Limits;
pub use location::{Evidence, ImageFiles, images_of};
pub use unified::initramfs_of_unified_image;

/// Registers the knob types of this crate with a session.
pub fn knobs(registry: &mut hosttune_core::Registry) {
    registry.add::<GeneratedImage>();
}
