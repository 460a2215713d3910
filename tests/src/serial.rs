//! Splits the data from the machine's serial ports into the output of commands.

/// An output stream of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Its standard output.
    Out,
    /// Its standard error.
    Err,
}

/// Precedes the mark at the end of a command: the ASCII record separator, which does not occur in text.
const BEFORE_MARK: char = '\x1e';

/// Data from one port since the command was sent.
#[derive(Debug, Default)]
pub(crate) struct Port {
    pub(crate) bytes: Vec<u8>,
    shown: usize,
    pub(crate) code: Option<i32>,
}

impl Port {
    /// Adds data. Passes everything to `show` that cannot be part of the line that ends the command.
    pub(crate) fn take(&mut self, bytes: &[u8], mark: &str, show: &mut dyn FnMut(&[u8])) {
        // The search starts at the earliest position where the line can begin.
        let line = format!("{BEFORE_MARK}{mark} ");
        let from = self.bytes.len().saturating_sub(line.len() + 8);
        self.bytes.extend_from_slice(bytes);
        let found = find(&self.bytes[from..], line.as_bytes()).map(|at| from + at);
        let safe = match found {
            Some(at) => {
                let rest = &self.bytes[at + line.len()..];
                if let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                    let code = std::str::from_utf8(&rest[..end]).ok();
                    self.code = Some(code.and_then(|code| code.parse().ok()).unwrap_or(-1));
                    self.bytes.truncate(at);
                }
                at
            }
            // Usually nothing is held back, because programs do not print this character.
            None => {
                let begun = |length: &usize| self.bytes.ends_with(&line.as_bytes()[..*length]);
                let longest = line.len().min(self.bytes.len());
                self.bytes.len() - (1..=longest).rev().find(begun).unwrap_or(0)
            }
        };
        if safe > self.shown {
            show(&self.bytes[self.shown..safe]);
            self.shown = safe;
        }
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|here| here == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(pieces: &[&[u8]]) -> (Port, Vec<u8>) {
        let mut port = Port::default();
        let mut shown = Vec::new();
        for piece in pieces {
            port.take(piece, "mark", &mut |bytes| shown.extend_from_slice(bytes));
        }
        (port, shown)
    }

    #[test]
    fn a_command_s_bytes_come_through_as_they_are_however_they_are_cut() {
        let stream = b"\n\x1emark\x00\x1e\xff no newline at its end\x1emark 7\n";
        for first in 0..stream.len() {
            for second in first..stream.len() {
                let pieces = [&stream[..first], &stream[first..second], &stream[second..]];
                let (port, shown) = taken(&pieces);
                assert_eq!(port.code, Some(7));
                assert_eq!(port.bytes, b"\n\x1emark\x00\x1e\xff no newline at its end");
                assert_eq!(shown, port.bytes, "{first} {second}");
            }
        }
    }

    #[test]
    fn as_long_as_the_line_is_not_whole_the_command_has_not_ended() {
        let (port, shown) = taken(&[b"said\n\x1emark 1"]);
        assert_eq!(port.code, None);
        assert_eq!(shown, b"said\n");
    }

    #[test]
    fn a_line_is_shown_as_soon_as_it_is_there() {
        assert_eq!(taken(&[b"up\n"]).1, b"up\n");
    }
}
