//! PipeWire and WirePlumber, as unpacked by `scripts/machine`.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::MachineError;
use crate::kernel;

/// A version of PipeWire, with the WirePlumber that Debian ships with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PipeWire {
    /// The version of Debian 12: PipeWire 0.3.65, WirePlumber 0.4.13.
    Bookworm,
    /// The version of its backports: PipeWire 1.4.2, WirePlumber 0.5.8.
    Backports,
}

impl PipeWire {
    /// Both versions, the older first.
    pub const ALL: [Self; 2] = [Self::Bookworm, Self::Backports];

    /// Returns the directory where it is unpacked, with `usr` in it.
    ///
    /// # Errors
    /// Fails if `scripts/machine` has not unpacked it.
    pub fn directory(self) -> Result<PathBuf, MachineError> {
        let name = match self {
            Self::Bookworm => "bookworm",
            Self::Backports => "bookworm-backports",
        };
        let directory = kernel::directory().join("pipewire").join(name);
        // The programs are started from other working directories too.
        let directory = std::path::absolute(&directory).unwrap_or(directory);
        if directory.join("usr/bin/spa-json-dump").exists() {
            return Ok(directory);
        }
        Err(MachineError::NotFetched {
            what: format!("the PipeWire of {name}"),
            directory,
        })
    }

    /// Returns the path of a program, such as `pipewire` or `spa-json-dump`.
    ///
    /// # Errors
    /// As [`directory`](Self::directory).
    pub fn program(self, name: &str) -> Result<PathBuf, MachineError> {
        Ok(self.directory()?.join("usr/bin").join(name))
    }

    /// Returns the environment in which its programs find their libraries, modules and plugins, and
    /// one another. Where they find configuration is left to the caller.
    ///
    /// # Errors
    /// As [`directory`](Self::directory).
    pub fn environment(self) -> Result<Vec<(&'static str, String)>, MachineError> {
        let directory = self.directory()?.display().to_string();
        let libraries = format!("{directory}/usr/lib/x86_64-linux-gnu");
        let wireplumber = match self {
            Self::Bookworm => "wireplumber-0.4",
            Self::Backports => "wireplumber-0.5",
        };
        Ok(vec![
            (
                "LD_LIBRARY_PATH",
                format!("{libraries}:{libraries}/pipewire-0.3"),
            ),
            ("SPA_PLUGIN_DIR", format!("{libraries}/spa-0.2")),
            ("PIPEWIRE_MODULE_DIR", format!("{libraries}/pipewire-0.3")),
            (
                "WIREPLUMBER_MODULE_DIR",
                format!("{libraries}/{wireplumber}"),
            ),
            (
                "PATH",
                format!("{directory}/usr/bin:/usr/bin:/bin:/usr/sbin:/sbin"),
            ),
        ])
    }
}

/// Returns the words of a command that plays a file with `pw-play`, and plays it again whenever that ends, until the
/// command is killed. The `pw-play` of 0.3.65 crashes now and then on a busy machine (in
/// `libspa-audioconvert`, when the quantum changes to or from 32 frames).
///
/// `options` are options of `pw-play`.
#[must_use]
pub fn play_again_and_again(options: &[&str], file: &Path) -> Vec<String> {
    const SCRIPT: &str = "while :; do setpriv --pdeathsig KILL pw-play \"$@\"; sleep 0.1; done";
    let mut words: Vec<String> = ["sh", "-c", SCRIPT, "sh"].map(str::to_owned).to_vec();
    words.extend(options.iter().map(|option| (*option).to_owned()));
    words.push(file.display().to_string());
    words
}

/// Writes a WAV file of five hours of silence (16 bits, mono, 48 kHz), so that a program that plays it does not end
/// before a test does. The samples are a hole in the file.
///
/// # Errors
/// Fails if the file cannot be written.
pub fn write_silence(path: &Path) -> io::Result<()> {
    const RATE: u32 = 48_000;
    const BYTES_PER_SAMPLE: u16 = 2;
    let size = 5 * 3600 * RATE * u32::from(BYTES_PER_SAMPLE);
    let mut header = b"RIFF".to_vec();
    header.extend((36 + size).to_le_bytes());
    header.extend(b"WAVEfmt ");
    header.extend(16_u32.to_le_bytes());
    // PCM, one channel.
    header.extend([1, 0, 1, 0]);
    header.extend(RATE.to_le_bytes());
    header.extend((RATE * u32::from(BYTES_PER_SAMPLE)).to_le_bytes());
    header.extend(BYTES_PER_SAMPLE.to_le_bytes());
    header.extend((8 * BYTES_PER_SAMPLE).to_le_bytes());
    header.extend(b"data");
    header.extend(size.to_le_bytes());
    let mut file = File::create(path)?;
    file.write_all(&header)?;
    file.set_len(header.len() as u64 + u64::from(size))
}
