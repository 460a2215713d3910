//! Quoting for the shell.

/// Quotes a text as a single word.
#[must_use]
pub(crate) fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Quotes a program and its arguments as a command line.
pub(crate) fn quoted<A: AsRef<str>>(words: &[A]) -> String {
    let words: Vec<String> = words.iter().map(|word| quote(word.as_ref())).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_word_stays_one_word() {
        let output = Command::new("dash")
            .args([
                "-c",
                &quoted(&["printf", "%s|", "it's", "a $HOME", "", "\n*"]),
            ])
            .output()
            .unwrap();
        assert_eq!(output.stdout, b"it's|a $HOME||\n*|");
    }
}
