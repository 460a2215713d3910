//! A menu that still has the parameters of a file that was reverted.

use hosttune_core::host::RootKind;
use hosttune_core::{Error, Host, HostError, Planner, Tuning};

use super::grub;
use super::menu::GrubMenu;
use super::tuning::want_menu;

/// The parameters that GRUB's file of a program had at some time, to be looked for in the menu after the
/// file was reverted.
///
/// As a tuning it has the menu generated, where it still has them. Its change is not one to be reverted:
/// a revert leaves that menu as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaleMenu {
    path: String,
    before: Vec<u8>,
}

impl StaleMenu {
    /// The parameters that the file of the program with this name has now.
    ///
    /// # Errors
    /// Any error from the host.
    pub fn before_revert(host: &Host, name: &str) -> Result<Self, HostError> {
        let path = grub::file(name);
        let content = host.file(&path)?;
        Ok(Self {
            path,
            before: content.map(|content| content.bytes).unwrap_or_default(),
        })
    }

    /// The parameters that no file has any more.
    fn removed(&self, host: &Host) -> Result<Vec<String>, HostError> {
        let now = host.file(&self.path)?;
        let now = now.map(|content| content.bytes).unwrap_or_default();
        grub::removed(host, &self.path, &self.before, &now)
    }

    /// Says that the menu still has some of the parameters; `None` if it has none, or is not there.
    ///
    /// # Errors
    /// Any error from the host.
    pub fn note(&self, host: &Host) -> Result<Option<String>, HostError> {
        let removed = self.removed(host)?;
        let Ok(menu) = GrubMenu::find(host)? else {
            return Ok(None);
        };
        let still = menu.having(host, removed)?;
        Ok((!still.is_empty()).then(|| {
            format!(
                "{menu} still has {}: run {}",
                still.join(" "),
                match host.root_kind() {
                    RootKind::Live => "update-grub",
                    RootKind::Captured | RootKind::Image => "update-grub in the tree, with chroot",
                }
            )
        }))
    }
}

impl Tuning for StaleMenu {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        let removed = self.removed(at.host())?;
        match removed.is_empty() {
            true => Ok(()),
            false => want_menu(at, &[], removed, true),
        }
    }
}
