//! One rule: a line of a file with its continuations joined.

use super::token::{Key, Operator, Token, UnwritableError, Value};
use super::{Problem, ProblemKind, quoting};

/// A rule: what has to match, and what is done then.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rule {
    /// As they are written. udevd carries them out in another order, by key.
    pub tokens: Vec<Token>,
}

/// Why a line is no rule. udevd leaves it out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}, at {at:?}")]
pub struct SyntaxError {
    /// What is wrong.
    pub problem: &'static str,
    /// The text from there on, at most 40 characters of it.
    pub at: String,
}

impl Rule {
    /// A rule of these tokens.
    pub fn new(tokens: impl IntoIterator<Item = Token>) -> Self {
        Self {
            tokens: tokens.into_iter().collect(),
        }
    }

    /// Reads one line whose continuations are joined, without its end.
    ///
    /// # Errors
    /// Where udevd would leave it out for its form. Keys that it does not know, and operators that a
    /// key does not take, are no such error: [`problems`](Self::problems) says them.
    pub fn parse(line: &str) -> Result<Self, SyntaxError> {
        let mut tokens = Vec::new();
        let mut rest = line;
        loop {
            rest = rest.trim_start_matches(|next| is_blank(next) || next == ',');
            if rest.is_empty() {
                return Ok(Self { tokens });
            }
            let (token, behind) = token(rest).map_err(|problem| SyntaxError {
                problem,
                at: rest.chars().take(40).collect(),
            })?;
            tokens.push(token);
            rest = behind;
        }
    }

    /// As one line, without its end.
    ///
    /// # Errors
    /// Where the grammar has no way to write it.
    pub fn to_text(&self) -> Result<String, UnwritableError> {
        let tokens: Result<Vec<_>, _> = self.tokens.iter().map(Token::to_text).collect();
        let text = tokens?.join(", ");
        if text.len() >= super::text::LONGEST {
            return Err(UnwritableError {
                what: "rule",
                text: text.chars().take(40).collect(),
                why: "udevd reads no line of 16 KiB or more",
            });
        }
        Ok(text)
    }

    /// The tokens in the order in which udevd carries them out, without labels.
    pub(super) fn in_order(&self) -> Vec<&Token> {
        let mut tokens: Vec<&Token> = self.tokens.iter().collect();
        tokens.retain(|token| !matches!(token.key, Key::Goto | Key::Label));
        tokens.sort_by_key(|token| token.order());
        tokens
    }

    /// The label at which it goes on; of several the first counts.
    pub fn goto(&self) -> Option<&str> {
        let mut tokens = self.tokens.iter();
        let found = tokens.find(|token| token.key == Key::Goto)?;
        Some(&found.value.text)
    }

    /// The name of this line; of several the last counts.
    pub fn label(&self) -> Option<&str> {
        let mut tokens = self.tokens.iter();
        let found = tokens.rfind(|token| token.key == Key::Label)?;
        Some(&found.value.text)
    }

    /// Whether udevd leaves out the whole line.
    pub fn is_left_out(&self) -> bool {
        self.problems(0).iter().any(Problem::leaves_out)
    }

    /// What its author is unlikely to have meant.
    pub fn problems(&self, line: usize) -> Vec<Problem> {
        let mut kinds = Vec::new();
        for (position, token) in self.tokens.iter().enumerate() {
            super::problem::of_token(token, &mut kinds);
            let earlier = &self.tokens[..position];
            if token.key == Key::Goto && earlier.iter().any(|before| before.key == Key::Goto) {
                kinds.push(ProblemKind::SecondGoto(token.value.text.clone()));
            }
        }
        if !self.tokens.is_empty() && self.tokens.iter().all(|token| !has_effect(token)) {
            kinds.push(ProblemKind::NoEffect);
        }
        kinds
            .into_iter()
            .map(|kind| Problem { line, kind })
            .collect()
    }
}

fn has_effect(token: &Token) -> bool {
    !token.operator.is_match() || matches!(token.key, Key::Program | Key::Import | Key::Other(_))
}

fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\r')
}

/// Reads the token that a text begins with; the text behind it.
fn token(text: &str) -> Result<(Token, &str), &'static str> {
    const NO_OPERATOR: &str = "an operator (==, !=, =, +=, -=, :=) is missing behind a key";
    let end = key_end(text).ok_or(NO_OPERATOR)?;
    let key = Key::named(&text[..end]);
    let mut rest = &text[end..];
    let mut attribute = None;
    if let Some(inside) = rest.strip_prefix('{') {
        let (name, behind) = inside.split_once('}').ok_or("a '}' is missing")?;
        attribute = Some(name.to_owned());
        rest = behind;
    }
    rest = rest.trim_start_matches(is_blank);
    let mut operators = Operator::ALL.into_iter();
    let operator = operators
        .find(|operator| rest.starts_with(operator.text()))
        .ok_or(NO_OPERATOR)?;
    rest = rest[operator.text().len()..].trim_start_matches(is_blank);
    let (value, rest) = value(rest)?;
    let token = Token {
        key,
        attribute,
        operator,
        value,
    };
    Ok((token, rest))
}

fn key_end(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    (0..bytes.len()).find(|&at| match bytes[at] {
        b' ' | b'\t' | b'\n' | b'\r' | b'=' | b'{' => true,
        b'+' | b'-' | b'!' | b':' => bytes.get(at + 1) == Some(&b'='),
        _ => false,
    })
}

fn value(text: &str) -> Result<(Value, &str), &'static str> {
    let (mut escaped, mut case_insensitive) = (false, false);
    let mut rest = text;
    loop {
        if let Some(behind) = rest.strip_prefix('e')
            && !escaped
        {
            (escaped, rest) = (true, behind);
        } else if let Some(behind) = rest.strip_prefix('i')
            && !case_insensitive
        {
            (case_insensitive, rest) = (true, behind);
        } else {
            break;
        }
    }
    let inside = rest
        .strip_prefix('"')
        .ok_or("a value in double quotes is missing")?;
    let (text, rest) = quoting::read(inside, escaped)?;
    let value = Value {
        text,
        escaped,
        case_insensitive,
    };
    Ok((value, rest))
}
