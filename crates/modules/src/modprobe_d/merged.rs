//! The whole configuration of modprobe on a host: who sets what, and who wins.

use std::fmt;

use hosttune_core::{Host, HostError, HostErrorKind, fnmatch};

use super::directories::{ConfigurationFile, Overlay, files};
#[cfg(feature = "testing")]
use super::document::Document;
use super::install_command::{self, InstallLoad};
use super::kernel_arguments;
use super::name_pattern::canonical;
use super::statement::Statement;
use hosttune_kernel_command_line::{Argument, RUNNING_LINE, ranges, same_name};

/// Where a setting comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Source {
    /// A line of a file.
    File {
        /// The absolute path.
        path: String,
        /// The line, counted from 1.
        line: usize,
    },
    /// The command line of the running kernel, which comes after all files.
    CommandLine,
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(formatter, "{path}:{line}"),
            Self::CommandLine => formatter.write_str("the kernel command line"),
        }
    }
}

/// One option of a module, with the place that sets it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SetOption {
    /// The parameter as written; `-` and `_` are the same.
    pub parameter: String,
    /// The value; `None` for a parameter without one, which a boolean takes as true.
    pub value: Option<String>,
    /// Where it is set.
    pub source: Source,
}

impl SetOption {
    /// Whether it is for this parameter.
    pub fn is_for(&self, parameter: &str) -> bool {
        same_name(self.parameter.as_bytes(), parameter.as_bytes())
    }
}

impl fmt::Display for SetOption {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(formatter, "{}={value} in {}", self.parameter, self.source),
            None => write!(formatter, "{} in {}", self.parameter, self.source),
        }
    }
}

/// The configuration of modprobe: all files of modprobe.d in order, then the kernel command line.
///
/// An initramfs has its own copy of the files, made when it was built; this is not it: see
/// [`initramfs`](crate::initramfs).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModprobeConfiguration {
    files: Vec<ConfigurationFile>,
    command_line: Vec<Statement>,
}

impl ModprobeConfiguration {
    /// The configuration of one file alone.
    #[cfg(feature = "testing")]
    pub(crate) fn of_file(path: &str, text: &str) -> Self {
        Self {
            files: vec![ConfigurationFile {
                path: path.to_owned(),
                document: Document::parse(text),
                masks: Vec::new(),
            }],
            command_line: Vec::new(),
        }
    }

    /// Reads the files and the command line of a host.
    ///
    /// # Errors
    /// If a file or directory exists and cannot be read: it could be the one that wins.
    pub fn read(host: &Host) -> Result<Self, HostError> {
        Self::read_with(host, None)
    }

    /// As [`read`](Self::read), as if one file had this content, or did not exist.
    ///
    /// # Errors
    /// The same.
    pub fn read_as_if(host: &Host, path: &str, bytes: Option<&[u8]>) -> Result<Self, HostError> {
        Self::read_with(host, Some(Overlay { path, bytes }))
    }

    /// The configuration of a tree whose files are given, as of an initramfs, with a kernel command line. A file
    /// masks those of the same name that come later.
    #[cfg(feature = "initramfs")]
    pub(crate) fn of_files<'f>(
        files: impl IntoIterator<Item = (&'f str, &'f [u8])>,
        command_line: &[u8],
    ) -> Self {
        Self {
            files: super::directories::given(files),
            command_line: kernel_arguments::statements(command_line),
        }
    }

    fn read_with(host: &Host, overlay: Option<Overlay<'_>>) -> Result<Self, HostError> {
        let command_line = match host.read(RUNNING_LINE) {
            Ok(line) => kernel_arguments::statements(&line),
            // An image has no command line.
            Err(error) if *error.kind() == HostErrorKind::Missing => Vec::new(),
            Err(error) => return Err(error),
        };
        Ok(Self {
            files: files(host, overlay)?,
            command_line,
        })
    }

    /// The files that are read, in order.
    pub fn files(&self) -> &[ConfigurationFile] {
        &self.files
    }

    /// All statements in order, with their source.
    pub fn statements(&self) -> impl Iterator<Item = (Source, &Statement)> {
        let of_files = self.files.iter().flat_map(|file| {
            let statements = file.document.statements();
            statements.map(|(line, statement)| {
                let path = file.path.clone();
                (Source::File { path, line }, statement)
            })
        });
        let of_line = self.command_line.iter();
        of_files.chain(of_line.map(|statement| (Source::CommandLine, statement)))
    }

    /// The options that modprobe passes to the kernel for a module, in order.
    ///
    /// They are read from the joined text as the kernel does, so a quote that is not closed takes
    /// the options of later lines. Options for an alias apply only if the module is loaded by that
    /// alias, and are not among them.
    pub fn options_of(&self, module: &str) -> Vec<SetOption> {
        let Some(name) = canonical(module.as_bytes()) else {
            return Vec::new();
        };
        let mut joined = String::new();
        let mut starts: Vec<(usize, Source)> = Vec::new();
        for (source, statement) in self.statements() {
            if let Statement::Options { module, options } = statement
                && module.as_bytes() == name
            {
                if !joined.is_empty() {
                    joined.push(' ');
                }
                starts.push((joined.len(), source));
                joined.push_str(options);
            }
        }
        let set = |range: std::ops::Range<usize>| {
            let (_, source) = starts
                .iter()
                .rev()
                .find(|(start, _)| *start <= range.start)?;
            let argument = Argument::read(&joined.as_bytes()[range]);
            Some(SetOption {
                parameter: argument.name().into_owned(),
                value: argument.value().map(std::borrow::Cow::into_owned),
                source: source.clone(),
            })
        };
        ranges(joined.as_bytes()).filter_map(set).collect()
    }

    /// Everything that sets a parameter of a module, in order. The kernel takes each in turn, so the
    /// last one wins.
    pub fn who_sets(&self, module: &str, parameter: &str) -> Vec<SetOption> {
        let mut options = self.options_of(module);
        options.retain(|option| option.is_for(parameter));
        options
    }

    /// The option that determines a parameter of a module.
    pub fn winner(&self, module: &str, parameter: &str) -> Option<SetOption> {
        self.who_sets(module, parameter).pop()
    }

    /// The command that runs instead of loading a module: the first `install` line that matches.
    pub fn install_command(&self, module: &str) -> Option<(Source, &str)> {
        self.statements()
            .find_map(|(source, statement)| match statement {
                Statement::Install {
                    module: of,
                    command,
                } if is_match(of, module) => Some((source, command.as_str())),
                _ => None,
            })
    }

    /// What the [install command](Self::install_command) of a module loads with modprobe, in order;
    /// empty if there is none.
    pub fn loaded_instead(&self, module: &str) -> Vec<InstallLoad> {
        self.install_command(module)
            .map(|(_, command)| install_command::loads(command))
            .unwrap_or_default()
    }

    /// The modules that modprobe loads in place of a name, by the `alias` lines that match it, in order; empty
    /// if none does. `off` is not among them.
    ///
    /// With such a line modprobe looks neither for a module of the name nor for an `install` line of it.
    /// The targets are not looked up among the aliases again, but their own `install` lines count. The
    /// options of the name act beside those of the module, if it is loaded by that name. Compared with
    /// modprobe 30 (`--show-depends`).
    pub fn aliased(&self, module: &str) -> Vec<&str> {
        let targets = self
            .statements()
            .filter_map(|(_, statement)| match statement {
                Statement::Alias {
                    pattern,
                    module: to,
                } if to != "off" && is_match(pattern, module) => Some(to.as_str()),
                _ => None,
            });
        targets.collect()
    }

    /// The line that makes a module's name an alias of `off`, which no module has: nothing loads it
    /// by that name then.
    pub fn switched_off_by(&self, module: &str) -> Option<Source> {
        self.statements()
            .find_map(|(source, statement)| match statement {
                Statement::Alias {
                    pattern,
                    module: to,
                } if to == "off" && is_match(pattern, module) => Some(source),
                _ => None,
            })
    }

    /// The line that blacklists a module: it is then not loaded by its aliases, while loading it by
    /// name still works.
    pub fn blacklisted_by(&self, module: &str) -> Option<Source> {
        let name = canonical(module.as_bytes())?;
        self.statements()
            .find_map(|(source, statement)| match statement {
                // The kernel command line keeps the spelling.
                Statement::Blacklist { module }
                    if canonical(module.as_bytes()).as_deref() == Some(&*name) =>
                {
                    Some(source)
                }
                _ => None,
            })
    }

    /// The modules that are loaded before and after a module, by the first `softdep` line that
    /// matches. It orders loading, and binds no device.
    pub fn soft_dependencies(&self, module: &str) -> Option<(Source, &[String], &[String])> {
        self.statements()
            .find_map(|(source, statement)| match statement {
                Statement::Softdep {
                    module: of,
                    pre,
                    post,
                } if is_match(of, module) => Some((source, pre.as_slice(), post.as_slice())),
                _ => None,
            })
    }
}

fn is_match(pattern: &str, module: &str) -> bool {
    canonical(module.as_bytes())
        .is_some_and(|name| fnmatch::matches_bytes(pattern.as_bytes(), &name))
}
