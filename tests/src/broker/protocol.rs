//! What broker and clients say to each other: frames of a word, a length and so many bytes.

use std::io::{self, BufRead, Write};

/// First from the broker. Another one is from another version of this code.
pub(super) const WELCOME: &str = "hosttune-machines-1";

/// From a client: keep machines with these kernels for as long as this connection lasts.
pub(super) const HOLD: &str = "hold";
/// From a client: lend it the machine with this kernel.
pub(super) const BORROW: &str = "borrow";
/// From the broker: the machine is lent.
pub(super) const LENT: &str = "lent";
/// From a client: how many seconds the next command may take.
pub(super) const LIMIT: &str = "limit";
/// From a client: a command for the machine's shell.
pub(super) const SHELL: &str = "shell";
/// From the broker: what the command printed.
pub(super) const OUT: &str = "out";
/// From the broker: what the command printed on its standard error.
pub(super) const ERR: &str = "err";
/// From the broker: the command's exit code.
pub(super) const END: &str = "end";
/// From the broker: why there is no machine any more.
pub(super) const FAILED: &str = "failed";
/// From a client: the machine is as it was and can be lent again.
pub(super) const GIVE_BACK: &str = "give-back";

/// More than any command or test prints at once.
const LARGEST: usize = 64 << 20;

/// A word and what belongs to it.
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

/// The next frame; nothing where the other end has closed the connection between two frames.
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
        return Err(invalid(format!("no frame begins with {line:?}")));
    };
    let length: usize = length
        .parse()
        .ok()
        .filter(|length| *length <= LARGEST)
        .ok_or_else(|| invalid(format!("no frame has a length of {length:?}")))?;
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
