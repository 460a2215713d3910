//! Sysctls that are right only while swap is on zram.

use hosttune_core::{Error, Planner, Tuning};
use hosttune_memory::zram::Other;
use hosttune_sysctl::SysctlSet;

/// A set of sysctls of which some are right only beside swap on zram, such as `vm.swappiness` of 100.
///
/// The zram that a tuning makes is gone after the next boot. A set that is kept then leaves these keys
/// out and says so, unless another program makes zram when the machine boots: with swap on a disk they
/// would make the machine stutter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BesideZram {
    /// The set.
    pub set: SysctlSet,
    /// The keys that need zram, as they are written in the set.
    pub keys: &'static [&'static str],
}

const WHY: &str = "it is right only with swap on zram, which is made anew by each apply";

impl Tuning for BesideZram {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        if !at.is_selected() {
            return Ok(());
        }
        if self.set.persist.is_none() || Other::is_sure(at.host())? {
            return self.set.declare(at);
        }
        let mut set = self.set.clone();
        for wanted in &mut set.wanted {
            if self.keys.contains(&wanted.key.as_str()) {
                wanted.until_reboot.get_or_insert_with(|| WHY.to_owned());
            }
        }
        set.declare(at)
    }
}
