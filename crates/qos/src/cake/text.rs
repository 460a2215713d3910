//! Parsing the options of CAKE from text: what `tc` accepts, and what it prints.
//!
//! Words are applied one after the other, exactly as in `tc`, because several of them add up or undo
//! each other: `overhead 22 ethernet` is 60 bytes and `ethernet overhead 22` is 22. What `tc` accepts
//! but this parser rejects is listed in [`Problem`].

use std::str::FromStr;

use super::{
    AckFilter, Bandwidth, BytesError, Cake, Diffserv, Direction, FlowMode, Framing, LinkLayer,
    MarkError, MemoryLimit, MinimumPacket, Overhead, RoundTripTime,
};
use crate::quantity::QuantityError;

/// Why a text is not a list of CAKE options.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` at byte {offset}: {problem}")]
#[non_exhaustive]
pub struct TextError {
    /// The offset of the word, in bytes.
    pub offset: usize,
    /// The word. At the end of the text, the one whose value is missing.
    pub word: String,
    /// The problem with it.
    pub problem: Problem,
}

/// What can be wrong with a word.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// No option has this name.
    #[error("not an option of CAKE{}", likely.map(|word| format!("; did you mean `{word}`?")).unwrap_or_default())]
    UnknownWord {
        /// The most similar word, if there is a similar one.
        likely: Option<&'static str>,
    },
    /// The text ends where a value should follow.
    #[error("the text ends where {wanted} should be, as in `{example}`")]
    NoValue {
        /// The kind of value.
        wanted: &'static str,
        /// An example of it.
        example: &'static str,
    },
    /// An invalid rate, time or size. `tc` accepts a rate below a byte per second and does not shape
    /// at all, `rtt 0` as a target without a time, and a value too large for any number.
    #[error(transparent)]
    Quantity(#[from] QuantityError),
    /// An invalid integer.
    #[error("not a decimal integer")]
    NotAnInteger,
    /// An integer out of range. `tc` checks only the value of `overhead`, and not the sum of the
    /// keywords for links.
    #[error("{0}")]
    Bytes(#[from] BytesError),
    /// An invalid mask.
    #[error("{0}")]
    Mark(#[from] MarkError),
    /// A second keyword for a round-trip time. `tc` rejects that too, but only for keywords: `rtt`
    /// may follow or precede one, and the last one wins.
    #[error("`{first}` has already set the round-trip time; keep one of them")]
    SecondPreset {
        /// The first keyword.
        first: &'static str,
    },
    /// Not a line about a CAKE qdisc.
    #[error("this is not a line of `tc qdisc show` about CAKE")]
    NotCake,
}

/// Which text is parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grammar {
    /// What `tc` accepts.
    Taken,
    /// What `tc` prints.
    Shown,
}

/// A word and its offset.
#[derive(Clone, Copy, Debug)]
struct Word<'text> {
    text: &'text str,
    offset: usize,
}

impl Word<'_> {
    fn is(&self, problem: impl Into<Problem>) -> TextError {
        TextError {
            offset: self.offset,
            word: self.text.to_owned(),
            problem: problem.into(),
        }
    }
}

/// Splits at the white space that `tc -batch` recognizes.
fn words(text: &str) -> impl Iterator<Item = Word<'_>> {
    const BLANKS: [char; 4] = [' ', '\t', '\r', '\n'];
    text.split(BLANKS)
        .filter(|word| !word.is_empty())
        .map(|word| Word {
            text: word,
            offset: word.as_ptr() as usize - text.as_ptr() as usize,
        })
}

/// Words that take a value, with the kind of value and an example.
const WITH_VALUE: [(&str, &str, &str); 6] = [
    ("bandwidth", "a rate", "bandwidth 20mbit"),
    ("rtt", "a time", "rtt 30ms"),
    ("overhead", "a number of bytes", "overhead 44"),
    ("mpu", "a number of bytes", "mpu 84"),
    ("memlimit", "a size", "memlimit 32mb"),
    ("fwmark", "a mask", "fwmark 0xff"),
];

/// Words that take no value and are in no other list.
const ALONE: [&str; 13] = [
    "unlimited",
    "autorate-ingress",
    "diffserv",
    "nat",
    "nonat",
    "wash",
    "nowash",
    "split-gso",
    "no-split-gso",
    "raw",
    "conservative",
    "via-ethernet",
    "bandwidth",
];

/// The result of the words so far.
struct Reading {
    cake: Cake,
    /// May be out of range in between.
    overhead: i64,
    /// The word that added to it last.
    adder: Option<(usize, String)>,
    /// Whether any word was about the overhead: only then are packets counted from the network layer
    /// on.
    overhead_said: bool,
    /// `raw` stays set, whatever follows it.
    raw_said: bool,
    preset: Option<&'static str>,
}

impl Reading {
    fn of(text: &str, grammar: Grammar) -> Result<Cake, TextError> {
        let mut reading = Self {
            cake: Cake::default(),
            overhead: 0,
            adder: None,
            overhead_said: false,
            raw_said: false,
            preset: None,
        };
        let mut words = words(text).peekable();
        if grammar == Grammar::Shown && words.peek().is_some_and(|word| word.text == "qdisc") {
            skip_header(&mut words)?;
        }
        while let Some(word) = words.next() {
            match WITH_VALUE.iter().find(|(name, ..)| *name == word.text) {
                Some((_, wanted, example)) => {
                    let value = words
                        .next()
                        .ok_or_else(|| word.is(Problem::NoValue { wanted, example }))?;
                    reading.valued(word, value, grammar)?;
                }
                None => reading.alone(word)?,
            }
        }
        reading.end()
    }

    fn valued(
        &mut self,
        name: Word<'_>,
        value: Word<'_>,
        grammar: Grammar,
    ) -> Result<(), TextError> {
        let integer = || match value.text.parse::<i64>() {
            Ok(number) => Ok(number),
            Err(_) => Err(value.is(Problem::NotAnInteger)),
        };
        match name.text {
            "bandwidth" if grammar == Grammar::Shown && value.text == "unlimited" => {
                self.bandwidth(Bandwidth::Unlimited);
            }
            "bandwidth" => {
                let rate = value
                    .text
                    .parse()
                    .map_err(|error: QuantityError| value.is(error))?;
                self.bandwidth(Bandwidth::Limited(rate));
            }
            "rtt" => {
                let most = RoundTripTime::MAXIMUM;
                self.cake.rtt = quantity(value, grammar, most)?;
            }
            "overhead" => {
                let overhead = Overhead::new(integer()?).map_err(|error| value.is(error))?;
                self.overhead = overhead.bytes().into();
                self.overhead_said = true;
            }
            "mpu" => {
                self.cake.mpu = MinimumPacket::new(integer()?).map_err(|error| value.is(error))?;
            }
            "memlimit" => {
                let most = MemoryLimit::bytes(u32::MAX);
                self.cake.memlimit = quantity(value, grammar, most)?;
            }
            _ => {
                self.cake.fwmark = value
                    .text
                    .parse()
                    .map_err(|error: MarkError| value.is(error))?;
            }
        }
        Ok(())
    }

    fn alone(&mut self, word: Word<'_>) -> Result<(), TextError> {
        let cake = &mut self.cake;
        if let Some((name, rtt)) = preset(word.text) {
            if let Some(first) = self.preset.replace(name) {
                return Err(word.is(Problem::SecondPreset { first }));
            }
            cake.rtt = rtt;
        } else if let Some(diffserv) = Diffserv::from_keyword(word.text) {
            cake.diffserv = diffserv;
        } else if let Some(flows) = FlowMode::from_keyword(word.text) {
            cake.flows = flows;
        } else if let Some(framing) = Framing::from_keyword(word.text) {
            cake.framing = framing;
        } else if let Some(direction) = Direction::from_keyword(word.text) {
            cake.direction = direction;
        } else if let Some(ack_filter) = AckFilter::from_keyword(word.text) {
            cake.ack_filter = ack_filter;
        } else if let Some(link) = LinkLayer::from_keyword(word.text) {
            let effect = link.effect();
            cake.framing = effect.framing.unwrap_or(cake.framing);
            if let Some(minimum) = effect.minimum {
                cake.mpu = MinimumPacket::new(minimum.into()).map_err(|error| word.is(error))?;
            }
            self.overhead = self.overhead.saturating_add(effect.overhead.into());
            self.overhead_said = true;
            self.adder = Some((word.offset, word.text.to_owned()));
        } else {
            match word.text {
                "unlimited" => self.bandwidth(Bandwidth::Unlimited),
                "autorate-ingress" => cake.autorate_ingress = true,
                "diffserv" => cake.diffserv = Diffserv::Diffserv4,
                "nat" => cake.nat = true,
                "nonat" => cake.nat = false,
                "wash" => cake.wash = true,
                "nowash" => cake.wash = false,
                "split-gso" => cake.split_gso = true,
                "no-split-gso" => cake.split_gso = false,
                "raw" => {
                    cake.framing = Framing::Whole;
                    self.overhead = 0;
                    self.overhead_said = true;
                    self.raw_said = true;
                }
                "conservative" => {
                    cake.framing = Framing::Atm;
                    self.overhead = 48;
                    self.overhead_said = true;
                }
                // A relic from when the Ethernet header had to be accounted for by hand.
                "via-ethernet" => {}
                _ => {
                    return Err(word.is(Problem::UnknownWord {
                        likely: similar(word.text),
                    }));
                }
            }
        }
        Ok(())
    }

    /// Setting the bandwidth ends its estimation, so only a later `autorate-ingress` counts.
    fn bandwidth(&mut self, bandwidth: Bandwidth) {
        self.cake.bandwidth = bandwidth;
        self.cake.autorate_ingress = false;
    }

    fn end(mut self) -> Result<Cake, TextError> {
        self.cake.raw = self.raw_said || !self.overhead_said;
        self.cake.overhead = Overhead::new(self.overhead).map_err(|error| {
            let (offset, word) = self.adder.unwrap_or_default();
            TextError {
                offset,
                word,
                problem: error.into(),
            }
        })?;
        Ok(self.cake)
    }
}

/// Parses the value. In `tc`'s output it may be rounded to more than the maximum: `tc` prints a
/// limit of 4,294,967,295 bytes as `4096Mb`, which it then treats as no limit.
fn quantity<Q: FromStr<Err = QuantityError>>(
    value: Word<'_>,
    grammar: Grammar,
    most: Q,
) -> Result<Q, TextError> {
    match value.text.parse() {
        Err(QuantityError::TooMuch { .. }) if grammar == Grammar::Shown => Ok(most),
        read => read.map_err(|error| value.is(error)),
    }
}

/// Skips what precedes the options in a line of `tc qdisc show`.
fn skip_header<'text>(
    words: &mut std::iter::Peekable<impl Iterator<Item = Word<'text>>>,
) -> Result<(), TextError> {
    words.next();
    let kind = words.next();
    if let Some(other) = kind.filter(|kind| !matches!(kind.text, "cake" | "cake_mq")) {
        return Err(other.is(Problem::NotCake));
    }
    // The handle.
    words.next();
    while let Some(word) = words.peek() {
        let values = match word.text {
            "dev" | "parent" | "refcnt" | "ingress_block" | "egress_block" => 1,
            "root" | "offloaded" => 0,
            _ => break,
        };
        for _ in 0..=values {
            words.next();
        }
    }
    Ok(())
}

fn preset(word: &str) -> Option<(&'static str, RoundTripTime)> {
    RoundTripTime::PRESETS
        .into_iter()
        .find(|(name, _)| *name == word)
}

/// The word that was probably meant.
fn similar(word: &str) -> Option<&'static str> {
    if word.len() > 32 {
        return None;
    }
    let all = ALONE
        .into_iter()
        .chain(WITH_VALUE.iter().map(|(name, ..)| *name))
        .chain(RoundTripTime::PRESETS.into_iter().map(|(name, _)| name))
        .chain(Diffserv::ALL.iter().map(|one| one.keyword()))
        .chain(FlowMode::ALL.iter().map(|one| one.keyword()))
        .chain(Framing::ALL.iter().map(|one| one.keyword()))
        .chain(Direction::ALL.iter().map(|one| one.keyword()))
        .chain(AckFilter::ALL.iter().map(|one| one.keyword()))
        .chain(LinkLayer::ALL.iter().map(|one| one.keyword()));
    let lowercase = word.to_lowercase().replace('_', "-");
    all.map(|candidate| (distance(&lowercase, candidate), candidate))
        .min()
        .filter(|(distance, candidate)| distance * 3 <= candidate.len())
        .map(|(_, candidate)| candidate)
}

/// The number of letters to insert, delete or replace to turn one word into the other.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (above, letter) in one.bytes().enumerate() {
        let mut diagonal = above;
        row[0] = above + 1;
        for (place, wanted) in other.bytes().enumerate() {
            let replaced = diagonal + usize::from(letter != wanted);
            diagonal = row[place + 1];
            row[place + 1] = replaced.min(diagonal + 1).min(row[place] + 1);
        }
    }
    row[other.len()]
}

impl FromStr for Cake {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        Reading::of(text, Grammar::Taken)
    }
}

impl Cake {
    /// Parses the first line of what `tc qdisc show` prints about a CAKE qdisc, with or without what
    /// precedes the options.
    ///
    /// `tc` rounds rates to about four digits, times to three, and many sizes as well, so this may be
    /// a different value than the kernel's. To read that one, see [`Cake::from_attributes`].
    ///
    /// # Errors
    ///
    /// If a word is unknown, such as a number that this `tc` has no word for, or a value is invalid.
    pub fn from_shown(text: &str) -> Result<Self, TextError> {
        let line = text.trim_start_matches(['\n', '\r']);
        let before = text.len() - line.len();
        let line = line.split('\n').next().unwrap_or_default();
        Reading::of(line, Grammar::Shown).map_err(|error| TextError {
            offset: error.offset + before,
            ..error
        })
    }
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
