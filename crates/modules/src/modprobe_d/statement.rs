//! What one line of a modprobe.d file means, as kmod reads it.

use std::fmt;
use std::ops::Range;

use super::name_pattern::canonical;
use hosttune_kernel_command_line::{is_unbalanced, ranges};

/// What one line means. Names have the spelling with `_`, as kmod gives them, except that a
/// blacklist of the kernel command line keeps its own.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Statement {
    /// An empty line, or one that contains only blanks.
    Blank,
    /// A line that begins with `#`, without blanks before it.
    Comment,
    /// `alias PATTERN MODULE`: another name of a module.
    Alias {
        /// The other name; fnmatch(3).
        pattern: String,
        /// The module.
        module: String,
    },
    /// `blacklist MODULE`: aliases of the module's own do not load it. Loading it by name, and as a
    /// dependency, still works.
    Blacklist {
        /// The module.
        module: String,
    },
    /// `options MODULE PARAMETER=VALUE…`: appended to the options of earlier lines.
    Options {
        /// The module, or an alias by which it is loaded. Not a pattern.
        module: String,
        /// The text that the kernel gets.
        options: String,
    },
    /// `install MODULE COMMAND`: the command runs instead of loading the module.
    Install {
        /// The module; fnmatch(3). The first line that matches counts.
        module: String,
        /// The shell command.
        command: String,
    },
    /// `remove MODULE COMMAND`: the command runs instead of unloading the module.
    Remove {
        /// The module; fnmatch(3). The first line that matches counts.
        module: String,
        /// The shell command.
        command: String,
    },
    /// `softdep MODULE pre: A B post: C`: modules to load before and after it.
    Softdep {
        /// The module; fnmatch(3). The first line that matches counts.
        module: String,
        /// The modules to load before it.
        pre: Vec<String>,
        /// The modules to load after it.
        post: Vec<String>,
    },
    /// `weakdep MODULE A B`: modules that it may load itself. kmod before 33 ignores the line.
    Weakdep {
        /// The module; fnmatch(3).
        module: String,
        /// The modules that it may load.
        modules: Vec<String>,
    },
    /// kmod ignores the line; [`Document::problems`](super::Document::problems) gives the reason.
    Ignored,
}

/// What can be wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProblemKind {
    /// The first word is not a command.
    UnknownCommand,
    /// `include` and `config`, which kmod does not read any more.
    Include,
    /// A word after the command is missing.
    MissingWord,
    /// A `[` without `]` or the other way round.
    Bracket,
    /// `#` after blanks is no comment.
    IndentedComment,
    /// A comment ends in a backslash, so that the next line is part of the comment.
    ContinuedComment,
    /// Options are followed by what looks like a comment; the kernel gets it as options.
    CommentInOptions,
    /// A quote in the options is not closed; it takes the options of all later lines.
    UnclosedQuote,
    /// The module is named again among its options, as in `options a x=1 a y=1`.
    ModuleAmongOptions,
    /// The line ends in a carriage return, which becomes part of the last word.
    CarriageReturn,
    /// The file ends in a backslash, which kmod 30 reads as a byte 0xff.
    BackslashAtEnd,
    /// The line contains a NUL byte, where it ends for kmod.
    NulByte,
}

impl fmt::Display for ProblemKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::UnknownCommand => {
                "not a command of modprobe.d: modprobe ignores the line; write options, blacklist, install, remove, alias or softdep"
            }
            Self::Include => {
                "modprobe does not include other files: put them into the directory"
            }
            Self::MissingWord => "a word is missing: modprobe ignores the line",
            Self::Bracket => {
                "a bracket is not closed or not opened: modprobe ignores the line"
            }
            Self::IndentedComment => {
                "a comment begins with # at the start of the line: modprobe ignores this line with an error"
            }
            Self::ContinuedComment => {
                "the comment ends in a backslash, so that the next line is part of it: remove the backslash"
            }
            Self::CommentInOptions => {
                "a comment after options is passed to the kernel as further options: put it on a line of its own"
            }
            Self::UnclosedQuote => {
                "a quote is not closed, so that it takes the options of later lines: close it"
            }
            Self::ModuleAmongOptions => {
                "the module is named again among its own options: write a second options line"
            }
            Self::CarriageReturn => {
                "the line ends in a carriage return, which becomes part of the last word: use a line feed alone"
            }
            Self::BackslashAtEnd => {
                "the file ends in a backslash: remove it, or end the file with a line feed"
            }
            Self::NulByte => "modprobe reads the line only up to its NUL byte: remove it",
        })
    }
}

/// A logical line, its continuations joined, and its meaning.
pub(super) struct Meaning {
    pub(super) statement: Statement,
    pub(super) problems: Vec<ProblemKind>,
    /// Where the text of the options is in the logical line, for `options`.
    pub(super) options: Option<Range<usize>>,
}

impl Meaning {
    fn of(statement: Statement) -> Self {
        Self {
            statement,
            problems: Vec::new(),
            options: None,
        }
    }

    fn ignored(problem: ProblemKind) -> Self {
        Self {
            problems: vec![problem],
            ..Self::of(Statement::Ignored)
        }
    }
}

/// Splits words at blanks as `strtok_r` does: a word ends at one blank, and what follows begins
/// directly behind that.
struct Words<'l> {
    line: &'l [u8],
    at: usize,
}

impl<'l> Words<'l> {
    fn next(&mut self) -> Option<&'l [u8]> {
        let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
        let rest = &self.line[self.at.min(self.line.len())..];
        let start = self.at + rest.iter().take_while(|byte| blank(byte)).count();
        let word = self.line.get(start..)?;
        let length = word.iter().position(blank).unwrap_or(word.len());
        self.at = start + length + 1;
        (length > 0).then(|| &word[..length])
    }

    /// Everything that is left; `None` if nothing is.
    fn rest(&self) -> Option<Range<usize>> {
        (self.at < self.line.len()).then_some(self.at..self.line.len())
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Reads a logical line.
pub(super) fn understand(line: &[u8]) -> Meaning {
    let end = line.iter().position(|byte| *byte == 0);
    let mut meaning = read(&line[..end.unwrap_or(line.len())]);
    if end.is_some() {
        meaning.problems.push(ProblemKind::NulByte);
    }
    if line.ends_with(b"\r") && meaning.statement != Statement::Comment {
        meaning.problems.push(ProblemKind::CarriageReturn);
    }
    meaning
}

fn read(line: &[u8]) -> Meaning {
    if line.first() == Some(&b'#') {
        return Meaning::of(Statement::Comment);
    }
    let mut words = Words { line, at: 0 };
    let Some(command) = words.next() else {
        return Meaning::of(Statement::Blank);
    };
    let statement =
        match command {
            b"alias" => alias(&mut words),
            b"blacklist" => module(&mut words).map(|module| Statement::Blacklist { module }),
            b"options" => return options(&mut words),
            b"install" => command_of(&mut words)
                .map(|(module, command)| Statement::Install { module, command }),
            b"remove" => command_of(&mut words)
                .map(|(module, command)| Statement::Remove { module, command }),
            b"softdep" => softdep(&mut words),
            b"weakdep" => weakdep(&mut words),
            b"include" | b"config" => Err(ProblemKind::Include),
            comment if comment.first() == Some(&b'#') => Err(ProblemKind::IndentedComment),
            _ => Err(ProblemKind::UnknownCommand),
        };
    statement.map_or_else(Meaning::ignored, Meaning::of)
}

fn module(words: &mut Words<'_>) -> Result<String, ProblemKind> {
    let word = words.next().ok_or(ProblemKind::MissingWord)?;
    canonical(word)
        .map(|name| text(&name))
        .ok_or(ProblemKind::Bracket)
}

fn alias(words: &mut Words<'_>) -> Result<Statement, ProblemKind> {
    Ok(Statement::Alias {
        pattern: module(words)?,
        module: module(words)?,
    })
}

fn command_of(words: &mut Words<'_>) -> Result<(String, String), ProblemKind> {
    let module = module(words)?;
    let rest = words.rest().ok_or(ProblemKind::MissingWord)?;
    Ok((module, text(&words.line[rest])))
}

fn options(words: &mut Words<'_>) -> Meaning {
    let (module, rest) = match (module(words), words.rest()) {
        (Ok(module), Some(rest)) => (module, rest),
        (Ok(_), None) => return Meaning::ignored(ProblemKind::MissingWord),
        (Err(problem), _) => return Meaning::ignored(problem),
    };
    let bytes = &words.line[rest.clone()];
    let mut problems = Vec::new();
    let words_of = || ranges(bytes).map(|range| &bytes[range]);
    if is_unbalanced(bytes) {
        problems.push(ProblemKind::UnclosedQuote);
    } else if words_of().any(|word| word.starts_with(b"#")) {
        problems.push(ProblemKind::CommentInOptions);
    }
    let again = |word: &[u8]| canonical(word).is_some_and(|word| word == module.as_bytes());
    if words_of().any(again) {
        problems.push(ProblemKind::ModuleAmongOptions);
    }
    Meaning {
        statement: Statement::Options {
            module,
            options: text(bytes).replace('\t', " "),
        },
        problems,
        options: Some(rest),
    }
}

fn softdep(words: &mut Words<'_>) -> Result<Statement, ProblemKind> {
    let module = module(words)?;
    let rest = words.rest().ok_or(ProblemKind::MissingWord)?;
    let (mut pre, mut post) = (Vec::new(), Vec::new());
    let mut before = None;
    for word in spaced(&words.line[rest]) {
        match (word, before) {
            (b"pre:", _) => before = Some(true),
            (b"post:", _) => before = Some(false),
            (word, Some(true)) => pre.push(text(word)),
            (word, Some(false)) => post.push(text(word)),
            (_, None) => {}
        }
    }
    Ok(Statement::Softdep { module, pre, post })
}

fn weakdep(words: &mut Words<'_>) -> Result<Statement, ProblemKind> {
    let module = module(words)?;
    let rest = words.rest().ok_or(ProblemKind::MissingWord)?;
    Ok(Statement::Weakdep {
        module,
        modules: spaced(&words.line[rest]).map(text).collect(),
    })
}

/// The words of a list of modules, which are separated by `isspace` of the C locale.
fn spaced(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes
        .split(|byte| matches!(byte, b' ' | b'\t'..=b'\r'))
        .filter(|word| !word.is_empty())
}
