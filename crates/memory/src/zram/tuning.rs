//! The tuning for swap on zram, as plain data.

use hosttune_core::host::RootKind;
use hosttune_core::{
    Error, Host, HostError, HostErrorKind, Knob, Planner, Requirement, Tuning, Unsupported,
    UnsupportedKind, Why,
};
use hosttune_modules::module::{self, Availability};
use hosttune_modules::{KernelModule, ModuleState};
use serde::{Deserialize, Serialize};

use super::backend::{Zram, unsupported};
use super::configuration::{Configuration, ConfigurationState};
use super::device::{self, Device, DeviceState};
use super::header::{Header, HeaderState, LONGEST_LABEL, SwapHeader};
use super::others::Other;
use super::swap::{Swap, SwapState, is_ours};
use crate::swap::Area;
use crate::total;

/// Largest size of a device, in percent of memory. The kernel's documentation sees little point in more
/// than twice the memory, since compression saves about half
/// (`Documentation/admin-guide/blockdev/zram.rst`).
pub const LARGEST: u64 = 200;

/// A header and this number of pages is the smallest area that `swapon` accepts; mkswap's own limit.
const FEWEST_PAGES: u64 = 10;

/// A size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Size {
    /// Percent of total memory, rounded down to a MiB.
    Percent(u16),
    /// Bytes, rounded up to whole pages.
    Bytes(u64),
}

impl Size {
    fn bytes(self, memory: u64, page: u64) -> u64 {
        match self {
            Self::Percent(percent) => {
                let bytes = u128::from(memory) * u128::from(percent) / 100;
                u64::try_from(bytes).unwrap_or(u64::MAX) >> 20 << 20
            }
            Self::Bytes(bytes) => bytes.checked_next_multiple_of(page).unwrap_or(u64::MAX),
        }
    }
}

/// A zram device that is swap.
///
/// ```
/// use hosttune_memory::zram::{Size, ZramSwap};
///
/// let swap = ZramSwap::new(Size::Percent(50))
///     .algorithm("zstd")
///     .priority(100)
///     .limit(Size::Percent(25));
/// # let _ = swap;
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ZramSwap {
    /// Uncompressed capacity.
    pub size: Size,
    /// Compression algorithm, by its kernel name.
    #[serde(default = "zstd")]
    pub algorithm: String,
    /// Limit on the memory it uses; `None` for no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Size>,
    /// Swap priority, 0 to 32767. An area with a higher priority is used before one on disk.
    #[serde(default = "first")]
    pub priority: u16,
    /// Label in its swap header, at most 15 bytes.
    #[serde(default = "ours")]
    pub label: String,
    /// Permission to add a device if another program has already created a zram swap.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub beside_others: bool,
    /// The reason.
    #[serde(default)]
    pub why: Why,
    /// What to do if it does not apply.
    #[serde(default)]
    pub requirement: Requirement,
}

fn zstd() -> String {
    "zstd".to_owned()
}

fn first() -> u16 {
    100
}

fn ours() -> String {
    "hosttune".to_owned()
}

impl ZramSwap {
    /// Creates a tuning of this size with zstd and priority 100.
    pub fn new(size: Size) -> Self {
        Self {
            size,
            algorithm: zstd(),
            limit: None,
            priority: first(),
            label: ours(),
            beside_others: false,
            why: Why::default(),
            requirement: Requirement::Plain,
        }
    }

    /// Sets the compression algorithm.
    #[must_use]
    pub fn algorithm(mut self, algorithm: impl Into<String>) -> Self {
        self.algorithm = algorithm.into();
        self
    }

    /// Limits the memory it uses.
    #[must_use]
    pub fn limit(mut self, limit: Size) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Sets its swap priority.
    #[must_use]
    pub fn priority(mut self, priority: u16) -> Self {
        self.priority = priority;
        self
    }

    /// Sets the label in its swap header.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Permits a device in addition to a zram swap of another program.
    #[must_use]
    pub fn beside_others(mut self) -> Self {
        self.beside_others = true;
        self
    }

    /// Sets the reason.
    #[must_use]
    pub fn why(mut self, why: impl Into<Why>) -> Self {
        self.why = why.into();
        self
    }

    /// Fails if it does not apply.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.requirement = Requirement::Required;
        self
    }

    /// Never fails because it does not apply.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.requirement = Requirement::Optional;
        self
    }

    /// Returns the requested configuration and the size in pages for a machine with this much memory.
    fn configuration(&self, memory: u64, page: u64) -> Result<(ConfigurationState, u64), Error> {
        let size = self.size.bytes(memory, page);
        let largest = memory.saturating_mul(LARGEST) / 100;
        let smallest = FEWEST_PAGES * page;
        if !(smallest..=largest).contains(&size) {
            return Err(Error::tuning(
                format!(
                    "a zram of {} is {} for {} MiB of memory",
                    total::shown(size),
                    if size > largest {
                        "too large"
                    } else {
                        "too small"
                    },
                    memory >> 20
                ),
                format!(
                    "use at least {} and at most {LARGEST} % of the memory: swapped-out pages stay in memory, compressed to a half or a third",
                    total::shown(smallest)
                ),
            ));
        }
        let limit = self.limit.map_or(0, |limit| limit.bytes(memory, page));
        if self.limit.is_some() && limit == 0 {
            return Err(Error::tuning(
                "the kernel takes a limit of 0 as no limit",
                "omit the limit, or use more than 1 MiB",
            ));
        }
        let configuration = ConfigurationState::Is {
            algorithm: self.algorithm.clone(),
            limit,
            size,
        };
        Ok((configuration, size / page))
    }

    fn check(&self) -> Result<(), Error> {
        if self.priority > 32767 {
            return Err(Error::tuning(
                format!("{} is not a swap priority", self.priority),
                "use 0 to 32767",
            ));
        }
        if self.label.is_empty()
            || self.label.len() > LONGEST_LABEL
            || self.label.chars().any(char::is_control)
        {
            return Err(Error::tuning(
                format!("'{}' is not a valid swap label", self.label.escape_debug()),
                format!("use 1 to {LONGEST_LABEL} bytes of text"),
            ));
        }
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if self.algorithm.is_empty() || !self.algorithm.bytes().all(is_word) {
            return Err(Error::tuning(
                format!(
                    "'{}' is not an algorithm name",
                    self.algorithm.escape_debug()
                ),
                "use zstd, lz4 or lzo-rle",
            ));
        }
        Ok(())
    }

    /// Requests the required modules before the device.
    fn declare_modules(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        // A kernel with zram built in may have no module lists that say so.
        let built_in = at.host().exists(device::CONTROL)? && !at.host().exists(device::LOADED)?;
        let mut modules = match built_in {
            true => Vec::new(),
            false => device::module().with_dependencies(at.host())?,
        };
        if let Some(module) = compressor(at.host(), &self.algorithm)? {
            modules.extend(module.with_dependencies(at.host())?);
        }
        for module in modules {
            let absent = module::find(at.host(), module.name())? == Availability::Absent;
            if absent && module.name() != "zram" {
                continue;
            }
            let request = at.intermediate(&module, &ModuleState::Loaded);
            request
                .why("required by zram")
                .requirement(self.requirement);
        }
        Ok(())
    }
}

/// Returns the module that compresses, if zram does not do it itself. Before Linux 6.12 zram used the
/// kernel's crypto API, which loads modules automatically but never unloads them.
fn compressor(host: &Host, algorithm: &str) -> Result<Option<KernelModule>, HostError> {
    let release = match host.read_text("/proc/sys/kernel/osrelease") {
        Ok(release) => release,
        Err(error) if *error.kind() == HostErrorKind::Missing => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut numbers = release
        .split(|byte: char| !byte.is_ascii_digit())
        .map(|number| number.parse::<u32>().unwrap_or_default());
    let version = (
        numbers.next().unwrap_or_default(),
        numbers.next().unwrap_or_default(),
    );
    if version >= (6, 12) {
        return Ok(None);
    }
    let module = KernelModule::new(algorithm);
    let found = module::find(host, module.name())?;
    Ok((found == Availability::Loadable || found == Availability::Present).then_some(module))
}

/// The device that a tuning applies to.
enum Choice {
    /// A device that is ours or will be.
    Number(u32),
    /// Another program has created swap on zram.
    Theirs(Area),
}

/// Returns the numbers of the existing devices.
fn numbers(host: &Host) -> Result<Vec<u32>, HostError> {
    let names = host.list_if_there("/sys/block")?;
    let number = |name: &String| name.strip_prefix("zram")?.parse().ok();
    let mut numbers: Vec<u32> = names.iter().filter_map(number).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Returns our device with this label, or else the lowest free number, which is the one that the kernel
/// assigns.
fn choose(host: &Host, label: &str, beside_others: bool) -> Result<Choice, HostError> {
    let numbers = numbers(host)?;
    let areas = Area::all(host)?;
    let mut theirs = None;
    for number in &numbers {
        let area = areas.iter().find(|area| area.zram() == Some(*number));
        match Header(*number).read(host) {
            Ok(HeaderState::Swap(header)) if is_ours(host, *number, &header)? => {
                if header.label == label {
                    return Ok(Choice::Number(*number));
                }
            }
            // Without permission to read the header, the knobs report that their state is unknown.
            Err(error) if *error.kind() == HostErrorKind::Denied && area.is_some() => {
                return Ok(Choice::Number(*number));
            }
            Ok(_) => theirs = theirs.or(area),
            Err(_) => {}
        }
    }
    if let Some(area) = theirs
        && !beside_others
    {
        return Ok(Choice::Theirs(area.clone()));
    }
    let free = (0..).find(|number| !numbers.contains(number));
    Ok(Choice::Number(free.unwrap_or(u32::MAX)))
}

/// Returns a note if other swap areas are used before this one or alternate with it.
///
/// The kernel fills the area with the highest priority first, and alternates between areas of equal
/// priority.
fn used_last(areas: &[Area], number: u32, priority: u16) -> Option<String> {
    let others = || areas.iter().filter(|area| area.zram() != Some(number));
    let named = |wanted: fn(i32, i32) -> bool| -> Vec<String> {
        let found = others().filter(|area| wanted(area.priority, i32::from(priority)));
        found
            .map(|area| format!("{} (priority {})", area.path, area.priority))
            .collect()
    };
    let (before, beside) = (
        named(|other, own| other > own),
        named(|other, own| other == own),
    );
    let highest = others().map(|area| area.priority).max()?;
    let higher = if highest < 32767 {
        format!("give zram a priority above {highest}, or run swapoff on the other")
    } else {
        "give the other a lower priority with swapoff and swapon -p".to_owned()
    };
    if !before.is_empty() {
        return Some(format!(
            "zram{number} as swap, priority {priority}, is used only when {} is full; {higher}",
            before.join(", ")
        ));
    }
    (!beside.is_empty()).then(|| {
        format!(
            "zram{number} as swap has the same priority as {}, so the kernel alternates between them; {higher}",
            beside.join(", ")
        )
    })
}

/// Whether a zram device will be swap after the requests declared so far.
pub(crate) fn will_be_swap(at: &mut Planner<'_>) -> Result<bool, Error> {
    let mut candidates = numbers(at.host())?;
    candidates.extend((0..).find(|number| !candidates.contains(number)));
    for number in candidates {
        if matches!(at.now(&Swap(number))?, SwapState::On(_)) {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Tuning for ZramSwap {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        if !at.is_selected() {
            return Ok(());
        }
        self.check()?;
        if at.host().root_kind() == RootKind::Image {
            let unsupported = Unsupported::new(
                UnsupportedKind::NotRunning,
                "an image has no running kernel",
            )
            .hint("run this on the live system instead");
            at.skip("swap on zram", unsupported)
                .requirement(self.requirement);
            return Ok(());
        }
        if let Some(unsupported) = unsupported(at.host()) {
            let skipped = at.skip("swap on zram", unsupported).why(self.why.clone());
            skipped.requirement(self.requirement);
            return Ok(());
        }
        let memory = total::of_host(at.host())?;
        let page = at.host().backend::<Zram>().map_or(4096, |zram| {
            u64::try_from(zram.devices().page_size()).unwrap_or(4096)
        });
        let (configuration, pages) = self.configuration(memory, page)?;
        for other in Other::all(at.host())? {
            at.note(other.note());
        }
        let number = match choose(at.host(), &self.label, self.beside_others)? {
            Choice::Number(number) => number,
            Choice::Theirs(area) => {
                let unsupported = Unsupported::new(
                    UnsupportedKind::Managed,
                    format!("{} is already in use as swap by another program", area.path),
                )
                .hint("configure or disable it in that program, or set beside-others to add a second one");
                at.skip("swap on zram", unsupported)
                    .why(self.why.clone())
                    .requirement(self.requirement);
                return Ok(());
            }
        };
        if let Some(note) = used_last(&Area::all(at.host())?, number, self.priority) {
            at.note(note);
        }
        self.declare_modules(at)?;
        let (device, swap) = (Device(number), Swap(number));
        at.want(&device, &DeviceState::Present)
            .why("the device for the swap")
            .requirement(self.requirement);
        let header = SwapHeader::ours(at.host(), number, &self.label, pages)?;
        let header = HeaderState::Swap(header);
        self.make_way(at, number, &configuration, &header);
        at.want(&Configuration(number), &configuration)
            .why("algorithm and size, which can be set only once")
            .requirement(self.requirement);
        at.want(&Header(number), &header)
            .why("required by swapon")
            .requirement(self.requirement);
        at.want(&swap, &SwapState::On(i32::from(self.priority)))
            .why(self.why.clone())
            .requirement(self.requirement);
        Ok(())
    }
}

impl ZramSwap {
    /// Stops using a device of ours that is to be configured differently. Nothing of it can be changed
    /// while it is swap, not even its priority.
    fn make_way(
        &self,
        at: &mut Planner<'_>,
        number: u32,
        configuration: &ConfigurationState,
        header: &HeaderState,
    ) {
        let configured = Configuration(number).read(at.host());
        let Ok(ConfigurationState::Is { size: 1.., .. }) = &configured else {
            return;
        };
        let changes = configured.as_ref() != Ok(configuration)
            || Header(number)
                .read(at.host())
                .is_ok_and(|seen| seen != *header);
        let priority = SwapState::On(i32::from(self.priority));
        let on = Swap(number).read(at.host());
        let is_on = matches!(on, Ok(SwapState::On(_)));
        if is_on && (changes || on != Ok(priority)) {
            at.intermediate(&Swap(number), &SwapState::Off)
                .why("cannot be changed while in use");
        }
        if changes {
            at.intermediate(&Header(number), &HeaderState::Blank)
                .why("erased with the contents of the device");
        }
    }
}
