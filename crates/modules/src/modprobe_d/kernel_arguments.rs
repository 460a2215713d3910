//! The options and blacklists that modprobe takes from the kernel command line.
//!
//! modprobe has a reader of its own (`kmod_config_parse_kcmdline` in libkmod): it also reads what
//! follows `--`, takes a quote only at the start of an argument or within a value, and drops an
//! argument with a quote that is not closed.

use super::name_pattern::canonical;
use super::statement::Statement;

/// How much of the line modprobe reads: 4096 bytes with the terminating NUL.
const READ: usize = 4095;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Ignored,
    Module,
    Parameter,
    Value,
}

/// The statements, in order.
pub(super) fn statements(line: &[u8]) -> Vec<Statement> {
    let line = &line[..line.len().min(READ)];
    let end = line.iter().position(|byte| *byte == 0);
    let line = &line[..end.unwrap_or(line.len())];
    let mut found = Vec::new();
    let mut part = Part::Module;
    let (mut start, mut parameter, mut value) = (0, 0, None);
    let mut in_quotes = false;
    let mut is_quoted_whole = false;
    for at in 0..=line.len() {
        let byte = line.get(at).copied().unwrap_or(0);
        match byte {
            b'"' => {
                in_quotes = !in_quotes;
                if in_quotes && part == Part::Module && at == start {
                    is_quoted_whole = true;
                    start = at + 1;
                } else if part != Part::Value {
                    part = Part::Ignored;
                }
            }
            0 | b' ' | b'\t'..=b'\r' => {
                if in_quotes {
                    // Blanks within quotes are allowed only in the value.
                    if part != Part::Value {
                        part = Part::Ignored;
                    }
                    continue;
                }
                if matches!(part, Part::Parameter | Part::Value) {
                    let module = &line[start..parameter - 1];
                    let option = &line[parameter..at];
                    let value = value.map(|value: usize| value - parameter);
                    found.extend(read(module, option, value, is_quoted_whole));
                }
                start = at + 1;
                part = Part::Module;
                value = None;
                is_quoted_whole = false;
            }
            b'.' if part == Part::Module => {
                parameter = at + 1;
                part = Part::Parameter;
            }
            b'.' if part == Part::Parameter => part = Part::Ignored,
            b'=' if part == Part::Parameter => {
                value = Some(at + 1);
                part = Part::Value;
            }
            b'=' if part == Part::Module => part = Part::Ignored,
            _ => {}
        }
    }
    found
}

/// The meaning of `module.option`; `value` is where the value begins in the option.
fn read(module: &[u8], option: &[u8], value: Option<usize>, quoted: bool) -> Vec<Statement> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if let (b"modprobe", Some(list)) = (module, option.strip_prefix(b"blacklist=")) {
        let names = list.split(|byte| *byte == b',');
        return names
            .map(|name| Statement::Blacklist { module: text(name) })
            .collect();
    }
    let Some(module) = canonical(module) else {
        return Vec::new();
    };
    // A quote around the whole argument is moved to its value, because the kernel gets only that.
    let options = match value {
        Some(value) if quoted => {
            let (name, value) = option.split_at(value);
            [name, b"\"", value].concat()
        }
        _ => option.to_vec(),
    };
    vec![Statement::Options {
        module: text(&module),
        options: text(&options).replace('\t', " "),
    }]
}
