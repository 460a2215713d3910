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
//!
//! gzip, xz, zstd and LZ4 are read, each with a feature of this crate that is on by default; bzip2, LZMA and LZO
//! are named in an error. Time and memory have [`Limits`]; no input makes it panic.

mod archive;
mod compression;
mod contents;
mod error;
mod header;
mod image;
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
pub use error::{Place, ReadError, ReadErrorKind};
pub use header::{EntryType, Header};
pub use image::{Builder, Image, ModprobeFile, ModuleFile};
pub use limits::Limits;
pub use location::{Evidence, ImageFiles, images_of};
pub use unified::initramfs_of_unified_image;
