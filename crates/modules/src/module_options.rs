//! Options of modules that are kept across reboots, in a modprobe.d file of our own.

use hosttune_core::file::{ConfigFile, FileState};
use hosttune_core::host::RootKind;
use hosttune_core::{
    AnyKnob, Error, Host, HostError, HostErrorKind, Planner, Request, Requirement, Tuning,
    Unsupported, UnsupportedKind, When, Why,
};
use serde::{Deserialize, Serialize};

#[cfg(feature = "initramfs")]
use hosttune_initramfs::{GeneratedImage, ImageState};

use crate::initramfs;
#[cfg(feature = "initramfs")]
use crate::initramfs_copy::{InitramfsCopy, InitramfsOptions};
use crate::modprobe_d::{Document, Entry, ModprobeConfiguration, SetOption, Source};
use crate::module::{Availability, canonical, find, is_built_in, of_loaded};
use crate::module_parameter::{ModuleParameter, ParameterState, is_same_value};
use crate::nixos_module_options;

const DIRECTORY: &str = "/etc/modprobe.d";

/// Where the value of a parameter in the running kernel is checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LiveValue {
    /// In `/sys/module/MODULE/parameters`.
    #[default]
    Sysfs,
    /// By another knob, which knows where the driver shows it.
    Elsewhere,
}

/// A requested value of one parameter of a module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleOption {
    /// The module, as its file is named; `-` and `_` are the same.
    pub module: String,
    /// The parameter.
    pub parameter: String,
    /// The value, as text in one line without quotes.
    pub value: String,
    /// The reason for the value.
    #[serde(default)]
    pub why: Why,
    /// Whether it is an error if the request does not apply.
    #[serde(default)]
    pub requirement: Requirement,
    /// Where the value in the running kernel is checked.
    #[serde(default)]
    pub live: LiveValue,
}

hosttune_core::why_and_requirement!(ModuleOption);

impl ModuleOption {
    /// Requests a value.
    pub fn new(
        module: impl Into<String>,
        parameter: impl Into<String>,
        value: impl std::fmt::Display,
    ) -> Self {
        Self {
            module: module.into(),
            parameter: parameter.into(),
            value: value.to_string(),
            why: Why::default(),
            requirement: Requirement::Plain,
            live: LiveValue::Sysfs,
        }
    }

    /// Leaves checking the value in the running kernel to another knob.
    #[must_use]
    pub fn checked_elsewhere(mut self) -> Self {
        self.live = LiveValue::Elsewhere;
        self
    }

    pub(crate) fn text(&self) -> String {
        format!("{} {}={}", self.module, self.parameter, self.value)
    }

    pub(crate) fn is_same_parameter(&self, other: &Self) -> bool {
        canonical(&self.module) == canonical(&other.module)
            && canonical(&self.parameter) == canonical(&other.parameter)
    }

    pub(crate) fn on<'p, 'a>(&self, request: Request<'p, 'a>) -> Request<'p, 'a> {
        request.why(self.why.clone()).requirement(self.requirement)
    }
}

/// Options of modules that are kept across reboots, in `/etc/modprobe.d/zz-hosttune-NAME.conf`.
///
/// Nothing is loaded or unloaded. The file takes effect when a module is loaded the next time; until
/// then verify reports the value in the running kernel as pending. An option for which another file
/// or the kernel command line wins is reported as overridden, with the place.
///
/// An option of a module that is built into the kernel is not written: modprobe.d does not act on
/// it. On NixOS, which makes the files from its configuration, nothing is written: the plan says what to add to it.
///
/// ```
/// use hosttune_modules::{ModuleOption, ModuleOptions};
///
/// let options = ModuleOptions::new("toaster", [
///     ModuleOption::new("kvm", "ignore_msrs", 1).why("guests read registers that KVM does not know"),
/// ]);
/// # let _ = options;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleOptions {
    /// The name in the file's name: lower-case letters, digits, `-` and `_`.
    pub name: String,
    /// The requested options, in order.
    pub options: Vec<ModuleOption>,
    /// What else overrides an option: something that the module itself reads after its options.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also_overridden: Vec<String>,
    /// Whether initramfs images that load one of the modules are made anew.
    #[cfg(feature = "initramfs")]
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rebuilds_initramfs: bool,
}

impl ModuleOptions {
    /// Options in the file with this name.
    pub fn new(name: impl Into<String>, options: impl IntoIterator<Item = ModuleOption>) -> Self {
        Self {
            name: name.into(),
            options: options.into_iter().collect(),
            also_overridden: Vec::new(),
            #[cfg(feature = "initramfs")]
            rebuilds_initramfs: false,
        }
    }

    /// Makes the initramfs images of the running kernel anew that load one of the modules: see
    /// [`GeneratedImage`]. Otherwise the plan names the command.
    ///
    /// The session needs the backend [`ImageGenerators`](hosttune_initramfs::ImageGenerators).
    #[cfg(feature = "initramfs")]
    #[must_use]
    pub fn rebuild_initramfs(mut self, rebuilds: bool) -> Self {
        self.rebuilds_initramfs = rebuilds;
        self
    }

    /// Names what overrides an option although this file wins over all others, for verify.
    #[must_use]
    pub fn also_overridden(mut self, by: impl IntoIterator<Item = String>) -> Self {
        self.also_overridden.extend(by);
        self
    }

    /// The path of the file with this name.
    ///
    /// Files are read by base name over all directories and the last value wins. Vendors' files begin
    /// with a letter (`nvidia.conf`, `cachyos.conf`), so this one must sort behind letters.
    pub fn file(name: &str) -> String {
        format!("{DIRECTORY}/zz-hosttune-{name}.conf")
    }

    fn check(&self) -> Result<(), Error> {
        let plain = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_')
        };
        if self.name.is_empty() || !self.name.bytes().all(plain) {
            return Err(Error::tuning(
                format!("{:?} cannot name a modprobe.d file", self.name),
                "use lower-case letters, digits, '-' and '_'",
            ));
        }
        for (place, option) in self.options.iter().enumerate() {
            let earlier = self.options[..place]
                .iter()
                .find(|earlier| earlier.is_same_parameter(option));
            if let Some(earlier) = earlier
                && earlier.value != option.value
            {
                return Err(Error::tuning(
                    format!(
                        "{} {} is requested as {} and as {}",
                        option.module, option.parameter, earlier.value, option.value
                    ),
                    "remove one of the two; a list is one value with commas",
                ));
            }
        }
        Ok(())
    }
}

impl Tuning for ModuleOptions {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        if !at.is_selected() {
            return Ok(());
        }
        self.check()?;
        if nixos_module_options::is_nixos(at.host())? {
            return nixos_module_options::declare(at, &self.options);
        }
        let mut kept: Vec<&ModuleOption> = Vec::new();
        for option in &self.options {
            match unsupported_option(at.host(), option)? {
                Some(unsupported) => {
                    option.on(at.skip(&option.text(), unsupported));
                }
                None if kept.iter().any(|known| known.is_same_parameter(option)) => {}
                None => kept.push(option),
            }
        }
        let path = Self::file(&self.name);
        let file = ConfigFile::new(&path)?;
        if kept.is_empty() {
            // The file of an earlier set would still set what is no longer requested.
            at.want(&file, &FileState::Absent)
                .why("no options of modules are kept across reboots");
            return Ok(());
        }
        let bytes = render(&self.name, &kept)?;
        let configuration = ModprobeConfiguration::read_as_if(at.host(), &path, Some(&bytes))?;
        let overridden: Vec<(&ModuleOption, String)> = kept
            .iter()
            .filter_map(|option| Some((*option, overriding(&configuration, &path, option)?)))
            .collect();
        let mut by: Vec<String> = overridden.iter().map(|(_, by)| by.clone()).collect();
        by.dedup();
        by.extend(self.also_overridden.iter().cloned());
        for by in &by {
            at.note(format!("overridden by {by}"));
        }
        note_install_lines(at, &configuration, &kept);
        let mut images = Initramfs::read(at, &kept, &overridden)?;
        #[cfg(feature = "initramfs")]
        if self.rebuilds_initramfs {
            images.rebuild(&path, &bytes);
        }
        images.note(at)?;
        at.want_file(&file, bytes, "required by the modprobe.d file")?
            .why("sets the options when the modules are loaded")
            .overridden_by((!by.is_empty()).then(|| by.join("; ")));
        if at.host().root_kind() == RootKind::Image {
            return Ok(());
        }
        images.want(at);
        images.expect(at);
        for option in kept {
            let is_overridden = overridden.iter().any(|(other, _)| *other == option);
            if option.live == LiveValue::Elsewhere || is_overridden {
                continue;
            }
            let when = takes_effect_from(at, &path, &option.module)?;
            expect_value(at, option, when);
        }
        Ok(())
    }
}

/// Expects the value of an option in the running kernel.
pub(crate) fn expect_value(at: &mut Planner<'_>, option: &ModuleOption, when: When) {
    let knob = ModuleParameter::new(&option.module, &option.parameter);
    // The kernel's spelling of the same value, such as Y for 1, is not a rounded value.
    let wanted = match at.now(&knob) {
        Ok(ParameterState::Value(seen)) if is_same_value(&seen, &option.value) => seen,
        _ => option.value.clone(),
    };
    option.on(at.expect(&knob, &ParameterState::Value(wanted), when));
}

/// Why an option cannot act on this host.
pub(crate) fn unsupported_option(
    host: &Host,
    option: &ModuleOption,
) -> Result<Option<Unsupported>, HostError> {
    if host.root_kind() == RootKind::Image {
        return Ok(None);
    }
    let ModuleOption {
        module,
        parameter,
        value,
        ..
    } = option;
    if is_built_in(host, module)? {
        return Ok(Some(
            Unsupported::new(
                UnsupportedKind::ValueUnavailable,
                format!("{module} is built into this kernel, and modprobe.d does not act on it"),
            )
            .hint(format!(
                "put {module}.{parameter}={value} on the kernel command line"
            ))
            .module(module),
        ));
    }
    if find(host, module)? == Availability::Absent && !is_loaded_by_command(host, module)? {
        return Ok(Some(
            Unsupported::new(
                UnsupportedKind::ValueUnavailable,
                format!("the module {module} is not available"),
            )
            .hint(format!("install a kernel or a package that has {module}"))
            .module(module),
        ));
    }
    Ok(None)
}

/// Whether an `alias` or `install` line loads another module of this kernel in place of one that it does
/// not have, as Debian's `nvidia` loads `nvidia-current`.
fn is_loaded_by_command(host: &Host, module: &str) -> Result<bool, HostError> {
    let configuration = ModprobeConfiguration::read(host)?;
    for target in configuration.aliased(module) {
        if find(host, target)? != Availability::Absent {
            return Ok(true);
        }
    }
    for load in configuration.loaded_instead(module) {
        if load.passes_options && find(host, &load.module)? != Availability::Absent {
            return Ok(true);
        }
    }
    Ok(false)
}

/// When a file that is written now takes effect: a module that is in use is not reloaded before the
/// next boot.
///
/// # Errors
/// Any error from the host.
pub fn takes_effect(host: &Host, module: &str) -> Result<When, HostError> {
    let directory = of_loaded(module);
    let count = match host.read_text(format!("{directory}/refcnt")) {
        Ok(count) => count.trim().parse().unwrap_or(0),
        Err(error) if *error.kind() == HostErrorKind::Missing => 0_i64,
        Err(error) => return Err(error),
    };
    Ok(if count == 0 {
        When::Reload
    } else {
        When::Reboot
    })
}

/// As [`takes_effect`], for the value of a module that is expected of the file at `path`.
///
/// A module that is loaded was loaded in this boot. If this owner has written the file before, the
/// load should have brought the value, even where the module could be loaded again: the answer is
/// then [`When::Reboot`], with which a value that no reboot has brought is reported as overridden
/// and not as pending.
///
/// # Errors
/// Any error from the host.
pub fn takes_effect_from(at: &Planner<'_>, path: &str, module: &str) -> Result<When, Error> {
    let when = takes_effect(at.host(), module)?;
    let is_loaded = || at.host().exists(format!("{}/initstate", of_loaded(module)));
    if when == When::Reload && is_loaded()? {
        let file = AnyKnob::of(&ConfigFile::new(path)?);
        let changes = at.changes_in_effect().iter();
        let mut own = changes.filter(|change| change.is_own && change.knob == file);
        if own.next_back().is_some_and(|last| !last.is_of_this_boot) {
            return Ok(When::Reboot);
        }
    }
    Ok(when)
}

/// What wins over an option of the file at `path`, if it sets something else, or has a quote that is not
/// closed: modprobe joins the options of all files, and the kernel then reads ours as a part of that value.
fn overriding(
    configuration: &ModprobeConfiguration,
    path: &str,
    option: &ModuleOption,
) -> Option<String> {
    let module = &option.module;
    let Some(winner) = configuration.winner(module, &option.parameter) else {
        let ours = format!("{}=", option.parameter);
        let options = configuration.options_of(module).into_iter();
        let mut taking = options.filter(|set: &SetOption| {
            let value = set.value.as_deref().unwrap_or_default();
            value.contains(&ours)
        });
        let place = taking.next().map_or_else(
            || "another file".to_owned(),
            |set| format!("{} in {}", set.parameter, set.source),
        );
        return Some(format!(
            "{module} {place}: a quote that is not closed takes the options of later files into its value"
        ));
    };
    let is_ours = matches!(&winner.source, Source::File { path: of, .. } if of == path);
    // A parameter without a value is a truth value that is set.
    let theirs = winner.value.as_deref().unwrap_or("Y");
    (!is_ours && !is_same_value(theirs, &option.value)).then(|| format!("{module} {winner}"))
}

fn note_install_lines(
    at: &mut Planner<'_>,
    configuration: &ModprobeConfiguration,
    kept: &[&ModuleOption],
) {
    for option in kept {
        // modprobe does not look for an install line of a name that is an alias.
        if !configuration.aliased(&option.module).is_empty() {
            continue;
        }
        let loads = configuration.loaded_instead(&option.module);
        if loads.iter().any(|load| load.passes_options) {
            continue;
        }
        if let Some((source, command)) = configuration.install_command(&option.module) {
            at.note(format!(
                "{source} runs '{command}' instead of loading {}: the options act only if that command loads it with modprobe",
                option.module
            ));
        }
    }
}

/// What the images of the running kernel have of the options.
#[derive(Default)]
struct Initramfs {
    /// The modules of the options, for the note.
    modules: Vec<String>,
    /// Whether every image was looked into.
    is_known: bool,
    #[cfg(feature = "initramfs")]
    copies: Vec<InitramfsOptions>,
    /// Those of the copies that could be read.
    #[cfg(feature = "initramfs")]
    known: Vec<InitramfsOptions>,
    /// The images that are made anew, in place of a copy that is expected.
    #[cfg(feature = "initramfs")]
    rebuilt: Vec<(GeneratedImage, ImageState)>,
    /// Images and what they lack, as the end of a sentence.
    missing: Vec<(String, String)>,
}

impl Initramfs {
    /// An image is read only for options that a file on this host can decide.
    #[cfg(feature = "initramfs")]
    fn read(
        at: &mut Planner<'_>,
        kept: &[&ModuleOption],
        overridden: &[(&ModuleOption, String)],
    ) -> Result<Self, Error> {
        let mut found = Self::of(kept);
        if at.host().root_kind() == RootKind::Image {
            return Ok(found);
        }
        let sought: Vec<&ModuleOption> = kept
            .iter()
            .filter(|option| !overridden.iter().any(|(other, _)| other == *option))
            .copied()
            .collect();
        if sought.is_empty() {
            return Ok(found);
        }
        let copies = InitramfsOptions::of_running_kernel(at.host(), &sought)?;
        found.is_known = !copies.is_empty();
        for copy in copies {
            match at.now(&copy) {
                // The options of modules that are not inside come from the root file system.
                Ok(seen) if seen.modules.is_empty() => {}
                Ok(seen) => {
                    if !seen.differences.is_empty() {
                        let without = format!(
                            "loads {} without {}",
                            seen.modules.join(" and "),
                            seen.differences.join(", ")
                        );
                        found.missing.push((copy.image(), without));
                    }
                    found.known.push(copy.clone());
                    found.copies.push(copy);
                }
                // Verify reports why it is not known.
                Err(Error::Host(_)) => {
                    found.is_known = false;
                    found.copies.push(copy);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    #[cfg(not(feature = "initramfs"))]
    fn read(
        _: &mut Planner<'_>,
        kept: &[&ModuleOption],
        _: &[(&ModuleOption, String)],
    ) -> Result<Self, Error> {
        Ok(Self::of(kept))
    }

    fn of(kept: &[&ModuleOption]) -> Self {
        let mut modules: Vec<String> = kept.iter().map(|option| option.module.clone()).collect();
        modules.dedup();
        Self {
            modules,
            ..Self::default()
        }
    }

    fn note(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        let command = initramfs::rebuild_command(at.host())?;
        for (image, missing) in &self.missing {
            at.note(match command {
                _ if self.is_rebuilt(image) => format!(
                    "the initramfs {image} {missing}: it is made anew, and a revert makes it anew too, from the configuration as it then is; the image is not the same byte for byte"
                ),
                Some(command) => {
                    format!("the initramfs {image} {missing}: run {command} after the change")
                }
                None => format!("the initramfs {image} {missing}: rebuild it after the change"),
            });
        }
        if let (false, Some(command)) = (self.is_known, command) {
            at.note(format!(
                "the initramfs has its own copy of modprobe.d, which is not known here: if it loads {}, rebuild it with {command}",
                self.modules.join(" or ")
            ));
        }
        Ok(())
    }

    /// Has the images made anew that are one file with one of the modules inside. The others stay pending.
    #[cfg(feature = "initramfs")]
    fn rebuild(&mut self, path: &str, bytes: &[u8]) {
        let (known, copies) = std::mem::take(&mut self.copies)
            .into_iter()
            .partition(|copy| self.known.contains(copy) && copy.rebuilt(path).is_some());
        self.copies = copies;
        let known: Vec<InitramfsOptions> = known;
        let images = known.iter().filter_map(|copy| copy.rebuilt(path));
        self.rebuilt = images
            .map(|image| (image, GeneratedImage::with_copy(bytes)))
            .collect();
    }

    #[cfg(feature = "initramfs")]
    fn is_rebuilt(&self, image: &str) -> bool {
        let mut rebuilt = self.rebuilt.iter();
        rebuilt.any(|(knob, _)| image.split(", ").any(|file| file == knob.to_string()))
    }

    #[cfg(not(feature = "initramfs"))]
    fn is_rebuilt(&self, _: &str) -> bool {
        false
    }

    #[cfg(feature = "initramfs")]
    fn want(&self, at: &mut Planner<'_>) {
        for (image, state) in &self.rebuilt {
            at.want(image, state)
                .why("the initramfs loads the module with its own copy of modprobe.d");
        }
    }

    #[cfg(not(feature = "initramfs"))]
    fn want(&self, _: &mut Planner<'_>) {}

    #[cfg(feature = "initramfs")]
    fn expect(&self, at: &mut Planner<'_>) {
        for copy in &self.copies {
            at.expect(copy, &InitramfsCopy::default(), When::Initramfs)
                .why("the initramfs loads the module with its own copy of modprobe.d");
        }
    }

    #[cfg(not(feature = "initramfs"))]
    fn expect(&self, _: &mut Planner<'_>) {}
}

/// The text of the file, with each option below its reason.
fn render(name: &str, kept: &[&ModuleOption]) -> Result<Vec<u8>, Error> {
    let header = format!(
        "Written by hosttune for '{name}'. Use the revert command of the program that wrote it to remove it.\nThe last file in the order of names wins: see modprobe.d(5)."
    );
    let entries: Vec<Entry> = kept
        .iter()
        .map(|option| Entry {
            module: option.module.clone(),
            parameter: option.parameter.clone(),
            value: option.value.clone(),
            comment: Some(option.why.text.clone()).filter(|why| !why.is_empty()),
        })
        .collect();
    Document::render(&header, &entries)
        .map(|document| document.bytes())
        .map_err(|error| Error::tuning(error.to_string(), "correct the option in the profile"))
}
