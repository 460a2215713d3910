//! Transparent hugepages: pages of 2 MiB, and since Linux 6.8 of other sizes, that programs get without a
//! request.

use std::collections::BTreeMap;
use std::fmt;

use hosttune_core::host::RootKind;
use hosttune_core::{
    AnyKnob, Error, Host, HostError, Knob, Planner, Requirement, Tuning, Unsupported,
    UnsupportedKind, Why, attribute,
};
use hosttune_sysctl::Key;
use serde::{Deserialize, Serialize};

const DIRECTORY: &str = "/sys/kernel/mm/transparent_hugepage";

/// One file below `/sys/kernel/mm/transparent_hugepage`, by its relative path: `enabled`,
/// `khugepaged/pages_to_scan`, `hugepages-64kB/enabled`.
///
/// A file that enables or disables hugepages starts or stops `khugepaged`, which recalculates
/// `vm.min_free_kbytes` (`set_recommended_min_free_kbytes` in `mm/khugepaged.c`): with one GiB of memory it
/// goes from 45056 to 3828 and back. That key is recorded as a side effect and reverted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Setting(String);

/// State of such a file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SettingState {
    /// This kernel does not have the file.
    Missing,
    /// The selected word or the number.
    Value(String),
}

impl SettingState {
    /// Creates the state from a word or number.
    pub fn of(value: impl fmt::Display) -> Self {
        Self::Value(value.to_string())
    }
}

impl Setting {
    /// Creates the setting for a path relative to the directory.
    pub fn new(file: impl Into<String>) -> Self {
        Self(file.into())
    }

    fn path(&self) -> String {
        format!("{DIRECTORY}/{}", self.0)
    }

    /// The range of a numeric setting, or `None`. The kernel answers EINVAL to other numbers
    /// (`mm/khugepaged.c`, `single_hugepage_flag_store` in `mm/huge_memory.c`).
    fn numbers(&self) -> Option<std::ops::RangeInclusive<u64>> {
        let name = self.0.strip_prefix("khugepaged/");
        Some(match name {
            Some("pages_to_scan") => 1..=u64::from(u32::MAX),
            Some("scan_sleep_millisecs" | "alloc_sleep_millisecs") => 0..=u64::from(u32::MAX),
            // One less than the number of base pages in a page of 2 MiB. Larger hugepages have more; the
            // kernel reports the exact limit.
            Some("max_ptes_none" | "max_ptes_swap" | "max_ptes_shared") => 0..=8191,
            Some("defrag") => 0..=1,
            None if matches!(self.0.as_str(), "use_zero_page" | "shrink_underused") => 0..=1,
            _ => return None,
        })
    }

    /// Whether a change may start or stop `khugepaged`.
    fn switches(&self) -> bool {
        self.0
            .rsplit('/')
            .next()
            .is_some_and(|last| last.ends_with("enabled"))
    }

    fn is_usable(&self) -> bool {
        self.0
            .split('/')
            .all(|part| !part.is_empty() && !part.starts_with('.') && !part.contains(['\0', '\n']))
    }
}

/// Parses a list like `always [madvise] never` into its words and the selected one.
fn choices(text: &str) -> Option<(Vec<&str>, &str)> {
    let bare = |word: &'_ str| -> Option<String> {
        Some(word.strip_prefix('[')?.strip_suffix(']')?.to_owned())
    };
    let chosen = text.split_whitespace().find(|word| bare(word).is_some())?;
    let chosen = &chosen[1..chosen.len() - 1];
    let words = text.split_whitespace().map(|word| {
        let word = word.strip_prefix('[').unwrap_or(word);
        word.strip_suffix(']').unwrap_or(word)
    });
    Some((words.collect(), chosen))
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "transparent_hugepage {}", self.0)
    }
}

impl Knob for Setting {
    const NAME: &'static str = "transparent-hugepage";
    type State = SettingState;

    fn read(&self, host: &Host) -> Result<SettingState, HostError> {
        if !self.is_usable() {
            return Ok(SettingState::Missing);
        }
        let Some(text) = attribute::read(host, self.path())? else {
            return Ok(SettingState::Missing);
        };
        Ok(SettingState::of(match choices(&text) {
            Some((_, chosen)) => chosen,
            None => &text,
        }))
    }

    fn set(&self, host: &mut Host, to: &SettingState) -> Result<(), HostError> {
        match to {
            SettingState::Value(value) => {
                host.write_value(self.path(), format!("{value}\n").as_bytes())
            }
            SettingState::Missing => Err(attribute::no_value(
                self.path(),
                "a setting cannot be removed",
            )),
        }
    }

    fn unsupported(
        &self,
        host: &Host,
        to: &SettingState,
    ) -> Result<Option<Unsupported>, HostError> {
        let SettingState::Value(value) = to else {
            return Ok(None);
        };
        if self.read(host)? == SettingState::Missing {
            return Ok(Some(missing(host, self)?));
        }
        let read_only = "this kernel makes it read-only";
        if let Some(unsupported) = attribute::unwritable(host, self.path(), read_only)? {
            return Ok(Some(unsupported));
        }
        let text = host.read_text(self.path())?;
        let unavailable = |why: String| Unsupported::new(UnsupportedKind::ValueUnavailable, why);
        Ok(match (choices(text.trim()), self.numbers()) {
            (Some((words, _)), _) if !words.contains(&value.as_str()) => Some(
                unavailable(format!(
                    "this kernel supports {}, but not '{value}'",
                    words.join(", ")
                ))
                .hint("use one of these"),
            ),
            (None, Some(numbers)) if !value.parse().is_ok_and(|value| numbers.contains(&value)) => {
                let (least, most) = (numbers.start(), numbers.end());
                Some(
                    unavailable(format!("'{value}' is not between {least} and {most}"))
                        .hint("use a number in this range"),
                )
            }
            _ => None,
        })
    }

    fn side_effects(&self, host: &Host, _: &SettingState) -> Result<Vec<AnyKnob>, HostError> {
        let Ok(key) = "vm.min_free_kbytes".parse::<Key>() else {
            return Ok(Vec::new());
        };
        Ok(if self.switches() && host.exists(key.path())? {
            vec![hosttune_sysctl::knob(&key)]
        } else {
            Vec::new()
        })
    }

    fn is_gone(&self, seen: &SettingState) -> bool {
        *seen == SettingState::Missing
    }

    fn show(&self, state: &SettingState) -> String {
        match state {
            SettingState::Missing => "missing".to_owned(),
            SettingState::Value(value) => value.clone(),
        }
    }
}

fn missing(host: &Host, setting: &Setting) -> Result<Unsupported, HostError> {
    if !host.exists(DIRECTORY)? {
        return Ok(Unsupported::new(
            UnsupportedKind::Missing,
            "this kernel has no transparent hugepages",
        )
        .hint("use a kernel built with CONFIG_TRANSPARENT_HUGEPAGE"));
    }
    let unsupported = Unsupported::new(
        UnsupportedKind::Missing,
        "this kernel does not have this setting",
    );
    if !setting.0.starts_with("hugepages-") {
        return Ok(unsupported);
    }
    let names = host.list(DIRECTORY)?;
    let sizes: Vec<&str> = names
        .iter()
        .filter_map(|name| name.strip_prefix("hugepages-"))
        .collect();
    Ok(if sizes.is_empty() {
        unsupported.hint("per-size settings require Linux 6.8 or later")
    } else {
        unsupported.hint(format!("supported sizes: {}", sizes.join(", ")))
    })
}

/// Defines an enum of the words that one setting accepts.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$of:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$of])* #[serde(rename = $word)] $variant),+
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $word),+ })
            }
        }
    };
}

words!(
    /// Which programs get hugepages.
    Enabled {
        /// All programs.
        Always = "always",
        /// Programs that request them with `madvise(2)`.
        Madvise = "madvise",
        /// No program.
        Never = "never",
    }
);

words!(
    /// Which programs get hugepages of one size, since Linux 6.8.
    SizeEnabled {
        /// All programs.
        Always = "always",
        /// The same as the global setting.
        Inherit = "inherit",
        /// Programs that request them with `madvise(2)`.
        Madvise = "madvise",
        /// No program.
        Never = "never",
    }
);

words!(
    /// What a page fault does if no hugepage is free.
    Defrag {
        /// It waits until memory has been compacted.
        Always = "always",
        /// It does not wait; kswapd and kcompactd compact memory in the background.
        Defer = "defer",
        /// It does not wait, unless the program requested hugepages with `madvise(2)`.
        DeferMadvise = "defer+madvise",
        /// It waits for compaction if the program requested hugepages with `madvise(2)`.
        Madvise = "madvise",
        /// It does not wait, and memory is not compacted.
        Never = "never",
    }
);

words!(
    /// Whether shared memory of the kernel's internal mount gets hugepages.
    ShmemEnabled {
        /// Always.
        Always = "always",
        /// Only if they lie completely within the file.
        WithinSize = "within_size",
        /// Only if a program requests them with `madvise(2)`.
        Advise = "advise",
        /// Never.
        Never = "never",
        /// Never, on any mount; for emergencies.
        Deny = "deny",
        /// Always, on any mount; for testing.
        Force = "force",
    }
);

/// Requested settings of transparent hugepages. Fields that are not set stay unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct TransparentHugepages {
    /// Which programs get them. This changes only the sizes that inherit, not those with a setting of their
    /// own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<Enabled>,
    /// What a page fault does if no hugepage is free.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub defrag: Option<Defrag>,
    /// Whether shared memory gets them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shmem_enabled: Option<ShmemEnabled>,
    /// Settings of individual sizes, in KiB.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sizes: BTreeMap<u32, SizeEnabled>,
    /// Whether read-only faults map one shared page of zeros.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub use_zero_page: Option<bool>,
    /// Settings of `khugepaged`, which merges small pages into hugepages, by file name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub khugepaged: BTreeMap<String, u64>,
    /// The reason.
    pub why: Why,
    /// What to do if a setting does not apply.
    pub requirement: Requirement,
}

hosttune_core::why_and_requirement!(TransparentHugepages);

impl TransparentHugepages {
    /// Creates an empty tuning.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets which programs get them.
    #[must_use]
    pub fn enabled(mut self, enabled: Enabled) -> Self {
        self.enabled = Some(enabled);
        self
    }

    /// Sets what a page fault does if no hugepage is free.
    #[must_use]
    pub fn defrag(mut self, defrag: Defrag) -> Self {
        self.defrag = Some(defrag);
        self
    }

    /// Sets whether shared memory gets them.
    #[must_use]
    pub fn shmem_enabled(mut self, enabled: ShmemEnabled) -> Self {
        self.shmem_enabled = Some(enabled);
        self
    }

    /// Sets which programs get them of this size, in KiB.
    #[must_use]
    pub fn size(mut self, kilobytes: u32, enabled: SizeEnabled) -> Self {
        self.sizes.insert(kilobytes, enabled);
        self
    }

    /// Sets whether read-only faults map one shared page of zeros.
    #[must_use]
    pub fn use_zero_page(mut self, used: bool) -> Self {
        self.use_zero_page = Some(used);
        self
    }

    /// Sets a setting of `khugepaged`: `pages_to_scan`, `scan_sleep_millisecs`, `max_ptes_none`.
    #[must_use]
    pub fn khugepaged(mut self, name: impl Into<String>, number: u64) -> Self {
        self.khugepaged.insert(name.into(), number);
        self
    }

    fn settings(&self) -> Vec<(Setting, SettingState)> {
        let mut settings = Vec::new();
        let mut add = |file: String, value: Option<String>| {
            if let Some(value) = value {
                settings.push((Setting(file), SettingState::Value(value)));
            }
        };
        let text = |value: &dyn fmt::Display| value.to_string();
        add("enabled".into(), self.enabled.as_ref().map(|one| text(one)));
        add("defrag".into(), self.defrag.as_ref().map(|one| text(one)));
        add(
            "shmem_enabled".into(),
            self.shmem_enabled.as_ref().map(|one| text(one)),
        );
        add(
            "use_zero_page".into(),
            self.use_zero_page.map(|used| u8::from(used).to_string()),
        );
        for (kilobytes, enabled) in &self.sizes {
            add(
                format!("hugepages-{kilobytes}kB/enabled"),
                Some(text(enabled)),
            );
        }
        for (name, number) in &self.khugepaged {
            add(format!("khugepaged/{name}"), Some(number.to_string()));
        }
        settings
    }
}

impl Tuning for TransparentHugepages {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        if !at.is_selected() {
            return Ok(());
        }
        if at.host().root_kind() == RootKind::Image {
            let unsupported = Unsupported::new(
                UnsupportedKind::NotRunning,
                "an image has no running kernel",
            )
            .hint("run this on the live system instead");
            at.skip("transparent hugepages", unsupported)
                .requirement(self.requirement);
            return Ok(());
        }
        for (setting, to) in self.settings() {
            let request = at.want(&setting, &to).why(self.why.clone());
            request.requirement(self.requirement);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chosen_word_is_the_one_in_brackets() {
        let text = "always defer [defer+madvise] madvise never";
        let (words, chosen) = choices(text).unwrap();
        assert_eq!(chosen, "defer+madvise");
        assert_eq!(
            words,
            ["always", "defer", "defer+madvise", "madvise", "never"]
        );
        for text in ["", "4096", "always never", "[", "[]x", "]["] {
            assert!(
                choices(text).is_none_or(|(_, chosen)| chosen.is_empty()),
                "{text}"
            );
        }
    }
}
