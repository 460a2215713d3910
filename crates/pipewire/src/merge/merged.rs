//! The merged configuration.

use std::fmt;
use std::path::{Path, PathBuf};

use hosttune_spa_json::{Dialect, Lines, Reading, RemarkKind, TopLevel};

use super::dictionary::{Dictionary, Place, Source};
use super::environment::Layer;
use super::files::{ConfigFiles, ConfigText};
use super::property::{How, Origin, Properties, Property, Undetermined};
use super::rules::{self, Known, Outcome};
use crate::version::Version;

/// From this version the packages' directory is read first and the user's last.
const USER_LAST_SINCE: Version = Version::new(1, 0, 4);

/// From this version a file does not hide another of the same name.
const NO_MASKING_SINCE: Version = Version::new(1, 5, 81);

/// From this version there are rules for properties, and the daemon sets `cpu.vm.name`.
const RULES_SINCE: Version = Version::new(1, 1, 81);

/// The sections that the daemons and their modules read; one that ends with none of these names is
/// ignored.
const SECTIONS: [&str; 12] = [
    "context.properties",
    "context.spa-libs",
    "context.modules",
    "context.objects",
    "context.exec",
    ".properties",
    ".rules",
    ".exec",
    ".cmd",
    ".args",
    ".arguments",
    "config.ext",
];

/// Something in the files that has no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dropped {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1; `None` if it is the whole file.
    pub line: Option<usize>,
    /// What has no effect, and why.
    pub what: String,
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// The configuration of a daemon: its files, merged.
#[derive(Clone, Debug)]
pub struct Merged {
    version: Version,
    files: Vec<Loaded>,
    /// The sections of the main file, and of the drop-ins with the files' prefixes removed.
    conf: Dictionary<Place>,
    /// How many of the sections are the main file's.
    main_sections: usize,
    /// What has no effect, in the order in which the daemon meets it.
    pub dropped: Vec<Dropped>,
    /// Why the daemon does not start with these files, if it does not.
    pub failure: Option<String>,
    /// Files that were not read and that the daemon may read, and why.
    pub unread: Vec<(PathBuf, String)>,
}

/// A file that was read.
#[derive(Clone, Debug)]
struct Loaded {
    path: PathBuf,
    lines: Lines,
    is_read: bool,
}

impl Merged {
    /// Merges files as a version does.
    pub fn of(version: Version, files: &ConfigFiles) -> Self {
        let mut merged = Self {
            version,
            files: Vec::new(),
            conf: Dictionary::new(),
            main_sections: 0,
            dropped: Vec::new(),
            failure: None,
            unread: files.unread.clone(),
        };
        for (path, why) in &files.unreadable {
            merged.drop_file(path, why.clone());
        }
        let Some(main) = &files.main else {
            merged.failure = Some("there is no main configuration file".to_owned());
            return merged;
        };
        match merged.load(main) {
            Some(sections) => merged.conf = sections,
            None => merged.failure = Some(format!("{} has a fault", main.path.display())),
        }
        merged.main_sections = merged.conf.items.len();
        let mut layers: Vec<_> = files.drop_ins.iter().collect();
        if version < USER_LAST_SINCE {
            layers.sort_by_key(|drop_ins| std::cmp::Reverse(drop_ins.layer));
        } else {
            layers.sort_by_key(|drop_ins| drop_ins.layer);
        }
        // The names that hide others: those of the layers before, as far as they were read.
        let mut hiding: Vec<(Layer, &Path)> = Vec::new();
        for drop_ins in layers {
            for file in &drop_ins.files {
                let hides = hiding.iter().find(|(layer, path)| {
                    *layer != drop_ins.layer && path.file_name() == file.path.file_name()
                });
                if version < NO_MASKING_SINCE
                    && let Some((_, path)) = hides
                {
                    let why = format!(
                        "the whole file is ignored: PipeWire {version} reads only {}, which has the same name",
                        path.display()
                    );
                    merged.drop_file(&file.path, why);
                    continue;
                }
                if let Some(sections) = merged.load(file) {
                    hiding.push((drop_ins.layer, &file.path));
                    // The daemon's keys differ by file, so none replaces another's.
                    merged.conf.items.extend(sections.items);
                }
            }
        }
        merged
    }

    /// The version that merges.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The paths of the files that were read, in the order in which later ones win; the main file
    /// first.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        let read = self.files.iter().filter(|file| file.is_read);
        read.map(|file| file.path.as_path())
    }

    /// The properties of a section such as `context.properties`, with the rules for it and, in a
    /// virtual machine of this name (`cpu.vm.name`), its `vm.overrides`.
    ///
    /// `"qemu"` is a name; which one it is does not matter up to 1.1.80.
    pub fn properties(&self, section: &str, vm: Option<&str>) -> Properties {
        let dialect = self.version.dialect();
        let is_context = section == "context.properties";
        let vm_name = vm.filter(|_| self.version >= RULES_SINCE);
        let mut set = self.merge(section);
        let mut undetermined = Vec::new();
        if self.version >= RULES_SINCE {
            self.apply_rules(section, is_context, vm_name, &mut set, &mut undetermined);
        }
        // It is removed in either case.
        if let Some(overrides) = set.remove("vm.overrides")
            && vm.is_some()
        {
            let source = Source {
                text: &overrides.text,
                place: overrides.origin.0,
                is_literal: overrides.is_literal,
            };
            set.update(source, dialect, |place| (place, How::VmOverrides));
        }
        Properties {
            properties: self.shown(set),
            undetermined,
        }
    }

    /// The properties of a section without its rules, and with `vm.overrides` as a property: what
    /// `pw-config merge SECTION` prints.
    pub fn section(&self, section: &str) -> Vec<Property> {
        self.shown(self.merge(section))
    }

    fn merge(&self, section: &str) -> Dictionary<(Place, How)> {
        let mut set = Dictionary::new();
        for source in self.sections(section) {
            set.update(source, self.version.dialect(), |place| {
                (place, How::Section)
            });
        }
        set
    }

    fn shown(&self, set: Dictionary<(Place, How)>) -> Vec<Property> {
        let items = set.items.into_iter();
        items
            .map(|item| Property {
                key: item.key,
                value: String::from_utf8_lossy(&item.text).into_owned(),
                origin: self.origin(item.origin.0, item.origin.1),
            })
            .collect()
    }

    /// Applies the rules of a section. Those of `context.properties` see what the rules before them
    /// have set; those of other sections see the properties of the context.
    fn apply_rules(
        &self,
        section: &str,
        is_context: bool,
        vm_name: Option<&str>,
        set: &mut Dictionary<(Place, How)>,
        undetermined: &mut Vec<Undetermined>,
    ) {
        let dialect = self.version.dialect();
        let context = match is_context {
            true => Vec::new(),
            false => self.properties("context.properties", vm_name).properties,
        };
        for source in self.sections(&format!("{section}.rules")) {
            let reading = Reading::of(source.text, dialect);
            for rule in rules::rules(&reading.value) {
                let outcome = rule.outcome(|key| {
                    let known = if is_context {
                        let item = set.get(key);
                        item.and_then(|item| std::str::from_utf8(&item.text).ok())
                    } else {
                        let known = context.iter().find(|property| property.key == key);
                        known.map(|property| property.value.as_str())
                    };
                    let known = known.or(vm_name.filter(|_| key == "cpu.vm.name"));
                    known.map_or_else(|| Known::without_file(key), Known::Text)
                });
                for action in rule.actions {
                    let span = action.value.span;
                    let properties = Source {
                        text: span.of(source.text),
                        place: source.place(span.start),
                        is_literal: source.is_literal,
                    };
                    match outcome {
                        Outcome::Matches => {
                            set.update(properties, dialect, |place| (place, How::Rule));
                        }
                        Outcome::Unknown => {
                            let keys = action.value.as_object().unwrap_or_default();
                            undetermined.push(Undetermined {
                                origin: self.origin(properties.place, How::Rule),
                                keys: keys.iter().map(|entry| entry.key.clone()).collect(),
                            });
                        }
                        Outcome::DoesNotMatch => {}
                    }
                }
            }
        }
    }

    /// The texts of a section in the order in which they are read: the main file's by its name, the
    /// drop-ins' by the end of their names.
    fn sections(&self, section: &str) -> impl Iterator<Item = Source<'_>> {
        let items = self.conf.items.iter().enumerate();
        items
            .filter(move |(index, item)| {
                if *index < self.main_sections {
                    item.key == section
                } else {
                    item.key.ends_with(section)
                }
            })
            .map(|(_, item)| Source {
                text: &item.text,
                place: item.origin,
                is_literal: item.is_literal,
            })
    }

    fn origin(&self, place: Place, how: How) -> Origin {
        let file = &self.files[place.file];
        Origin {
            path: file.path.clone(),
            line: file.lines.position(place.offset).line,
            how,
        }
    }

    /// Reads the sections of a file; `None` if the daemon drops it.
    fn load(&mut self, file: &ConfigText) -> Option<Dictionary<Place>> {
        let dialect = self.version.dialect();
        let number = self.files.len();
        self.files.push(Loaded {
            path: file.path.clone(),
            lines: Lines::of(&file.bytes),
            is_read: true,
        });
        let mut sections = Dictionary::new();
        let source = Source {
            text: &file.bytes,
            place: Place {
                file: number,
                offset: 0,
            },
            is_literal: true,
        };
        let reading = sections.update(source, dialect, |place| place);
        self.note_faults(&file.path, &reading);
        let is_rejected = match dialect {
            Dialect::Lenient => false,
            // Without a first token the file counts as read, except if it has no token at all.
            Dialect::Checked if reading.top_level == TopLevel::Nothing => {
                reading.error.is_none() && !file.bytes.is_empty()
            }
            Dialect::Checked => reading.error.is_some(),
        };
        if is_rejected {
            self.files[number].is_read = false;
            return None;
        }
        for item in &sections.items {
            if !SECTIONS.iter().any(|known| item.key.ends_with(known)) {
                let line = self.origin(item.origin, How::Section).line;
                self.dropped.push(Dropped {
                    path: file.path.clone(),
                    line: Some(line),
                    what: format!("nothing reads the section '{}'", item.key),
                });
            }
        }
        Some(sections)
    }

    fn note_faults(&mut self, path: &Path, reading: &Reading) {
        let drop = |line, what| Dropped {
            path: path.to_owned(),
            line: Some(line),
            what,
        };
        // What a file that is dropped has besides its fault does not matter.
        let is_dropped = reading
            .error
            .is_some_and(|error| error.dialect == Dialect::Checked);
        for remark in reading.remarks.iter().filter(|_| !is_dropped) {
            // Of keys deep inside only those of the outermost object matter to everything.
            if let RemarkKind::Repeated { key } = &remark.kind
                && reading.value.get(key).is_none()
            {
                continue;
            }
            self.dropped
                .push(drop(remark.position.line, remark.to_string()));
        }
        if let Some(error) = &reading.error {
            self.dropped
                .push(drop(error.position.line, error.to_string()));
        }
    }

    fn drop_file(&mut self, path: &Path, what: String) {
        self.dropped.push(Dropped {
            path: path.to_owned(),
            line: None,
            what,
        });
    }
}
