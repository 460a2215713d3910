//! The confirmation prompt.

use super::streams::Streams;

/// Prompts on standard error and reads one line. Anything but `y` or `yes` declines, and so does the
/// end of the input.
pub(super) fn ask(streams: &mut Streams, question: &str) -> bool {
    streams.complain(&format!("{question} [y/N] "));
    let mut answer = String::new();
    if streams.answers.read_line(&mut answer).is_err() {
        return false;
    }
    if !answer.ends_with('\n') {
        streams.complain("\n");
    }
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_a_yes() {
        for (answer, yes) in [
            ("y\n", true),
            ("YES\n", true),
            ("n\n", false),
            ("\n", false),
            ("", false),
            ("yes please\n", false),
        ] {
            let sink = || Box::new(std::io::sink());
            let mut streams = Streams::over(sink(), sink(), Some(answer));
            assert_eq!(ask(&mut streams, "go?"), yes, "{answer:?}");
        }
    }
}
