//! Numbers as the kernel parses them from a write (kernel/sysctl.c).

use std::path::Path;

use hosttune_core::testing::{Behaviour, Tree};

pub(super) const EINVAL: i32 = 22;

/// The kernel copies a number into 22 bytes including a NUL, and rejects one that fills them.
const LONGEST_NUMBER: usize = 21;

/// The rest of a write, which is parsed number by number. It ends in the line end that is written
/// after every value.
struct Written<'t> {
    left: &'t [u8],
}

impl<'t> Written<'t> {
    /// Skips what the kernel's `isspace` accepts, which is more than may follow a number.
    fn skip_blanks(&mut self) {
        let blank = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
        let blanks = self.left.iter().take_while(|byte| blank(byte)).count();
        self.left = &self.left[blanks..];
    }

    /// Parses like `proc_get_long`: a sign, a number in base 0, and a blank or the end after it.
    fn number(&mut self) -> Result<(bool, u64), i32> {
        let negative = self.left.first() == Some(&b'-');
        let signed = usize::from(negative);
        let text = &self.left[signed..self.left.len().min(LONGEST_NUMBER)];
        let (base, digits) = match text {
            [b'0', b'x' | b'X', rest @ ..] if rest.first().is_some_and(u8::is_ascii_hexdigit) => {
                (16, rest)
            }
            [b'0', ..] => (8, text),
            _ => (10, text),
        };
        let mut number: u64 = 0;
        let mut length = 0;
        for byte in digits {
            let Some(digit) = char::from(*byte).to_digit(base) else {
                break;
            };
            number = number
                .checked_mul(u64::from(base))
                .and_then(|number| number.checked_add(u64::from(digit)))
                .ok_or(EINVAL)?;
            length += 1;
        }
        let length = signed + (text.len() - digits.len()) + length;
        if length == signed || length == LONGEST_NUMBER {
            return Err(EINVAL);
        }
        self.left = &self.left[length..];
        match self.left.first() {
            None | Some(b' ' | b'\t' | b'\n') => Ok((negative, number)),
            Some(_) => Err(EINVAL),
        }
    }
}

/// A signed 32-bit number (`do_proc_dointvec_minmax_conv`).
fn signed(number: (bool, u64), least: Option<i64>, greatest: Option<i64>) -> Result<i64, i32> {
    let (negative, magnitude) = number;
    let number = i64::try_from(magnitude).map_err(|_| EINVAL)?;
    let number = if negative { -number } else { number };
    let least = least.unwrap_or_else(|| i32::MIN.into());
    let greatest = greatest.unwrap_or_else(|| i32::MAX.into());
    if (least..=greatest).contains(&number) {
        Ok(number)
    } else {
        Err(EINVAL)
    }
}

/// Sets field after field until one is rejected; the ones before it have been set by then. Fields
/// that are not written keep their values, and anything after the last field is ignored.
fn set_fields(
    tree: &mut Tree,
    path: &Path,
    value: &str,
    field: impl Fn((bool, u64)) -> Result<String, i32>,
) -> Result<(), i32> {
    let line = format!("{value}\n");
    let mut written = Written {
        left: line.as_bytes(),
    };
    let seen = tree.get(path).unwrap_or_default();
    let mut landed = false;
    let mut fields: Vec<String> = seen.split_whitespace().map(str::to_owned).collect();
    if fields.is_empty() {
        fields.push("0".to_owned());
    }
    // A write without any field is rejected.
    let mut answer = Err(EINVAL);
    for own in &mut fields {
        written.skip_blanks();
        if written.left.is_empty() {
            break;
        }
        answer = written.number().and_then(&field).map(|new| *own = new);
        if answer.is_err() {
            break;
        }
        landed = true;
    }
    if landed {
        tree.set(path, &fields.join("\t"));
    }
    answer
}

/// Validates and sets one or more 32-bit numbers.
pub(super) fn integer(
    tree: &mut Tree,
    path: &Path,
    value: &str,
    least: Option<i64>,
    greatest: Option<i64>,
) -> Result<(), i32> {
    set_fields(tree, path, value, |number| {
        signed(number, least, greatest).map(|number| number.to_string())
    })
}

/// Validates and sets one or more unsigned 64-bit numbers.
pub(super) fn unsigned_long(
    tree: &mut Tree,
    path: &Path,
    value: &str,
    least: u64,
    greatest: u64,
) -> Result<(), i32> {
    set_fields(tree, path, value, |(negative, number)| {
        if negative || !(least..=greatest).contains(&number) {
            return Err(EINVAL);
        }
        Ok(number.to_string())
    })
}

/// `proc_dointvec_minmax`, with as many numbers as the file contains.
pub(super) fn integers(least: Option<i64>, greatest: Option<i64>) -> Behaviour {
    Behaviour::new(move |tree, path, value| integer(tree, path, value, least, greatest))
}

/// `proc_douintvec_minmax` and `proc_dou8vec_minmax`.
pub(super) fn unsigned(least: u64, greatest: u64) -> Behaviour {
    Behaviour::new(move |tree, path, value| unsigned_long(tree, path, value, least, greatest))
}

/// `proc_doulongvec_minmax`.
pub(super) fn unsigned_longs(least: u64, greatest: u64) -> Behaviour {
    Behaviour::new(move |tree, path, value| unsigned_long(tree, path, value, least, greatest))
}
