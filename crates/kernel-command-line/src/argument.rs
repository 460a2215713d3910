//! One argument of the kernel command line, or of a module's options: the kernel reads both with the
//! same function, `next_arg` in `lib/cmdline.c`.

use std::borrow::Cow;
use std::ops::Range;

/// One argument, as the kernel reads it.
///
/// Quotes are removed only where the kernel removes them: at the very start of the argument or of
/// its value, and at the very end. There are no escapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argument<'a> {
    text: &'a [u8],
    name: &'a [u8],
    value: Option<&'a [u8]>,
}

impl<'a> Argument<'a> {
    /// Reads the text of one argument, without blanks around it: one of the [`ranges`] of a line.
    pub fn read(text: &'a [u8]) -> Self {
        let (quoted, inner) = match text.strip_prefix(b"\"") {
            Some(inner) => (true, inner),
            None => (false, text),
        };
        // The kernel cannot tell an `=` at the very start from none, and looks for the next one.
        let equals = inner
            .iter()
            .skip(1)
            .position(|byte| *byte == b'=')
            .map(|at| at + 1);
        let mut end = inner.len();
        let ends_quoted = |end: usize| end > 0 && inner[end - 1] == b'"';
        let Some(equals) = equals else {
            if quoted && ends_quoted(end) {
                end -= 1;
            }
            return Self {
                text,
                name: &inner[..end],
                value: None,
            };
        };
        let mut start = equals + 1;
        let opens = inner.get(start) == Some(&b'"');
        // Only one closing quote is removed, even if both the argument and its value begin with one.
        if (opens || quoted) && ends_quoted(end) {
            end -= 1;
        }
        if opens {
            start += 1;
        }
        Self {
            text,
            name: &inner[..equals],
            // A value that is a single quote is opened and closed by the same byte.
            value: Some(inner.get(start..end).unwrap_or_default()),
        }
    }

    /// The bytes of the argument as they are written, with quotes.
    pub fn text(&self) -> &'a [u8] {
        self.text
    }

    /// The name, without quotes.
    pub fn name(&self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.name)
    }

    /// The value, without quotes; `None` if the argument has no `=`. It may be empty.
    pub fn value(&self) -> Option<Cow<'a, str>> {
        self.value.map(String::from_utf8_lossy)
    }

    /// Whether this is an argument of that name; `-` and `_` are the same in names.
    pub fn is_named(&self, name: &str) -> bool {
        same_name(self.name, name.as_bytes())
    }

    /// Whether this is `--`, which ends the kernel's own arguments.
    pub fn is_end(&self) -> bool {
        self.name == b"--" && self.value.is_none()
    }
}

/// Whether two names of parameters are the same to the kernel (`parameq`).
#[must_use]
pub fn same_name(one: &[u8], other: &[u8]) -> bool {
    let canonical = |byte: &u8| if *byte == b'-' { b'_' } else { *byte };
    one.len() == other.len() && one.iter().map(canonical).eq(other.iter().map(canonical))
}

/// Whether a byte separates arguments. The kernel's `isspace` includes the no-break space of
/// Latin-1, so that a UTF-8 letter such as `à`, whose second byte this is, ends an argument.
pub(crate) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r' | 0xa0)
}

/// The ranges of the arguments in a text, in order. A quote that is not closed takes everything up
/// to the end of the text; a NUL byte ends it.
pub fn ranges(text: &[u8]) -> impl Iterator<Item = Range<usize>> + '_ {
    let length = text
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(text.len());
    let mut at = 0;
    std::iter::from_fn(move || {
        let text = &text[..length];
        at += text[at..]
            .iter()
            .take_while(|byte| is_blank(**byte))
            .count();
        let start = at;
        let mut in_quotes = false;
        while at < length && (in_quotes || !is_blank(text[at])) {
            in_quotes ^= text[at] == b'"';
            at += 1;
        }
        (start < at).then_some(start..at)
    })
}

/// Whether the text contains a quote that is not closed.
#[must_use]
pub fn is_unbalanced(text: &[u8]) -> bool {
    text.iter().filter(|byte| **byte == b'"').count() % 2 == 1
}

/// The text of an argument with this name and value, quoted if the value contains blanks; `None` if
/// no text is read back as these.
///
/// ```
/// use hosttune_kernel_command_line::written;
///
/// assert_eq!(written("dyndbg", Some("file a.c +p")).as_deref(), Some("dyndbg=\"file a.c +p\""));
/// assert_eq!(written("a b", None), None);
/// ```
#[must_use]
pub fn written(name: &str, value: Option<&str>) -> Option<String> {
    let usable = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_graphic() || byte == b' ')
    };
    if name.is_empty() || name.contains([' ', '"', '=']) || !usable(name) {
        return None;
    }
    let text = match value {
        None => name.to_owned(),
        Some(value) if !usable(value) => return None,
        Some(value) if value.contains(' ') => format!("{name}=\"{value}\""),
        Some(value) => format!("{name}={value}"),
    };
    // The reader itself is the check: a quote at the start or the end of a value would be removed.
    let read: Vec<_> = ranges(text.as_bytes()).collect();
    let whole = read.len() == 1 && read[0] == (0..text.len());
    let argument = Argument::read(text.as_bytes());
    let same = argument.name() == name && argument.value().as_deref() == value;
    (whole && same && !is_unbalanced(text.as_bytes())).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (String, Option<String>) {
        let argument = Argument::read(text.as_bytes());
        (
            argument.name().into_owned(),
            argument.value().map(Cow::into_owned),
        )
    }

    fn is(text: &str, name: &str, value: Option<&str>) {
        assert_eq!(
            read(text),
            (name.to_owned(), value.map(str::to_owned)),
            "{text}"
        );
    }

    /// The values are what the kernel's `next_arg` answers, compiled in a program of its own and called
    /// with each text.
    #[test]
    fn quotes_are_removed_where_the_kernel_removes_them() {
        is("quiet", "quiet", None);
        is("a=", "a", Some(""));
        is("a=b=c", "a", Some("b=c"));
        is("a=\"x y\"", "a", Some("x y"));
        is("\"a=x y\"", "a", Some("x y"));
        is("\"a\"", "a", None);
        // Quotes inside a value stay, and so does one that was not opened at its start.
        is("a=x\"y z\"", "a", Some("x\"y z\""));
        is("a=\"x\"y", "a", Some("x\"y"));
        is("\"a=\"x\"\"", "a", Some("x\""));
        is("a=\"", "a", Some(""));
        is("\"", "", None);
        is("\"\"", "", None);
        is("=a", "=a", None);
        is("=a=b", "=a", Some("b"));
        is("\"a\"=b", "a\"", Some("b"));
    }

    #[test]
    fn a_letter_with_the_byte_of_a_no_break_space_ends_an_argument() {
        let text = "a=voil\u{e0} b".as_bytes();
        let read: Vec<_> = ranges(text).collect();
        assert_eq!(read, [0..7, 9..10]);
    }

    #[test]
    fn what_cannot_be_read_back_is_not_written() {
        assert_eq!(written("a", Some("x y")).unwrap(), "a=\"x y\"");
        assert_eq!(written("a.b", Some("")).unwrap(), "a.b=");
        for (name, value) in [
            ("", None),
            ("a b", None),
            ("a=b", None),
            ("=a", Some("b")),
            ("a\"", Some("b")),
            ("a", Some("\"b\"")),
            ("a", Some("b\nc")),
            ("a", Some("x\"")),
            ("a", Some("\u{e0}")),
            ("a\0", None),
        ] {
            assert_eq!(written(name, value), None, "{name} {value:?}");
        }
    }
}
