//! The loader's choice for the next boot: where it is, and whether the loader ends it by itself.

use hosttune_core::{Error, Host, HostError, HostErrorKind, Knob, Planner, Request, Unsupported};

use super::efi_variable::{self, EfiValue, EfiVariable};
use super::environment_block::EnvironmentBlock;
use super::file_part::FilePart;
use super::grub_menu::Menu;
use super::grub_storage;
use super::grub_variable::GrubVariable;
use super::mode::{ModePlace, Refusal, refusal};
use super::trial::environment_block;

/// What a loader starts once, which it ends before it starts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NextBoot {
    Grub(GrubVariable),
    Efi(EfiVariable),
}

impl NextBoot {
    /// Where the choice is made for entries in this place.
    pub(super) fn of(place: ModePlace) -> Self {
        match place {
            ModePlace::Grub(directory)
            | ModePlace::GrubEntries {
                grub: directory, ..
            } => Self::Grub(GrubVariable {
                block: environment_block(directory),
                name: "next_entry".to_owned(),
            }),
            ModePlace::Entries(_) => Self::Efi(EfiVariable::one_shot()),
        }
    }

    /// The name of an entry file, as the loader is told it.
    pub(super) fn id_of_file(&self, file_name: &str) -> String {
        match self {
            Self::Grub(_) => file_name.trim_end_matches(".conf").to_owned(),
            Self::Efi(_) => file_name.to_owned(),
        }
    }

    /// What is chosen now.
    pub(super) fn read(&self, host: &Host) -> Result<FilePart, HostError> {
        Ok(match self {
            Self::Grub(variable) => variable.read(host)?,
            Self::Efi(variable) => match variable.read(host)? {
                EfiValue::Absent | EfiValue::Empty => FilePart::Absent,
                value @ EfiValue::Present(_) => FilePart::Present(variable.show(&value)),
            },
        })
    }

    /// Requests the choice of an entry.
    pub(super) fn want<'p, 'a>(&self, at: &'p mut Planner<'a>, id: &str) -> Request<'p, 'a> {
        match self {
            Self::Grub(variable) => at.want(variable, &FilePart::Present(id.to_owned())),
            Self::Efi(variable) => at.want(variable, &EfiValue::of_text(id)),
        }
        .required()
        .why("the loader starts this entry at the next boot, and only then")
    }

    /// What has to be known of the restart, for people.
    pub(super) fn how(&self) -> &'static str {
        match self {
            Self::Grub(_) => {
                "restart with reboot, not with the switch: GRUB reads the disk without the journal of its file system"
            }
            Self::Efi(_) => {
                "if the firmware keeps the variable: some firmware accepts it and loses it"
            }
        }
    }

    /// Why this entry cannot be chosen for the next boot: the loader would not end the choice, or another
    /// program has made one. `program` is for people.
    pub(super) fn objection(
        &self,
        host: &Host,
        place: ModePlace,
        id: &str,
        program: &str,
    ) -> Result<Option<Refusal>, Error> {
        let own = match place {
            ModePlace::Grub(directory) => of_grub(host, directory, false)?,
            ModePlace::GrubEntries { grub, .. } => of_grub(host, grub, true)?,
            ModePlace::Entries(_) => efi_variable::objection(host)?,
        };
        if own.is_some() {
            return Ok(own);
        }
        let chosen = self.read(host)?;
        let other = chosen.text().filter(|text| !text.is_empty() && *text != id);
        Ok(other.map(|other| {
            let takes_back = match self {
                Self::Grub(variable) => format!("grub-editenv {} unset next_entry", variable.block),
                Self::Efi(_) => "bootctl set-oneshot \"\"".to_owned(),
            };
            refusal(
                format!("the next boot already starts another entry once: {other}"),
                format!(
                    "cancel that first: {program} revert, if {program} chose it, or {takes_back}"
                ),
            )
        }))
    }
}

fn of_grub(host: &Host, directory: &str, in_files: bool) -> Result<Option<Refusal>, Error> {
    let path = format!("{directory}/grub.cfg");
    let text = String::from_utf8_lossy(&host.read(&path)?).into_owned();
    if let Some(refusal) = lacking(&Menu::parse(&text), &text, &path, in_files) {
        return Ok(Some(refusal));
    }
    if let Some(why) = grub_storage::objection(host, directory)? {
        return Ok(Some(for_ever(&why)));
    }
    let block = environment_block(directory);
    match host.read(&block) {
        Err(error) if *error.kind() == HostErrorKind::Missing => Ok(None),
        bytes => Ok(EnvironmentBlock::parse(&bytes?).err().map(|error| {
            refusal(
                format!("{block} cannot be used: {error}"),
                format!("make a new one: grub-editenv {block} create"),
            )
        })),
    }
}

fn for_ever(why: &str) -> Unsupported {
    refusal(
        format!("GRUB could not end the choice, and every boot would start the entry: {why}"),
        "choose the entry in the boot menu",
    )
}

/// What the menu lacks for starting an entry once.
fn lacking(menu: &Menu, text: &str, path: &str, in_files: bool) -> Option<Refusal> {
    if !menu.starts_once {
        return Some(refusal(
            format!("{path} does not start next_entry for one boot"),
            "generate it with grub-mkconfig: update-grub",
        ));
    }
    if !in_files && menu.reads_custom.is_none() {
        return Some(refusal(
            format!("{path} does not read custom.cfg, where the entry is"),
            "make /etc/grub.d/41_custom executable, then run update-grub",
        ));
    }
    text.contains("GRUB lacks write support")
        .then(|| for_ever(&format!("{path} says that GRUB lacks write support")))
}
