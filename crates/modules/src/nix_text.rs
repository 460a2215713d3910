//! Text of a NixOS configuration.

/// A string in double quotes, as Nix reads it: `\`, `"` and `${` are escaped, and a line feed, a carriage
/// return and a tab are written by their letters (the Nix manual, "String literal").
///
/// ```text
/// boot.kernelParams = [ "mitigations=off" ];
/// ```
pub fn string(text: &str) -> String {
    let mut written = String::from("\"");
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' | '"' => written.extend(['\\', letter]),
            '$' if letters.peek() == Some(&'{') => written.push_str("\\$"),
            '\n' => written.push_str("\\n"),
            '\r' => written.push_str("\\r"),
            '\t' => written.push_str("\\t"),
            _ => written.push(letter),
        }
    }
    written.push('"');
    written
}

/// A list of strings.
pub fn list(texts: &[String]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| string(text)).collect();
    format!("[ {} ]", texts.join(" "))
}

/// The name of an attribute: a word, or a string where it is not one, or is a keyword.
pub fn attribute(name: &str) -> String {
    const KEYWORDS: [&str; 10] = [
        "assert", "else", "if", "in", "inherit", "let", "or", "rec", "then", "with",
    ];
    let begins = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'_';
    let is_word = name.as_bytes().first().is_some_and(begins)
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-'".contains(&byte))
        && !KEYWORDS.contains(&name);
    match is_word {
        true => name.to_owned(),
        false => string(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reads a string in double quotes as the lexer of Nix does (`src/libexpr/lexer.l` and `unescapeStr`):
    /// `None` if it ends early or contains an interpolation.
    fn read(text: &str) -> Option<String> {
        let mut letters = text.strip_prefix('"')?.chars().peekable();
        let mut value = String::new();
        loop {
            match letters.next()? {
                '"' => return letters.next().is_none().then_some(value),
                '$' if letters.peek() == Some(&'{') => return None,
                '\\' => value.push(match letters.next()? {
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    other => other,
                }),
                other => value.push(other),
            }
        }
    }

    proptest! {
        #[test]
        fn nix_reads_what_was_written(text in "([ -~]|\\$\\{|\\$|\"|\\\\|\n|\r|\t|\u{e4}){0,12}") {
            let written = string(&text);
            prop_assert!(!written.contains('\n'));
            prop_assert_eq!(read(&written), Some(text));
        }
    }

    #[test]
    fn names_that_are_no_words_are_strings() {
        assert_eq!(attribute("guests"), "guests");
        assert_eq!(attribute("host-mode"), "host-mode");
        assert_eq!(attribute("2d"), "\"2d\"");
        assert_eq!(attribute("with"), "\"with\"");
        assert_eq!(attribute("a.b"), "\"a.b\"");
        assert_eq!(list(&["a=${b}".to_owned()]), "[ \"a=\\${b}\" ]");
    }
}
