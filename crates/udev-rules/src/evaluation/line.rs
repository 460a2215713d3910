//! Evaluating one line and its assignments.

use super::super::substitution::{self, Variable, substitute};
use super::{Certainty, How, Key, Known, Parent, Ready, Run, Setter, Token, Truth};
use crate::device::lexical;
use crate::token::Operator;

impl Run<'_> {
    /// Evaluates a line; `whys` are the reasons, if any, why it may not be reached.
    pub(super) fn line(&mut self, line: &Ready, mut whys: Vec<String>) -> Truth {
        let mut parents_done = false;
        for (token, pattern) in &line.tokens {
            let truth = if token.is_of_parents() {
                if parents_done {
                    continue;
                }
                parents_done = true;
                self.parents(line)
            } else if token.is_match() {
                if matches!(token.key, Key::Program | Key::Import) {
                    self.note_named(line, token, &whys);
                }
                self.matches(token, pattern.as_ref())
            } else {
                self.assign(line, token, &whys);
                continue;
            };
            match truth {
                Truth::No => return Truth::No,
                Truth::Perhaps(why) if !whys.contains(&why) => whys.push(why),
                Truth::Perhaps(_) | Truth::Yes => {}
            }
        }
        for (attribute, value) in &line.named {
            let why = vec!["the line is not UTF-8 text and was not evaluated".to_owned()];
            self.add(line, attribute, value.clone(), How::Program, why);
        }
        if whys.is_empty() {
            Truth::Yes
        } else {
            Truth::Perhaps(whys.join("; "))
        }
    }

    fn add(
        &mut self,
        line: &Ready,
        attribute: &str,
        value: Option<String>,
        how: How,
        whys: Vec<String>,
    ) {
        self.setters.push(Setter {
            place: line.place.clone(),
            attribute: attribute.to_owned(),
            value,
            how,
            certainty: if whys.is_empty() {
                Certainty::Certain
            } else {
                Certainty::Perhaps(whys)
            },
            on_partition: false,
        });
    }

    fn assign(&mut self, line: &Ready, token: &Token, whys: &[String]) {
        let open = (!whys.is_empty()).then(|| whys.join("; "));
        let attribute = token.attribute.as_deref().unwrap_or_default();
        match token.key {
            Key::Env => {
                let value = self.new_property(attribute, token);
                // An empty value removes the property, but adding an empty value does nothing.
                if token.operator != Operator::Add || !token.value.text.is_empty() {
                    self.properties.set(attribute, value, open.as_deref());
                }
            }
            Key::Tag | Key::Symlink => {
                let value = self.substituted(&token.value.text);
                let is_tag = token.key == Key::Tag;
                let given = if is_tag {
                    &mut self.tags
                } else {
                    &mut self.links
                };
                // A value can hold several links but only one tag.
                given.assign(token.operator, value, !is_tag, open.is_some());
            }
            Key::Attr => {
                let names = self.own_attributes(attribute);
                let value = self.substituted(&token.value.text);
                let mut whys = whys.to_vec();
                if names.len() > 1 {
                    whys.push(format!("ATTR{{{attribute}}} may be any of several files"));
                }
                let value = match value {
                    Known::Text(value) => Some(value),
                    Known::Unknown(why) => {
                        whys.push(why);
                        None
                    }
                };
                for name in names.into_iter().flatten() {
                    let known = match &value {
                        Some(value) if whys.is_empty() => Known::Text(value.clone()),
                        _ => Known::Unknown(format!("an earlier rule may write {name}")),
                    };
                    self.written.insert(name.clone(), known);
                    self.add(line, &name, value.clone(), How::Attribute, whys.clone());
                }
            }
            Key::Run if attribute != "builtin" => self.run(line, token, whys),
            _ => {}
        }
    }

    fn new_property(&self, name: &str, token: &Token) -> Known {
        let added = self.substituted(&token.value.text);
        if token.operator != Operator::Add {
            return added;
        }
        match (self.properties.get(name), added) {
            (Known::Text(before), Known::Text(added)) if !before.is_empty() => {
                Known::Text(format!("{before} {added}"))
            }
            (Known::Text(_), added) => added,
            (unknown, _) => unknown,
        }
    }

    /// The attributes that an assignment can write to; `None` for one that is not collected, and
    /// empty for another device's.
    fn own_attributes(&self, attribute: &str) -> Vec<Option<String>> {
        let path = match attribute.strip_prefix('[') {
            Some(inside) => {
                let level = inside.split_once(']').and_then(|(device, name)| {
                    let (subsystem, kernel) = device.split_once('/')?;
                    let mut levels = self.device.levels.iter();
                    let level = levels.find(|level| {
                        level.subsystem.as_deref() == Some(subsystem) && level.kernel == kernel
                    })?;
                    Some(format!("{}/{name}", level.path))
                });
                match level {
                    Some(path) => path,
                    None => return Vec::new(),
                }
            }
            None => format!("{}/{attribute}", self.device.path()),
        };
        let own = |path: &String| self.own_name(path);
        let mut names: Vec<Option<String>> = self.resolved(&path).iter().map(own).collect();
        names.dedup();
        names
    }

    /// The name of the attribute at a path, if it is one of those that are collected.
    pub(super) fn own_name(&self, path: &str) -> Option<String> {
        let path = lexical(path);
        let name = path.strip_prefix(self.target)?.strip_prefix('/')?;
        // An older name of the same file, which rules still use.
        Some(match name {
            "bdi/read_ahead_kb" => "queue/read_ahead_kb".to_owned(),
            other => other.to_owned(),
        })
    }

    fn run(&mut self, line: &Ready, token: &Token, whys: &[String]) {
        if self.final_run {
            return;
        }
        if token.operator != Operator::Add && whys.is_empty() {
            self.programs.clear();
        }
        self.final_run |= token.operator == Operator::Final && whys.is_empty();
        let mut found = self.named(line, token, whys);
        self.programs.append(&mut found);
    }

    /// Records the attributes named by a program that runs during evaluation.
    fn note_named(&mut self, line: &Ready, token: &Token, whys: &[String]) {
        let mut found = self.named(line, token, whys);
        self.setters.append(&mut found);
    }

    fn named(&self, line: &Ready, token: &Token, whys: &[String]) -> Vec<Setter> {
        let text = match self.substituted(&token.value.text) {
            Known::Text(text) => text,
            Known::Unknown(_) => token.value.text.clone(),
        };
        let disk = self.target.rsplit('/').next().unwrap_or_default();
        let mut named = named_in(&text);
        // A partition has no queue, so a queue named beneath it does not exist.
        if self.target != self.device.path()
            && text.contains("queue/")
            && !text.contains("../queue/")
            && !text.contains(&format!("/{disk}/queue/"))
        {
            named.clear();
        }
        named
            .into_iter()
            .map(|(attribute, value)| {
                let mut whys = whys.to_vec();
                whys.push(format!("the effect of the program is unknown: {text}"));
                Setter {
                    place: line.place.clone(),
                    attribute,
                    value,
                    how: How::Program,
                    certainty: Certainty::Perhaps(whys),
                    on_partition: false,
                }
            })
            .collect()
    }

    pub(super) fn substituted(&self, text: &str) -> Known {
        let looked_up = substitute(text, |variable, inside| {
            match self.variable(variable, inside) {
                Known::Text(text) => Ok(text),
                Known::Unknown(why) => Err(why),
            }
        });
        looked_up.map_or_else(Known::Unknown, Known::Text)
    }

    fn variable(&self, variable: Variable, inside: &str) -> Known {
        let device = self.device;
        let of_event = |name: &str| self.properties.get(name);
        Known::Text(match variable {
            Variable::Devnode => return of_event("DEVNAME"),
            Variable::Name => match of_event("DEVNAME") {
                Known::Text(node) => node.trim_start_matches("/dev/").to_owned(),
                unknown @ Known::Unknown(_) => return unknown,
            },
            Variable::Kernel => device.kernel().to_owned(),
            Variable::Number => {
                let kernel = device.kernel();
                let letters = kernel.trim_end_matches(|last: char| last.is_ascii_digit());
                kernel[letters.len()..].to_owned()
            }
            Variable::Devpath => return of_event("DEVPATH"),
            Variable::Major => return of_event("MAJOR"),
            Variable::Minor => return of_event("MINOR"),
            Variable::Root => "/dev".to_owned(),
            Variable::Sys => "/sys".to_owned(),
            Variable::Property => return of_event(inside),
            Variable::Result => {
                return match &self.result {
                    Known::Text(text) if text.is_empty() => Known::empty(),
                    _ => Known::Unknown("the output of a program is unknown".to_owned()),
                };
            }
            Variable::Links => {
                return Known::Unknown("the links of the device are unknown".to_owned());
            }
            // A partition's parent is the disk; a disk's parent has no node.
            Variable::Parent if self.target != device.path() => {
                let disk = device.levels.get(1);
                disk.map(|disk| disk.kernel.clone()).unwrap_or_default()
            }
            Variable::Parent => String::new(),
            Variable::Id | Variable::Driver => match self.parent {
                Parent::None => String::new(),
                Parent::Level(level) => {
                    let level = &device.levels[level];
                    match variable {
                        Variable::Id => level.kernel.clone(),
                        _ => level.driver.clone().unwrap_or_default(),
                    }
                }
                Parent::Unknown => return unknown_parent(),
            },
            Variable::Attribute => return self.attribute_variable(inside),
        })
    }

    fn attribute_variable(&self, name: &str) -> Known {
        if name.starts_with('[') {
            return Known::Unknown(format!("$attr{{{name}}} belongs to another device"));
        }
        let own = self.own_name(&format!("{}/{name}", self.device.path()));
        if let Some(known) = own.and_then(|own| self.written.get(&own)) {
            return known.clone();
        }
        let levels = match self.parent {
            Parent::None => vec![0],
            Parent::Level(level) => vec![0, level],
            Parent::Unknown => return unknown_parent(),
        };
        for level in levels {
            match self.device.attribute(level, name) {
                Ok(Some(text)) => return Known::Text(substitution::harmless(&text)),
                Ok(None) => {}
                Err(error) => return Known::Unknown(error.to_string()),
            }
        }
        Known::empty()
    }
}

fn unknown_parent() -> Known {
    Known::Unknown("it is unknown which parent matched".to_owned())
}

/// The queue attributes that a command line names, and the values echoed into them if they are
/// plain.
pub(super) fn named_in(command: &str) -> Vec<(String, Option<String>)> {
    let mut named = Vec::new();
    for (at, _) in command.match_indices("queue/") {
        let rest = &command[at..];
        let part_of_name = |next: char| next.is_ascii_alphanumeric() || matches!(next, '_' | '/');
        let end = rest.find(|next| !part_of_name(next)).unwrap_or(rest.len());
        let attribute = rest[..end].trim_end_matches('/').to_owned();
        named.push((attribute, echoed(&command[..at])));
    }
    // These set the read-ahead without naming the file.
    let words: Vec<&str> = command.split([' ', '\'', '"']).collect();
    let is = |name: &str| {
        words
            .iter()
            .any(|word| word.rsplit('/').next() == Some(name))
    };
    let sets = |option: &str| words.iter().any(|word| word.starts_with(option));
    if (is("blockdev") && (sets("--setra") || sets("--setfra"))) || (is("hdparm") && sets("-a")) {
        named.push(("queue/read_ahead_kb".to_owned(), None));
    }
    named
}

/// The word in a text that ends with `echo WORD > `, up to the path.
fn echoed(before: &str) -> Option<String> {
    let (command, target) = before.rsplit_once('>')?;
    if target.trim_start().contains([' ', ';', '&', '|']) {
        return None;
    }
    let mut words = command
        .split([' ', ';', '&', '|', '\'', '"'])
        .filter(|word| !word.is_empty());
    let value = words.next_back()?;
    let option_or_echo = words.next_back()?;
    let is_echo = |word: &str| word == "echo" || word.ends_with("/echo");
    let echoes = is_echo(option_or_echo)
        || (option_or_echo.starts_with('-') && words.next_back().is_some_and(is_echo));
    echoes.then(|| value.to_owned())
}
