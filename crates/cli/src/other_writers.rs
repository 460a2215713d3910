//! Sources that set a sysctl besides the files of sysctl.d: udev rules, ufw, a systemd credential.

use hosttune_core::{Host, HostError, HostErrorKind};
use hosttune_sysctl::{Document, Key, KeyPattern, Place};
use hosttune_udev_rules::{self as udev, RuleFiles};

/// A line that sets a key, and the program that applies it.
#[derive(Debug)]
pub(super) struct OtherWriter {
    pub(super) program: &'static str,
    pub(super) place: Place,
    pub(super) value: String,
    /// When the program applies it.
    pub(super) when: String,
}

/// Files in the format of sysctl.d that other programs load after the files of sysctl.d. The last ones are
/// the places where systemd looks for the credential that its unit imports.
const FILES: [(&str, &str, &str); 5] = [
    (
        "ufw",
        "/etc/ufw/sysctl.conf",
        "when ufw starts, if IPT_SYSCTL names this file",
    ),
    (
        "systemd-sysctl",
        "/run/credentials/@system/sysctl.extra",
        CREDENTIAL,
    ),
    ("systemd-sysctl", "/etc/credstore/sysctl.extra", CREDENTIAL),
    ("systemd-sysctl", "/run/credstore/sysctl.extra", CREDENTIAL),
    (
        "systemd-sysctl",
        "/usr/lib/credstore/sysctl.extra",
        CREDENTIAL,
    ),
];

const CREDENTIAL: &str = "after these files, from the credential sysctl.extra";

/// All such lines for a key.
pub(super) fn other_writers(host: &Host, key: &Key) -> Result<Vec<OtherWriter>, HostError> {
    let names = key.names();
    let mut found = Vec::new();
    for (program, path, when) in FILES {
        let bytes = match host.read(path) {
            Ok(bytes) => bytes,
            Err(error) if *error.kind() == HostErrorKind::Missing => continue,
            Err(error) => return Err(error),
        };
        for (line, assignment) in Document::parse(&bytes).assignments() {
            if names.iter().any(|name| assignment.pattern.matches(name)) {
                found.push(OtherWriter {
                    program,
                    place: Place {
                        file: path.to_owned(),
                        line,
                    },
                    value: assignment.value.clone(),
                    when: when.to_owned(),
                });
            }
        }
    }
    for file in RuleFiles::read(host)?.read_by_udev() {
        for (line, rule) in file.document.rules() {
            for token in rule.tokens.iter().filter(|token| sets(token, &names)) {
                found.push(OtherWriter {
                    program: "udev",
                    place: Place {
                        file: file.path.clone(),
                        line,
                    },
                    value: token.value.text.clone(),
                    when: when(rule),
                });
            }
        }
    }
    Ok(found)
}

/// Whether a token of a rule writes one of these keys.
fn sets(token: &udev::Token, names: &[Key]) -> bool {
    let pattern = || KeyPattern::as_systemd_reads(token.attribute.as_deref()?).ok();
    token.key == udev::Key::Sysctl
        && !token.is_match()
        && pattern().is_some_and(|pattern| names.iter().any(|name| pattern.matches(name)))
}

/// The match tokens of a rule, as written.
fn when(rule: &udev::Rule) -> String {
    let matched = rule.tokens.iter().filter(|token| token.is_match());
    let matched: Vec<String> = matched.filter_map(|token| token.to_text().ok()).collect();
    if matched.is_empty() {
        "on every event".to_owned()
    } else {
        format!("when {}", matched.join(", "))
    }
}
