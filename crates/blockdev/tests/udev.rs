//! udev's rules, read, judged and written, without a udev.

#![cfg(feature = "testing")]
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "stock rules are read from where they are unpacked, and what was judged is said"
)]

#[path = "udev/facts.rs"]
mod facts;
#[path = "udev/judged.rs"]
mod judged;
#[path = "udev/laws.rs"]
mod laws;
#[path = "udev/order.rs"]
mod order;
#[path = "udev/own.rs"]
mod own;
#[path = "udev/stock.rs"]
mod stock;

use hosttune_blockdev::udev::{Action, Device, Document, Outcome, RuleFiles};

/// These rules in one file.
fn rules(text: &str) -> RuleFiles {
    let document = Document::parse(text.as_bytes());
    for problem in document.problems() {
        println!("{problem}");
    }
    RuleFiles::of([("/etc/udev/rules.d/60-x.rules", document)])
}

/// What they leave the scheduler of a disk at when it is added.
fn scheduler(text: &str, device: &Device<'_>) -> Outcome {
    rules(text).outcome(device, Action::Add, "queue/scheduler")
}

/// The value that they set for certain.
fn certain(text: &str, device: &Device<'_>) -> Option<String> {
    match scheduler(text, device) {
        Outcome::Set(setter) => setter.value,
        Outcome::Untouched => None,
        Outcome::Perhaps(setters) => panic!("{text}: not certain: {setters:?}"),
    }
}

/// Why it cannot be told.
fn perhaps(text: &str, device: &Device<'_>) -> String {
    match scheduler(text, device) {
        Outcome::Perhaps(setters) => {
            let all: Vec<String> = setters.iter().map(ToString::to_string).collect();
            all.join(", ")
        }
        other => panic!("{text}: told: {other:?}"),
    }
}
