//! What `/etc/default/grub` and the files of `/etc/default/grub.d` set, as far as it can be told without
//! a shell.
//!
//! Only assignments of text are understood, outside of conditions. Whatever else may set one of the two
//! variables makes its value unknown, until it is assigned again: nothing is guessed.

/// The variable for all entries, which comes first on the line.
pub(super) const ALL_ENTRIES: &str = "GRUB_CMDLINE_LINUX";

/// The variable for normal entries.
pub(super) const NORMAL_ENTRIES: &str = "GRUB_CMDLINE_LINUX_DEFAULT";

/// The values of the two variables; `None` for one that is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Defaults {
    all: Option<String>,
    normal: Option<String>,
}

impl Default for Defaults {
    /// Nothing is set.
    fn default() -> Self {
        Self {
            all: Some(String::new()),
            normal: Some(String::new()),
        }
    }
}

impl Defaults {
    /// With this value for normal entries.
    pub(super) fn with_normal(value: &str) -> Self {
        Self {
            normal: Some(value.to_owned()),
            ..Self::default()
        }
    }

    /// The value for normal entries alone.
    pub(super) fn normal(&self) -> Option<&str> {
        self.normal.as_deref()
    }

    /// The line of normal entries, if both variables are known.
    pub(super) fn line(&self) -> Option<String> {
        Some(format!("{} {}", self.all.as_ref()?, self.normal.as_ref()?))
    }

    fn get(&self, name: &str) -> Option<String> {
        match name {
            ALL_ENTRIES => self.all.clone(),
            NORMAL_ENTRIES => self.normal.clone(),
            _ => None,
        }
    }

    fn set(&mut self, name: &str, value: Option<String>) {
        match name {
            ALL_ENTRIES => self.all = value,
            NORMAL_ENTRIES => self.normal = value,
            _ => {}
        }
    }

    /// Reads a file; `told` gets the number of each line that may have changed something, from 1, and what
    /// is known behind it.
    pub(super) fn read(&mut self, text: &str, mut told: impl FnMut(usize, &Self)) {
        let mut is_conditional = false;
        for (number, line) in text.split('\n').enumerate() {
            let before = self.clone();
            let statement = statement(line, |name| before.get(name));
            match statement {
                Statement::Nothing => continue,
                Statement::Assigned { name, value } => {
                    self.set(name, value.filter(|_| !is_conditional));
                }
                Statement::Other => {
                    is_conditional |= may_skip(line);
                    for name in [ALL_ENTRIES, NORMAL_ENTRIES] {
                        if runs_other_text(line) || mentions(line, name) {
                            self.set(name, None);
                        }
                    }
                }
                Statement::Unclosed => {
                    // The rest of the file is in quotes, or is not read at all.
                    (self.all, self.normal) = (None, None);
                    told(number + 1, self);
                    return;
                }
            }
            told(number + 1, self);
        }
    }
}

/// A line of a shell script.
#[derive(Debug, PartialEq, Eq)]
enum Statement<'l> {
    /// It is empty, or a comment.
    Nothing,
    /// It gives a variable a value, and does nothing else.
    Assigned {
        name: &'l str,
        /// `None` if it is not known.
        value: Option<String>,
    },
    /// Anything else.
    Other,
    /// It goes on in the next line.
    Unclosed,
}

/// Whether the lines behind this one may not be run, or another file is run: all but simple commands.
fn may_skip(line: &str) -> bool {
    const PLAIN: [&str; 7] = ["export", "unset", "readonly", "echo", "true", ":", "set"];
    let first = line.split_whitespace().next().unwrap_or_default();
    let is_assignment = first.split_once('=').is_some_and(|(name, _)| is_name(name));
    !is_assignment && !PLAIN.contains(&first) || line.contains([';', '&', '|', '(', '{', '`'])
}

/// Whether the line runs what is written elsewhere, which may set anything.
fn runs_other_text(line: &str) -> bool {
    let mut words = line.split([' ', '\t', ';', '&', '|', '(', '{', '`']);
    words.any(|word| matches!(word, "." | "source" | "eval"))
}

/// Whether the name occurs as a whole word.
fn mentions(line: &str, name: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    line.match_indices(name).any(|(at, _)| {
        let before = line.as_bytes()[..at].last().copied();
        let after = line.as_bytes().get(at + name.len()).copied();
        !before.is_some_and(is_letter) && !after.is_some_and(is_letter)
    })
}

fn is_name(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && text
            .bytes()
            .next()
            .is_some_and(|byte| !byte.is_ascii_digit())
}

/// Reads a line; `value` is what is known of a variable.
fn statement(line: &str, value: impl Fn(&str) -> Option<String>) -> Statement<'_> {
    let line = line.trim_start_matches([' ', '\t']);
    if line.is_empty() || line.starts_with('#') {
        return Statement::Nothing;
    }
    let exported = line
        .strip_prefix("export")
        .filter(|rest| rest.starts_with([' ', '\t']));
    let assignment = exported.map_or(line, |rest| rest.trim_start_matches([' ', '\t']));
    let split = assignment.split_once('=').filter(|(name, _)| is_name(name));
    let Some((name, rest)) = split else {
        // Only where its quotes end matters.
        return match word(line, &value, true) {
            Some(_) => Statement::Other,
            None => Statement::Unclosed,
        };
    };
    let Some(read) = word(rest, &value, false) else {
        return Statement::Unclosed;
    };
    let behind = rest[read.length..].trim_start_matches([' ', '\t']);
    if read.is_ended_by_blank && (behind.is_empty() || behind.starts_with('#')) {
        return Statement::Assigned {
            name,
            value: read.value,
        };
    }
    match word(line, &value, true) {
        Some(_) => Statement::Other,
        None => Statement::Unclosed,
    }
}

/// A word of a line.
struct Word {
    /// Its text without quotes, if it is known.
    value: Option<String>,
    /// How many bytes it has.
    length: usize,
    /// Whether a blank or the end of the line ends it, and not an operator.
    is_ended_by_blank: bool,
}

/// Reads the first word of a text, or with `whole` everything up to a comment; `None` if a quote is not
/// closed or the line goes on.
fn word(text: &str, value: impl Fn(&str) -> Option<String>, whole: bool) -> Option<Word> {
    let mut read = Some(String::new());
    let mut is_quoted = false;
    let mut is_begin = true;
    let mut rest = text.char_indices().peekable();
    let mut length = text.len();
    let mut is_ended_by_blank = true;
    while let Some((at, letter)) = rest.next() {
        let was_begin = std::mem::take(&mut is_begin);
        match letter {
            '\'' if !is_quoted => loop {
                match rest.next()? {
                    (_, '\'') => break,
                    (_, inner) => push(&mut read, inner),
                }
            },
            '"' => is_quoted = !is_quoted,
            '\\' => match rest.next()? {
                (_, next) if !is_quoted || "$`\"\\".contains(next) => push(&mut read, next),
                (_, next) => {
                    push(&mut read, letter);
                    push(&mut read, next);
                }
            },
            '`' => {
                read = None;
                rest.find(|(_, letter)| *letter == '`')?;
            }
            '$' => {
                let behind = &text[at + 1..];
                let is_letter = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
                let (name, taken) = match behind.strip_prefix('{') {
                    Some(inner) => match inner.split_once('}') {
                        Some((name, _)) => (name, name.len() + 2),
                        None => return None,
                    },
                    None => {
                        let end = behind.find(|letter| !is_letter(letter));
                        let name = &behind[..end.unwrap_or(behind.len())];
                        (name, name.len())
                    }
                };
                if behind.starts_with('(') {
                    read = None;
                    rest.find(|(_, letter)| *letter == ')')?;
                } else {
                    let known = is_name(name).then(|| value(name)).flatten();
                    read = read.zip(known).map(|(read, known)| read + &known);
                    while rest.peek().is_some_and(|(next, _)| *next <= at + taken) {
                        rest.next();
                    }
                }
            }
            ' ' | '\t' if !is_quoted && !whole => {
                length = at;
                break;
            }
            ' ' | '\t' if !is_quoted => is_begin = true,
            '#' if !is_quoted && whole && was_begin => break,
            ';' | '&' | '|' | '(' | ')' | '<' | '>' if !is_quoted => {
                // What is written behind `<<` ends in another line.
                if text[at..].starts_with("<<") {
                    return None;
                }
                is_begin = true;
                if !whole {
                    length = at;
                    is_ended_by_blank = false;
                    break;
                }
            }
            // A home directory, and what a shell keeps of a line that ends as in DOS.
            '~' | '\r' if !is_quoted => read = None,
            '\r' => read = None,
            other => push(&mut read, other),
        }
    }
    (!is_quoted).then_some(Word {
        value: read,
        length,
        is_ended_by_blank,
    })
}

fn push(read: &mut Option<String>, letter: char) {
    if let Some(read) = read {
        read.push(letter);
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    fn after(text: &str) -> Defaults {
        let mut defaults = Defaults::default();
        defaults.read(text, |_, _| {});
        defaults
    }

    #[test]
    fn what_is_not_plain_text_is_not_known() {
        for (text, normal) in [
            ("GRUB_CMDLINE_LINUX_DEFAULT=\"a b\" # c", Some("a b")),
            ("GRUB_CMDLINE_LINUX_DEFAULT='a'\" b\"c", Some("a bc")),
            ("export GRUB_CMDLINE_LINUX_DEFAULT=a", Some("a")),
            (
                "GRUB_CMDLINE_LINUX=x\nGRUB_CMDLINE_LINUX_DEFAULT=\"$GRUB_CMDLINE_LINUX a\"",
                Some("x a"),
            ),
            (
                "GRUB_DISTRIBUTOR=`( . /etc/os-release; echo ${NAME:-Debian} ) 2>/dev/null || echo Debian`\nGRUB_CMDLINE_LINUX_DEFAULT=a",
                Some("a"),
            ),
            (
                "GRUB_DISTRIBUTOR=\"$(sed 's, release .*$,,g' /etc/system-release)\"\nGRUB_CMDLINE_LINUX_DEFAULT=a",
                Some("a"),
            ),
            (
                "GRUB_CMDLINE_LINUX_DEFAULT='$GRUB_CMDLINE_LINUX_DEFAULT'",
                Some("$GRUB_CMDLINE_LINUX_DEFAULT"),
            ),
            ("GRUB_CMDLINE_LINUX_DEFAULT=a; x=y", None),
            ("GRUB_CMDLINE_LINUX_DEFAULT+=a", None),
            ("if false; then\nGRUB_CMDLINE_LINUX_DEFAULT=a\nfi", None),
            ("GRUB_CMDLINE_LINUX_DEFAULT=\"a", None),
            ("GRUB_X=\"a\nGRUB_CMDLINE_LINUX_DEFAULT=a\"", None),
            ("GRUB_CMDLINE_LINUX_DEFAULT=\"a $B\"", None),
            ("GRUB_CMDLINE_LINUX_DEFAULT=\"a\"\r", None),
            ("GRUB_CMDLINE_LINUX_DEFAULT=a\n[ -e x ] && . x", None),
            ("unset GRUB_CMDLINE_LINUX_DEFAULT", None),
            ("exit 0\nGRUB_CMDLINE_LINUX_DEFAULT=a", None),
            ("cat <<E\nGRUB_CMDLINE_LINUX_DEFAULT=a\nE", None),
        ] {
            assert_eq!(after(text).normal(), normal, "{text}");
        }
    }

    /// What the shell of this machine makes of a file.
    #[expect(
        clippy::disallowed_methods,
        reason = "the shell is what the reader is compared with"
    )]
    fn computed(text: &str) -> Option<String> {
        let script = format!(
            "{{ {text}\n}} >/dev/null\nprintf '%s %s' \"$GRUB_CMDLINE_LINUX\" \"$GRUB_CMDLINE_LINUX_DEFAULT\""
        );
        let output = Command::new("/bin/sh")
            .env_clear()
            .args(["-c", &script])
            .output();
        let output = output.unwrap();
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn script() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "a",
            "b=1",
            " ",
            " ",
            "\"",
            "\"",
            "'",
            "'",
            "#",
            "$",
            "${",
            "}",
            "\\",
            ";",
            "\n",
            "\t",
            "=",
            "+",
            "(",
            "false &&",
            "if false; then ",
            "\nfi\n",
            "GRUB_CMDLINE_LINUX",
            "GRUB_CMDLINE_LINUX_DEFAULT",
            "export ",
            "$GRUB_CMDLINE_LINUX_DEFAULT",
            "${GRUB_CMDLINE_LINUX}",
            "GRUB_CMDLINE_LINUX_DEFAULT=",
            "\nGRUB_CMDLINE_LINUX_DEFAULT=\"",
            "\nGRUB_CMDLINE_LINUX='",
            "unset ",
        ]);
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn what_is_known_is_what_a_shell_makes_of_it(text in script()) {
            let known = after(&text).line();
            if let (Some(known), Some(computed)) = (known, computed(&text)) {
                prop_assert_eq!(known, computed);
            }
        }
    }
}
