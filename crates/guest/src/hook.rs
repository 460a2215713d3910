//! A hook script of libvirt that lends the devices before the guest starts and takes them back
//! after it has ended.

use crate::guest::Name;

/// Where the script belongs. libvirt 6.5 and later run every program in this directory; it is read
/// when the daemon starts, so the daemon has to be restarted after the first script was put there.
pub const DIRECTORY: &str = "/etc/libvirt/hooks/qemu.d";

/// The script, which calls the program at `program`, an absolute path, with these options for
/// `lend`.
///
/// libvirt runs it with the guest's name, the operation and its stage. If it fails at the beginning
/// of `prepare`, libvirt does not start the guest, and the message is in libvirt's log. It calls
/// `release` after a failed start as well. The script never calls libvirt: that would wait for
/// itself.
#[must_use]
pub fn script(guest: &Name, program: &str, options: &[String]) -> String {
    let program = quoted(program);
    let options: String = options
        .iter()
        .map(|word| format!(" {}", quoted(word)))
        .collect();
    format!(
        "\
#!/bin/sh
# Lends the devices of the guest {guest} before it starts and takes them back after it has ended.
# Put it into {DIRECTORY} and restart the daemon once (systemctl restart libvirtd or virtqemud).
# A failed lend keeps the guest from starting; the reason is in the log of libvirt.
set -eu
[ \"$1\" = '{guest}' ] || exit 0
case \"$2/$3\" in
prepare/begin) exec {program} lend{options} '{guest}' </dev/null >&2 ;;
release/end) exec {program} return '{guest}' </dev/null >&2 ;;
esac
"
    )
}

/// A word in single quotes for a shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}
