//! The file format of OpenWrt's configuration (UCI): sections with options.

/// A section: `config TYPE 'NAME'` and the options below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) line: usize,
    pub(super) kind: String,
    pub(super) name: Option<String>,
    /// Name, value and line, in the order of the file.
    pub(super) options: Vec<(String, String, usize)>,
}

impl Section {
    /// The value of an option; the last one counts. An empty one is as good as none, since
    /// sqm-scripts cannot tell them apart.
    pub(super) fn option(&self, name: &str) -> Option<&str> {
        let mut all = self.options.iter().rev();
        let (_, value, _) = all.find(|(option, _, _)| option == name)?;
        (!value.is_empty()).then_some(value)
    }
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
#[non_exhaustive]
pub struct UciError {
    /// Line number, from one.
    pub line: usize,
    /// What is wrong there.
    pub problem: &'static str,
}

/// Splits a text into lines of words. Words are separated by blanks; quotes keep blanks and line
/// breaks, and may be followed by more of the same word; `#` at the start of a word begins a comment; `;`
/// ends a command; a backslash takes the next character as it is, except in single quotes.
fn commands(text: &str) -> Result<Vec<(usize, Vec<String>)>, UciError> {
    let mut commands = Vec::new();
    let mut words: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let (mut line, mut began) = (1, 1);
    let mut characters = text.chars().peekable();
    loop {
        let next = characters.next();
        let unfinished = UciError {
            line,
            problem: "a backslash ends the file",
        };
        match next {
            None | Some('\n' | ';') => {
                words.extend(word.take());
                if !words.is_empty() {
                    commands.push((began, std::mem::take(&mut words)));
                }
                if next == Some('\n') {
                    line += 1;
                }
                began = line;
                if next.is_none() {
                    return Ok(commands);
                }
            }
            Some('#') if word.is_none() => {
                while characters.next_if(|one| *one != '\n').is_some() {}
            }
            Some(blank) if blank.is_whitespace() => words.extend(word.take()),
            Some(quote @ ('\'' | '"')) => {
                let word = word.get_or_insert_default();
                let opened = line;
                loop {
                    match characters.next() {
                        None => {
                            return Err(UciError {
                                line: opened,
                                problem: "the quotation mark is not closed",
                            });
                        }
                        Some(one) if one == quote => break,
                        Some('\\') if quote == '"' => {
                            let escaped = characters.next();
                            word.push(escaped.ok_or(unfinished.clone())?);
                        }
                        Some(one) => {
                            line += usize::from(one == '\n');
                            word.push(one);
                        }
                    }
                }
            }
            Some('\\') => {
                let escaped = characters.next();
                let escaped = escaped.ok_or(unfinished)?;
                word.get_or_insert_default().push(escaped);
            }
            Some(one) => word.get_or_insert_default().push(one),
        }
    }
}

/// Reads the sections of a file.
pub(super) fn sections(text: &str) -> Result<Vec<Section>, UciError> {
    let mut sections: Vec<Section> = Vec::new();
    for (line, words) in commands(text)? {
        let wrong = |problem| UciError { line, problem };
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words[..] {
            ["package", _] => {}
            ["config", kind] | ["config", kind, _] => sections.push(Section {
                line,
                kind: kind.to_owned(),
                name: words.get(2).map(|name| (*name).to_owned()),
                options: Vec::new(),
            }),
            ["option" | "list", name, value] => {
                let section = sections.last_mut();
                let section = section.ok_or(wrong("an option before the first section"))?;
                let option = (name.to_owned(), value.to_owned(), line);
                section.options.push(option);
            }
            _ => {
                return Err(wrong(
                    "not a line of UCI: config TYPE NAME or option NAME VALUE",
                ));
            }
        }
    }
    Ok(sections)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_quotes_and_comments() {
        let text = "# of LuCI\nconfig queue 'eth 1'\n\toption a b # not more\n option 'c' \"d \\\" e\"'f'\\ g;option h ''\n\
                    config queue\n option i 'two\nlines'\n option j k";
        let read = sections(text).unwrap();
        let option = |name: &str, value: &str, line| (name.to_owned(), value.to_owned(), line);
        assert_eq!(read.len(), 2);
        assert_eq!(read[0].name.as_deref(), Some("eth 1"));
        assert_eq!(
            read[0].options,
            [
                option("a", "b", 3),
                option("c", "d \" ef g", 4),
                option("h", "", 4)
            ]
        );
        assert_eq!(read[0].option("h"), None);
        assert_eq!((read[1].line, &read[1].name), (5, &None));
        assert_eq!(
            read[1].options,
            [option("i", "two\nlines", 6), option("j", "k", 8)]
        );
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (text, line) in [
            ("option a b", 1),
            ("config queue\noption a", 2),
            ("config queue\n\noption a 'b\nc", 3),
            ("config queue\nset a b", 2),
            ("config\n", 1),
            ("config a\noption a b c", 2),
            ("config a\noption a b\\", 2),
        ] {
            assert_eq!(sections(text).unwrap_err().line, line, "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn no_text_panics(text in r#"(config|option|list|[ \n'"\\#;a-z])*"#) {
            let _ = sections(&text);
        }

        #[test]
        fn a_quoted_value_is_read_as_it_is(value in "[^']*", name in "[a-z_]{1,8}") {
            let text = format!("config queue\noption {name} '{value}'\n");
            let read = sections(&text).unwrap();
            prop_assert_eq!(&read[0].options[0].0, &name);
            prop_assert_eq!(&read[0].options[0].1, &value);
        }
    }
}
