//! Playing silence for a moment, so that a device runs and shows what it runs with.

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hosttune_core::{Host, HostError};
use rustix::fs::{MemfdFlags, memfd_create};

use super::grade::{self, Grade, GradeReport};
use super::tuning::RuntimeSettings;

/// The program of PipeWire that plays a file.
const PLAYER: &str = "pw-play";
/// How long to wait until a device runs with the settings: the session manager connects the player,
/// and a device that sleeps takes up to a second to start.
const PATIENCE: Duration = Duration::from_secs(4);
/// The length of the silence, should this process be killed meanwhile.
const SECONDS: u32 = 10;

/// The grades of settings while something plays.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Probed {
    /// The grades.
    pub grades: GradeReport,
    /// Why nothing could be played; `None` if something played, or no daemon runs.
    pub failed: Option<String>,
}

/// Asks the daemon how far settings have come, as [`grade::verify`] does. If no device runs, silence
/// is played with `pw-play` meanwhile, for at most four seconds.
///
/// Nothing is played if no daemon runs, because the player would start one.
///
/// # Errors
/// If a daemon runs and cannot be asked.
pub fn verify(host: &Host, settings: &RuntimeSettings) -> Result<Probed, HostError> {
    let done = |grades, failed| Ok(Probed { grades, failed });
    let mut grades = grade::verify(host, settings)?;
    if grades.version.is_none() || !is_unverifiable(&grades) {
        return done(grades, None);
    }
    let mut player = match Player::start() {
        Ok(player) => player,
        Err(error) => return done(grades, Some(error)),
    };
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        grades = grade::verify(host, settings)?;
        // A device that has just started may run a cycle with what it had before.
        if grades.is_effective() {
            break;
        }
        if let Some(end) = player.end() {
            let failed = is_unverifiable(&grades).then_some(end);
            return done(grades, failed);
        }
    }
    done(grades, None)
}

fn is_unverifiable(grades: &GradeReport) -> bool {
    let mut keys = grades.keys.iter();
    keys.any(|key| matches!(key.grade, Grade::Unverifiable { .. }))
}

/// A player of silence, which ends with this value.
struct Player(Child);

impl Player {
    #[expect(
        clippy::disallowed_methods,
        reason = "playing needs a stream of PipeWire's client library; it is started only when it is asked for, by a user who is not root"
    )]
    fn start() -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("{PLAYER} cannot be started: {error}");
        // In memory: the player needs a file in which it can seek.
        let silence = memfd_create("silence.wav", MemfdFlags::CLOEXEC);
        let mut silence = std::fs::File::from(silence.map_err(|errno| failed(errno.into()))?);
        silence.write_all(&wav(SECONDS)).map_err(failed)?;
        let player = Command::new(PLAYER)
            .arg("/proc/self/fd/0")
            .stdin(silence)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        player.map(Self).map_err(failed)
    }

    /// How the player has ended, if it has.
    fn end(&mut self) -> Option<String> {
        let status = self.0.try_wait().ok()??;
        Some(format!("{PLAYER} has ended ({status})"))
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Silence in a file of the form WAV: 16 bits, one channel, 48 kHz.
fn wav(seconds: u32) -> Vec<u8> {
    const RATE: u32 = 48_000;
    let size = seconds * RATE * 2;
    let mut bytes = b"RIFF".to_vec();
    bytes.extend((36 + size).to_le_bytes());
    bytes.extend(b"WAVEfmt ");
    bytes.extend(16_u32.to_le_bytes());
    // PCM, one channel.
    bytes.extend([1, 0, 1, 0]);
    bytes.extend(RATE.to_le_bytes());
    bytes.extend((RATE * 2).to_le_bytes());
    bytes.extend([2, 0, 16, 0]);
    bytes.extend(b"data");
    bytes.extend(size.to_le_bytes());
    bytes.extend(std::iter::repeat_n(0, (seconds * RATE * 2) as usize));
    bytes
}
