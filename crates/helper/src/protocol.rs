//! The lines that client, helper and host program exchange.
//!
//! Each is one JSON object and a newline. The client sends one [`Request`] and nothing after it. It gets an
//! [`Answer`] that is [`Outcome::Tuned`] or [`Outcome::Refused`]. After `Tuned` the connection is the lease: the
//! client ends it by closing it or by shutting down its sending side, and may then read [`Outcome::Left`] before
//! the connection is closed from the other side.
//!
//! Version 1 refuses a request with a field that it does not know, because it would not do what is asked. Answers
//! may get more fields.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The version of the protocol.
pub const VERSION: u32 = 1;

/// The longest line of either side, with its newline, in bytes. A pipe of the smallest size holds it.
pub const LONGEST: usize = 4096;

/// The most bytes of the command line that are sent, which is only shown.
const SHOWN: usize = 512;

/// The longest time that a request can ask to wait for other processes that change the host, in seconds.
pub const LONGEST_WAIT: u16 = 600;

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// [`VERSION`].
    version: u32,
    /// The name of the installed host program.
    pub host: String,
    /// The parts to limit it to; without any, all parts that it opens to users.
    #[serde(default)]
    pub only: Vec<String>,
    /// Optional parts to enable.
    #[serde(default)]
    pub with: Vec<String>,
    /// Values of the host's own options, by name.
    #[serde(default)]
    pub set: BTreeMap<String, String>,
    /// Whether a setting that does not apply is an error.
    #[serde(default)]
    pub strict: bool,
    /// The nice value for the connecting process, −20 to 19; `None` to leave it.
    #[serde(default)]
    pub nice: Option<i32>,
    /// How long to wait for other processes that change the host, in seconds.
    #[serde(default)]
    pub wait: u16,
    /// The command line, for people.
    #[serde(default)]
    pub command: String,
    /// Whether it is only asked what the answer would be: nothing is changed, and no lease begins.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub explain: bool,
}

/// Why a line is not a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// It is no JSON, or has other fields.
    #[error("the request is not one of version {VERSION}: {0}")]
    Malformed(String),
    /// It is of another version.
    #[error("the request is of version {0}, and this helper has version {VERSION}")]
    Version(u32),
    /// It is longer than [`LONGEST`], or more follows it.
    #[error("the request is longer than one line of {LONGEST} bytes")]
    TooLong,
    /// The name is not one of a host program.
    #[error(
        "'{0}' is not the name of a host program: it has 1 to 64 of a-z, 0-9, '-', '_' and '.'"
    )]
    Name(String),
    /// A value is out of its range.
    #[error("{what} is {value}, not {range}")]
    Range {
        /// The field.
        what: &'static str,
        /// Its value.
        value: i64,
        /// What it can be.
        range: &'static str,
    },
}

impl Request {
    /// A request for a host; `command` is shown to people and is shortened if it is long.
    pub fn new(host: &str, command: &str) -> Self {
        let mut command = command.to_owned();
        if command.len() > SHOWN {
            let end = (0..=SHOWN).rev().find(|&end| command.is_char_boundary(end));
            command.truncate(end.unwrap_or(0));
            command.push('…');
        }
        Self {
            version: VERSION,
            host: host.to_owned(),
            only: Vec::new(),
            with: Vec::new(),
            set: BTreeMap::new(),
            strict: false,
            nice: None,
            wait: 10,
            command,
            explain: false,
        }
    }

    /// Limits it to these parts.
    #[must_use]
    pub fn only<T: Into<String>>(mut self, parts: impl IntoIterator<Item = T>) -> Self {
        self.only = parts.into_iter().map(Into::into).collect();
        self
    }

    /// The same without a nice value.
    #[must_use]
    pub fn without_nice(mut self) -> Self {
        self.nice = None;
        self
    }

    /// The line.
    pub fn format(&self) -> Vec<u8> {
        line(self)
    }

    /// Parses and checks a line, with or without its newline.
    ///
    /// # Errors
    /// If it is not a request of this version with values in their ranges.
    pub fn parse(line: &[u8]) -> Result<Self, RequestError> {
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        if line.len() > LONGEST {
            return Err(RequestError::TooLong);
        }
        let malformed = |error: serde_json::Error| RequestError::Malformed(error.to_string());
        let head: Head = serde_json::from_slice(line).map_err(malformed)?;
        if head.version != VERSION {
            return Err(RequestError::Version(head.version));
        }
        let request: Self = serde_json::from_slice(line).map_err(malformed)?;
        if !is_host_name(&request.host) {
            return Err(RequestError::Name(request.host));
        }
        if let Some(nice) = request.nice
            && !(-20..=19).contains(&nice)
        {
            return Err(RequestError::Range {
                what: "nice",
                value: nice.into(),
                range: "-20 to 19",
            });
        }
        if request.wait > LONGEST_WAIT {
            return Err(RequestError::Range {
                what: "wait",
                value: request.wait.into(),
                range: "0 to 600 seconds",
            });
        }
        Ok(request)
    }
}

/// Whether this can be the name of a host program. It contains no slash and does not begin with a dot, so it is
/// always a file directly in the directory of hosts.
pub fn is_host_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (1..=64).contains(&name.len())
        && name.bytes().next().is_some_and(plain)
        && name
            .bytes()
            .all(|byte| plain(byte) || b"-_.".contains(&byte))
}

/// What a client is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// [`VERSION`].
    version: u32,
    /// The answer itself.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// The answer itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The host is tuned as long as the connection lasts.
    Tuned(Tuned),
    /// It would be, and only that was asked ([`Request::explain`]).
    Admitted(Admitted),
    /// It is not, and the connection is closed.
    Refused(Refusal),
    /// The lease has ended.
    Left(Left),
}

/// What was set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tuned {
    /// The number of changes that were made for this lease; other leases may have made the rest before.
    pub changes: usize,
    /// The number of settings that are not in effect.
    pub not_in_effect: usize,
    /// The nice value that the connecting process has now, as read back; `None` if it was left.
    pub nice: Option<i32>,
    /// Notes for people.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// What a request is granted that only asks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Admitted {
    /// The nice value that the connecting process would have; `None` if it would be left.
    pub nice: Option<i32>,
    /// Notes for people.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// Why a host is not tuned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Refusal {
    /// The reason, for programs.
    pub code: RefusalCode,
    /// The reason, for people.
    pub why: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// The reason of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum RefusalCode {
    /// The request cannot be understood.
    Request,
    /// There are too many connections or leases.
    Busy,
    /// No such host program is installed.
    UnknownHost,
    /// The host program is not one that only root can change.
    UntrustedHost,
    /// The host does not open this to users.
    NotOpen,
    /// The host could not be tuned.
    Failed,
}

/// What became of the tuning at the end of a lease.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Left {
    /// The number of other runs that still hold the tuning.
    pub others: usize,
    /// What could not be reverted, for people; empty if everything was.
    #[serde(default)]
    pub problems: Vec<String>,
}

impl Answer {
    /// An answer of this version.
    pub fn new(outcome: Outcome) -> Self {
        Self {
            version: VERSION,
            outcome,
        }
    }

    /// A refusal.
    pub fn refused(code: RefusalCode, why: impl Into<String>, hint: Option<String>) -> Self {
        Self::new(Outcome::Refused(Refusal {
            code,
            why: why.into(),
            hint,
        }))
    }

    /// The line, at most [`LONGEST`] bytes: notes and reasons are shortened until it fits.
    pub fn format(&self) -> Vec<u8> {
        let whole = line(self);
        if whole.len() <= LONGEST {
            return whole;
        }
        let mut short = self.clone();
        let few = |texts: &mut Vec<String>| {
            texts.truncate(4);
            texts.iter_mut().for_each(|text| shorten(text, 200));
        };
        match &mut short.outcome {
            Outcome::Tuned(tuned) => few(&mut tuned.notes),
            Outcome::Admitted(admitted) => few(&mut admitted.notes),
            Outcome::Left(left) => few(&mut left.problems),
            Outcome::Refused(refusal) => {
                shorten(&mut refusal.why, 400);
                refusal.hint.iter_mut().for_each(|hint| shorten(hint, 200));
            }
        }
        line(&short)
    }

    /// Parses a line, with or without its newline.
    ///
    /// # Errors
    /// If it is not an answer of this version; the text says why.
    pub fn parse(line: &[u8]) -> Result<Self, String> {
        let answer: Self = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        if answer.version != VERSION {
            return Err(format!(
                "it is of version {}, and this program has version {VERSION}",
                answer.version
            ));
        }
        Ok(answer)
    }
}

fn shorten(text: &mut String, most: usize) {
    if let Some((end, _)) = text.char_indices().nth(most) {
        text.truncate(end);
        text.push('…');
    }
}

/// The types here have an encoding, so this cannot fail; an empty line would be refused by the other side.
fn line(value: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request() -> impl Strategy<Value = Request> {
        (
            "[a-z0-9][a-z0-9._-]{0,63}",
            proptest::collection::vec(".{0,20}", 0..4),
            proptest::collection::btree_map("[a-z-]{1,8}", ".{0,20}", 0..3),
            proptest::option::of(-20..=19),
            0..=LONGEST_WAIT,
            ".{0,600}",
            any::<bool>(),
        )
            .prop_map(|(host, only, set, nice, wait, command, explain)| Request {
                set,
                nice,
                wait,
                explain,
                ..Request::new(&host, &command).only(only)
            })
    }

    proptest! {
        #[test]
        fn a_request_that_is_sent_is_read(request in request()) {
            let line = request.format();
            prop_assert_eq!(line.iter().filter(|&&byte| byte == b'\n').count(), 1);
            match Request::parse(&line) {
                Ok(read) => prop_assert_eq!(read, request),
                Err(error) => prop_assert!(error == RequestError::TooLong && line.len() > LONGEST),
            }
        }

        #[test]
        fn any_bytes_are_a_request_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Request::parse(&bytes);
            let _ = Answer::parse(&bytes);
        }

        #[test]
        fn an_answer_that_is_sent_is_one_short_line(
            why in ".{0,6000}", hint in proptest::option::of(".{0,900}"), notes in proptest::collection::vec(".{0,900}", 0..40),
        ) {
            let tuned = Tuned { notes: notes.clone(), ..Tuned::default() };
            let admitted = Admitted { notes: notes.clone(), ..Admitted::default() };
            let left = Left { problems: notes, ..Left::default() };
            for outcome in [Outcome::Tuned(tuned), Outcome::Admitted(admitted), Outcome::Left(left)] {
                let line = Answer::new(outcome).format();
                prop_assert!(line.len() <= LONGEST, "{}", line.len());
                prop_assert!(Answer::parse(&line).is_ok());
            }
            let answer = Answer::refused(RefusalCode::Failed, why, hint);
            let line = answer.format();
            prop_assert!(line.len() <= LONGEST, "{}", line.len());
            prop_assert!(Answer::parse(&line).is_ok());
        }
    }

    #[test]
    fn the_format_is_the_documented_one() {
        let answer = Answer::refused(RefusalCode::UnknownHost, "no", None);
        assert_eq!(
            String::from_utf8(answer.format()).unwrap(),
            "{\"version\":1,\"refused\":{\"code\":\"unknown-host\",\"why\":\"no\",\"hint\":null}}\n"
        );
        let least = Request::parse(br#"{"version":1,"host":"gaming"}"#).unwrap();
        assert_eq!((least.wait, least.nice, least.only.len()), (0, None, 0));
        // A later helper may say more.
        let more =
            br#"{"version":1,"tuned":{"changes":3,"not_in_effect":0,"nice":null,"colour":"blue"}}"#;
        assert!(Answer::parse(more).is_ok());
    }

    #[test]
    fn what_is_not_a_request_is_refused_with_the_reason() {
        let of = |line: &str| Request::parse(line.as_bytes()).unwrap_err();
        assert_eq!(of(r#"{"version":7}"#), RequestError::Version(7));
        assert!(matches!(
            of(r#"{"version":1,"host":"gaming","script":"/tmp/x"}"#),
            RequestError::Malformed(_)
        ));
        for name in ["", "../x", "a/b", ".x", "A", "a b", "-x", "ä"] {
            let line = Request::new(name, "").format();
            assert_eq!(
                Request::parse(&line),
                Err(RequestError::Name(name.to_owned()))
            );
        }
        assert!(matches!(
            of(r#"{"version":1,"host":"gaming","nice":-21}"#),
            RequestError::Range { what: "nice", .. }
        ));
        assert!(matches!(
            of(r#"{"version":1,"host":"gaming","wait":601}"#),
            RequestError::Range { what: "wait", .. }
        ));
        let nested = format!("{}{}", "[".repeat(2000), "]".repeat(2000));
        assert!(matches!(of(&nested), RequestError::Malformed(_)));
    }
}
