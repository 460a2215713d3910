//! Options of modules that are kept across reboots, in a modprobe.d file of our own.

use hosttune_core::file::{ConfigFile, FileState};
use hosttune_core::host::RootKind;
use hosttune_core::{Error, Planner, Tuning};
use serde::{Deserialize, Serialize};

use crate::initramfs_images::InitramfsImages;
use crate::modprobe_d::{Document, Entry, ModprobeConfiguration, SetOption, Source};
use crate::module_option::{
    LiveValue, ModuleOption, expect_value, takes_effect_from, unsupported_option,
};
use crate::module_parameter::is_same_value;
use crate::nixos_module_options;

const DIRECTORY: &str = "/etc/modprobe.d";

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
    /// [`GeneratedImage`](hosttune_initramfs::GeneratedImage). Otherwise the plan names the command.
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
        let images = InitramfsImages::read(at, &kept, &overridden)?;
        #[cfg(feature = "initramfs")]
        let images = if self.rebuilds_initramfs {
            images.made_anew(&path, &bytes)
        } else {
            images
        };
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
