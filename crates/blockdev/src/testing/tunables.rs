//! The tunables of the schedulers: `iosched/*`.

use hosttune_core::testing::Tree;

use super::Linux;
use super::queue::Queue;

const EINVAL: i32 = 22;
const ERANGE: i32 = 34;

pub(super) const SCHEDULERS: [&str; 3] = ["mq-deadline", "bfq", "kyber"];

/// How a tunable converts a number that is written to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `int`, with a minimum.
    Integer(i64),
    /// `int`, 0 or 1.
    Switch,
    /// Milliseconds, stored in jiffies of 4 ms, with a minimum.
    Jiffies(i64),
    /// `unsigned long` up to `INT_MAX`, with a minimum.
    Unsigned(u64),
    /// `unsigned long`, 0 or 1.
    UnsignedSwitch,
    /// `unsigned long` in ms, stored in jiffies of 4 ms, at least one.
    UnsignedJiffies,
    /// `u64`.
    Long,
    /// bfq's idling, a single value in ms or µs.
    SliceIdle,
    SliceIdleMicroseconds,
}

/// A tunable's name, its initial value, and how it converts a number.
type Tunable = (&'static str, &'static str, Kind);

pub(super) fn tunables(scheduler: &str, linux: Linux) -> Vec<Tunable> {
    match scheduler {
        "mq-deadline" => {
            let mut all = vec![
                ("fifo_batch", "16", Kind::Integer(0)),
                ("front_merges", "1", Kind::Switch),
                ("prio_aging_expire", "10000", Kind::Jiffies(0)),
                ("read_expire", "500", Kind::Jiffies(0)),
                ("write_expire", "5000", Kind::Jiffies(0)),
                ("writes_starved", "2", Kind::Integer(i64::from(i32::MIN))),
            ];
            if linux < Linux::V7_2 {
                all.push(("async_depth", "", Kind::Integer(1)));
            }
            all
        }
        "kyber" => vec![
            ("read_lat_nsec", "2000000", Kind::Long),
            ("write_lat_nsec", "10000000", Kind::Long),
        ],
        "bfq" => vec![
            ("back_seek_max", "16384", Kind::Unsigned(0)),
            ("back_seek_penalty", "2", Kind::Unsigned(1)),
            ("fifo_expire_async", "250", Kind::Unsigned(1)),
            ("fifo_expire_sync", "125", Kind::Unsigned(1)),
            ("low_latency", "1", Kind::UnsignedSwitch),
            ("max_budget", "0", Kind::Unsigned(0)),
            ("slice_idle", "8", Kind::SliceIdle),
            ("slice_idle_us", "8000", Kind::SliceIdleMicroseconds),
            ("strict_guarantees", "0", Kind::UnsignedSwitch),
            ("timeout_sync", "124", Kind::UnsignedJiffies),
        ],
        _ => Vec::new(),
    }
}

impl Queue {
    /// Writes to a tunable, which exists only while its scheduler is active.
    pub(super) fn tune(
        &self,
        tree: &mut Tree,
        name: &str,
        kind: Kind,
        value: &str,
    ) -> Result<(), i32> {
        let signed = |value: &str| -> Result<i64, i32> {
            let number = value.parse::<i64>().map_err(|_| EINVAL)?;
            i32::try_from(number).map(i64::from).map_err(|_| ERANGE)
        };
        let plain = |value: &str| -> Result<u64, i32> { value.parse().map_err(|_| EINVAL) };
        let jiffies = |milliseconds: i64| (milliseconds + 3) / 4 * 4;
        let most = u64::from(i32::MAX.unsigned_abs());
        let made = match kind {
            Kind::Integer(least) => signed(value)?.max(least).to_string(),
            Kind::Switch => i64::from(signed(value)? > 0).to_string(),
            Kind::Jiffies(least) => jiffies(signed(value)?.max(least)).to_string(),
            Kind::Unsigned(least) => plain(value)?.clamp(least, most).to_string(),
            Kind::UnsignedSwitch => plain(value)?.min(1).to_string(),
            Kind::UnsignedJiffies => {
                let wanted = i64::try_from(plain(value)?.min(most)).unwrap_or(i64::MAX);
                jiffies(wanted.max(1)).to_string()
            }
            Kind::Long => plain(value)?.to_string(),
            Kind::SliceIdle => {
                let wanted = plain(value)?.min(4293);
                self.set(tree, "iosched/slice_idle_us", wanted * 1000);
                wanted.to_string()
            }
            Kind::SliceIdleMicroseconds => {
                let wanted = plain(value)?.min(4_294_966);
                self.set(tree, "iosched/slice_idle", wanted / 1000);
                wanted.to_string()
            }
        };
        tree.set(self.directory.join("iosched").join(name), &made);
        if name == "strict_guarantees"
            && made == "1"
            && self.number(tree, "iosched/slice_idle_us") < 8000
        {
            self.set(tree, "iosched/slice_idle_us", 8000);
            self.set(tree, "iosched/slice_idle", 8);
        }
        Ok(())
    }
}
