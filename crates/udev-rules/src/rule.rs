//! One rule: a line of a file with its continuations joined.

use super::token::{Key, Operator, Token, UnwritableError, Value};
use super::{Problem, ProblemKind, SyntaxError, quoting};

/// A rule: conditions, and assignments for when all of them match.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rule {
    /// The tokens as written. udevd evaluates them in a different order, by key.
    pub tokens: Vec<Token>,
}

impl Rule {
    /// Creates a rule from tokens.
    pub fn new(tokens: impl IntoIterator<Item = Token>) -> Self {
        Self {
            tokens: tokens.into_iter().collect(),
        }
    }

    /// Parses one line with its continuations joined, without the line end.
    ///
    /// # Errors
    /// If udevd would ignore the line because of its syntax. Unknown keys, and operators that a key
    /// does not accept, are not errors here: [`problems`](Self::problems) reports them.
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

    /// Formats the rule as one line, without the line end.
    ///
    /// # Errors
    /// If the grammar cannot express it.
    pub fn to_text(&self) -> Result<String, UnwritableError> {
        let tokens: Result<Vec<_>, _> = self.tokens.iter().map(Token::to_text).collect();
        let text = tokens?.join(", ");
        if text.len() >= super::text::LONGEST {
            return Err(UnwritableError {
                what: "rule",
                text: text.chars().take(40).collect(),
                why: "udevd ignores lines of 16 KiB or more",
            });
        }
        Ok(text)
    }

    /// The tokens in the order in which udevd evaluates them, without `GOTO` and `LABEL`.
    pub(super) fn in_order(&self) -> Vec<&Token> {
        let mut tokens: Vec<&Token> = self.tokens.iter().collect();
        tokens.retain(|token| !matches!(token.key, Key::Goto | Key::Label));
        tokens.sort_by_key(|token| token.order());
        tokens
    }

    /// The label to jump to; the first `GOTO` counts.
    pub fn goto(&self) -> Option<&str> {
        let mut tokens = self.tokens.iter();
        let found = tokens.find(|token| token.key == Key::Goto)?;
        Some(&found.value.text)
    }

    /// The label of this line; the last `LABEL` counts.
    pub fn label(&self) -> Option<&str> {
        let mut tokens = self.tokens.iter();
        let found = tokens.rfind(|token| token.key == Key::Label)?;
        Some(&found.value.text)
    }

    /// Whether udevd ignores the whole line.
    pub fn is_left_out(&self) -> bool {
        self.problems(0).iter().any(Problem::leaves_out)
    }

    /// Reports what the author is unlikely to have intended.
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

/// Reads the token at the beginning of a text, and returns it with the rest of the text.
fn token(text: &str) -> Result<(Token, &str), &'static str> {
    const NO_OPERATOR: &str = "an operator (==, !=, =, +=, -=, :=) is missing after a key";
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
