//! Transparent hugepages: pages of 2 MiB, and since Linux 6.8 of other sizes, that programs get
//! without asking.

use std::collections::BTreeMap;
use std::fmt;

use hosttune_core::host::RootKind;
use hosttune_core::{
    AnyKnob, Error, Host, HostError, HostErrorKind, Knob, Lack, LackKind, Operation, Planner,
    Requirement, Tuning, Why, Wish,
};
use hosttune_sysctl::Key;
use serde::{Deserialize, Serialize};

const DIRECTORY: &str = "/sys/kernel/mm/transparent_hugepage";

/// One file beneath `/sys/kernel/mm/transparent_hugepage`, by its path there: `enabled`,
/// `khugepaged/pages_to_scan`, `hugepages-64kB/enabled`.
///
/// Whatever switches hugepages on or off starts or stops `khugepaged`, and that works
/// `vm.min_free_kbytes` out anew (`set_recommended_min_free_kbytes` in `mm/khugepaged.c`): with one
/// GiB it goes from 45056 to 3828 and back. So that one is kept and put back.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Setting(String);

/// What such a file holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SettingState {
    /// This kernel has none.
    Missing,
    /// The word that is chosen, or the number.
    Value(String),
}

impl SettingState {
    /// A word or number.
    pub fn of(value: impl fmt::Display) -> Self {
        Self::Value(value.to_string())
    }
}

impl Setting {
    /// By the path beneath the directory.
    pub fn new(file: impl Into<String>) -> Self {
        Self(file.into())
    }

    fn path(&self) -> String {
        format!("{DIRECTORY}/{}", self.0)
    }

    /// The numbers that the kernel takes, where it takes numbers; others it answers with EINVAL
    /// (`mm/khugepaged.c`, `single_hugepage_flag_store` in `mm/huge_memory.c`).
    fn numbers(&self) -> Option<std::ops::RangeInclusive<u64>> {
        let name = self.0.strip_prefix("khugepaged/");
        Some(match name {
            Some("pages_to_scan") => 1..=u64::from(u32::MAX),
            Some("scan_sleep_millisecs" | "alloc_sleep_millisecs") => 0..=u64::from(u32::MAX),
            // One less than there are small pages in one of 2 MiB. With other sizes of small pages
            // there are more; the kernel says so then.
            Some("max_ptes_none" | "max_ptes_swap" | "max_ptes_shared") => 0..=8191,
            Some("defrag") => 0..=1,
            None if matches!(self.0.as_str(), "use_zero_page" | "shrink_underused") => 0..=1,
            _ => return None,
        })
    }

    /// Whether turning it may start or stop `khugepaged`.
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

/// The words of a list like `always [madvise] never`, and the one that is chosen.
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
        let text = match host.read_text(self.path()) {
            Ok(text) => text,
            Err(error) if *error.kind() == HostErrorKind::Missing => {
                return Ok(SettingState::Missing);
            }
            Err(error) => return Err(error),
        };
        let text = text.trim();
        Ok(SettingState::of(match choices(text) {
            Some((_, chosen)) => chosen,
            None => text,
        }))
    }

    fn turn(&self, host: &mut Host, to: &SettingState) -> Result<(), HostError> {
        match to {
            SettingState::Value(value) => {
                host.write_value(self.path(), format!("{value}\n").as_bytes())
            }
            SettingState::Missing => {
                Err(
                    HostError::new(Operation::Remove, self.path(), HostErrorKind::Refused)
                        .detail("a setting cannot be taken away"),
                )
            }
        }
    }

    fn lacks(&self, host: &Host, to: &SettingState) -> Result<Option<Lack>, HostError> {
        let SettingState::Value(value) = to else {
            return Ok(None);
        };
        if self.read(host)? == SettingState::Missing {
            return Ok(Some(missing(host, self)?));
        }
        let entry = host.entry(self.path())?;
        if entry.is_some_and(|entry| !entry.owner_may_write()) {
            return Ok(Some(Lack::new(
                LackKind::ReadOnly,
                "this kernel lets it be read and not written",
            )));
        }
        if let Some(lack) = host.read_only_mount(self.path())? {
            return Ok(Some(lack));
        }
        let text = host.read_text(self.path())?;
        let unavailable = |why: String| Lack::new(LackKind::ValueUnavailable, why);
        Ok(match (choices(text.trim()), self.numbers()) {
            (Some((words, _)), _) if !words.contains(&value.as_str()) => Some(
                unavailable(format!(
                    "this kernel offers {}, not '{value}'",
                    words.join(", ")
                ))
                .hint("take one of these"),
            ),
            (None, Some(numbers)) if !value.parse().is_ok_and(|value| numbers.contains(&value)) => {
                let (least, most) = (numbers.start(), numbers.end());
                Some(
                    unavailable(format!("'{value}' is not between {least} and {most}"))
                        .hint("take a number between the two"),
                )
            }
            _ => None,
        })
    }

    fn disturbs(&self, host: &Host, _: &SettingState) -> Result<Vec<AnyKnob>, HostError> {
        let Ok(key) = "vm.min_free_kbytes".parse::<Key>() else {
            return Ok(Vec::new());
        };
        Ok(if self.switches() && host.exists(key.path())? {
            vec![hosttune_sysctl::knob(&key)]
        } else {
            Vec::new()
        })
    }

    fn gone(&self, seen: &SettingState) -> bool {
        *seen == SettingState::Missing
    }

    fn show(&self, state: &SettingState) -> String {
        match state {
            SettingState::Missing => "missing".to_owned(),
            SettingState::Value(value) => value.clone(),
        }
    }
}

fn missing(host: &Host, setting: &Setting) -> Result<Lack, HostError> {
    if !host.exists(DIRECTORY)? {
        return Ok(Lack::new(
            LackKind::Missing,
            "this kernel has no transparent hugepages",
        )
        .hint("it takes a kernel that was built with CONFIG_TRANSPARENT_HUGEPAGE"));
    }
    let lack = Lack::new(LackKind::Missing, "this kernel has no such setting");
    if !setting.0.starts_with("hugepages-") {
        return Ok(lack);
    }
    let names = host.list(DIRECTORY)?;
    let sizes: Vec<&str> = names
        .iter()
        .filter_map(|name| name.strip_prefix("hugepages-"))
        .collect();
    Ok(if sizes.is_empty() {
        lack.hint("sizes are set one by one since Linux 6.8")
    } else {
        lack.hint(format!("it has the sizes {}", sizes.join(", ")))
    })
}

/// Words that one setting can hold.
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
    /// Which programs get them.
    Enabled {
        /// All.
        Always = "always",
        /// Those that ask for them with `madvise(2)`.
        Madvise = "madvise",
        /// None.
        Never = "never",
    }
);

words!(
    /// Which programs get them of one size, since Linux 6.8.
    SizeEnabled {
        /// All.
        Always = "always",
        /// As for all sizes.
        Inherit = "inherit",
        /// Those that ask for them with `madvise(2)`.
        Madvise = "madvise",
        /// None.
        Never = "never",
    }
);

words!(
    /// What a program waits for that needs one where none is free.
    Defrag {
        /// For memory to be made contiguous.
        Always = "always",
        /// For nothing: it is left to kswapd and kcompactd.
        Defer = "defer",
        /// For nothing, unless it asked for hugepages with `madvise(2)`.
        DeferMadvise = "defer+madvise",
        /// For memory to be made contiguous, where it asked with `madvise(2)`.
        Madvise = "madvise",
        /// For nothing, and nothing is done.
        Never = "never",
    }
);

words!(
    /// What shared memory that the kernel mounts by itself gets.
    ShmemEnabled {
        /// Always.
        Always = "always",
        /// Where they lie within the file.
        WithinSize = "within_size",
        /// Where a program asks with `madvise(2)`.
        Advise = "advise",
        /// Never.
        Never = "never",
        /// Never, on any mount: for emergencies.
        Deny = "deny",
        /// Always, on any mount: for testing.
        Force = "force",
    }
);

/// How transparent hugepages are wanted. What is not said stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct TransparentHugepages {
    /// Which programs get them. A write to this changes no size that is set by itself, only those
    /// that inherit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<Enabled>,
    /// What a program waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub defrag: Option<Defrag>,
    /// What shared memory gets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shmem_enabled: Option<ShmemEnabled>,
    /// Sizes in KiB that are set by themselves.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sizes: BTreeMap<u32, SizeEnabled>,
    /// Whether a page that is only read is one page of zeros for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub use_zero_page: Option<bool>,
    /// Settings of `khugepaged`, which makes hugepages of small ones, by the names of their files.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub khugepaged: BTreeMap<String, u64>,
    /// Why.
    pub why: Why,
    /// What becomes of it where it does not apply.
    pub requirement: Requirement,
}

impl TransparentHugepages {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Which programs get them.
    #[must_use]
    pub fn enabled(mut self, enabled: Enabled) -> Self {
        self.enabled = Some(enabled);
        self
    }

    /// What a program waits for.
    #[must_use]
    pub fn defrag(mut self, defrag: Defrag) -> Self {
        self.defrag = Some(defrag);
        self
    }

    /// What shared memory gets.
    #[must_use]
    pub fn shmem_enabled(mut self, enabled: ShmemEnabled) -> Self {
        self.shmem_enabled = Some(enabled);
        self
    }

    /// Which programs get them of this size, in KiB.
    #[must_use]
    pub fn size(mut self, kilobytes: u32, enabled: SizeEnabled) -> Self {
        self.sizes.insert(kilobytes, enabled);
        self
    }

    /// Whether a page that is only read is one page of zeros for all.
    #[must_use]
    pub fn use_zero_page(mut self, used: bool) -> Self {
        self.use_zero_page = Some(used);
        self
    }

    /// A setting of `khugepaged`: `pages_to_scan`, `scan_sleep_millisecs`, `max_ptes_none`.
    #[must_use]
    pub fn khugepaged(mut self, name: impl Into<String>, number: u64) -> Self {
        self.khugepaged.insert(name.into(), number);
        self
    }

    /// Says why.
    #[must_use]
    pub fn why(mut self, why: impl Into<Why>) -> Self {
        self.why = why.into();
        self
    }

    /// Where it does not apply, that is an error.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.requirement = Requirement::Required;
        self
    }

    /// Where it does not apply, that is never an error.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.requirement = Requirement::Optional;
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
            let lack = Lack::new(LackKind::NotRunning, "no kernel runs on this image")
                .hint("they are set on the running system");
            require(at.skip("transparent hugepages", lack), self.requirement);
            return Ok(());
        }
        for (setting, to) in self.settings() {
            let wish = at.want(&setting, &to).why(self.why.clone());
            require(wish, self.requirement);
        }
        Ok(())
    }
}

/// How much a wish is wanted.
pub(crate) fn require(wish: Wish<'_, '_>, requirement: Requirement) {
    match requirement {
        Requirement::Plain => {}
        Requirement::Required => {
            wish.required();
        }
        Requirement::Optional => {
            wish.optional();
        }
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
