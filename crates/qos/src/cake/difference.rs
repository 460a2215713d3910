//! Comparison of a CAKE qdisc with the requested options.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Cake, CakeOption, Seen};

/// An option that differs from the requested value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Difference {
    /// The option.
    pub option: CakeOption,
    /// The requested value, in `tc`'s words.
    pub wanted: String,
    /// The value that the kernel shows, in `tc`'s words. `None` if it does not show the option.
    pub seen: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            option,
            wanted,
            seen,
        } = self;
        match seen {
            Some(seen) => write!(formatter, "{option}: {wanted} is wanted, {seen} is set"),
            None => write!(
                formatter,
                "{option}: {wanted} is wanted, the kernel does not show it"
            ),
        }
    }
}

/// All options that differ, in the kernel's order.
///
/// The bandwidth is not compared if the kernel estimates it. The kernel stores the overhead in
/// 16 bits, which is enough for every valid value.
pub fn differences(wanted: &Cake, seen: &Seen) -> Vec<Difference> {
    CakeOption::ALL
        .into_iter()
        .filter(|option| !(*option == CakeOption::Bandwidth && wanted.autorate_ingress))
        .filter_map(|option| {
            let (wanted, seen) = (wanted.value(option), seen.value(option));
            (seen != Some(wanted)).then(|| Difference {
                option,
                wanted: option.in_words(wanted),
                seen: seen.map(|seen| option.in_words(seen)),
            })
        })
        .collect()
}
