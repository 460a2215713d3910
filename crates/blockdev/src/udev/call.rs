//! A program that udev runs.

use super::generated::GeneratedRulesError;

/// A program that udev runs for each new disk, to tune that disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    arguments: Vec<String>,
}

impl Call {
    /// `PROGRAM apply --only blockdev --device NODE --yes --wait 60`, with options that a host
    /// binary understands.
    ///
    /// udev kills a program that takes longer than three minutes. The event waits for the program,
    /// and later events of the device are queued behind it.
    pub fn apply(program: &str) -> Self {
        // `--wait` is needed because programs for disks that appear together run concurrently.
        let arguments = [
            "apply", "--only", "blockdev", "--device", "%N", "--yes", "--wait", "60",
        ];
        let arguments = arguments.map(str::to_owned);
        Self {
            arguments: [program.to_owned()].into_iter().chain(arguments).collect(),
        }
    }

    pub(super) fn text(&self) -> Result<String, GeneratedRulesError> {
        let mut words = Vec::new();
        for (position, argument) in self.arguments.iter().enumerate() {
            let harmful =
                |character: char| character.is_control() || matches!(character, '\'' | '"' | '\\');
            let is_program = position == 0;
            if argument.is_empty()
                || argument.contains(harmful)
                || is_program && !argument.starts_with('/')
            {
                return Err(GeneratedRulesError::Program(argument.clone()));
            }
            let mut word = match argument.as_str() {
                "%N" => "%N".to_owned(),
                other => other.replace('%', "%%").replace('$', "$$"),
            };
            if word.contains(' ') {
                word = format!("'{word}'");
            }
            words.push(word);
        }
        Ok(words.join(" "))
    }
}
