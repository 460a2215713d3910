//! The generated menu of GRUB as a knob.

use std::fmt;

use hosttune_core::file::{ConfigFile, FileState};
use hosttune_core::host::{FileContent, FileSystem, RootKind};
use hosttune_core::{
    Host, HostError, HostErrorKind, Knob, Lifetime, Operation, Unsupported, UnsupportedKind,
};
use serde::{Deserialize, Serialize};

use super::Generators;
use super::generators::GENERATOR;
use super::menu_text::{self, Origin};
use crate::command_line::CommandLineSetting;

/// Where menus are: Debian and Arch, and Fedora and openSUSE.
const MENUS: [&str; 2] = ["/boot/grub/grub.cfg", "/boot/grub2/grub.cfg"];

/// Files that set the language of the system: Debian's, and systemd's.
const LANGUAGE: [&str; 2] = ["/etc/default/locale", "/etc/locale.conf"];

/// The menu that GRUB reads, which `grub-mkconfig` generates from `/etc/default/grub`,
/// `/etc/default/grub.d` and `/etc/grub.d`.
///
/// The generator only prints the menu here. The file is replaced at once, after what was printed has been
/// checked, so it is the old or the new menu whenever the program, the generator or the machine is
/// stopped. Our menu ends with a comment by which it is known. A revert gives it the bytes that it had
/// before. If another program has generated the menu since, as the installation of a kernel does, the
/// earlier bytes would lose that kernel: then it is generated again where [`Generators`] is there, and
/// left otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GrubMenu(String);

/// The state of a menu.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum MenuState {
    /// There is no file.
    Absent,
    /// The file has this content.
    File(FileContent),
    /// A write was interrupted: the file is unchanged, and beside it is a replacement that was never
    /// renamed into place.
    HalfWritten(FileContent),
    /// Requested: the menu as it is generated now, complete, and in each normal entry of this system
    /// these parameters.
    Generated {
        /// The settings that each line meets.
        settings: Vec<CommandLineSetting>,
        /// Arguments that no line has.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        without: Vec<String>,
        /// Whether a revert leaves the menu as it is, because it was generated after a revert.
        #[serde(default)]
        is_kept: bool,
    },
}

/// The identity of a menu when it was changed, as it is written to the journal.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MenuIdentity {
    /// The file system of the file, if it was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file_system: Option<FileSystem>,
    /// The digest of the entries.
    entries: String,
}

impl MenuState {
    fn content(&self) -> Option<&FileContent> {
        match self {
            Self::File(content) | Self::HalfWritten(content) => Some(content),
            Self::Absent | Self::Generated { .. } => None,
        }
    }
}

impl GrubMenu {
    /// The menus that are there.
    ///
    /// # Errors
    /// Any error from the host.
    pub(super) fn all(host: &Host) -> Result<Vec<Self>, HostError> {
        let mut found = Vec::new();
        for path in MENUS {
            if host.exists(path)? {
                found.push(Self(path.to_owned()));
            }
        }
        Ok(found)
    }

    /// The menu of a host, or why it is not known.
    ///
    /// # Errors
    /// Any error from the host.
    pub(super) fn find(host: &Host) -> Result<Result<Self, Unsupported>, HostError> {
        Ok(match Self::all(host)?.as_slice() {
            [menu] => Ok(menu.clone()),
            [] => Err(Unsupported::new(
                UnsupportedKind::Missing,
                format!("there is no {}", MENUS.join(" and no ")),
            )
            .hint("install GRUB, or mount the file system with /boot")),
            _ => Err(Unsupported::new(
                UnsupportedKind::Other,
                format!("there are two menus, {}", MENUS.join(" and ")),
            )
            .hint("generate the one that GRUB reads manually, or remove the other")),
        })
    }

    /// Those of the arguments that an entry of the menu has.
    pub(super) fn having(
        &self,
        host: &Host,
        arguments: &[String],
    ) -> Result<Vec<String>, HostError> {
        let text = match host.read(&self.0) {
            Err(error) if *error.kind() == HostErrorKind::Missing => Vec::new(),
            text => text?,
        };
        let lines = menu_text::kernel_lines(&String::from_utf8_lossy(&text));
        let has = |text: &&String| lines.iter().any(|one| one.has(text));
        Ok(arguments.iter().filter(has).cloned().collect())
    }

    /// What is requested of the menu.
    pub(super) fn wanted(
        settings: Vec<CommandLineSetting>,
        without: Vec<String>,
        is_kept: bool,
    ) -> MenuState {
        MenuState::Generated {
            settings,
            without,
            is_kept,
        }
    }

    fn refused(&self, why: impl Into<String>) -> HostError {
        HostError::new(Operation::Create, &*self.0, HostErrorKind::Refused).detail(why)
    }

    /// The menu as it is generated now, which is complete, and the file that it is to replace.
    fn generated(&self, host: &mut Host) -> Result<(Vec<u8>, FileContent), HostError> {
        let language = language(host)?;
        let before = self.file(host)?;
        let text = host.change::<Generators, _>(|programs| programs.menu(language.as_deref()))?;
        if menu_text::origin(&text) != Origin::Generated {
            let error = self.refused(format!("{GENERATOR} has not printed a complete menu"));
            return Err(error.with_hint(format!(
                "run {GENERATOR}, which prints the menu and changes nothing"
            )));
        }
        let now = self.file(host)?;
        match now.bytes == before.bytes {
            true => Ok((text, now)),
            false => Err(self
                .refused("another program has written it while it was generated")
                .with_hint("run this again")),
        }
    }

    fn file(&self, host: &Host) -> Result<FileContent, HostError> {
        host.file(&self.0)?.ok_or_else(|| {
            HostError::new(Operation::Create, &*self.0, HostErrorKind::Missing)
                .detail("the menu was removed")
        })
    }

    fn generate(
        &self,
        host: &mut Host,
        settings: &[CommandLineSetting],
        without: &[String],
        is_kept: bool,
    ) -> Result<(), HostError> {
        let (text, now) = self.generated(host)?;
        if let Some(missing) = menu_text::missing(&text, settings, without) {
            return Err(self
                .refused(format!("{GENERATOR} succeeded, and in its menu {missing}"))
                .with_hint("see which file in /etc/default/grub.d and which script in /etc/grub.d makes the line"));
        }
        let bytes = match is_kept {
            true => text,
            false => menu_text::marked(&text),
        };
        host.put_file(&self.0, &FileContent { bytes, ..now })
    }

    /// The menu goes back to what it was, unless another program has generated it since.
    fn put_back(&self, host: &mut Host, original: &FileContent) -> Result<(), HostError> {
        let now = host.file(&self.0)?;
        let is_anothers = now.is_some_and(|now| {
            now.bytes != original.bytes && menu_text::origin(&now.bytes) == Origin::Generated
        });
        if !is_anothers {
            return host.put_file(&self.0, original);
        }
        if host.backend::<Generators>().is_err() {
            return Ok(());
        }
        let (bytes, now) = self.generated(host)?;
        host.put_file(&self.0, &FileContent { bytes, ..now })
    }
}

/// The value of `LANG` for programs of this system, if a file sets it plainly.
fn language(host: &Host) -> Result<Option<String>, HostError> {
    for path in LANGUAGE {
        let text = match host.read(path) {
            Err(error) if *error.kind() == HostErrorKind::Missing => continue,
            bytes => String::from_utf8_lossy(&bytes?).into_owned(),
        };
        let found = text.lines().rev().find_map(|line| {
            let value = line.trim().strip_prefix("LANG=")?;
            let value = value.trim_matches(['"', '\'']);
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.@-".contains(&byte);
            (!value.is_empty() && value.bytes().all(plain)).then(|| value.to_owned())
        });
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

impl fmt::Display for GrubMenu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Knob for GrubMenu {
    const NAME: &'static str = "grub-menu";
    const LIFETIME: Lifetime = Lifetime::Disk;
    const IS_GENERATED: bool = true;
    type State = MenuState;

    fn read(&self, host: &Host) -> Result<MenuState, HostError> {
        let Some(content) = host.file(&self.0)? else {
            return Ok(MenuState::Absent);
        };
        Ok(match host.half_written(&self.0)? {
            true => MenuState::HalfWritten(content),
            false => MenuState::File(content),
        })
    }

    fn set(&self, host: &mut Host, to: &MenuState) -> Result<(), HostError> {
        match to {
            MenuState::Generated {
                settings,
                without,
                is_kept,
            } => self.generate(host, settings, without, *is_kept),
            MenuState::File(original) => self.put_back(host, original),
            MenuState::Absent | MenuState::HalfWritten(_) => {
                Err(self.refused("this is not a state that can be set"))
            }
        }
    }

    /// A menu that another program has generated since counts for the original: it is that program's
    /// to keep.
    fn satisfies(&self, seen: &MenuState, wanted: &MenuState) -> bool {
        match (seen, wanted) {
            (
                MenuState::File(seen),
                MenuState::Generated {
                    settings, without, ..
                },
            ) => {
                matches!(
                    menu_text::origin(&seen.bytes),
                    Origin::Ours | Origin::Generated
                ) && menu_text::missing(&seen.bytes, settings, without).is_none()
            }
            (MenuState::File(seen), MenuState::File(wanted)) => {
                seen.bytes == wanted.bytes && seen.mode == wanted.mode
                    || menu_text::origin(&seen.bytes) == Origin::Generated
            }
            _ => seen == wanted,
        }
    }

    /// A menu is what was requested, or the step fails.
    fn rounds(&self, _: &MenuState, _: &MenuState) -> bool {
        false
    }

    fn unsupported(&self, host: &Host, to: &MenuState) -> Result<Option<Unsupported>, HostError> {
        let MenuState::Generated { .. } = to else {
            return Ok(None);
        };
        if host.root_kind() != RootKind::Live {
            return Ok(Some(
                Unsupported::new(
                    UnsupportedKind::NotRunning,
                    format!(
                        "{GENERATOR} looks at the disks of the running system, and this is a tree"
                    ),
                )
                .hint("run it in the tree: chroot DIR update-grub"),
            ));
        }
        if host.backend::<Generators>().is_err() {
            return Ok(Some(
                Unsupported::new(
                    UnsupportedKind::NoBackend,
                    "this program has no backend that runs generators",
                )
                .hint("run update-grub, or add the backend Generators::live() to the session"),
            ));
        }
        if let Some(unsupported) =
            ConfigFile::new(&self.0)?.unsupported(host, &FileState::Absent)?
        {
            return Ok(Some(unsupported));
        }
        let Some(content) = host.file(&self.0)? else {
            return Ok(Some(Unsupported::new(
                UnsupportedKind::Missing,
                format!("{} is not there", self.0),
            )));
        };
        Ok(match menu_text::origin(&content.bytes) {
            Origin::Ours | Origin::Generated => None,
            Origin::Incomplete => Some(
                Unsupported::new(
                    UnsupportedKind::Other,
                    "the menu is incomplete, so it could not be restored after a failure",
                )
                .hint("run update-grub, which makes a complete one"),
            ),
            Origin::Other => Some(
                Unsupported::new(
                    UnsupportedKind::Managed,
                    format!("it was not written by {GENERATOR}"),
                )
                .hint("change the kernel command line in it manually"),
            ),
        })
    }

    fn original(&self, seen: &MenuState) -> Option<MenuState> {
        seen.content().cloned().map(MenuState::File)
    }

    /// A replacement that was not renamed into place, and a menu that another program was killed in while
    /// it wrote it: GRUB would show an empty menu, so it goes back.
    fn is_partial_write(&self, seen: &MenuState, from: &MenuState, to: &MenuState) -> bool {
        match seen {
            MenuState::HalfWritten(content) => {
                let whole = MenuState::File(content.clone());
                whole == *from || self.satisfies(&whole, to)
            }
            MenuState::File(content) => menu_text::origin(&content.bytes) == Origin::Incomplete,
            MenuState::Absent | MenuState::Generated { .. } => false,
        }
    }

    fn is_gone(&self, seen: &MenuState) -> bool {
        *seen == MenuState::Absent
    }

    /// `/boot` may be a file system of its own, which is not mounted now.
    fn out_of_reach(
        &self,
        host: &Host,
        identity: Option<&str>,
        _: &MenuState,
    ) -> Result<Option<String>, HostError> {
        let identity = identity.and_then(|text| serde_json::from_str::<MenuIdentity>(text).ok());
        let was = identity.and_then(|identity| identity.file_system);
        host.file_out_of_reach(&self.0, was.as_ref())
    }

    /// The file system, and what the menu has besides arguments of kernels. The journal merges two changes
    /// only if they began from menus with the same entries: a revert to the first of two must not lose a
    /// kernel that was installed between them.
    fn identity(&self, host: &Host) -> Result<Option<String>, HostError> {
        let Some(content) = host.file(&self.0)? else {
            return Ok(None);
        };
        let identity = MenuIdentity {
            file_system: host.file_system(&self.0)?,
            entries: menu_text::digest_of_entries(&content.bytes),
        };
        Ok(serde_json::to_string(&identity).ok())
    }

    /// It is the same menu, whatever entries it has. What is on another file system is out of reach.
    fn is_same_thing(_: &str, _: &str) -> bool {
        true
    }

    /// What to do about parameters that the menu still has is in the [leftovers](super::leftovers).
    fn revert_note(&self, host: &Host, from: &MenuState) -> Option<String> {
        let now = host.file(&self.0).ok()??;
        if from.content().is_some_and(|from| from.bytes == now.bytes) {
            return None;
        }
        let since = format!(
            "{} was generated by another program since, so it is not replaced by the earlier one",
            self.0
        );
        match host.backend::<Generators>() {
            Err(_) => Some(since),
            Ok(generators) => generators
                .failure()
                .map(|failure| format!("{since}, and it could not be generated again: {failure}")),
        }
    }

    fn show(&self, state: &MenuState) -> String {
        match state {
            MenuState::Absent => "absent".to_owned(),
            MenuState::HalfWritten(_) => "half written".to_owned(),
            MenuState::File(content) => match menu_text::origin(&content.bytes) {
                Origin::Ours => "menu generated for hosttune".to_owned(),
                Origin::Generated => "menu generated earlier".to_owned(),
                Origin::Incomplete => "incomplete menu".to_owned(),
                Origin::Other => "another menu".to_owned(),
            },
            MenuState::Generated {
                settings, without, ..
            } => {
                let with: Vec<String> = settings.iter().map(ToString::to_string).collect();
                let mut text = format!("menu from {GENERATOR}");
                for (word, parameters) in [("with", &with), ("without", without)] {
                    if !parameters.is_empty() {
                        text = format!("{text} {word} {}", parameters.join(" "));
                    }
                }
                text
            }
        }
    }
}
