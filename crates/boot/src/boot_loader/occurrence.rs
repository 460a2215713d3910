//! The occurrences of a parameter in a text that contains a kernel command line, and where they are.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{comment_line, limine};
use crate::command_line::{
    Argument, CommandLineSetting, KernelCommandLine, LineError, is_unbalanced, ranges,
};

/// The longest line in which parameters are looked for, in bytes: four times what the kernel reads. Every
/// occurrence is found anew in the whole line.
pub(super) const LONGEST_READ: usize = 4 * 2048;

/// Where a text contains the kernel command line.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LineIn {
    /// The whole file is the line, and line feeds are blanks: `/etc/kernel/cmdline`. Lines that begin with
    /// `#` are comments for mkinitcpio, and arguments for kernel-install.
    WholeFile,
    /// The values of all `options` of an entry of the Boot Loader Specification.
    Entry,
    /// The value of `cmdline` of one entry of `limine.conf`.
    Limine {
        /// The titles that lead to the entry, each behind a slash.
        entry: String,
    },
}

/// One occurrence of a parameter: as it is written, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Occurrence {
    /// The argument, with its quotes.
    pub text: String,
    /// Where it is; `None` behind all others.
    pub place: Option<Place>,
}

/// The place of an argument, from which it is found again after other programs have changed the line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Which of the `options` it is in, from 0.
    pub line: usize,
    /// The number of arguments before it there.
    pub index: usize,
    /// The argument before it.
    pub behind: Option<String>,
    /// The blanks before it.
    pub before: String,
    /// The blanks behind it, and behind others of these parameters that follow it directly.
    pub after: String,
}

impl LineIn {
    /// The ranges of the text that are the line.
    pub(super) fn ranges(&self, text: &str) -> Vec<Range<usize>> {
        match self {
            Self::WholeFile => return comment_line::without(text),
            Self::Limine { entry } => return limine::range(text, entry).into_iter().collect(),
            Self::Entry => {}
        }
        let mut found = Vec::new();
        let mut offset = 0;
        for line in text.split_inclusive('\n') {
            let start = offset;
            offset += line.len();
            let indent = line.len() - line.trim_start().len();
            let Some(rest) = line[indent..].strip_prefix("options") else {
                continue;
            };
            // The blanks belong to the range, so that a value that is empty still has its place.
            if !rest.starts_with([' ', '\t']) {
                continue;
            }
            let from = start + line.len() - rest.len();
            let to = start + line.trim_end_matches(['\r', '\n']).len();
            found.push(from..to);
        }
        found
    }

    /// Where an argument goes in a part without any: behind the blank that ends a key.
    fn first(&self, part: &Range<usize>) -> usize {
        match self {
            Self::WholeFile => part.start,
            Self::Entry => part.start + 1,
            // A blank behind the colon is usual and not needed.
            Self::Limine { .. } => part.start + usize::from(!part.is_empty()),
        }
    }

    /// The line, with one blank between its parts.
    pub(super) fn line(&self, text: &str) -> KernelCommandLine {
        let parts: Vec<&str> = self
            .ranges(text)
            .into_iter()
            .map(|range| text[range].trim_matches([' ', '\t']))
            .collect();
        KernelCommandLine::parse(parts.join(" "))
    }
}

/// Why a text cannot be changed.
pub(super) fn objection(at: &LineIn, text: &str) -> Option<&'static str> {
    let parts = at.ranges(text);
    if parts.is_empty() {
        return Some("it has no kernel command line, or several entries have the same titles");
    }
    for part in parts {
        if text[part.clone()].contains('\0') {
            return Some("its line contains a NUL byte");
        }
        if text[part.clone()].bytes().any(|byte| byte == 0xa0) {
            return Some("its line contains the byte a0, which ends an argument for the kernel");
        }
        if is_unbalanced(text[part].as_bytes()) {
            return Some("its line has a quote that is not closed");
        }
    }
    None
}

/// All arguments of the line, those behind `--` too.
struct Arguments {
    /// For each part of the line, the ranges of its arguments in the text.
    parts: Vec<(Range<usize>, Vec<Range<usize>>)>,
}

impl Arguments {
    fn of(at: &LineIn, text: &str) -> Self {
        let part = |part: Range<usize>| {
            let inner = ranges(&text.as_bytes()[part.clone()]);
            let inner = inner.map(|range| range.start + part.start..range.end + part.start);
            (part.clone(), inner.collect())
        };
        Self {
            parts: at.ranges(text).into_iter().map(part).collect(),
        }
    }

    /// Where the kernel's own arguments end: the part, and how many of its arguments are before `--`.
    fn end(&self, text: &str) -> (usize, usize) {
        for (number, (_, arguments)) in self.parts.iter().enumerate() {
            let is_end = |range: &Range<usize>| read(text, range).is_end();
            if let Some(index) = arguments.iter().position(is_end) {
                return (number, index);
            }
        }
        let last = self.parts.len().saturating_sub(1);
        (last, self.parts.last().map_or(0, |(_, all)| all.len()))
    }

    /// The occurrences of the parameters among the kernel's own arguments, as part and index.
    fn named(&self, text: &str, names: &[String]) -> Vec<(usize, usize)> {
        let end = self.end(text);
        let mut found = Vec::new();
        for (number, (_, arguments)) in self.parts.iter().enumerate() {
            for (index, range) in arguments.iter().enumerate() {
                let argument = read(text, range);
                let is_ours = names.iter().any(|name| argument.is_named(name));
                if (number, index) < end && is_ours {
                    found.push((number, index));
                }
            }
        }
        found
    }
}

fn read<'t>(text: &'t str, range: &Range<usize>) -> Argument<'t> {
    Argument::read(&text.as_bytes()[range.clone()])
}

/// A part of the text; empty if its ends are within a letter.
fn slice(text: &str, range: Range<usize>) -> &str {
    text.get(range).unwrap_or_default()
}

/// The occurrences of the parameters in a text, in order.
pub(super) fn occurrences(at: &LineIn, text: &str, names: &[String]) -> Vec<Occurrence> {
    let all = Arguments::of(at, text);
    let found = all.named(text, names).into_iter();
    found
        .map(|(number, index)| {
            let (part, arguments) = &all.parts[number];
            let here = &arguments[index];
            let before = index.checked_sub(1).map(|before| &arguments[before]);
            // If the others of ours behind it are removed first, these blanks are behind it.
            let is_ours = |range: &&Range<usize>| {
                let argument = read(text, range);
                names.iter().any(|name| argument.is_named(name))
            };
            let run = arguments[index..].iter().take_while(is_ours).count();
            let last = arguments.get(index + run.max(1) - 1).unwrap_or(here);
            let next = arguments.get(index + run.max(1));
            Occurrence {
                text: slice(text, here.clone()).to_owned(),
                place: Some(Place {
                    line: number,
                    index,
                    behind: before.map(|range| slice(text, range.clone()).to_owned()),
                    before: slice(
                        text,
                        before.map_or(part.start, |range| range.end)..here.start,
                    )
                    .to_owned(),
                    after: slice(text, last.end..next.map_or(part.end, |range| range.start))
                        .to_owned(),
                }),
            }
        })
        .collect()
}

/// The text with these occurrences of the parameters instead of those that it has. Everything else stays
/// as it is, byte for byte. If these occurrences were read from a text which differs only in them, the
/// result is that text.
pub(super) fn replaced(at: &LineIn, text: &str, names: &[String], wanted: &[Occurrence]) -> String {
    let mut text = text.to_owned();
    let present = Arguments::of(at, &text).named(&text, names).len();
    // From the end, so that the places of the others stay as they were found.
    for number in (0..present).rev() {
        match wanted.get(number) {
            Some(wanted) => replace(at, &mut text, names, number, &wanted.text),
            None => cut(at, &mut text, names, number),
        }
    }
    for one in wanted.iter().skip(present) {
        insert(at, &mut text, one);
    }
    text
}

/// Gives the occurrence with this number another text.
fn replace(at: &LineIn, text: &mut String, names: &[String], number: usize, to: &str) {
    let all = Arguments::of(at, text);
    let (part, index) = all.named(text, names)[number];
    text.replace_range(all.parts[part].1[index].clone(), to);
}

/// Removes the occurrence with this number, with the blanks before it, or for the first argument with
/// those behind it.
fn cut(at: &LineIn, text: &mut String, names: &[String], number: usize) {
    let all = Arguments::of(at, text);
    let (part, index) = all.named(text, names)[number];
    let arguments = &all.parts[part].1;
    let here = arguments[index].clone();
    let range = match (index.checked_sub(1), arguments.get(1)) {
        (Some(before), _) => arguments[before].end..here.end,
        (None, Some(next)) => here.start..next.start,
        (None, None) => here,
    };
    text.replace_range(range, "");
}

/// Puts an argument where it was, or behind the others if that place is not there any more.
fn insert(at: &LineIn, text: &mut String, one: &Occurrence) {
    let all = Arguments::of(at, text);
    let Some(place) = &one.place else {
        return append(at, &all, text, &one.text);
    };
    let Some((part, arguments)) = all.parts.get(place.line) else {
        return append(at, &all, text, &one.text);
    };
    let Some(behind) = &place.behind else {
        let (offset, added) = match arguments.first() {
            Some(first) if place.after.is_empty() => (first.start, format!("{} ", one.text)),
            Some(first) => (first.start, format!("{}{}", one.text, place.after)),
            None => {
                let blanks = slice(text, part.clone()).starts_with(&place.before);
                let offset = match blanks {
                    true => part.start + place.before.len(),
                    false => at.first(part),
                };
                (offset, one.text.clone())
            }
        };
        text.insert_str(offset, &added);
        return;
    };
    let is_behind = |range: &&Range<usize>| slice(text, (*range).clone()) == behind;
    let expected = place.index.checked_sub(1).and_then(|at| arguments.get(at));
    let expected = expected.filter(is_behind);
    let offset = expected
        .or_else(|| arguments.iter().rfind(is_behind))
        .map(|range| range.end);
    match offset {
        Some(offset) => text.insert_str(offset, &format!("{}{}", place.before, one.text)),
        None => append(at, &all, text, &one.text),
    }
}

/// Adds an argument behind the kernel's own.
fn append(at: &LineIn, all: &Arguments, text: &mut String, added: &str) {
    let (mut number, mut count) = all.end(text);
    // A part without arguments, such as an empty last line, gets none if another one has some.
    if let (0, Some(before)) = (
        count,
        all.parts[..number]
            .iter()
            .rposition(|(_, all)| !all.is_empty()),
    ) {
        (number, count) = (before, all.parts[before].1.len());
    }
    let Some((part, arguments)) = all.parts.get(number) else {
        return;
    };
    match (count.checked_sub(1), arguments.first()) {
        (Some(last), _) => text.insert_str(arguments[last].end, &format!(" {added}")),
        (None, Some(first)) => text.insert_str(first.start, &format!("{added} ")),
        (None, None) => text.insert_str(at.first(part), added),
    }
}

/// The occurrences with which the settings are met. The settings are of the parameters whose occurrences
/// these are.
///
/// # Errors
/// If a setting cannot be written: see [`LineError`].
pub(super) fn requested<'s>(
    seen: &[Occurrence],
    settings: impl IntoIterator<Item = &'s CommandLineSetting>,
) -> Result<Vec<Occurrence>, LineError> {
    let texts: Vec<&str> = seen.iter().map(|one| &*one.text).collect();
    let mut line = KernelCommandLine::parse(texts.join(" "));
    for setting in settings {
        setting.apply(&mut line)?;
    }
    let arguments = line.arguments().enumerate();
    Ok(arguments
        .map(|(number, argument)| Occurrence {
            text: String::from_utf8_lossy(argument.text()).into_owned(),
            place: seen.get(number).and_then(|one| one.place.clone()),
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names() -> Vec<String> {
        ["a", "b-c"].map(str::to_owned).to_vec()
    }

    /// Texts with blanks, quotes, duplicates and `--`.
    fn texts() -> impl Strategy<Value = (LineIn, String)> {
        let word = "(a=1|a|b_c=\"x y\"|d|e=f|--|q\"r s\")";
        let line = format!("[ \t]{{0,2}}({word}[ \t]{{1,2}}){{0,5}}({word})?[ ]{{0,2}}");
        let whole = format!("(#{line}\n)?{line}(\n#{line})?(\n{line}){{0,1}}\n{{0,1}}(\n# a)?");
        let entry = format!(
            "(title x\n|# options a\n)?options {line}\n(linux /a\noptions\t{line}\r?\n)?(options {line})?"
        );
        let limine = format!(
            "timeout: 3\n/x\n//y\n  protocol: linux\n  cmdline:( {line})?\r?\n(/z\nprotocol: linux\ncmdline: {line}\n)?"
        );
        prop_oneof![
            proptest::string::string_regex(&limine)
                .unwrap()
                .prop_map(|text| (
                    LineIn::Limine {
                        entry: "/x/y".to_owned()
                    },
                    text
                )),
            proptest::string::string_regex(&whole)
                .unwrap()
                .prop_map(|text| (LineIn::WholeFile, text)),
            proptest::string::string_regex(&entry)
                .unwrap()
                .prop_map(|text| (LineIn::Entry, text)),
        ]
    }

    fn settings() -> impl Strategy<Value = CommandLineSetting> {
        prop_oneof![
            Just(CommandLineSetting::equals("a", "2")),
            Just(CommandLineSetting::absent("a")),
            Just(CommandLineSetting::present("a")),
            Just(CommandLineSetting::absent("b-c")),
            Just(CommandLineSetting::occurs("b-c", "z")),
            Just(CommandLineSetting::contains("a", "w")),
        ]
    }

    proptest! {
        #[test]
        fn a_change_is_made_and_taken_back_byte_for_byte((at, text) in texts(), setting in settings()) {
            let names = vec![setting.name().to_owned()];
            let seen = occurrences(&at, &text, &names);
            let wanted = requested(&seen, [&setting]).unwrap();
            let changed = replaced(&at, &text, &names, &wanted);
            prop_assert!(setting.is_met(&at.line(&changed)), "{changed:?}");
            prop_assert_eq!(replaced(&at, &changed, &names, &seen), text);
        }

        #[test]
        fn other_arguments_stay((at, text) in texts(), setting in settings(), other in "(x|y=1|z)") {
            let names = vec![setting.name().to_owned()];
            let seen = occurrences(&at, &text, &names);
            let wanted = requested(&seen, [&setting]).unwrap();
            let mut changed = replaced(&at, &text, &names, &wanted);
            // Another program adds something of its own.
            append(&at, &Arguments::of(&at, &changed), &mut changed, &other);
            let back = replaced(&at, &changed, &names, &seen);
            let words = |text: &str| {
                let all = Arguments::of(&at, text);
                let parts = all.parts.iter().flat_map(|(_, all)| all);
                let mut words: Vec<String> = parts.map(|range| text[range.clone()].to_owned()).collect();
                words.sort();
                words
            };
            let mut expected = words(&text);
            expected.push(other);
            expected.sort();
            prop_assert_eq!(words(&back), expected);
        }

        #[test]
        fn any_text_is_read(text in "[ab \"=\n\t-]{0,30}", names in Just(names())) {
            let entry = String::new();
            for at in [LineIn::WholeFile, LineIn::Entry, LineIn::Limine { entry }] {
                let seen = occurrences(&at, &text, &names);
                prop_assert_eq!(replaced(&at, &text, &names, &seen), text.clone());
            }
        }
    }
}
