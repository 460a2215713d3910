//! Modes: boot entries with other kernel parameters, beside the normal one.

use hosttune_core::file::{ConfigFile, FileState};
use hosttune_core::host::{FileContent, RootKind};
use hosttune_core::{
    Error, Host, HostError, HostErrorKind, Planner, Tuning, Unsupported, UnsupportedKind,
};
use serde::{Deserialize, Serialize};

use super::default_entry;
use super::entry_file::is_ours;
use super::file_part::FilePart;
use super::grub_menu::Menu;
use super::marked_block::MarkedBlock;
use super::mode_of_nixos::is_nixos;
use super::trial::grub_directory;
use super::trial_entry::{LinuxCommand, changed_line, copied, described};
use crate::boot_loader::{
    BootLoader, BootSetting, Detection, ENTRIES, LoaderEntry, Start, detect, entry_directory,
    only_root,
};
use crate::command_line::CommandLineSetting;

/// An entry in the boot menu with other kernel parameters, beside the normal one, which stays the
/// default: for a host that is booted in different ways, such as for its own desktop and for a guest.
///
/// With GRUB it is a copy of the default entry in `custom.cfg`. Where entries are files
/// (systemd-boot, GRUB on Fedora) it is a copy of the file of the running kernel, with a name that is
/// sorted last. After a new kernel was installed, the copy is out of date: verify reports it, and
/// another apply renews it. NixOS makes its menu from its configuration: there a mode is a specialisation, whose
/// text is printed and not written.
///
/// ```
/// use hosttune_boot::boot_loader::BootSetting;
/// use hosttune_boot::boot_once::BootMode;
/// use hosttune_boot::command_line::CommandLineSetting;
///
/// let mode = BootMode::new("toaster", "guests", [
///     BootSetting::new(CommandLineSetting::equals("iommu", "pt")).why("direct access of devices"),
/// ]);
/// assert_eq!(mode.id(), "hosttune-toaster-guests");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootMode {
    /// The program.
    pub name: String,
    /// The mode: lower-case letters, digits, `-` and `_`.
    pub mode: String,
    /// What its line has, in addition to that of the normal entry or instead of it.
    pub settings: Vec<BootSetting>,
}

/// Why a mode cannot be added or started.
pub(super) type Refusal = Unsupported;

/// Where the entry of a mode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ModePlace {
    /// In `custom.cfg` in this directory, beside `grub.cfg`.
    Grub(&'static str),
    /// A file in this directory, which GRUB reads; `grub.cfg` is in the other one.
    GrubEntries {
        /// The directory of `grub.cfg`.
        grub: &'static str,
        /// The directory of the entry files.
        entries: &'static str,
    },
    /// A file in this directory, which systemd-boot reads.
    Entries(&'static str),
}

pub(super) fn refusal(why: impl Into<String>, hint: impl Into<String>) -> Refusal {
    Unsupported::new(UnsupportedKind::Other, why).hint(hint)
}

impl BootMode {
    /// A mode of a program.
    pub fn new(
        name: impl Into<String>,
        mode: impl Into<String>,
        settings: impl IntoIterator<Item = BootSetting>,
    ) -> Self {
        Self {
            name: name.into(),
            mode: mode.into(),
            settings: settings.into_iter().collect(),
        }
    }

    /// The id of the entry in GRUB's menu.
    pub fn id(&self) -> String {
        format!("hosttune-{}-{}", self.name, self.mode)
    }

    /// The name of the entry file, which the loader of this place sorts last.
    pub(super) fn file_name(&self, place: ModePlace) -> String {
        default_entry::file_name(place, &self.id())
    }

    fn title(&self, of: &str) -> String {
        format!("{of}, {} mode of {}", self.mode, self.name)
    }

    /// What its line has, in addition to that of the normal entry or instead of it, in one line.
    pub fn parameters(&self) -> String {
        described(self.tried())
    }

    fn tried(&self) -> Vec<&CommandLineSetting> {
        self.settings.iter().map(|one| &one.setting).collect()
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        let plain = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_')
        };
        for name in [&self.name, &self.mode] {
            if name.is_empty() || !name.bytes().all(plain) {
                return Err(Error::tuning(
                    format!("{name:?} cannot name a boot entry"),
                    "use lower-case letters, digits, '-' and '_'",
                ));
            }
        }
        Ok(())
    }

    /// The block of `custom.cfg` with the entry for GRUB.
    pub(super) fn block(&self, directory: &str) -> MarkedBlock {
        MarkedBlock {
            file: format!("{directory}/custom.cfg"),
            name: format!("{} mode {}", self.name, self.mode),
        }
    }

    /// Where the entry of the mode belongs on this host; `None` if that is not known.
    pub(super) fn place(host: &Host) -> Result<Option<ModePlace>, HostError> {
        let loader = match detect(host)? {
            Detection::Found(candidate) => Some(candidate.loader),
            Detection::Several(_) | Detection::None => None,
        };
        // GRUB reads the entries that are beside its kernels.
        let [of_grub, ..] = ENTRIES;
        let of_grub = host.exists(of_grub)?.then_some(of_grub);
        Ok(match loader {
            Some(BootLoader::Grub) => match (grub_directory(host)?, of_grub) {
                (Some(grub), Some(entries)) => {
                    let bytes = host.read(format!("{grub}/grub.cfg"))?;
                    let menu = Menu::parse(&String::from_utf8_lossy(&bytes));
                    Some(match menu.reads_entries {
                        Some(_) => ModePlace::GrubEntries { grub, entries },
                        None => ModePlace::Grub(grub),
                    })
                }
                (Some(grub), None) => Some(ModePlace::Grub(grub)),
                (None, _) => None,
            },
            Some(BootLoader::KernelInstall) => entry_directory(host)?.map(ModePlace::Entries),
            _ => None,
        })
    }

    /// The text of the entry for GRUB.
    pub(super) fn grub_text(
        &self,
        host: &Host,
        directory: &str,
    ) -> Result<Result<String, Refusal>, Error> {
        let path = format!("{directory}/grub.cfg");
        let bytes = host.read(&path)?;
        let menu = Menu::parse(&String::from_utf8_lossy(&bytes));
        if menu.reads_custom.is_none() {
            return Ok(Err(refusal(
                format!("{path} does not read custom.cfg"),
                "make /etc/grub.d/41_custom executable, then run update-grub",
            )));
        }
        let saved = default_entry::saved_entry(host, directory)?;
        let entry = match menu.default_entry(saved.as_deref()) {
            Ok(entry) => entry,
            Err(why) => {
                return Ok(Err(refusal(
                    why.0,
                    "choose an entry of the menu: grub-set-default",
                )));
            }
        };
        let Some(linux) = LinuxCommand::of(entry) else {
            return Ok(Err(refusal(
                format!(
                    "the default entry '{}' does not start Linux by one command",
                    entry.title
                ),
                "add an entry manually to custom.cfg",
            )));
        };
        Ok(match changed_line(&linux.line, self.tried()) {
            Ok(line) => Ok(copied(
                entry,
                &linux,
                &self.title(&entry.title),
                &self.id(),
                &line,
            )),
            Err(error) => Err(refusal(error.to_string(), "correct the profile")),
        })
    }

    fn declare_grub(&self, at: &mut Planner<'_>, directory: &str) -> Result<(), Error> {
        crate::boot_loader::check_for_grub(&self.name, &self.tried())
            .map_err(|error| Error::tuning(error, "correct the parameter in the profile"))?;
        let text = match self.grub_text(at.host(), directory)? {
            Ok(text) => text,
            Err(unsupported) => {
                at.skip(&self.what(), unsupported);
                return Ok(());
            }
        };
        at.want(&self.block(directory), &FilePart::Present(text))
            .why(self.why());
        at.note(format!(
            "to start this mode once: grub-reboot {} (grub2-reboot on Fedora), then reboot",
            self.id()
        ));
        Ok(())
    }

    /// The entry files of the running kernel, without those of ours.
    fn of_running_kernel(
        host: &Host,
        directory: &str,
    ) -> Result<Vec<(String, LoaderEntry)>, HostError> {
        let release = host.read_text("/proc/sys/kernel/osrelease")?;
        let mut found = Vec::new();
        for name in host.list(directory)? {
            if !name.ends_with(".conf") || is_ours(&name) {
                continue;
            }
            let bytes = host.read(format!("{directory}/{name}"))?;
            let entry = LoaderEntry::parse(&String::from_utf8_lossy(&bytes));
            if entry.last("version") == Some(release.trim()) {
                found.push((name, entry));
            }
        }
        Ok(found)
    }

    /// The entry file of the running kernel, with its name.
    pub(super) fn entry_of_running_kernel(
        host: &Host,
        directory: &str,
    ) -> Result<Result<(String, LoaderEntry), Refusal>, HostError> {
        if let Some(evidence) = Start::read(host)?.unified_image() {
            return Ok(Err(refusal(
                format!(
                    "this host was started with a unified kernel image ({evidence}), and an entry that is a copy of another one would start something else"
                ),
                "make a second image with these parameters manually",
            )));
        }
        let mut found = Self::of_running_kernel(host, directory)?;
        let (name, entry) = match (found.pop(), found.is_empty()) {
            (Some(one), true) => one,
            (None, _) => {
                return Ok(Err(refusal(
                    format!("no entry in {directory} has the version of the running kernel"),
                    "add an entry manually",
                )));
            }
            (Some((last, _)), false) => {
                let names: Vec<&str> = found.iter().map(|(name, _)| &**name).collect();
                return Ok(Err(refusal(
                    format!(
                        "several entries have the version of the running kernel: {}, {last}",
                        names.join(", ")
                    ),
                    "remove all but one of them, or add an entry manually",
                )));
            }
        };
        if entry.line().to_string().contains('$') {
            return Ok(Err(refusal(
                format!("{name} takes its options from a variable of GRUB"),
                "add an entry manually, or run grubby --update-kernel=ALL first",
            )));
        }
        Ok(Ok((name, entry)))
    }

    /// The text of the entry file, and the file that it is a copy of.
    pub(super) fn entry_text(
        &self,
        host: &Host,
        directory: &str,
    ) -> Result<Result<(String, String), Refusal>, Error> {
        let (name, mut entry) = match Self::entry_of_running_kernel(host, directory)? {
            Ok(found) => found,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let before = entry.line();
        let line = changed_line(&before, self.tried()).map_err(|error| {
            Error::tuning(
                format!("the line of {directory}/{name} cannot be changed: {error}"),
                "correct the profile",
            )
        })?;
        let title = self.title(entry.last("title").unwrap_or("Linux"));
        entry.set("title", &title);
        // systemd-boot sorts entries without this key behind those with it.
        entry.remove("sort-key");
        entry.set("options", &line.to_string());
        Ok(Ok((entry.text(), format!("{directory}/{name}"))))
    }

    fn declare_entry(
        &self,
        at: &mut Planner<'_>,
        place: ModePlace,
        directory: &str,
    ) -> Result<(), Error> {
        let (text, copied) = match self.entry_text(at.host(), directory)? {
            Ok(entry) => entry,
            Err(unsupported) => {
                at.skip(&self.what(), unsupported);
                return Ok(());
            }
        };
        let name = self.file_name(place);
        let file = ConfigFile::new(format!("{directory}/{name}"))?;
        let beside = match at.now(&file)? {
            FileState::Present(present) => Some(present),
            // A boot partition with FAT gives all files the same mode and owner, whatever is asked for.
            FileState::Absent | FileState::HalfWritten(_) => at.host().file(copied)?,
        };
        let content = FileContent {
            bytes: text.into_bytes(),
            ..beside.unwrap_or_else(|| FileContent::new(Vec::new()))
        };
        at.want(&file, &FileState::Present(content)).why(self.why());
        at.note(match place {
            ModePlace::Entries(_) => {
                format!("to start this mode once: systemctl reboot --boot-loader-entry={name}")
            }
            ModePlace::Grub(_) | ModePlace::GrubEntries { .. } => format!(
                "to start this mode once: grub2-reboot '{}', then reboot",
                name.trim_end_matches(".conf")
            ),
        });
        Ok(())
    }

    pub(super) fn what(&self) -> String {
        format!("boot entry for the mode {}", self.mode)
    }

    fn why(&self) -> String {
        format!(
            "an entry beside the normal one, with {}",
            described(self.tried())
        )
    }
}

impl Tuning for BootMode {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        if !at.is_selected() {
            return Ok(());
        }
        self.check()?;
        if at.host().root_kind() == RootKind::Image {
            at.note("modes are skipped: an image does not tell which kernel and loader start it");
            return Ok(());
        }
        let place = match Self::place(at.host()) {
            Err(error) if *error.kind() == HostErrorKind::Denied => {
                at.skip(&self.what(), only_root("/boot"));
                return Ok(());
            }
            place => place?,
        };
        let Some(place) = place else {
            if is_nixos(at.host())? {
                return self.declare_for_nixos(at);
            }
            at.skip(&self.what(), no_place());
            return Ok(());
        };
        if let Some(refusal) = default_entry::objection(at.host(), place, &self.id())? {
            at.skip(&self.what(), refusal);
            return Ok(());
        }
        match place {
            ModePlace::Grub(directory) => self.declare_grub(at, directory),
            ModePlace::GrubEntries { entries, .. } | ModePlace::Entries(entries) => {
                self.declare_entry(at, place, entries)
            }
        }
    }
}

/// Why a mode is not added where its place is not known.
pub(super) fn no_place() -> Refusal {
    refusal(
        "neither GRUB nor a loader with files in loader/entries was found for certain",
        "add an entry manually",
    )
}
