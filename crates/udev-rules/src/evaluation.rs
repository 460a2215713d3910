//! Evaluating rules for a disk, without running them.
//!
//! Lines are evaluated one by one as in udevd: the tokens of a line are sorted by key, matches
//! before assignments; `GOTO` only jumps forward within its file; parent matches all apply to the
//! same parent. The output of programs and the result of imports cannot be known, so whatever
//! depends on them is evaluated as possible.

mod device;
mod given;
mod line;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use given::Given;

use super::files::{Place, RuleFiles};
use super::pattern::Pattern;
use super::properties::{Known, Properties, Sources};
use super::text::{Content, Document};
use super::token::{Key, Token};
use super::{Device, ProblemKind};

/// What happened to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Action {
    /// The device is new, or udev replays the events of all existing devices at boot.
    Add,
    /// Something about the device changed, or a process that wrote to it closed it.
    Change,
}

impl Action {
    /// The word used in rules.
    pub fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Change => "change",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whether a rule applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Certainty {
    /// It applies.
    Certain,
    /// It cannot be determined from the rules alone; the reasons, each once.
    Perhaps(Vec<String>),
}

/// How a rule sets an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum How {
    /// By `ATTR{...}="..."`.
    Attribute,
    /// By a program that names it. With the key `RUN` the program runs after all rules.
    Program,
}

/// A rule that sets an attribute of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Setter {
    /// The place of the rule.
    pub place: Place,
    /// The attribute, relative to the disk's directory: `queue/scheduler`.
    pub attribute: String,
    /// The value that it writes, if it can be determined.
    pub value: Option<String>,
    /// How it sets the attribute.
    pub how: How,
    /// Whether it applies. Whether the kernel accepts the value is never certain.
    pub certainty: Certainty,
    /// Whether this happens in the event of a partition, whose rules can reach the disk.
    pub on_partition: bool,
}

impl fmt::Display for Setter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if let Certainty::Perhaps(_) = self.certainty {
            f.write_str("possibly ")?;
        }
        write!(f, "{} = ", self.attribute)?;
        f.write_str(self.value.as_deref().unwrap_or("(unknown)"))?;
        if self.on_partition {
            f.write_str(", in events of its partitions")?;
        }
        match &self.certainty {
            Certainty::Perhaps(whys) => write!(f, " ({})", whys.join("; ")),
            Certainty::Certain => Ok(()),
        }
    }
}

/// The rules of a host, prepared for evaluation on many disks.
#[derive(Debug, Clone)]
pub struct Evaluator {
    files: Vec<Vec<Ready>>,
    names_attributes: bool,
}

/// A prepared line.
#[derive(Debug, Clone)]
struct Ready {
    place: Place,
    /// In udevd's order, with the pattern if the token is a comparison.
    tokens: Vec<(Token, Option<Pattern>)>,
    /// The target of `GOTO`, as an index into the lines.
    goto: Option<usize>,
    /// Why the line may be ignored.
    open: Option<String>,
    /// Attributes named by a line that cannot be parsed.
    named: Vec<(String, Option<String>)>,
}

impl Evaluator {
    /// Prepares the files that udevd reads.
    pub fn new(files: &RuleFiles) -> Self {
        let files = files.read_by_udev();
        let files: Vec<Vec<Ready>> = files
            .map(|file| ready(&file.path, &file.document))
            .collect();
        let names = |line: &Ready| {
            !line.named.is_empty()
                || line.tokens.iter().any(|(token, _)| {
                    matches!(token.key, Key::Run | Key::Program | Key::Import)
                        && !line::named_in(&token.value.text).is_empty()
                        || token.key == Key::Attr && !token.is_match()
                })
        };
        Self {
            names_attributes: files.iter().flatten().any(names),
            files,
        }
    }

    /// Every rule that sets an attribute of this device, in the order in which they write.
    pub fn setters(&self, device: &Device<'_>, action: Action) -> Vec<Setter> {
        if !self.names_attributes || device.is_hidden {
            return Vec::new();
        }
        // The first run collects where properties can come from, and the second one uses that.
        let first = self.run(device, action, None);
        let sources = first.properties.into_sources();
        let mut run = self.run(device, action, Some(sources));
        run.setters.append(&mut run.programs);
        run.setters
    }

    /// Every rule that sets an attribute of this disk in the event of one of its partitions; these
    /// events come after the disk's. Identical results of several partitions are listed once. If
    /// partitions differ, it is unknown which comes last, because udevd processes them in parallel.
    pub(super) fn setters_by_partitions(&self, disk: &Device<'_>, action: Action) -> Vec<Setter> {
        let mut all: Vec<Setter> = Vec::new();
        let mut last: BTreeMap<String, BTreeSet<Option<String>>> = BTreeMap::new();
        for partition in &disk.partitions {
            let own = format!("{}/", partition.path());
            // Files of the partition are not attributes of the disk.
            let is_own =
                |setter: &Setter| format!("{}/{}", disk.path(), setter.attribute).starts_with(&own);
            let mut setters = self.setters(partition, action);
            setters.retain(|setter| !is_own(setter));
            let mut values = BTreeMap::new();
            for setter in &setters {
                if setter.certainty == Certainty::Certain {
                    values.insert(&setter.attribute, &setter.value);
                }
            }
            for (attribute, value) in values {
                let of_all = last.entry(attribute.clone()).or_default();
                of_all.insert(value.clone());
            }
            for mut setter in setters {
                setter.on_partition = true;
                all.retain(|earlier| *earlier != setter);
                all.push(setter);
            }
        }
        for setter in &mut all {
            let differ = last.get(&setter.attribute).is_some_and(|of| of.len() > 1);
            if differ && setter.certainty == Certainty::Certain {
                let why = "its partitions set different values in an unknown order";
                setter.certainty = Certainty::Perhaps(vec![why.to_owned()]);
            }
        }
        all
    }

    fn run<'d>(&self, device: &'d Device<'d>, action: Action, sources: Option<Sources>) -> Run<'d> {
        let mut run = Run::new(device, action, sources);
        let mut before = 0;
        for file in &self.files {
            run.file(file, before);
            before += file.len();
        }
        run
    }
}

fn ready(path: &str, document: &Document) -> Vec<Ready> {
    let lines = document.lines();
    let made = lines.iter().enumerate().map(|(position, line)| {
        let mut ready = Ready {
            place: Place {
                file: path.to_owned(),
                line: line.number,
            },
            tokens: Vec::new(),
            goto: None,
            open: None,
            named: Vec::new(),
        };
        match &line.content {
            Content::Rule(rule) => {
                let problems = rule.problems(line.number);
                let mut leaving_out = problems.iter().filter(|problem| problem.leaves_out());
                // A key that is unknown here may be known to a newer udevd.
                if !leaving_out.all(|problem| matches!(problem.kind, ProblemKind::UnknownKey(_))) {
                    return ready;
                }
                let mut doubtful = problems.iter().filter(|problem| {
                    matches!(
                        problem.kind,
                        ProblemKind::UnknownKey(_) | ProblemKind::NewPrefix
                    )
                });
                ready.open = doubtful.next().map(|problem| problem.kind.to_string());
                ready.goto = rule
                    .goto()
                    .and_then(|label| document.labelled(position, label));
                let tokens = rule.in_order().into_iter().cloned();
                ready.tokens = tokens
                    .filter(|token| !matches!(token.key, Key::Other(_)))
                    .map(|token| {
                        let pattern = token
                            .operator
                            .is_match()
                            .then(|| Pattern::new(&token.value));
                        (token, pattern)
                    })
                    .collect();
            }
            Content::Kept(ProblemKind::NotUtf8) => {
                ready.named = line::named_in(&String::from_utf8_lossy(&line.bytes));
            }
            _ => {}
        }
        ready
    });
    made.collect()
}

/// Whether a token matches.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Truth {
    Yes,
    No,
    Perhaps(String),
}

impl Truth {
    fn of(truth: bool) -> Self {
        if truth { Self::Yes } else { Self::No }
    }
}

/// The parent that the parent tokens have selected, for later substitutions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parent {
    None,
    Level(usize),
    Unknown,
}

/// The evaluation of one event of one device.
#[derive(Debug)]
struct Run<'d> {
    device: &'d Device<'d>,
    /// The directory whose attributes are collected: the device's, or for a partition its disk's.
    target: &'d str,
    action: Action,
    properties: Properties<'d>,
    tags: Given,
    links: Given,
    /// The values that rules have written to attributes.
    written: BTreeMap<String, Known>,
    parent: Parent,
    result: Known,
    setters: Vec<Setter>,
    /// The setters from `RUN`.
    programs: Vec<Setter>,
    /// Whether a `RUN:=` has been evaluated.
    final_run: bool,
}

impl<'d> Run<'d> {
    fn new(device: &'d Device<'d>, action: Action, sources: Option<Sources>) -> Self {
        let is_partition = device
            .uevent
            .get("DEVTYPE")
            .is_some_and(|kind| kind == "partition");
        let disk = device.levels.get(1).filter(|_| is_partition);
        Self {
            device,
            target: disk.map_or(device.path(), |disk| &disk.path),
            action,
            properties: Properties::new(device, action, sources),
            tags: Given::default(),
            links: Given::default(),
            written: BTreeMap::new(),
            parent: Parent::None,
            result: Known::empty(),
            setters: Vec::new(),
            programs: Vec::new(),
            final_run: false,
        }
    }

    /// Evaluates a file that follows `before` lines of other files.
    fn file(&mut self, lines: &[Ready], before: usize) {
        let mut at = 0;
        // The end of the range of lines that may be skipped, and the reason.
        let mut passed_over: Option<(usize, String)> = None;
        while let Some(line) = lines.get(at) {
            if passed_over.as_ref().is_some_and(|(end, _)| *end <= at) {
                passed_over = None;
            }
            let open = passed_over.as_ref().map(|(_, why)| why.clone());
            let whys: Vec<String> = open.into_iter().chain(line.open.clone()).collect();
            self.properties.next_line(before + at);
            let truth = self.line(line, whys);
            at += 1;
            match (truth, line.goto) {
                (Truth::Yes, Some(target)) => at = target,
                (Truth::Perhaps(why), Some(target)) => {
                    let end = passed_over.map_or(target, |(end, _)| end.max(target));
                    let why = format!("the GOTO at {} may be taken: {why}", line.place);
                    passed_over = Some((end, why));
                }
                _ => {}
            }
        }
    }
}
