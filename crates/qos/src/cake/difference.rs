//! Whether a CAKE qdisc is what it was meant to be.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Cake, CakeOption, Seen};

/// One option that is not as wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The option.
    pub option: CakeOption,
    /// What was wanted, in `tc`'s words.
    pub wanted: String,
    /// What the kernel shows, in `tc`'s words; nothing where it does not show the option.
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

/// Each option that differs, in the kernel's order.
///
/// The bandwidth is not compared where the kernel estimates it. The kernel holds the overhead in
/// 16 bits, which every overhead that can be said fits.
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
