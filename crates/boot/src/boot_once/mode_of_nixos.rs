//! Modes on NixOS: a specialisation of its configuration has a boot entry of its own beside the normal one. It is
//! printed and not written.

use hosttune_core::{Error, Host, HostError, HostErrorKind, Planner, Unsupported, UnsupportedKind};

use super::mode::{BootMode, Refusal};
use super::mode_state::EntryState;
use crate::boot_loader::{BootLoader, Detection, REBUILD, detect, nixos_definition, nixos_line};
use crate::command_line::{CommandLineSetting, KernelCommandLine};
use hosttune_modules::nix_text;

/// The specialisations of the generation that the next boot starts.
const SPECIALISATIONS: &str = "/nix/var/nix/profiles/system/specialisation";

/// Whether NixOS makes the boot menu of this host.
pub(super) fn is_nixos(host: &Host) -> Result<bool, HostError> {
    Ok(match detect(host)? {
        Detection::Found(candidate) => candidate.loader == BootLoader::NixOs,
        Detection::Several(_) | Detection::None => false,
    })
}

impl BootMode {
    fn line_of_specialisation(&self, host: &Host) -> Result<Option<KernelCommandLine>, HostError> {
        match host.read(format!("{SPECIALISATIONS}/{}/kernel-params", self.mode)) {
            Err(error) if *error.kind() == HostErrorKind::Missing => Ok(None),
            line => Ok(Some(KernelCommandLine::parse(line?))),
        }
    }

    /// What the generation of the next boot has of the mode.
    pub(super) fn specialisation(&self, host: &Host) -> Result<EntryState, HostError> {
        let line = self.line_of_specialisation(host)?;
        let is_met =
            |line: KernelCommandLine| self.settings.iter().all(|one| one.setting.is_met(&line));
        Ok(match line.map(is_met) {
            None => EntryState::Absent,
            Some(true) => EntryState::Current,
            Some(false) => EntryState::Outdated,
        })
    }

    /// Why the mode is not started once by this program, and what does it.
    pub(super) fn not_by_nixos(&self) -> Refusal {
        Unsupported::new(
            UnsupportedKind::Managed,
            "the boot menu belongs to NixOS, and this program does not choose an entry of it",
        )
        .hint(format!(
            "choose the entry of the specialisation {mode} in the boot menu; with systemd-boot: bootctl list shows its name, which ends in specialisation-{mode}.conf, and bootctl set-oneshot NAME starts it once",
            mode = self.mode
        ))
    }

    /// Says what to add to the configuration.
    pub(super) fn declare_for_nixos(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        if self.specialisation(at.host())? == EntryState::Current {
            at.note(format!(
                "the mode {} is a specialisation of the configuration of NixOS, with an entry in the boot menu",
                self.mode
            ));
            return Ok(());
        }
        // The line of another definition of this specialisation has what is added to it.
        let line = match self.line_of_specialisation(at.host())? {
            Some(line) => line,
            None => nixos_line(at.host())?,
        };
        let settings: Vec<&CommandLineSetting> =
            self.settings.iter().map(|one| &one.setting).collect();
        let prefix = format!(
            "specialisation.{}.configuration.",
            nix_text::attribute(&self.mode)
        );
        let definition = nixos_definition(&line, &settings, &prefix)?;
        let definition = match definition.is_empty() {
            // The normal line has all of them.
            true => format!(
                "add {}= {{ }};",
                prefix.trim_end_matches('.').to_owned() + " "
            ),
            false => definition,
        };
        let unsupported = Unsupported::new(
            UnsupportedKind::Managed,
            "the boot menu belongs to NixOS, and this program does not change it",
        )
        .hint(format!(
            "in the configuration of NixOS: {definition} then {REBUILD}"
        ));
        at.skip(&self.what(), unsupported);
        Ok(())
    }
}
