//! Lists an initramfs image, as `lsinitramfs` does: `cargo run --release --example list -- /boot/initrd.img-…`.
//!
//! With `--modprobe` it prints the files of modprobe.d that are inside.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "an example of the reader, for a file that the user names"
)]

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write as _};

use hosttune_initramfs::{Archive, FileContent, Image};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let shows_modprobe = arguments.first().is_some_and(|first| first == "--modprobe");
    if shows_modprobe {
        arguments.remove(0);
    }
    let [path] = &arguments[..] else {
        return Err("usage: list [--modprobe] IMAGE".into());
    };
    let file = File::open(path).map_err(|error| format!("{path}: {error}"))?;
    if shows_modprobe {
        let image = Image::read(file);
        for file in image.modprobe_files() {
            println!("# {}", file.path);
            if let FileContent::Bytes(bytes) = file.content {
                println!("{}", String::from_utf8_lossy(&bytes));
            }
        }
        return match image.incomplete() {
            Some(why) => Err(why.into()),
            None => Ok(()),
        };
    }
    let mut output = BufWriter::new(std::io::stdout().lock());
    let mut archive = Archive::new(file);
    while let Some(entry) = archive.next_entry()? {
        output.write_all(entry.name())?;
        output.write_all(b"\n")?;
    }
    output.flush()?;
    Ok(())
}
