//! The value of a parameter of a loaded module.

use std::fmt;

use hosttune_core::{
    Host, HostError, HostErrorKind, Knob, Operation, Unsupported, UnsupportedKind,
};
use serde::{Deserialize, Serialize};

use crate::module::{canonical, of_loaded};

/// A parameter of a module, as the kernel shows it in `/sys/module/MODULE/parameters`. It can be
/// read and not set: a value is given when the module is loaded.
///
/// Many parameters are not shown at all (permission 0 in the module's source). Such a parameter is
/// unknown, which is not the same as not set, and reading it is an error.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ModuleParameter {
    module: String,
    parameter: String,
}

/// What the kernel shows of a parameter.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ParameterState {
    /// The module is not loaded.
    NotLoaded,
    /// The value, as text. A text parameter without a value is `(null)`.
    Value(String),
}

impl ModuleParameter {
    /// A parameter of a module. `-` and `_` are the same in both names.
    pub fn new(module: impl AsRef<str>, parameter: impl AsRef<str>) -> Self {
        Self {
            module: canonical(module.as_ref()),
            parameter: canonical(parameter.as_ref()),
        }
    }

    /// The name of the module.
    pub fn module(&self) -> &str {
        &self.module
    }

    /// The name of the parameter.
    pub fn parameter(&self) -> &str {
        &self.parameter
    }

    fn path(&self) -> String {
        format!("{}/parameters/{}", of_loaded(&self.module), self.parameter)
    }

    /// Whether the names can be part of a path; others are not those of a module or parameter.
    fn is_usable(&self) -> bool {
        let usable = |name: &str| {
            !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0'])
        };
        usable(&self.module) && usable(&self.parameter)
    }
}

impl fmt::Display for ModuleParameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} of the loaded module", self.module, self.parameter)
    }
}

impl Knob for ModuleParameter {
    const NAME: &'static str = "module-parameter";
    type State = ParameterState;

    fn read(&self, host: &Host) -> Result<ParameterState, HostError> {
        if !self.is_usable() {
            return Err(HostError::malformed(
                self.to_string(),
                "this is not the name of a module and a parameter",
            ));
        }
        match host.read_text(self.path()) {
            Ok(text) => Ok(ParameterState::Value(
                text.strip_suffix('\n').unwrap_or(&text).to_owned(),
            )),
            Err(error) if *error.kind() != HostErrorKind::Missing => Err(error),
            Err(_) if !host.exists(of_loaded(&self.module))? => Ok(ParameterState::NotLoaded),
            Err(error) => {
                Err(error
                    .detail("the module does not show this parameter, so its value is unknown"))
            }
        }
    }

    fn set(&self, _: &mut Host, to: &ParameterState) -> Result<(), HostError> {
        Err(
            HostError::not_applicable(Operation::Write, self.path(), read_only())
                .wanted(self.show(to)),
        )
    }

    fn satisfies(&self, seen: &ParameterState, wanted: &ParameterState) -> bool {
        match (seen, wanted) {
            (ParameterState::Value(seen), ParameterState::Value(wanted)) => {
                is_same_value(seen, wanted)
            }
            _ => seen == wanted,
        }
    }

    fn unsupported(&self, _: &Host, _: &ParameterState) -> Result<Option<Unsupported>, HostError> {
        Ok(Some(read_only()))
    }

    fn show(&self, state: &ParameterState) -> String {
        match state {
            ParameterState::NotLoaded => "not loaded".to_owned(),
            ParameterState::Value(value) => value.clone(),
        }
    }
}

fn read_only() -> Unsupported {
    Unsupported::new(
        UnsupportedKind::ReadOnly,
        "parameters of a module are set when it is loaded",
    )
    .hint("write them to modprobe.d, and reload the module or reboot")
}

/// Whether two texts are the same value to the kernel: numbers in any base, and truth values in any
/// of their spellings if one of the texts is the kernel's own `Y` or `N`.
pub(crate) fn is_same_value(one: &str, other: &str) -> bool {
    if one == other {
        return true;
    }
    let shown = |text: &str| matches!(text, "Y" | "N");
    if shown(one) || shown(other) {
        return matches!((truth(one), truth(other)), (Some(one), Some(other)) if one == other);
    }
    matches!((number(one), number(other)), (Some(one), Some(other)) if one == other)
}

/// A truth value as `kstrtobool` reads it, by the first letters.
fn truth(text: &str) -> Option<bool> {
    let mut letters = text.chars().map(|letter| letter.to_ascii_lowercase());
    match (letters.next()?, letters.next()) {
        ('y' | 't' | '1', _) | ('o', Some('n')) => Some(true),
        ('n' | 'f' | '0', _) | ('o', Some('f')) => Some(false),
        _ => None,
    }
}

/// A number as `kstrtoll` reads it with base 0: `0x` is hexadecimal, a leading zero octal.
fn number(text: &str) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let hexadecimal = digits
        .strip_prefix("0x")
        .or_else(|| digits.strip_prefix("0X"));
    let (digits, base) = match (hexadecimal, digits.strip_prefix('0')) {
        (Some(digits), _) => (digits, 16),
        (None, Some(octal)) if !octal.is_empty() => (octal, 8),
        _ => (digits, 10),
    };
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let number = u64::from_str_radix(digits, base).ok()?;
    Some(if negative {
        -i128::from(number)
    } else {
        i128::from(number)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_compared_as_the_kernel_reads_them() {
        for (one, other) in [
            ("Y", "1"),
            ("Y", "on"),
            ("N", "off"),
            ("0x10", "16"),
            ("010", "8"),
        ] {
            assert!(is_same_value(one, other), "{one} {other}");
            assert!(is_same_value(other, one), "{other} {one}");
        }
        for (one, other) in [
            ("Y", "0"),
            ("1", "on"),
            ("(null)", ""),
            ("16", "0x1g"),
            ("08", "8"),
            ("-1", "4294967295"),
            ("", "0"),
            ("+-1", "-1"),
        ] {
            assert!(!is_same_value(one, other), "{one} {other}");
        }
    }
}
