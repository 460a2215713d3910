//! A report of verify, refined by what the running devices show.

use hosttune_core::{Finding, Knob, Report, State};
use serde::Deserialize;

use super::grade::{Grade, GradeReport, KeyGrade};
use super::key::SettingKey;
use super::rates::RuntimeRates;
use super::setting::RuntimeSetting;

impl GradeReport {
    /// Changes the states in a report of the same settings to what the running devices show.
    ///
    /// A value that the daemon has accepted and a device does not run with is overridden. Where no
    /// device runs, the state stays as the daemon shows it, with a note; `insist` makes it
    /// unverifiable, for a report that is to tell whether a setting is in effect.
    pub fn refine(&self, report: &mut Report, insist: bool) {
        let mut notes: Vec<String> = Vec::new();
        for item in &mut report.items {
            let Some(graded) = self.of(item) else {
                continue;
            };
            if !matches!(item.state, State::Matches | State::Rounded) {
                continue;
            }
            let note = match &graded.grade {
                Grade::NotAccepted { .. } => continue,
                Grade::Accepted { but } => {
                    let by = format!("what a device runs with: {}", but.join("; "));
                    item.state = State::Overridden { by };
                    continue;
                }
                Grade::Effective { on } if self.is_effective() => {
                    format!("in effect: {}", on.join("; "))
                }
                // A driver with another quantum can still be above the smallest one.
                Grade::Effective { .. } => continue,
                Grade::Unverifiable { why } if insist => {
                    item.state = State::Unverifiable { why: why.clone() };
                    continue;
                }
                Grade::Unverifiable { why } => {
                    format!(
                        "PipeWire has accepted these settings; whether they are in effect is not known: {why}"
                    )
                }
            };
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
        report.notes.extend(notes);
    }

    /// The grade of a request.
    fn of(&self, item: &Finding) -> Option<&KeyGrade> {
        let knob = item.knob.as_ref()?;
        let setting = RuntimeSetting::deserialize(&knob.id).ok();
        let setting = setting.filter(|_| knob.kind == RuntimeSetting::NAME);
        let is = |key: SettingKey| match RuntimeSetting::new(key) {
            Some(_) => setting.as_ref().is_some_and(|setting| setting.key() == key),
            // The rate and the allowed rates are one knob; the rate comes first.
            None => knob.kind == RuntimeRates::NAME,
        };
        let mut of_item = self.keys.iter().filter(|graded| is(graded.key));
        let first = of_item.next()?;
        // Of two settings in one knob, the one that is not in effect counts.
        Some(of_item.fold(first, |worst, graded| match worst.grade {
            Grade::Effective { .. } => graded,
            _ => worst,
        }))
    }
}
