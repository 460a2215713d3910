//! `--regenerate`: the programs that generate what the boot loader reads. An initramfs is a step of the part that
//! changes modprobe.d; a boot menu is also generated after a revert, here.

use std::path::Path;

use hosttune_boot::boot_loader::{BootParameters, Generators};
use hosttune_core::host::RootKind;
use hosttune_core::{Selection, Session, Tuning};

use super::arguments::{Command, Global};
use super::ending::Ending;
use super::exit::Exit;
use super::failure::Failure;
use super::run::Run;
use super::{HostProfile, Options};

/// The part of the change that a revert makes.
const PART: &str = "boot-menu";

/// Refuses `--regenerate` where it has no effect.
pub(super) fn check(
    profile: &dyn HostProfile,
    global: &Global,
    command: &Command,
) -> Result<(), Failure> {
    if !global.regenerate {
        return Ok(());
    }
    let name = profile.name();
    let Some((part, _)) = profile.boot_parameters(&Options::default()) else {
        return Err(Failure::usage(
            format!("{name} does not generate the boot menu"),
            "omit --regenerate, and run update-grub afterwards if a note names it",
        ));
    };
    if let Some(root) = global
        .root
        .as_deref()
        .filter(|root| *root != Path::new("/"))
    {
        return Err(Failure::usage(
            "--regenerate runs programs of the running system, and --root names a tree",
            format!(
                "omit it, and generate the menu in the tree: chroot {} update-grub",
                root.display()
            ),
        ));
    }
    if global.user {
        return Err(Failure::usage(
            "--regenerate has no effect with --user",
            "omit it",
        ));
    }
    if global.try_boot {
        return Err(Failure::usage(
            "--regenerate has no effect with --try-boot, which keeps nothing",
            format!("omit it, and use it with {name} confirm --regenerate"),
        ));
    }
    let keeps = matches!(command, Command::Confirm { .. } | Command::Revert { .. });
    if !keeps && !global.persist {
        return Err(Failure::usage(
            "--regenerate generates from what --persist writes",
            "add --persist",
        ));
    }
    let of_initramfs = profile.rebuilds_initramfs();
    let is_one = |name: &String| name == part || of_initramfs == Some(name);
    if !global.only.is_empty() && !global.only.iter().any(is_one) {
        let parts = match of_initramfs {
            Some(other) => format!("{part} or {other}"),
            None => part.to_owned(),
        };
        return Err(Failure::usage(
            format!("--regenerate has no effect: --only does not name {parts}"),
            format!("add {part} to --only, or omit --regenerate"),
        ));
    }
    Ok(())
}

impl Run<'_> {
    /// The session with the backend that runs generators, if they were asked for.
    pub(super) fn with_generators(&self, session: Session) -> Session {
        match self.global.regenerate {
            true => session.with_backend(Generators::live()),
            false => session,
        }
    }

    /// After a revert: generates the menu that still has parameters, if that was asked for. Returns what is
    /// left in the boot loader's files then, as notes, and the exit code.
    pub(super) fn left_after_revert(
        &self,
        session: &mut Session,
        parameters: Option<&BootParameters>,
        exit: Exit,
        ending: &Ending,
    ) -> Result<(Vec<String>, Exit), Failure> {
        let left = self.left_in_the_loader(session, parameters);
        if !self.global.regenerate || session.host().root_kind() != RootKind::Live {
            return Ok((left.notes(), exit));
        }
        let failed = |session: &Session| {
            let generators = session.host().backend::<Generators>().ok()?;
            generators.failure().map(str::to_owned)
        };
        if failed(session).is_some() {
            // In the revert itself, whose note says why.
            return Ok((left.notes(), exit.or_drift()));
        }
        let Some(menu) = left.generated() else {
            return Ok((left.notes(), exit));
        };
        session.only(Selection::default());
        let tuning = (PART, menu.clone());
        if let Err(error) = ending.at_work(|| tuning.apply(session)) {
            let why = failed(session).unwrap_or_else(|| chain(&error));
            let mut notes = left.notes();
            notes.push(format!("{} could not be generated: {why}", menu.file));
            return Ok((notes, exit.or_drift()));
        }
        // By a session that runs no generators: the menu that was made is left.
        let mut plain = self.session_without_generators()?;
        plain.only(Selection::only([PART]));
        let _ = plain.revert()?;
        Ok((self.left_in_the_loader(session, parameters).notes(), exit))
    }
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut told = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        told = format!("{told}: {cause}");
        source = cause.source();
    }
    told
}
