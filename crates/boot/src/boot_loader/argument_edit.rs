//! How the kernel arguments of a deployment are changed by commands that know only whole arguments.

use crate::command_line::{Argument, CommandLineSetting, KernelCommandLine, LineError};

/// Arguments that are taken out of a line and added to it, as they are written.
///
/// `rpm-ostree kargs` compares whole arguments, byte for byte, and adds at the end of the line. It first
/// appends, then appends what is missing, and then deletes what was there before
/// (`kernel_arg_apply_patching` in `src/daemon/rpmostreed-transaction-types.cxx`). `--replace` is not used:
/// it fails for a parameter that occurs twice, and takes `=` in a value for the end of the old one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ArgumentEdit {
    removed: Vec<String>,
    added: Vec<String>,
    /// Whether an argument is added that is there already.
    repeats: bool,
}

impl ArgumentEdit {
    /// What has to be typed so that the line meets the settings. `None` if whole arguments that are added at
    /// the end cannot do it.
    ///
    /// # Errors
    /// If a setting cannot be written, or the line would lose its root file system or be too long.
    pub(super) fn of(
        line: &KernelCommandLine,
        settings: &[&CommandLineSetting],
    ) -> Result<Option<Self>, LineError> {
        let mut after = line.clone();
        for setting in settings {
            setting.apply(&mut after)?;
        }
        line.check_root(&after)?;
        after.check_length()?;
        // Of parameters whose order counts, such as pools of huge pages, all have to be added again.
        let mut whole: Vec<&CommandLineSetting> = Vec::new();
        loop {
            let Some(edit) = Self::between(line, &after, &whole) else {
                return Ok(None);
            };
            let Some(result) = edit.applied(line) else {
                return Ok(None);
            };
            let mut unmet = settings.iter().filter(|one| !one.is_met(&result));
            match unmet.next() {
                None => return Ok(Some(edit.without_doubles(line, &result, settings))),
                Some(unmet) if whole.contains(unmet) => return Ok(None),
                Some(unmet) => whole.push(unmet),
            }
        }
    }

    /// Leaves an argument twice in the line if that makes no difference: taken out once, it would be taken out
    /// again when the command is typed again.
    fn without_doubles(
        self,
        line: &KernelCommandLine,
        result: &KernelCommandLine,
        settings: &[&CommandLineSetting],
    ) -> Self {
        let there = words(result);
        let removed = self.removed.iter().filter(|text| !there.contains(text));
        let other = Self::new(line, removed.cloned().collect(), self.added.clone());
        let after = other.applied(line);
        match after.is_some_and(|after| settings.iter().all(|one| one.is_met(&after))) {
            true => other,
            false => self,
        }
    }

    fn new(line: &KernelCommandLine, removed: Vec<String>, added: Vec<String>) -> Self {
        let there = words(line);
        let repeats = added
            .iter()
            .enumerate()
            .any(|(place, text)| there.contains(text) || added[..place].contains(text));
        Self {
            removed,
            added,
            repeats,
        }
    }

    /// What one line has and the other has not; all arguments of the parameters of `whole`.
    fn between(
        before: &KernelCommandLine,
        after: &KernelCommandLine,
        whole: &[&CommandLineSetting],
    ) -> Option<Self> {
        let is_whole = |argument: &Argument<'_>| {
            let mut names = whole.iter().flat_map(|setting| names(setting));
            names.any(|name| argument.is_named(&name))
        };
        let text = |argument: &Argument<'_>| String::from_utf8(argument.text().to_vec()).ok();
        let mut added: Vec<(bool, String)> = Vec::new();
        for argument in after.arguments() {
            // What is kept may be anything.
            let text = text(&argument).unwrap_or_default();
            added.push((is_whole(&argument), text));
        }
        let mut removed = Vec::new();
        for argument in before.arguments() {
            let Some(written) = text(&argument) else {
                match is_whole(&argument) {
                    true => return None,
                    false => continue,
                }
            };
            let kept = added
                .iter()
                .position(|(is_whole, text)| !is_whole && *text == written);
            match kept.filter(|_| !is_whole(&argument)) {
                Some(kept) => drop(added.remove(kept)),
                None => removed.push(written),
            }
        }
        let added = added.into_iter().map(|(_, text)| text);
        let added = added.filter(|text| !text.is_empty()).collect();
        Some(Self::new(before, removed, added))
    }

    /// What gives the line back its arguments, not in the same order, after this was applied to it.
    pub(super) fn undone(&self, line: &KernelCommandLine) -> Self {
        let result = self.applied(line).unwrap_or_default();
        Self::new(&result, self.added.clone(), self.removed.clone())
    }

    /// Takes these arguments out.
    pub(super) fn removing(removed: Vec<String>) -> Self {
        Self {
            removed,
            added: Vec::new(),
            repeats: false,
        }
    }

    /// What is added.
    pub(super) fn added(&self) -> &[String] {
        &self.added
    }

    /// What is taken out.
    pub(super) fn removed(&self) -> &[String] {
        &self.removed
    }

    /// The command of rpm-ostree (2021.5 and later).
    pub(super) fn of_rpm_ostree(&self) -> String {
        let append = match self.repeats {
            true => "--append=",
            // Typed twice, it changes nothing.
            false => "--append-if-missing=",
        };
        let added = self.added.iter().map(|text| format!("{append}{text}"));
        let removed = self.removed.iter();
        let removed = removed.map(|text| format!("--delete-if-present={text}"));
        let options = added.chain(removed).map(|option| shell_word(&option));
        let options: Vec<String> = options.collect();
        format!("rpm-ostree kargs {}", options.join(" "))
    }

    /// The line after the command; `None` if the command fails.
    pub(super) fn applied(&self, line: &KernelCommandLine) -> Option<KernelCommandLine> {
        let before = words(line);
        let mut words = before.clone();
        for text in &self.added {
            if self.repeats || !words.contains(text) {
                words.push(text.clone());
            }
        }
        for text in self.removed.iter().filter(|text| before.contains(text)) {
            delete(&mut words, text)?;
        }
        Some(KernelCommandLine::parse(words.join(" ")))
    }
}

/// The parameters that a setting is about.
pub(super) fn names(setting: &CommandLineSetting) -> Vec<String> {
    match setting {
        CommandLineSetting::HugePages { .. } => {
            ["hugepagesz", "hugepages"].map(str::to_owned).to_vec()
        }
        other => vec![other.name().to_owned()],
    }
}

/// The arguments as ostree splits a line: at spaces, and not in quotes.
pub(super) fn words(line: &KernelCommandLine) -> Vec<String> {
    let text = String::from_utf8_lossy(line.bytes().trim_ascii()).into_owned();
    let mut is_quoted = false;
    let words = text.split(|letter| {
        is_quoted ^= letter == '"';
        letter == ' ' && !is_quoted
    });
    words
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// A line with arguments at its end.
pub(super) fn added_to(line: &KernelCommandLine, arguments: &[String]) -> KernelCommandLine {
    let mut text = line.bytes().trim_ascii_end().to_vec();
    for argument in arguments {
        text.push(b' ');
        text.extend_from_slice(argument.as_bytes());
    }
    KernelCommandLine::parse(text)
}

/// As `ostree_kernel_args_delete` does it.
fn delete(words: &mut Vec<String>, text: &str) -> Option<()> {
    let split = |text: &str| match text.split_once('=') {
        Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
        None => (text.to_owned(), None),
    };
    let (key, value) = split(text);
    let places: Vec<usize> = (0..words.len())
        .filter(|place| split(&words[*place]).0 == key)
        .collect();
    let is_it = |place: &&usize| split(&words[**place]).1 == value;
    let place = match places[..] {
        [only] if value.is_none() => only,
        _ => *places.iter().find(is_it)?,
    };
    words.remove(place);
    Some(())
}

/// A word as a shell reads it.
pub(super) fn shell_word(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.,:/=@%+".contains(&byte);
    match !text.is_empty() && text.bytes().all(is_plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hosttune_core::child::Child;
    use proptest::prelude::*;

    fn line(text: &str) -> KernelCommandLine {
        KernelCommandLine::parse(text)
    }

    fn typed(text: &str, settings: &[CommandLineSetting]) -> String {
        let settings: Vec<&CommandLineSetting> = settings.iter().collect();
        let edit = ArgumentEdit::of(&line(text), &settings).unwrap();
        edit.map_or_else(|| "none".to_owned(), |edit| edit.of_rpm_ostree())
    }

    #[test]
    fn commands_are_exact() {
        let equals = CommandLineSetting::equals;
        let pages = |size: &str, pages| CommandLineSetting::HugePages {
            size: size.to_owned(),
            pages,
        };
        for (text, setting, command) in [
            (
                "root=UUID=1 ro",
                equals("nmi_watchdog", "0"),
                "--append-if-missing=nmi_watchdog=0",
            ),
            (
                "mitigations=auto,nosmt quiet",
                equals("mitigations", "off"),
                "--append-if-missing=mitigations=off --delete-if-present=mitigations=auto,nosmt",
            ),
            (
                "mitigations mitigations=auto",
                equals("mitigations", "off"),
                "--append-if-missing=mitigations=off --delete-if-present=mitigations --delete-if-present=mitigations=auto",
            ),
            (
                "quiet rhgb",
                CommandLineSetting::absent("quiet"),
                "--delete-if-present=quiet",
            ),
            (
                "isolcpus=2,3",
                CommandLineSetting::contains("isolcpus", "4"),
                "--append-if-missing=isolcpus=2,3,4 --delete-if-present=isolcpus=2,3",
            ),
            (
                "ro",
                equals("dyndbg", "file a.c +p"),
                "'--append-if-missing=dyndbg=\"file a.c +p\"'",
            ),
            // The number belongs to the size before it, so all pools are added again.
            (
                "hugepagesz=1G hugepages=8 hugepagesz=2M hugepages=512",
                pages("1G", 16),
                "--append=hugepagesz=1G --append=hugepages=16 --append=hugepagesz=2M --append=hugepages=512 --delete-if-present=hugepagesz=1G --delete-if-present=hugepages=8 --delete-if-present=hugepagesz=2M --delete-if-present=hugepages=512",
            ),
            // A blank that is not a space: ostree takes both for one argument.
            ("a\tquiet", CommandLineSetting::absent("quiet"), "none"),
        ] {
            let command = match command {
                "none" => command.to_owned(),
                options => format!("rpm-ostree kargs {options}"),
            };
            assert_eq!(typed(text, &[setting]), command, "{text:?}");
        }
        assert!(
            ArgumentEdit::of(
                &line("ostree=/o quiet"),
                &[&CommandLineSetting::absent("ostree")]
            )
            .is_err()
        );
    }

    fn settings() -> impl Strategy<Value = Vec<CommandLineSetting>> {
        let name = "[ab]";
        let one = prop_oneof![
            name.prop_map(CommandLineSetting::present),
            name.prop_map(CommandLineSetting::absent),
            (name, "[01]").prop_map(|(name, value)| CommandLineSetting::equals(name, value)),
            (name, "[01]").prop_map(|(name, word)| CommandLineSetting::contains(name, word)),
            (name, "[01]").prop_map(|(name, value)| CommandLineSetting::occurs(name, value)),
            ("(2M|1G)", 0_u64..3)
                .prop_map(|(size, pages)| CommandLineSetting::HugePages { size, pages }),
        ];
        // Of one parameter one thing is requested.
        proptest::collection::vec(one, 1..4).prop_map(|settings| {
            let mut kept: Vec<CommandLineSetting> = Vec::new();
            for setting in settings {
                let is_known = |known: &CommandLineSetting| known.name() == setting.name();
                if !kept.iter().any(is_known) {
                    kept.push(setting);
                }
            }
            kept
        })
    }

    fn sorted(line: &KernelCommandLine) -> Vec<String> {
        let mut words = words(line);
        words.sort();
        words
    }

    proptest! {
        /// What is typed makes the line as requested, keeps every other argument, typed again changes nothing
        /// unless it repeats an argument, and is taken back by the other command.
        #[test]
        fn what_is_typed_meets_the_settings_and_is_taken_back(
            before in "root=1( (quiet|a|b|a=[01]|b=[01],[12]|hugepagesz=(2M|1G) hugepages=[012]|c=\"x y\"|d=é)){0,6}",
            settings in settings(),
        ) {
            let before = line(&before);
            let wanted: Vec<&CommandLineSetting> = settings.iter().collect();
            let Some(edit) = ArgumentEdit::of(&before, &wanted).unwrap() else {
                return Ok(());
            };
            let after = edit.applied(&before).unwrap();
            for setting in &settings {
                prop_assert!(setting.is_met(&after), "{setting}: {after}");
            }
            for word in ["root=1", "quiet", "c=\"x y\"", "d=é"] {
                let count = |line: &KernelCommandLine| {
                    words(line).iter().filter(|one| *one == word).count()
                };
                prop_assert_eq!(count(&before), count(&after));
            }
            let there = words(&after);
            if !edit.repeats && !edit.removed.iter().any(|text| there.contains(text)) {
                prop_assert_eq!(sorted(&edit.applied(&after).unwrap()), sorted(&after));
            }
            let back = edit.undone(&before).applied(&after).unwrap();
            prop_assert_eq!(sorted(&back), sorted(&before));
        }
    }

    #[test]
    fn a_shell_reads_the_word() {
        for word in ["a=b", "a=\"b c\"", "it's $HOME", "", "a;b", "é"] {
            let shell = Child::new(&["/bin/sh"]);
            let script = format!("printf %s {}", shell_word(word));
            let ended = shell.arguments(["-c", &script]).run().unwrap();
            assert_eq!(ended.output(), word.as_bytes());
        }
    }
}
