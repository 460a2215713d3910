//! The two parsers that PipeWire has had.

/// How a version of PipeWire reads SPA-JSON.
///
/// The tokenizer and the reader of properties were rewritten in 1.1.81 (released as 1.2.0); before
/// and after that they did not change in a way that matters here (checked for 0.3.65 to 1.6.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// Up to 1.0.x: almost anything is accepted. At a fault, what is before it is kept and the rest
    /// of the text is silently dropped. Brackets of either kind close each other.
    Lenient,
    /// From 1.1.81: brackets, separators and pairs are checked. A configuration file with a fault is
    /// dropped as a whole, with a warning in the log.
    Checked,
}

impl Dialect {
    /// The dialect of a PipeWire version.
    ///
    /// ```
    /// use hosttune_spa_json::Dialect;
    /// assert_eq!(Dialect::of_pipewire(0, 3, 65), Dialect::Lenient);
    /// assert_eq!(Dialect::of_pipewire(1, 4, 2), Dialect::Checked);
    /// ```
    pub fn of_pipewire(major: u32, minor: u32, micro: u32) -> Self {
        if (major, minor, micro) < (1, 1, 81) {
            Self::Lenient
        } else {
            Self::Checked
        }
    }
}
