//! Whether the running kernel can have a module, from what depmod and the kernel's build left.
//!
//! This answers one question and loads nothing: setting a value that needs a module makes the
//! kernel load it.

use hosttune_core::{Host, HostError, HostErrorKind};

/// What is known of a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Module {
    /// Loaded, or part of the kernel.
    Present,
    /// It lies among the running kernel's modules.
    Loadable,
    /// The running kernel has no such module.
    Absent,
    /// Nothing on this host tells.
    Unknown,
}

/// Looks for a module of the running kernel.
pub(crate) fn find(host: &Host, module: &str) -> Result<Module, HostError> {
    if host.exists(format!("/sys/module/{module}"))? {
        return Ok(Module::Present);
    }
    let release = match host.read_text("/proc/sys/kernel/osrelease") {
        Ok(release) => release.trim().to_owned(),
        Err(_) => return Ok(Module::Unknown),
    };
    for directory in ["/lib/modules", "/usr/lib/modules"] {
        let directory = format!("{directory}/{release}");
        if !host.exists(&directory)? {
            continue;
        }
        let mut listed = false;
        for (list, found) in [
            ("modules.builtin", Module::Present),
            ("modules.dep", Module::Loadable),
        ] {
            match host.read(format!("{directory}/{list}")) {
                Ok(bytes) if names(&bytes, module) => return Ok(found),
                Ok(_) => listed = true,
                Err(error) if *error.kind() == HostErrorKind::Missing => {}
                Err(error) => return Err(error),
            }
        }
        if listed {
            return Ok(Module::Absent);
        }
    }
    Ok(Module::Unknown)
}

/// Whether a line of modules.dep or modules.builtin begins with the module's file. In file names
/// `-` and `_` are the same, and a compression's suffix may follow.
fn names(list: &[u8], module: &str) -> bool {
    let same = |byte: u8| if byte == b'-' { b'_' } else { byte };
    list.split(|byte| *byte == b'\n').any(|line| {
        let path = line.split(|byte| *byte == b':').next().unwrap_or_default();
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let stem = name.split(|byte| *byte == b'.').next().unwrap_or_default();
        !stem.is_empty() && stem.iter().copied().map(same).eq(module.bytes().map(same))
    })
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn a_module_is_found_by_its_file_whatever_dash_and_compression() {
        let list =
            b"kernel/net/sched/sch_fq_codel.ko: \nkernel/net/ipv4/tcp-bbr.ko.xz: kernel/x.ko\n";
        assert!(names(list, "tcp_bbr"));
        assert!(names(list, "sch_fq_codel"));
        assert!(!names(list, "sch_fq"));
        assert!(!names(list, "x"));
        assert!(!names(b"", "sch_fq"));
    }
}
