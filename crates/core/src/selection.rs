//! Which parts of a tuning are meant: what `--only NAME` says.

/// Names of parts; nothing named means all.
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

    /// The parts of these names, and whatever they hold.
    pub fn only(names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            names: names.into_iter().map(Into::into).collect(),
            nothing: false,
        }
    }

    /// No part at all: for asking what parts there are.
    pub(crate) fn nothing() -> Self {
        Self {
            names: Vec::new(),
            nothing: true,
        }
    }

    /// Whether everything is meant.
    pub fn is_all(&self) -> bool {
        self.names.is_empty() && !self.nothing
    }

    /// Whether a part, given as the names that lead to it, is meant.
    pub fn admits<S: AsRef<str>>(&self, path: &[S]) -> bool {
        self.is_all()
            || path
                .iter()
                .any(|name| self.names.iter().any(|wanted| wanted == name.as_ref()))
    }

    /// Whether a part, named as plans and reports name it (`stage-2/blockdev`), is meant.
    pub fn admits_part(&self, part: &str) -> bool {
        self.admits(&part.split('/').collect::<Vec<_>>())
    }
}
