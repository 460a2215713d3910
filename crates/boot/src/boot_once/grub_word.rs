//! Words of GRUB's shell, as far as the header of a menu entry needs them.

/// One word: as it is written, and without its quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word<'a> {
    pub(super) raw: &'a str,
    pub(super) value: String,
}

/// Divides a line into words. Variables stay as they are written. `None` if a quote is not closed.
pub(super) fn words(line: &str) -> Option<Vec<Word<'_>>> {
    let mut words = Vec::new();
    let mut letters = line.char_indices().peekable();
    while let Some((start, first)) = letters.peek().copied() {
        if first.is_whitespace() {
            letters.next();
            continue;
        }
        let mut value = String::new();
        let mut end = start;
        let mut quote: Option<char> = None;
        while let Some((place, letter)) = letters.peek().copied() {
            if quote.is_none() && letter.is_whitespace() {
                break;
            }
            letters.next();
            end = place + letter.len_utf8();
            match (quote, letter) {
                (None, '\'' | '"') => quote = Some(letter),
                (Some(open), closing) if open == closing => quote = None,
                (Some('\''), letter) => value.push(letter),
                (_, '\\') => {
                    let (place, escaped) = letters.next()?;
                    end = place + escaped.len_utf8();
                    // Within double quotes a backslash escapes only these.
                    if quote.is_some() && !matches!(escaped, '$' | '"' | '\\') {
                        value.push('\\');
                    }
                    value.push(escaped);
                }
                (_, letter) => value.push(letter),
            }
        }
        if quote.is_some() {
            return None;
        }
        words.push(Word {
            raw: &line[start..end],
            value,
        });
    }
    Some(words)
}

/// A text as one word.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn values(line: &str) -> Option<Vec<String>> {
        Some(words(line)?.into_iter().map(|word| word.value).collect())
    }

    #[test]
    fn quotes_are_removed_and_variables_stay() {
        assert_eq!(
            values(
                "menuentry 'Debian, it'\\''s' --class gnu $menuentry_id_option \"a \\\"b\\n\" {"
            ),
            Some(
                [
                    "menuentry",
                    "Debian, it's",
                    "--class",
                    "gnu",
                    "$menuentry_id_option",
                    "a \"b\\n",
                    "{"
                ]
                .map(str::to_owned)
                .to_vec()
            )
        );
        assert_eq!(values("menuentry 'open"), None);
        assert_eq!(values("a\\"), None);
    }

    proptest! {
        #[test]
        fn a_quoted_text_is_one_word(text in ".{0,20}", line in ".{0,40}") {
            prop_assert_eq!(values(&quoted(&text)), Some(vec![text]));
            let _ = words(&line);
        }
    }
}
