//! A mode as the entry of the next boot, and of no other.

use hosttune_core::host::RootKind;
use hosttune_core::{Error, Host, Planner, Tuning};

use super::default_entry;
use super::mode::{BootMode, ModePlace, Refusal, no_place, refusal};
use super::mode_of_nixos::is_nixos;
use super::mode_state::EntryState;
use super::next_boot::NextBoot;

/// The name of the part in plans, in `--only` and in the journal.
pub const BOOT_ONCE: &str = "boot-once";

/// Starts the entry of a [`BootMode`] at the next boot, and only then.
///
/// The entry must be there already: this changes nothing but the loader's choice for one boot, and a
/// revert before that boot takes the choice back. It is meant to be the part [`BOOT_ONCE`], so that it can
/// be reverted by itself. It is refused where the loader could not end the choice: the mode would be
/// started by every boot.
///
/// ```
/// use hosttune_boot::boot_once::{BOOT_ONCE, BootMode, ModeOnce};
///
/// let mode = BootMode::new("toaster", "guests", []);
/// let once = (BOOT_ONCE, ModeOnce::new(mode, "toaster apply --persist"));
/// # let _ = once;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModeOnce {
    mode: BootMode,
    added_by: String,
}

/// What is chosen for one boot.
struct Choice {
    next: NextBoot,
    id: String,
    notes: Vec<String>,
}

impl ModeOnce {
    /// Starts this mode once. `added_by` is the command that adds its entry, for people.
    pub fn new(mode: BootMode, added_by: impl Into<String>) -> Self {
        Self {
            mode,
            added_by: added_by.into(),
        }
    }

    fn choose(&self, host: &Host) -> Result<Result<Choice, Refusal>, Error> {
        let Some(place) = BootMode::place(host)? else {
            return Ok(Err(match is_nixos(host)? {
                true => self.mode.not_by_nixos(),
                false => no_place(),
            }));
        };
        let mut notes = match self.entry(host)? {
            Ok(notes) => notes,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let next = NextBoot::of(place);
        let id = match place {
            ModePlace::Grub(_) => self.mode.id(),
            _ => next.id_of_file(&self.mode.file_name(place)),
        };
        if let Some(refusal) = default_entry::objection(host, place, &self.mode.id())? {
            return Ok(Err(refusal));
        }
        if let Some(refusal) = next.objection(host, place, &id, &self.mode.name)? {
            return Ok(Err(refusal));
        }
        notes.push(format!(
            "the next boot starts the mode {} once ({}); the boot after that starts the normal entry, also if the machine was switched off",
            self.mode.mode,
            next.how()
        ));
        notes.push(format!(
            "install no kernel while the mode {} runs: some systems copy the running line into the new entry",
            self.mode.mode
        ));
        Ok(Ok(Choice { next, id, notes }))
    }

    /// What there is to say of the entry, or why it cannot be started.
    fn entry(&self, host: &Host) -> Result<Result<Vec<String>, Refusal>, Error> {
        let mode = &self.mode.mode;
        Ok(match self.mode.state(host)?.entry {
            EntryState::Absent => Err(refusal(
                format!("the boot menu has no entry for the mode {mode}"),
                format!("add it first: {}", self.added_by),
            )),
            EntryState::Unknown => Err(refusal(
                format!("only root can read the boot entry of the mode {mode}"),
                "run this as root",
            )),
            EntryState::Outdated => Ok(vec![format!(
                "the entry of the mode {mode} is not a copy of the normal entry any more, for example because a kernel was installed; to renew it: {}",
                self.added_by
            )]),
            EntryState::Current => Ok(Vec::new()),
        })
    }
}

impl Tuning for ModeOnce {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        if !at.is_selected() {
            return Ok(());
        }
        self.mode.check()?;
        let chosen = match at.host().root_kind() {
            RootKind::Image => Err(refusal(
                "an image is not running, so it has no next boot",
                "start it, and run this there",
            )),
            _ => self.choose(at.host())?,
        };
        match chosen {
            Ok(choice) => {
                choice.next.want(at, &choice.id);
                for note in choice.notes {
                    at.note(note);
                }
            }
            Err(unsupported) => {
                let what = format!("start of the mode {} at the next boot", self.mode.mode);
                at.skip(&what, unsupported).required();
            }
        }
        Ok(())
    }
}
