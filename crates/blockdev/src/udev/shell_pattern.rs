//! Translating the patterns of our rules to those of udev: two similar grammars.
//!
//! Ours are those of the crate `glob`: a backslash is an ordinary character, only `!` negates a
//! bracket expression, there are no character classes, and `|` is an ordinary character. udev's are
//! those of fnmatch(3), and `|` separates alternatives.

/// A pattern in udev's grammar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Translated {
    pub(super) text: String,
    /// Whether the text is a pattern; otherwise it is literal.
    pub(super) is_pattern: bool,
}

/// What the pattern is matched against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    /// The text as it is.
    Plain,
    /// A kernel name, in which udev replaces `!` by `/`.
    KernelName,
    /// A text that is never empty and has no surrounding blanks.
    Trimmed,
}

/// An element of one of our patterns.
enum Element {
    One(char),
    Any,
    Many,
    Set {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

/// Translates a pattern to udev's grammar, or returns why that is impossible.
pub(super) fn translate(glob: &str, subject: Subject) -> Result<Translated, &'static str> {
    let mut elements = parse(glob)?;
    if subject == Subject::Trimmed {
        let is_blank = |element: Option<&Element>| matches!(element, Some(Element::One(one)) if one.is_whitespace());
        if is_blank(elements.first()) || is_blank(elements.last()) {
            return Err("the compared text has no blanks at either end, so it matches nothing");
        }
    }
    if subject == Subject::KernelName {
        for element in &mut elements {
            of_kernel_name(element)?;
        }
    }
    if let [Element::Many] = elements.as_slice() {
        let text = match subject {
            Subject::Trimmed => "?*",
            Subject::Plain | Subject::KernelName => "*",
        };
        return Ok(Translated {
            text: text.to_owned(),
            is_pattern: true,
        });
    }
    let is_pattern = elements
        .iter()
        .any(|element| !matches!(element, Element::One(_)));
    let mut text = String::new();
    for element in &elements {
        match element {
            Element::One('|') => {
                return Err("in udev | separates alternatives and cannot be escaped");
            }
            Element::One(one) => {
                if is_pattern && matches!(one, '*' | '?' | '[' | '\\') {
                    text.push('\\');
                }
                text.push(*one);
            }
            Element::Any => text.push('?'),
            Element::Many => text.push('*'),
            Element::Set { negated, ranges } => set(&mut text, *negated, ranges)?,
        }
    }
    Ok(Translated { text, is_pattern })
}

fn of_kernel_name(element: &mut Element) -> Result<(), &'static str> {
    match element {
        Element::One('/') => Err("kernel names contain no slash"),
        Element::One(one) => {
            if *one == '!' {
                *one = '/';
            }
            Ok(())
        }
        Element::Set { ranges, .. } => {
            let holds = |wanted: char| {
                let mut ranges = ranges.iter();
                ranges.any(|(low, high)| (*low..=*high).contains(&wanted))
            };
            match (holds('!'), holds('/')) {
                (true, false) => {
                    ranges.push(('/', '/'));
                    Ok(())
                }
                (false, true) => Err(
                    "the brackets contain / but not !, and udev replaces ! by / in kernel names",
                ),
                _ => Ok(()),
            }
        }
        Element::Any | Element::Many => Ok(()),
    }
}

/// Escapes every special character, since what is special depends on the position in the brackets.
fn set(text: &mut String, negated: bool, ranges: &[(char, char)]) -> Result<(), &'static str> {
    text.push('[');
    if negated {
        text.push('!');
    }
    let put = |text: &mut String, one: char| {
        if matches!(one, '[' | ']' | '\\' | '!' | '^' | '-') {
            text.push('\\');
        }
        text.push(one);
    };
    for (low, high) in ranges {
        if !low.is_ascii() || !high.is_ascii() {
            return Err(
                "udev compares bytes, so brackets with non-ASCII characters would match single bytes of them",
            );
        }
        if *low == '|' || *high == '|' {
            return Err("in udev | separates alternatives and cannot be escaped");
        }
        put(text, *low);
        if low != high {
            text.push('-');
            put(text, *high);
        }
    }
    text.push(']');
    Ok(())
}

/// Parses a pattern that the crate `glob` has accepted.
fn parse(glob: &str) -> Result<Vec<Element>, &'static str> {
    let characters: Vec<char> = glob.chars().collect();
    let mut elements = Vec::new();
    let mut at = 0;
    while let Some(one) = characters.get(at) {
        match one {
            '*' if characters.get(at + 1) == Some(&'*') => {
                return Err("** matches directories, which do not occur here: use a single *");
            }
            '*' => elements.push(Element::Many),
            '?' => elements.push(Element::Any),
            '[' => {
                let negated = characters.get(at + 1) == Some(&'!');
                let first = at + 1 + usize::from(negated);
                // A closing bracket directly after the opening one is a member.
                let behind = characters.get(first + 1..).unwrap_or_default();
                let length = behind.iter().position(|next| *next == ']');
                let end = first + 1 + length.ok_or("a bracket is not closed")?;
                elements.push(Element::Set {
                    negated,
                    ranges: ranges(&characters[first..end]),
                });
                at = end;
            }
            other => elements.push(Element::One(*other)),
        }
        at += 1;
    }
    Ok(elements)
}

fn ranges(members: &[char]) -> Vec<(char, char)> {
    let mut ranges = Vec::new();
    let mut rest = members;
    loop {
        rest = match rest {
            [] => return ranges,
            [low, '-', high, behind @ ..] => {
                ranges.push((*low, *high));
                behind
            }
            [one, behind @ ..] => {
                ranges.push((*one, *one));
                behind
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Subject, translate};
    use crate::Glob;
    use crate::udev::{Pattern, Value};

    fn matches(translated: &super::Translated, text: &str) -> bool {
        let text_of = if translated.is_pattern {
            translated.text.clone()
        } else {
            Pattern::literal(&translated.text).unwrap()
        };
        Pattern::new(&Value::new(text_of)).matches(text)
    }

    #[test]
    fn what_udev_cannot_say_is_an_error() {
        for (glob, subject) in [
            ("a|b", Subject::Plain),
            ("[a|]", Subject::Plain),
            ("**", Subject::Plain),
            ("[é]", Subject::Plain),
            (" a", Subject::Trimmed),
            ("a ", Subject::Trimmed),
            ("[+-9]", Subject::KernelName),
            ("a/b", Subject::KernelName),
        ] {
            assert!(translate(glob, subject).is_err(), "{glob}");
        }
        let written = translate("[^a]*[[:x:]", Subject::Plain).unwrap();
        assert_eq!(written.text, "[\\^a]*[\\[:x:]");
        let name = translate("cciss!c0d0", Subject::KernelName).unwrap();
        assert_eq!((name.text.as_str(), name.is_pattern), ("cciss/c0d0", false));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn a_pattern_says_the_same_to_udev(
            glob in "[]ab!^*?\\\\:| \\[-]{1,9}",
            texts in prop::collection::vec("[]ab!^*?\\\\:| \\[-]{0,6}", 1..20),
        ) {
            let Ok(ours) = glob.parse::<Glob>() else { return Ok(()) };
            let Ok(plain) = translate(&glob, Subject::Plain) else {
                prop_assert!(glob.contains('|') || glob.contains("**"), "{glob}");
                return Ok(());
            };
            for text in &texts {
                prop_assert_eq!(matches(&plain, text), ours.matches(text), "{:?} {:?} {:?}", &glob, &plain, text);
            }
            let trimmed = translate(&glob, Subject::Trimmed);
            let name = translate(&glob, Subject::KernelName);
            for text in texts.iter().filter(|text| !text.is_empty()) {
                if let Ok(name) = &name {
                    prop_assert_eq!(matches(name, &text.replace('!', "/")), ours.matches(text), "{:?} {:?} {:?}", &glob, &name, text);
                }
                if text.trim() == text {
                    let trimmed = trimmed.as_ref().is_ok_and(|trimmed| matches(trimmed, text));
                    prop_assert_eq!(trimmed, ours.matches(text), "{:?} {:?}", &glob, text);
                }
            }
        }
    }
}
