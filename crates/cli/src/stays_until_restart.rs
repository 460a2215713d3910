//! What is left after a revert of what was read when a driver was loaded or a daemon started.

use hosttune_core::host::RootKind;
use hosttune_core::{Reverted, Session, Undone};
use hosttune_modules::initramfs::{copies_of, rebuild_command};

use super::Options;
use super::run::Run;

/// Where options of modules are kept.
const DIRECTORY: &str = "/etc/modprobe.d/";

impl Run<'_> {
    /// The note on an initramfs that has, or may have, a file of modprobe.d that was reverted.
    pub(super) fn left_in_the_initramfs(
        &self,
        session: &Session,
        reverted: &Reverted,
    ) -> Option<String> {
        let undone = reverted.undone.iter().filter(|undone| !undone.already);
        let mut files: Vec<&str> = undone
            .filter(|undone| undone.knob.kind == "file")
            .filter_map(|undone| undone.knob.id.as_str())
            .filter(|path| path.starts_with(DIRECTORY))
            .collect();
        files.dedup();
        if files.is_empty() {
            return None;
        }
        // What cannot be read must not fail a revert that is done.
        let copies = copies_of(session.host(), &files).ok().flatten();
        if copies.as_ref().is_some_and(Vec::is_empty) {
            return None;
        }
        let command = rebuild_command(session.host()).ok().flatten()?;
        if let Some(copies) = copies {
            let copies = copies.iter();
            let still: Vec<String> = copies
                .map(|(image, file)| format!("the initramfs {image} still has a copy of {file}"))
                .collect();
            return Some(format!(
                "{}: it is pending until you run {command}",
                still.join("; ")
            ));
        }
        Some(format!(
            "the initramfs has its own copy of modprobe.d, which is not known here: if it was rebuilt while {} was there, rebuild it again with {command}",
            files.join(" or ")
        ))
    }

    /// What is still loaded of the profile and in no file any more, as notes.
    pub(super) fn stays_until_restart(
        &self,
        session: &Session,
        reverted: &[Undone],
    ) -> Vec<String> {
        let host = session.host();
        if host.root_kind() == RootKind::Image {
            return Vec::new();
        }
        let candidates = self.profile.candidates().iter();
        let options = Options {
            persist: true,
            with: candidates.map(|&name| name.to_owned()).collect(),
            ..self.options(session)
        };
        let profile = self.profile;
        profile.stays_until_restart(host, &options, reverted)
    }
}
