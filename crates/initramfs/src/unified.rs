//! The initramfs inside a unified kernel image, a program for UEFI with the kernel and the initramfs in sections.

use std::io::{self, Read};

use crate::source::Source;

/// The section with the initramfs (UAPI.5, "Unified Kernel Image").
const SECTION: &[u8; 8] = b".initrd\0";

/// The most sections that are looked at; images have about fifteen.
const MOST_SECTIONS: u16 = 96;

/// The initramfs of a unified kernel image as a reader; `None` if the program has none, or is no program for UEFI.
/// Sections beside it (`.ucode`, addons) contain no kernel modules and are not read.
///
/// # Errors
/// Any error from the reader, and `UnexpectedEof` if it ends within the headers.
///
/// ```
/// use hosttune_initramfs::{Image, initramfs_of_unified_image};
///
/// # fn show(file: impl std::io::Read) -> std::io::Result<()> {
/// if let Some(initramfs) = initramfs_of_unified_image(file)? {
///     println!("{} modules", Image::read(initramfs).modules().len());
/// }
/// # Ok(()) }
/// # show(&b"not a program"[..]).unwrap();
/// ```
pub fn initramfs_of_unified_image<R: Read>(reader: R) -> io::Result<Option<impl Read>> {
    let mut source = Source::new(reader);
    if !source.peek(2)?.starts_with(b"MZ") {
        return Ok(None);
    }
    let mut dos = [0; 64];
    source.read_exact(&mut dos)?;
    let header = u64::from(u32::from_le_bytes([dos[60], dos[61], dos[62], dos[63]]));
    // It follows the program for DOS, and is never far.
    if header < 64 || !source.skip(header - 64)? {
        return Ok(None);
    }
    let mut coff = [0; 24];
    source.read_exact(&mut coff)?;
    if !coff.starts_with(b"PE\0\0") {
        return Ok(None);
    }
    let sections = u16::from_le_bytes([coff[6], coff[7]]).min(MOST_SECTIONS);
    let optional = u16::from_le_bytes([coff[20], coff[21]]);
    source.skip(u64::from(optional))?;
    let mut found = None;
    for _ in 0..sections {
        let mut section = [0; 40];
        source.read_exact(&mut section)?;
        let number = |at: usize| {
            let bytes = [
                section[at],
                section[at + 1],
                section[at + 2],
                section[at + 3],
            ];
            u64::from(u32::from_le_bytes(bytes))
        };
        if section.starts_with(SECTION) && found.is_none() {
            // The size on the disk is rounded up, with zeros behind the content.
            found = Some((number(20), number(8).min(number(16))));
        }
    }
    let Some((start, size)) = found else {
        return Ok(None);
    };
    match start.checked_sub(source.offset()) {
        Some(distance) if source.skip(distance)? => Ok(Some(source.take(size))),
        _ => Ok(None),
    }
}
