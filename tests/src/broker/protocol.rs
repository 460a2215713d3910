//! The protocol between broker and clients. A frame is a word, a length in decimal, and that many bytes.

use std::io::{self, BufRead, Write};

/// First frame from the broker. Its text is changed with the protocol, to detect another version.
pub(super) const WELCOME: &str = "hosttune-machines-1";

/// From a client: keep machines with these kernels running until this connection is closed.
pub(super) const HOLD: &str = "hold";
/// From a client: lend me the machine with this kernel.
pub(super) const BORROW: &str = "borrow";
/// From the broker: the machine is lent.
pub(super) const LENT: &str = "lent";
/// From a client: time limit of the next command, in seconds.
pub(super) const LIMIT: &str = "limit";
/// From a client: a command for the machine's shell.
pub(super) const SHELL: &str = "shell";
/// From the broker: standard output of the command.
pub(super) const OUT: &str = "out";
/// From the broker: standard error of the command.
pub(super) const ERR: &str = "err";
/// From the broker: the command's exit code.
pub(super) const END: &str = "end";
/// From the broker: why no machine is available any more.
pub(super) const FAILED: &str = "failed";
/// From a client: the machine is unchanged and can be lent again.
pub(super) const GIVE_BACK: &str = "give-back";

/// Maximum length of a frame, in bytes; no command or test prints as much at once.
const LARGEST: usize = 64 << 20;

/// One message: a word and its payload.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) word: String,
    pub(super) bytes: Vec<u8>,
}

impl Frame {
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

pub(super) fn write(to: &mut impl Write, word: &str, bytes: &[u8]) -> io::Result<()> {
    let mut frame = format!("{word} {}\n", bytes.len()).into_bytes();
    frame.extend_from_slice(bytes);
    to.write_all(&frame)
}

/// Reads the next frame. Returns `None` if the peer closed the connection between two frames.
pub(super) fn read(from: &mut impl BufRead) -> io::Result<Option<Frame>> {
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let header = line
        .strip_suffix('\n')
        .and_then(|line| line.split_once(' '));
    let Some((word, length)) = header else {
        return Err(invalid(format!("invalid frame header {line:?}")));
    };
    let length: usize = length
        .parse()
        .ok()
        .filter(|length| *length <= LARGEST)
        .ok_or_else(|| invalid(format!("invalid frame length {length:?}")))?;
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes)?;
    Ok(Some(Frame {
        word: word.to_owned(),
        bytes,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_as_they_were_written() {
        let mut bytes = Vec::new();
        write(&mut bytes, OUT, b"two\nlines\0\xff").unwrap();
        write(&mut bytes, END, b"0").unwrap();
        let mut from = &bytes[..];
        assert_eq!(read(&mut from).unwrap().unwrap().bytes, b"two\nlines\0\xff");
        assert_eq!(read(&mut from).unwrap().unwrap().text(), "0");
        assert_eq!(read(&mut from).unwrap(), None);
    }

    #[test]
    fn what_is_no_frame_is_an_error_and_asks_for_no_memory() {
        for bytes in [
            &b"out"[..],
            b"out 3\nab",
            b"out x\n",
            b"out 99999999999999999999\n",
            b"out 99999999999\n",
            b"\xff 1\na",
        ] {
            assert!(read(&mut &bytes[..]).is_err(), "{bytes:?}");
        }
    }
}
