//! Requested parameters of the kernel command line.

use hosttune_core::file::{ConfigFile, FileState};
use hosttune_core::host::RootKind;
use hosttune_core::{Error, Host, HostError, Planner, Tuning, Unsupported, UnsupportedKind, When};
use serde::{Deserialize, Serialize};

use super::boot_setting::BootSetting;
use super::booted::BootedSetting;
use super::detection::{BootLoader, Candidate, Detection, detect};
use super::entries::{Entries, only_root};
use super::menu::GrubMenu;
use super::{entries, grub, nixos, ostree};
use crate::boot_once::{
    TRIAL, Trial, TrialInEntries, TrialOf, TrialState, described, leaks, reads_entries,
};
use crate::command_line::{CommandLineSetting, KernelCommandLine, RUNNING_LINE, same_name};

/// Settings of the kernel command line, kept in the configuration of the boot loader.
///
/// With GRUB they are in a file of our own in `/etc/default/grub.d`, which adds parameters to those
/// of the other files. Where entries are files in `loader/entries` (systemd-boot, GRUB on Fedora) they are
/// changed in those of this system, and in `/etc/kernel/cmdline`, from which kernel-install makes new ones.
/// With Limine they are changed in the entries of this system in `limine.conf`.
/// Where ostree deploys the system, and on NixOS, the plan says what to type for those parameters that the next boot
/// does not have, and nothing is changed. Another loader, and a host on which two fit, is reported and not changed. GRUB reads a menu that is
/// generated: see [`generate`](Self::generate); without it a note names the command. Verify compares with
/// `/proc/cmdline`.
///
/// ```
/// use hosttune_boot::boot_loader::{BootParameters, BootSetting};
/// use hosttune_boot::command_line::CommandLineSetting;
///
/// let parameters = BootParameters::new("gaming", [
///     BootSetting::new(CommandLineSetting::equals("nmi_watchdog", "0"))
///         .why("the watchdog takes a performance counter and wakes each processor"),
/// ]);
/// # let _ = parameters;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootParameters {
    /// The name in the file's name: lower-case letters, digits, `-` and `_`.
    pub name: String,
    /// The settings, in order.
    pub settings: Vec<BootSetting>,
    /// Whether they are only tried, in the next boot, and not kept.
    #[serde(default)]
    pub is_trial: bool,
    /// Whether GRUB's menu is generated, and not only the file from which it is made written.
    #[serde(default)]
    pub is_generated: bool,
    /// Parameters of an earlier set, as they are written. They are not requested, and only
    /// [`leftovers`](super::leftovers) looks for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<String>,
}

impl BootParameters {
    /// Requests settings, in the file with this name.
    pub fn new(name: impl Into<String>, settings: impl IntoIterator<Item = BootSetting>) -> Self {
        Self {
            name: name.into(),
            settings: settings.into_iter().collect(),
            is_trial: false,
            is_generated: false,
            earlier: Vec::new(),
        }
    }

    /// Tries the settings in the next boot, and only in that one, instead of keeping them: see
    /// [`boot_once`](crate::boot_once).
    ///
    /// This is a part of its own, `trial`, so that it can be reverted by itself. Where it is not
    /// possible the plan fails, because the settings would be kept untried.
    #[must_use]
    pub fn trial(mut self, is_trial: bool) -> Self {
        self.is_trial = is_trial;
        self
    }

    /// Generates the menu of GRUB from the changed files: see [`GrubMenu`]. The other loaders read the
    /// files that are changed here.
    ///
    /// The session needs the backend [`Generators`](super::Generators).
    #[must_use]
    pub fn generate(mut self, is_generated: bool) -> Self {
        self.is_generated = is_generated;
        self
    }

    /// Also those that GRUB's file of this name has now, to be looked for by [`leftovers`](super::leftovers)
    /// after the file was reverted: an earlier apply may have requested others.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn with_earlier(mut self, host: &Host) -> Result<Self, HostError> {
        self.earlier = grub::kept(host, &grub::file(&self.name))?;
        Ok(self)
    }

    /// The parameters that a trial on this host tries, as [`Trial`] names them. What GRUB's file of our
    /// own cannot keep is not tried.
    ///
    /// # Errors
    /// Any error from the host.
    pub fn tried(&self, host: &Host) -> Result<String, HostError> {
        let is_grub = matches!(
            detect(host)?,
            Detection::Found(Candidate {
                loader: BootLoader::Grub,
                ..
            })
        );
        let only_adds = is_grub && reads_entries(host)? != Some(true);
        let settings = self.settings.iter().map(|one| &one.setting);
        Ok(described(settings.filter(|setting| {
            !only_adds || grub::objection(setting).is_none()
        })))
    }

    /// The path of our file for GRUB.
    pub fn grub_file(name: &str) -> String {
        grub::file(name)
    }

    fn check(&self) -> Result<(), Error> {
        let plain = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_')
        };
        if self.name.is_empty() || !self.name.bytes().all(plain) {
            return Err(Error::tuning(
                format!("{:?} cannot name a file of the boot loader", self.name),
                "use lower-case letters, digits, '-' and '_'",
            ));
        }
        for (place, one) in self.settings.iter().enumerate() {
            let CommandLineSetting::Equals { name, value } = &one.setting else {
                continue;
            };
            for earlier in &self.settings[..place] {
                if let CommandLineSetting::Equals {
                    name: of,
                    value: other,
                } = &earlier.setting
                    && same_name(of.as_bytes(), name.as_bytes())
                    && other != value
                {
                    return Err(Error::tuning(
                        format!("{name} is requested as {other} and as {value}"),
                        "remove one of the two",
                    ));
                }
            }
        }
        Ok(())
    }

    /// Checks the line as it will be: the loader adds to what its files contain, so the line of the
    /// running kernel is the nearest to it.
    fn check_final_length(&self, at: &Planner<'_>) -> Result<(), Error> {
        let Ok(line) = at.host().read(RUNNING_LINE) else {
            // An image, or a captured tree without it.
            return Ok(());
        };
        let mut line = KernelCommandLine::parse(line);
        for one in &self.settings {
            // What cannot be written is reported where it is written.
            let _ = one.setting.apply(&mut line);
        }
        line.check_length().map_err(|error| {
            Error::tuning(
                error.to_string(),
                "remove parameters from the profile or the boot loader",
            )
        })
    }

    fn skip_all(&self, at: &mut Planner<'_>, unsupported: &Unsupported) {
        for one in &self.settings {
            let what = format!("kernel parameter {}", one.setting);
            one.on(at.skip(&what, unsupported.clone()));
        }
    }

    fn declare_trial(&self, at: &mut Planner<'_>, loader: BootLoader) -> Result<(), Error> {
        let in_entries = match loader {
            BootLoader::Grub => match reads_entries(at.host())? {
                Some(in_entries) => in_entries,
                None => {
                    at.skip("trial of the kernel parameters", only_root("/boot"))
                        .required();
                    return Ok(());
                }
            },
            BootLoader::KernelInstall => true,
            _ => {
                let unsupported = Unsupported::new(
                    UnsupportedKind::Other,
                    format!("a trial is made only with GRUB and systemd-boot, and this host has {loader}"),
                )
                .hint(match loader {
                    BootLoader::Ostree => "apply without --try-boot, which shows the commands: they make another deployment, and the running one stays in the boot menu",
                    BootLoader::NixOs => "apply without --try-boot, which shows what to add to the configuration: the present generation stays in the boot menu",
                    _ => "apply without --try-boot, and keep a way to choose the old line in the boot menu",
                });
                at.skip("trial of the kernel parameters", unsupported)
                    .required();
                return Ok(());
            }
        };
        if in_entries {
            let settings: Vec<&CommandLineSetting> =
                self.settings.iter().map(|one| &one.setting).collect();
            let trial = TrialInEntries {
                name: &self.name,
                settings: &settings,
            };
            at.part(TRIAL, &trial);
            return Ok(());
        }
        if let Some(unsupported) = unread_directory(at.host())? {
            // What is tried could not be kept.
            at.skip("trial of the kernel parameters", unsupported)
                .required();
            return Ok(());
        }
        let path = grub::file(&self.name);
        let mut tried = Vec::new();
        for one in &self.settings {
            if fits_grub(at, one) == Fit::Fits {
                tried.push(&one.setting);
            }
        }
        // The characters are checked as for the file that keeps the parameters.
        grub::render(&self.name, &tried)
            .map_err(|error| Error::tuning(error, "correct the parameter in the profile"))?;
        let trial = TrialOf {
            name: &self.name,
            settings: &tried,
            kept_in: &path,
        };
        at.part(TRIAL, &trial);
        Ok(())
    }

    fn declare_grub(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        if let Some(unsupported) = unread_directory(at.host())? {
            self.skip_all(at, &unsupported);
            return Ok(());
        }
        if let Some(trial) = Trial::of(at.host(), &self.name)?
            && trial.state != TrialState::Running
        {
            at.note(trial.to_string());
        }
        let path = grub::file(&self.name);
        let mut kept: Vec<&BootSetting> = Vec::new();
        let mut expected: Vec<&BootSetting> = Vec::new();
        let mut generated: Vec<&BootSetting> = Vec::new();
        for one in &self.settings {
            match fits_grub(at, one) {
                Fit::Skipped => continue,
                Fit::Booted => {}
                Fit::Fits => {
                    generated.push(one);
                    match grub::already_set(at.host(), &path, &one.setting)? {
                        Some(place) => at.note(format!("{} is set in {place}", one.setting)),
                        None => kept.push(one),
                    }
                }
            }
            expected.push(one);
        }
        let file = ConfigFile::new(&path)?;
        let before = match at.now(&file)? {
            FileState::Present(content) | FileState::HalfWritten(Some(content)) => content.bytes,
            FileState::Absent | FileState::HalfWritten(None) => Vec::new(),
        };
        let settings: Vec<&CommandLineSetting> = kept.iter().map(|one| &one.setting).collect();
        let mut overridden = None;
        let mut text = String::new();
        if kept.is_empty() {
            // The file of an earlier set would still add what is no longer requested.
            at.want(&file, &FileState::Absent)
                .why("no kernel parameters are to be added");
        } else {
            text = grub::render(&self.name, &settings)
                .map_err(|error| Error::tuning(error, "correct the parameter in the profile"))?;
            overridden = grub::overridden_by(at.host(), &path)?;
            let bytes = text.clone().into_bytes();
            at.want_file(&file, bytes, "required by the file for GRUB")?
                .why("adds the parameters when grub.cfg is generated")
                .overridden_by(overridden.clone());
        }
        if self.is_generated && overridden.is_none() {
            let removed = grub::removed(at.host(), &path, &before, text.as_bytes())?;
            want_menu(at, &generated, removed, false)?;
        } else if !kept.is_empty() {
            at.note("grub.cfg is not generated by this program: run update-grub (grub-mkconfig -o /boot/grub/grub.cfg), then reboot");
        }
        if overridden.is_none() {
            for one in expected {
                expect(at, one);
            }
        }
        Ok(())
    }

    /// Changes the files with entries, and the one from which new entries are made.
    fn declare_entries(&self, at: &mut Planner<'_>, of: Entries) -> Result<(), Error> {
        if let Some(trial) = Trial::of(at.host(), &self.name)?
            && trial.state != TrialState::Running
        {
            at.note(trial.to_string());
        }
        match entries::declare(at, &self.settings, of)? {
            Err(unsupported) => self.skip_all(at, &unsupported),
            Ok(()) => {
                if of == Entries::Grub {
                    at.note("grub2-mkconfig --update-bls-cmdline would write the line of /etc/default/grub to the entries again, without the parameters");
                }
                at.note("the parameters are in effect after a reboot");
                for one in &self.settings {
                    expect(at, one);
                }
            }
        }
        Ok(())
    }
}

impl Tuning for BootParameters {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        if !at.is_selected() {
            return Ok(());
        }
        self.check()?;
        let loader = match detect(at.host())? {
            Detection::Found(candidate) if candidate.loader == BootLoader::Other => {
                let why = format!(
                    "this host was not started by a loader that is known here: {}",
                    candidate.evidence
                );
                let unsupported = Unsupported::new(UnsupportedKind::Other, why)
                    .hint("add the parameters to the configuration of the loader manually; if kexec has started this host, reboot first");
                self.skip_all(at, &unsupported);
                return Ok(());
            }
            Detection::Found(candidate) => candidate.loader,
            Detection::Several(candidates) => {
                let all: Vec<String> = candidates.iter().map(ToString::to_string).collect();
                let unsupported = Unsupported::new(
                    UnsupportedKind::Other,
                    format!("more than one boot loader fits: {}", all.join("; ")),
                )
                .hint("change the one that boots this host manually, or remove the files of the other");
                self.skip_all(at, &unsupported);
                return Ok(());
            }
            Detection::None => {
                let unsupported =
                    Unsupported::new(UnsupportedKind::Other, "no known boot loader was found")
                        .hint("add the parameters to the kernel command line manually");
                self.skip_all(at, &unsupported);
                return Ok(());
            }
        };
        self.check_final_length(at)?;
        for leak in leaks(at.host())? {
            at.note(leak.to_string());
        }
        if self.is_trial {
            return self.declare_trial(at, loader);
        }
        match loader {
            BootLoader::Grub => match reads_entries(at.host())? {
                Some(true) => self.declare_entries(at, Entries::Grub),
                Some(false) => self.declare_grub(at),
                // A generator that reads our file makes entries of its own in the menu: Debian's does.
                None if unread_directory(at.host())?.is_none() => self.declare_grub(at),
                None => {
                    self.skip_all(at, &only_root("/boot"));
                    Ok(())
                }
            },
            BootLoader::KernelInstall => self.declare_entries(at, Entries::KernelInstall),
            BootLoader::Limine => self.declare_entries(at, Entries::Limine),
            BootLoader::Ostree => ostree::declare(at, self),
            BootLoader::NixOs => nixos::declare(at, &self.settings),
            // What started this host was not known here, which is reported above.
            BootLoader::Other => Ok(()),
        }
    }
}

/// Requests the menu of GRUB with the settings that its files have.
pub(super) fn want_menu(
    at: &mut Planner<'_>,
    settings: &[&BootSetting],
    without: Vec<String>,
    is_kept: bool,
) -> Result<(), Error> {
    if settings.is_empty() && without.is_empty() {
        return Ok(());
    }
    match GrubMenu::find(at.host())? {
        Ok(menu) => {
            let settings = settings.iter().map(|one| one.setting.clone()).collect();
            at.want(&menu, &GrubMenu::wanted(settings, without, is_kept))
                .why("GRUB reads this menu, and not the files from which it is generated")
                .required();
            at.note("the parameters are in effect after a reboot");
        }
        Err(unsupported) => {
            at.skip("menu of GRUB", unsupported).required();
        }
    }
    Ok(())
}

/// Why the file for GRUB would have no effect.
fn unread_directory(host: &Host) -> Result<Option<Unsupported>, HostError> {
    if grub::reads_directory(host)? == Some(true) {
        return Ok(None);
    }
    let unsupported = Unsupported::new(
        UnsupportedKind::Other,
        format!("grub-mkconfig of this host does not read {}", grub::DIRECTORY),
    )
    .hint("add the parameters to the boot loader manually: to GRUB_CMDLINE_LINUX_DEFAULT in /etc/default/grub, or with grubby where it is installed");
    Ok(Some(unsupported))
}

/// Whether GRUB's files can have a setting.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fit {
    /// They can.
    Fits,
    /// They cannot, and the running kernel was booted with it nevertheless.
    Booted,
    /// They cannot; the plan says why.
    Skipped,
}

/// Finds out whether GRUB's files can have a setting, and puts into the plan why not.
fn fits_grub(at: &mut Planner<'_>, one: &BootSetting) -> Fit {
    let Some(why) = grub::objection(&one.setting) else {
        return Fit::Fits;
    };
    if is_booted(at, one) {
        return Fit::Booted;
    }
    let what = format!("kernel parameter {}", one.setting);
    let unsupported = Unsupported::new(UnsupportedKind::Other, why)
        .hint("change it there, run update-grub and reboot");
    one.on(at.skip(&what, unsupported));
    Fit::Skipped
}

/// Whether the running kernel was booted with the setting.
fn is_booted(at: &mut Planner<'_>, one: &BootSetting) -> bool {
    let booted = at.now(&BootedSetting::new(one.setting.clone()));
    booted.is_ok_and(|booted| booted.is_met)
}

pub(super) fn expect(at: &mut Planner<'_>, one: &BootSetting) {
    if at.host().root_kind() != RootKind::Image {
        let knob = BootedSetting::new(one.setting.clone());
        let met = knob.met();
        one.on(at.expect(&knob, &met, When::Reboot));
    }
}
