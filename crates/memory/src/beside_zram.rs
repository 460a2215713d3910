//! Sysctls that are meant only for swap on zram.

use hosttune_core::{Error, Planner, Tuning};
use hosttune_sysctl::SysctlSet;

use crate::zram::Other;

/// A set of sysctls, some of which are meant only for swap on zram, such as `vm.swappiness` of 100.
///
/// The zram device that a tuning creates does not survive a reboot. A persistent set therefore omits
/// these keys from its file, with a note, unless another program is known to create zram at boot:
/// with swap on a disk these values would make the machine stutter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BesideZram {
    /// The set.
    pub set: SysctlSet,
    /// The keys that need zram, spelled as in the set.
    pub keys: &'static [&'static str],
}

const WHY: &str = "it is meant only for swap on zram, which each apply creates again";

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
