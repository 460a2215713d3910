//! The selected parts of a tuning: `--only NAME`.

/// Names of parts; no names select all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    names: Vec<String>,
    nothing: bool,
}

impl Selection {
    /// All parts.
    pub fn all() -> Self {
        Self::default()
    }

    /// The parts with these names, and all parts within them.
    pub fn only(names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            names: names.into_iter().map(Into::into).collect(),
            nothing: false,
        }
    }

    /// No part at all, to find out which parts there are.
    pub(crate) fn nothing() -> Self {
        Self {
            names: Vec::new(),
            nothing: true,
        }
    }

    /// Whether all parts are selected.
    pub fn is_all(&self) -> bool {
        self.names.is_empty() && !self.nothing
    }

    /// Whether a part is selected, given as the names that lead to it.
    pub fn admits<S: AsRef<str>>(&self, path: &[S]) -> bool {
        self.is_all()
            || path
                .iter()
                .any(|name| self.names.iter().any(|wanted| wanted == name.as_ref()))
    }

    /// Whether a part is selected, by its name in plans and reports (`stage-2/blockdev`).
    pub fn admits_part(&self, part: &str) -> bool {
        self.admits(&part.split('/').collect::<Vec<_>>())
    }
}
