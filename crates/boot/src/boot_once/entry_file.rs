//! Names of entry files of ours: the ones that each loader sorts last.

/// What GRUB's names begin with. In the order of rpm a tilde is older than anything else, so the entry is the
/// last of the files, whatever the others are called.
const OF_GRUB: &str = "~hosttune-";

/// What systemd-boot's names begin with. `systemctl reboot` refuses a tilde in a name; of the rest, letters are
/// older than numbers, and a dash older than both, whatever begins with a dash or not.
const OF_SYSTEMD_BOOT: &str = "a--hosttune-";

/// The name for GRUB of the file of an entry, whose id begins with `hosttune-`.
pub(super) fn for_grub(id: &str) -> String {
    format!("~{id}.conf")
}

/// The name for systemd-boot.
pub(super) fn for_systemd_boot(id: &str) -> String {
    format!("a--{id}.conf")
}

/// Whether an entry file is one of ours.
pub(crate) fn is_ours(name: &str) -> bool {
    let mut beginnings = [OF_GRUB, OF_SYSTEMD_BOOT].into_iter();
    beginnings.any(|beginning| name.starts_with(beginning))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_known_again() {
        for name in [
            for_grub("hosttune-trial-gaming"),
            for_systemd_boot("hosttune-toaster-guests"),
        ] {
            assert!(is_ours(&name), "{name}");
        }
        assert!(!is_ours("a-6.12.0.conf"));
    }
}
