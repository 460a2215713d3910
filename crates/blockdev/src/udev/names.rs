//! Kernel names in rules that match more or less than their author is likely to have meant.

use std::fmt;

use super::files::{Place, RuleFiles};
use super::pattern::Pattern;
use super::rule::Rule;
use super::token::{Key, Operator};

/// Something about a rule that sets a queue attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Note {
    /// Where the rule stands.
    pub place: Place,
    /// The pattern, `sd[a-z]`.
    pub pattern: String,
    /// What is wrong with it.
    pub defect: Defect,
}

/// What is wrong with a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Defect {
    /// It misses disks of the kind that it matches: examples.
    Misses(Vec<&'static str>),
    /// It matches partitions too, which have no queue: udevd logs an error for each. Examples.
    MatchesPartitions(Vec<&'static str>),
    /// It matches partitions and no disk: there is no queue, so the rule never acts. Examples.
    OnlyPartitions(Vec<String>),
    /// It matches controllers too: examples.
    MatchesControllers(Vec<&'static str>),
    /// It compares the whole of a list in which brackets mark the active one, `none [bfq]`.
    WholeList,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, pattern, .. } = self;
        write!(f, "{place}: {pattern:?} ")?;
        match &self.defect {
            Defect::Misses(names) => write!(
                f,
                "misses {}: match ENV{{DEVTYPE}}==\"disk\" and a property or attribute instead of a name",
                names.join(", ")
            ),
            Defect::MatchesPartitions(names) => write!(
                f,
                "matches also partitions, such as {}: add ENV{{DEVTYPE}}==\"disk\"",
                names.join(", ")
            ),
            Defect::OnlyPartitions(names) => write!(
                f,
                "matches only partitions, such as {}, which have no queue, so the rule never acts: match disks, or write ATTR{{../queue/...}} for the disk of a partition",
                names.join(", ")
            ),
            Defect::MatchesControllers(names) => write!(
                f,
                "matches also the controller, such as {}: add SUBSYSTEM==\"block\"",
                names.join(", ")
            ),
            Defect::WholeList => f.write_str(
                "is compared with the whole list, such as \"none [mq-deadline] bfq\": write \"*\\[mq-deadline\\]*\" for the active one",
            ),
        }
    }
}

/// A kind of disks, as its driver names them.
struct Family {
    /// A pattern that matches one of these is about this kind.
    usual: &'static [&'static str],
    /// These are of the same kind, and rarer.
    rarer: &'static [&'static str],
    partition: &'static str,
    controller: Option<&'static str>,
}

const FAMILIES: [Family; 5] = [
    Family {
        usual: &["sda", "sdb", "sdz"],
        rarer: &["sdaa", "sdzz"],
        partition: "sda1",
        controller: None,
    },
    Family {
        usual: &["nvme0n1", "nvme1n1"],
        // nvme0c0n1 is one path of several to a namespace. It holds the real scheduler, and the kernel
        // never announces it to udev, so no pattern would help.
        rarer: &["nvme10n1", "nvme0n10", "nvme0c0n1"],
        partition: "nvme0n1p1",
        controller: Some("nvme0"),
    },
    Family {
        usual: &["vda", "vdb"],
        rarer: &["vdaa"],
        partition: "vda1",
        controller: None,
    },
    Family {
        usual: &["xvda", "xvdb"],
        rarer: &["xvdaa"],
        partition: "xvda1",
        controller: None,
    },
    Family {
        usual: &["mmcblk0", "mmcblk1"],
        rarer: &["mmcblk10"],
        partition: "mmcblk0p1",
        controller: None,
    },
];

impl RuleFiles {
    /// What is odd about the names in rules that set queue attributes.
    pub fn notes(&self) -> Vec<Note> {
        let mut notes = Vec::new();
        for file in self.read_by_udev() {
            for (line, rule) in file.document.rules() {
                let place = || Place {
                    file: file.path.clone(),
                    line,
                };
                if !rule.is_left_out() && sets_queue(rule) {
                    for (pattern, defect) in defects(rule) {
                        notes.push(Note {
                            place: place(),
                            pattern,
                            defect,
                        });
                    }
                }
            }
        }
        notes
    }
}

/// Partitions as all drivers name them, to tell what a pattern is about: `sda1` to `sdz10`,
/// `nvme0n1p1`, `mmcblk0p1`, `loop0p1`, `md0p1`, `nbd0p1`. Not `xvda1`: Xen gives a guest disks of such names.
fn partitions() -> impl Iterator<Item = (String, String)> {
    let letters = ["sd", "vd", "hd"]
        .into_iter()
        .flat_map(|driver| ('a'..='z').map(move |letter| (format!("{driver}{letter}"), "")));
    let numbers = ["mmcblk", "loop", "md", "nbd"]
        .into_iter()
        .flat_map(|driver| (0..=10).map(move |number| (format!("{driver}{number}"), "p")));
    let namespaces = (0..=10).flat_map(|controller| {
        (1..=3).map(move |namespace| (format!("nvme{controller}n{namespace}"), "p"))
    });
    let disks = letters.chain(numbers).chain(namespaces);
    disks.flat_map(|(disk, between)| {
        (1..=16).map(move |number| (disk.clone(), format!("{disk}{between}{number}")))
    })
}

/// Areas of an eMMC, which are disks of their own.
const AREAS: [&str; 4] = ["mmcblk0boot0", "mmcblk0gp0", "mmcblk0gp1", "mmcblk0rpmb"];

/// Examples of what a pattern matches where that can only be a partition; nothing where it matches
/// disks too, or none of both.
fn only_partitions(pattern: &Pattern) -> Vec<String> {
    let is_of_disks = FAMILIES.iter().any(|family| {
        let names = family.usual.iter().chain(family.rarer);
        let mut names = names.chain(&AREAS);
        names.any(|name| pattern.matches(name))
    });
    if is_of_disks {
        return Vec::new();
    }
    let mut examples: Vec<String> = Vec::new();
    for (disk, partition) in partitions() {
        if pattern.matches(&disk) {
            return Vec::new();
        }
        if examples.len() < 2 && pattern.matches(&partition) {
            examples.push(partition);
        }
    }
    examples
}

/// Whether all that a rule sets of a queue is the disk's, from a partition of it: by the way up, by an
/// attribute of a device that is named (`[block/sda]queue/scheduler`), or by a program that names the disk.
fn reaches_up(rule: &Rule) -> bool {
    let mut sets = rule.tokens.iter().filter(|token| !token.is_match());
    sets.all(|token| {
        let attribute = token.attribute.as_deref().unwrap_or_default();
        match token.key {
            Key::Attr => !names_own_queue(attribute),
            Key::Run => !names_own_queue(&token.value.text),
            _ => true,
        }
    })
}

/// How a rule names the device of its event.
const OWN: [&str; 8] = [
    "%k", "%p", "%N", "%M:%m", "$kernel", "$devpath", "$name", "$devnode",
];

/// Whether a text names the queue of the device of the event, which a partition does not have.
fn names_own_queue(text: &str) -> bool {
    let mut queues = text.match_indices("queue/");
    queues.any(|(at, _)| match text[..at].strip_suffix('/') {
        // An attribute, or a program's argument, that begins there.
        None => !text[..at].ends_with(']'),
        Some(before) => OWN.iter().any(|own| before.ends_with(own)),
    })
}

fn sets_queue(rule: &Rule) -> bool {
    rule.tokens.iter().any(|token| {
        let attribute = token.attribute.as_deref().unwrap_or_default();
        let names = match token.key {
            Key::Attr => attribute,
            Key::Run => &token.value.text,
            _ => return false,
        };
        !token.is_match() && names.contains("queue/")
    })
}

fn defects(rule: &Rule) -> Vec<(String, Defect)> {
    let mut found = Vec::new();
    for token in &rule.tokens {
        let value = &token.value;
        let is_list = token.attribute.as_deref() == Some("queue/scheduler")
            && token.operator.is_match()
            && matches!(token.key, Key::Attr | Key::Attrs);
        if is_list && !value.text.contains(['*', '?', '[', ' ']) && !value.text.is_empty() {
            found.push((value.text.clone(), Defect::WholeList));
        }
        if token.key != Key::Kernel || token.operator != Operator::Equal {
            continue;
        }
        let pattern = Pattern::new(value);
        let is_about_partitions = reaches_up(rule);
        if !is_about_partitions {
            let examples = only_partitions(&pattern);
            if !examples.is_empty() {
                found.push((value.text.clone(), Defect::OnlyPartitions(examples)));
                continue;
            }
        }
        let allowed = |kind: Kind| allows(rule, kind);
        let mut add = |names: Vec<&'static str>, defect: fn(Vec<&'static str>) -> Defect| {
            if !names.is_empty() {
                found.push((value.text.clone(), defect(names)));
            }
        };
        let hit = |name: Option<&'static str>| name.filter(|name| pattern.matches(name));
        let partitions = FAMILIES
            .iter()
            .filter_map(|family| hit(Some(family.partition)));
        if allowed(Kind::Partition) && !is_about_partitions {
            add(partitions.collect(), Defect::MatchesPartitions);
        }
        let controllers = FAMILIES.iter().filter_map(|family| hit(family.controller));
        if allowed(Kind::Controller) {
            add(controllers.collect(), Defect::MatchesControllers);
        }
        if allowed(Kind::Disk) && pattern.globs().next().is_some() {
            let meant = |family: &&Family| {
                let mut usual = family.usual.iter();
                usual.any(|name| {
                    pattern
                        .globs()
                        .any(|glob| super::fnmatch::matches(glob, name, value.case_insensitive))
                })
            };
            let missed = FAMILIES
                .iter()
                .filter(meant)
                .flat_map(|family| family.rarer);
            let missed = missed.copied().filter(|name| !pattern.matches(name));
            add(missed.collect(), Defect::Misses);
        }
    }
    found
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Disk,
    Partition,
    Controller,
}

/// Whether the rest of a rule leaves a kind of devices in.
fn allows(rule: &Rule, kind: Kind) -> bool {
    let (subsystem, devtype) = match kind {
        Kind::Disk => ("block", "disk"),
        Kind::Partition => ("block", "partition"),
        Kind::Controller => ("nvme", ""),
    };
    rule.tokens
        .iter()
        .filter(|token| token.operator.is_match())
        .all(|token| {
            let text = match (&token.key, token.attribute.as_deref()) {
                (Key::Subsystem, None) => subsystem,
                (Key::Env, Some("DEVTYPE")) => devtype,
                (Key::Env, Some("SUBSYSTEM")) => subsystem,
                // What only a disk has: partitions have no queue of their own, controllers none at all.
                (Key::Attr, Some(name)) if name.starts_with("queue/") => return kind == Kind::Disk,
                _ => return true,
            };
            Pattern::new(&token.value).matches(text) == (token.operator == Operator::Equal)
        })
}
