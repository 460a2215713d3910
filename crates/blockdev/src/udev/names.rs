//! Kernel names in rules that probably match more or less than intended.

use std::fmt;

use hosttune_udev_rules::{Key, Operator, Pattern, Place, Rule, RuleFiles, Value};

/// A remark on a rule that sets a queue attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Note {
    /// The place of the rule.
    pub place: Place,
    /// The pattern, such as `sd[a-z]`.
    pub pattern: String,
    /// The defect of the pattern.
    pub defect: Defect,
}

/// The defect of a pattern, with examples.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Defect {
    /// It misses some disks of the kind that it matches.
    Misses(Vec<&'static str>),
    /// It also matches partitions, which have no queue: udevd logs an error for each.
    MatchesPartitions(Vec<&'static str>),
    /// It matches only partitions, which have no queue, so the rule has no effect.
    OnlyPartitions(Vec<String>),
    /// It also matches controllers.
    MatchesControllers(Vec<&'static str>),
    /// It is compared with a whole list in which brackets mark the active entry, `none [bfq]`.
    WholeList,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, pattern, .. } = self;
        write!(f, "{place}: {pattern:?} ")?;
        match &self.defect {
            Defect::Misses(names) => write!(
                f,
                "does not match {}: match ENV{{DEVTYPE}}==\"disk\" and a property or attribute instead of a name",
                names.join(", ")
            ),
            Defect::MatchesPartitions(names) => write!(
                f,
                "also matches partitions, such as {}: add ENV{{DEVTYPE}}==\"disk\"",
                names.join(", ")
            ),
            Defect::OnlyPartitions(names) => write!(
                f,
                "matches only partitions, such as {}, which have no queue, so the rule has no effect: match disks, or write ATTR{{../queue/...}} for the disk of a partition",
                names.join(", ")
            ),
            Defect::MatchesControllers(names) => write!(
                f,
                "also matches controllers, such as {}: add SUBSYSTEM==\"block\"",
                names.join(", ")
            ),
            Defect::WholeList => f.write_str(
                "is compared with the whole list, such as \"none [mq-deadline] bfq\": to match the active entry write \"*\\[mq-deadline\\]*\"",
            ),
        }
    }
}

/// A family of disks named by one driver.
struct Family {
    /// A pattern that matches one of these names is about this family.
    usual: &'static [&'static str],
    /// Rarer names of the same family.
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
        // `nvme0c0n1` is one path of several to a namespace. It has the actual scheduler, and the
        // kernel sends no udev events for it, so no pattern would help.
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

impl Note {
    /// Reports suspicious names in rules that set queue attributes.
    pub fn of(files: &RuleFiles) -> Vec<Self> {
        let mut notes = Vec::new();
        for file in files.read_by_udev() {
            for (line, rule) in file.document.rules() {
                let place = || Place {
                    file: file.path.clone(),
                    line,
                };
                if !rule.is_left_out() && sets_queue(rule) {
                    for (pattern, defect) in defects(rule) {
                        notes.push(Self {
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

/// Partition names of all drivers, to find out what a pattern matches: `sda1` to `sdz10`,
/// `nvme0n1p1`, `mmcblk0p1`, `loop0p1`, `md0p1`, `nbd0p1`. `xvda1` is left out because Xen gives a
/// guest disks of such names.
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

/// eMMC areas, which are separate disks.
const AREAS: [&str; 4] = ["mmcblk0boot0", "mmcblk0gp0", "mmcblk0gp1", "mmcblk0rpmb"];

/// Examples of partitions that a pattern matches, if it matches no disks; empty if it matches disks
/// too, or neither.
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

/// Whether everything that a rule for a partition sets of a queue belongs to the disk: through
/// `..`, through an attribute of a named device (`[block/sda]queue/scheduler`), or through a
/// program that names the disk.
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

/// The ways in which a rule names the device of its event.
const OWN: [&str; 8] = [
    "%k", "%p", "%N", "%M:%m", "$kernel", "$devpath", "$name", "$devnode",
];

/// Whether a text names the queue of the event's device, which a partition does not have.
fn names_own_queue(text: &str) -> bool {
    let mut queues = text.match_indices("queue/");
    queues.any(|(at, _)| match text[..at].strip_suffix('/') {
        // The attribute or program argument begins at the queue.
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
                    pattern.globs().any(|glob| {
                        let alone = Value {
                            text: glob.to_owned(),
                            ..value.clone()
                        };
                        Pattern::new(&alone).matches(name)
                    })
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

/// Whether the other tokens of a rule allow a kind of device.
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
                // Only disks have these: partitions have no queue of their own, and controllers
                // have none at all.
                (Key::Attr, Some(name)) if name.starts_with("queue/") => return kind == Kind::Disk,
                _ => return true,
            };
            Pattern::new(&token.value).matches(text) == (token.operator == Operator::Equal)
        })
}
