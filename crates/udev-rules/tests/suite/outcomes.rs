//! What rules set the scheduler of a disk to.

use hosttune_udev_rules::{Action, Device, Document, Outcome, RuleFiles};

/// These rules in a single file.
pub(crate) fn rules(text: &str) -> RuleFiles {
    let document = Document::parse(text.as_bytes());
    for problem in document.problems() {
        println!("{problem}");
    }
    RuleFiles::of([("/etc/udev/rules.d/60-x.rules", document)])
}

/// What they set the scheduler of a disk to on `add`.
pub(crate) fn scheduler(text: &str, device: &Device<'_>) -> Outcome {
    rules(text).outcome(device, Action::Add, "queue/scheduler")
}

/// The value that they set with certainty.
pub(crate) fn certain(text: &str, device: &Device<'_>) -> Option<String> {
    match scheduler(text, device) {
        Outcome::Set(setter) => setter.value,
        Outcome::Untouched => None,
        Outcome::Perhaps(setters) => panic!("{text}: not certain: {setters:?}"),
    }
}

/// Why the result is uncertain.
pub(crate) fn perhaps(text: &str, device: &Device<'_>) -> String {
    match scheduler(text, device) {
        Outcome::Perhaps(setters) => {
            let all: Vec<String> = setters.iter().map(ToString::to_string).collect();
            all.join(", ")
        }
        other => panic!("{text}: told: {other:?}"),
    }
}
