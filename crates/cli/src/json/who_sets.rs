//! The document of `who-sets`: the files that set a key.

use hosttune_sysctl::{Place, Setting, Standing};
use serde::Serialize;

use super::super::who_sets::WhoSets;

/// `who-sets.schema.json`.
#[derive(Debug, Serialize)]
pub(crate) struct WhoSetsDocument<'a> {
    key: &'a str,
    seen: Option<&'a str>,
    winner: Option<PlaceView<'a>>,
    procps_winner: Option<PlaceView<'a>>,
    settings: Vec<SettingView<'a>>,
    others: Vec<OtherView<'a>>,
}

#[derive(Debug, Serialize)]
struct OtherView<'a> {
    program: &'a str,
    file: &'a str,
    line: usize,
    value: &'a str,
    when: &'a str,
}

#[derive(Debug, Serialize)]
struct PlaceView<'a> {
    file: &'a str,
    line: Option<usize>,
}

#[derive(Debug, Serialize)]
struct SettingView<'a> {
    file: &'a str,
    line: usize,
    pattern: String,
    value: Option<&'a str>,
    ignore_failure: bool,
    standing: &'static str,
    by: Option<PlaceView<'a>>,
}

impl<'a> PlaceView<'a> {
    fn of(place: &'a Place) -> Self {
        Self {
            file: &place.file,
            line: Some(place.line),
        }
    }
}

impl<'a> SettingView<'a> {
    fn of(setting: &'a Setting) -> Self {
        let (standing, by) = match &setting.standing {
            Standing::Wins => ("wins", None),
            Standing::Overridden { by } => ("overridden", Some(PlaceView::of(by))),
            Standing::BeatenByName { by } => ("beaten-by-name", Some(PlaceView::of(by))),
            Standing::Excluded { by } => ("excluded", Some(PlaceView::of(by))),
            Standing::Excludes => ("excludes", None),
            Standing::Masked { by } => (
                "masked",
                Some(PlaceView {
                    file: by,
                    line: None,
                }),
            ),
            _ => ("other", None),
        };
        Self {
            file: &setting.place.file,
            line: setting.place.line,
            pattern: setting.pattern.to_string(),
            value: setting.value.as_deref(),
            ignore_failure: setting.ignore_failure,
            standing,
            by,
        }
    }
}

/// The document of an answer.
pub(crate) fn who_sets(answer: &WhoSets) -> WhoSetsDocument<'_> {
    WhoSetsDocument {
        key: &answer.key,
        seen: answer.seen.as_deref(),
        winner: answer.winner().map(PlaceView::of),
        procps_winner: answer.procps_winner.as_ref().map(PlaceView::of),
        settings: answer.settings.iter().map(SettingView::of).collect(),
        others: answer
            .others
            .iter()
            .map(|other| OtherView {
                program: other.program,
                file: &other.place.file,
                line: other.place.line,
                value: &other.value,
                when: &other.when,
            })
            .collect(),
    }
}
