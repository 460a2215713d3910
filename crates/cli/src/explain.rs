//! Collects everything known about one knob of the profile.

use hosttune_core::{
    AnyKnob, Finding, Knob, Lifetime, PendingRevert, Plan, Report, Requirement, State, Status,
    Step, Why, file,
};
use hosttune_sysctl::catalogue::{self, Scope};
use hosttune_sysctl::{Key, Sysctl, SysctlPair, ValueType};

use super::failure::Failure;

/// The answer of `explain`.
#[derive(Debug)]
pub(super) struct Explanation {
    pub(super) knob: String,
    pub(super) requests: Vec<Request>,
    pub(super) pending: Vec<PendingRevert>,
    /// The reason if the journal could not be read.
    pub(super) journal_unread: Option<String>,
    pub(super) is_sysctl: bool,
    pub(super) catalogue: Option<Known>,
}

/// One request for the knob.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) part: String,
    pub(super) wanted: Option<String>,
    pub(super) seen: Option<String>,
    /// `None` for an intermediate step, which verify does not report.
    pub(super) state: Option<State>,
    pub(super) why: Why,
    pub(super) lifetime: Option<Lifetime>,
    pub(super) requirement: Requirement,
    pub(super) means: bool,
    pub(super) hint: Option<String>,
}

/// The catalogue's entry for a sysctl.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) meaning: String,
    pub(super) takes: String,
    pub(super) scope: String,
    pub(super) adjusts: Option<String>,
    pub(super) security: Option<String>,
    pub(super) caution: Option<String>,
    pub(super) documentation: Option<String>,
}

/// Collects what is known about a knob. If the profile has no such knob, the error lists those it has.
pub(super) fn explain(
    name: &str,
    report: &Report,
    plan: Option<&Plan>,
    status: Result<Status, String>,
) -> Result<Explanation, Failure> {
    let steps: &[Step] = plan.map_or(&[], |plan| &plan.steps);
    let mut known: Vec<String> = Vec::new();
    let names = report.items.iter().map(|item| item.name.as_str());
    for text in names.chain(steps.iter().map(|step| step.knob.text.as_str())) {
        if !known.iter().any(|known| known == text) {
            known.push(text.to_owned());
        }
    }
    let Some(knob) = known.iter().find(|known| same(known, name)).cloned() else {
        return Err(Failure::unknown("setting", name, &known));
    };
    let mut requests: Vec<Request> = report
        .items
        .iter()
        .filter(|item| item.name == knob)
        .map(|item| Request::of_finding(item, steps))
        .collect();
    requests.extend(
        steps
            .iter()
            .filter(|step| step.means && step.knob.text == knob)
            .map(Request::of_means),
    );
    let (pending, journal_unread) = match status {
        Ok(status) => (status.pending, None),
        Err(unread) => (Vec::new(), Some(unread)),
    };
    let key = requests_a_sysctl(report, steps, &knob);
    Ok(Explanation {
        pending: pending
            .into_iter()
            .filter(|pending| pending.knob.text == knob)
            .collect(),
        journal_unread,
        is_sysctl: key.is_some(),
        catalogue: key.as_ref().and_then(catalogue::find).map(|entry| Known {
            meaning: entry.meaning.to_owned(),
            takes: takes(&entry.value_type),
            scope: scope(entry.scope).to_owned(),
            adjusts: entry.adjusts.map(str::to_owned),
            security: entry.security.map(str::to_owned),
            caution: entry.caution.map(str::to_owned),
            documentation: entry.documentation.map(str::to_owned),
        }),
        knob,
        requests,
    })
}

/// Whether two texts name the same knob; a sysctl may be written with dots or slashes.
fn same(known: &str, asked: &str) -> bool {
    known == asked
        || matches!((known.parse::<Key>(), asked.parse::<Key>()), (Ok(known), Ok(asked)) if known.canonical() == asked.canonical())
}

/// The sysctl key, if the knob is a sysctl.
fn requests_a_sysctl(report: &Report, steps: &[Step], knob: &str) -> Option<Key> {
    let of_report = report.items.iter().filter_map(|item| item.knob.as_ref());
    of_report
        .chain(steps.iter().map(|step| &step.knob))
        .find(|any| any.text == knob)
        .filter(|any| [Sysctl::NAME, SysctlPair::NAME].contains(&any.kind.as_str()))?;
    knob.parse().ok()
}

impl Request {
    fn of_finding(finding: &Finding, steps: &[Step]) -> Self {
        let text = |value: bool, text: &str| value.then(|| text.to_owned());
        Self {
            part: finding.part.clone(),
            wanted: text(finding.wanted.is_some(), &finding.wanted_text),
            seen: text(finding.seen.is_some(), &finding.seen_text),
            state: Some(finding.state.clone()),
            why: finding.why.clone(),
            lifetime: finding.knob.as_ref().and_then(|knob| lifetime(knob, steps)),
            requirement: finding.requirement,
            means: false,
            hint: finding.hint(),
        }
    }

    fn of_means(step: &Step) -> Self {
        Self {
            part: step.part.clone(),
            wanted: Some(step.to_text.clone()),
            seen: step.from.known().map(|_| step.from_text.clone()),
            state: None,
            why: step.why.clone(),
            lifetime: Some(step.lifetime),
            requirement: step.requirement,
            means: true,
            hint: None,
        }
    }
}

/// How long a change of the knob lasts. A finding does not tell; a step of the same kind does.
fn lifetime(knob: &AnyKnob, steps: &[Step]) -> Option<Lifetime> {
    if let Some(step) = steps.iter().find(|step| step.knob.kind == knob.kind) {
        return Some(step.lifetime);
    }
    match knob.kind.as_str() {
        file::ConfigFile::NAME => Some(file::ConfigFile::LIFETIME),
        file::Directory::NAME => Some(file::Directory::LIFETIME),
        Sysctl::NAME => Some(Sysctl::LIFETIME),
        SysctlPair::NAME => Some(SysctlPair::LIFETIME),
        _ => None,
    }
}

fn takes(value_type: &ValueType) -> String {
    match value_type {
        ValueType::Integer(range) => format!(
            "one number from {} to {} ({})",
            range.minimum, range.maximum, range.unit
        ),
        ValueType::Vector { arity, element } => format!(
            "{arity} numbers from {} to {} ({})",
            element.minimum, element.maximum, element.unit
        ),
        ValueType::Word => "one word".to_owned(),
        ValueType::WordSet => "words, in any order".to_owned(),
        ValueType::RangeList => "numbers and ranges of numbers".to_owned(),
        _ => "one line".to_owned(),
    }
}

fn scope(scope: Scope) -> &'static str {
    match scope {
        Scope::Global => "the whole machine",
        Scope::PerNetworkNamespace | Scope::PerNetworkNamespaceOnNewerKernels => {
            "its network namespace"
        }
        Scope::InitialNetworkNamespaceOnly => "the initial network namespace only",
        Scope::ReadOnlyOutsideInitialNetworkNamespace => {
            "the whole machine; read-only in other network namespaces"
        }
        Scope::PerIpcNamespace => "its IPC namespace",
        Scope::PerPidNamespace => "its PID namespace, or the machine on older kernels",
        _ => "unknown",
    }
}
