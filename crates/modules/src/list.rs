//! The lists of modules that depmod and the kernel's build create in the modules' directory.

use hosttune_core::{Host, HostError, HostErrorKind};

/// The dependencies of modules. Each line is the file of a module, a colon, and the files to load
/// before it, in reverse order of loading.
pub(crate) const DEPENDENCIES: &str = "modules.dep";
/// The built-in modules, with the file that each would have on a line.
pub(crate) const BUILT_IN: &str = "modules.builtin";

/// The directory of the running kernel's modules, if there is one that contains lists.
pub(crate) fn directory(host: &Host) -> Result<Option<String>, HostError> {
    let release = match host.read_text("/proc/sys/kernel/osrelease") {
        Ok(release) => release,
        // The tree has no `/proc` of a running kernel.
        Err(error) if *error.kind() == HostErrorKind::Missing => return Ok(None),
        Err(error) => return Err(error),
    };
    let release = release.trim();
    for modules in ["/lib/modules", "/usr/lib/modules"] {
        let directory = format!("{modules}/{release}");
        if !host.exists(&directory)? {
            continue;
        }
        for list in [DEPENDENCIES, BUILT_IN] {
            if host.exists(format!("{directory}/{list}"))? {
                return Ok(Some(directory));
            }
        }
    }
    Ok(None)
}

/// The text of a list; `None` if it does not exist.
pub(crate) fn read(host: &Host, directory: &str, list: &str) -> Result<Option<String>, HostError> {
    match host.read(format!("{directory}/{list}")) {
        Ok(bytes) => Ok(Some(match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        })),
        Err(error) if *error.kind() == HostErrorKind::Missing => Ok(None),
        Err(error) => Err(error),
    }
}

/// The line of `modules.dep` or `modules.builtin` that begins with the module's file.
///
/// The list of half a megabyte is searched for the last part of the file's name, which contains
/// neither `-` nor `_`; iterating over the lines would take ten times as long.
pub(crate) fn line_of<'l>(list: &'l str, module: &str) -> Option<&'l str> {
    let end = module.rsplit(['-', '_']).next().unwrap_or_default();
    list.match_indices(&format!("{end}.ko"))
        .find_map(|(at, _)| {
            let start = list[..at].rfind('\n').map_or(0, |newline| newline + 1);
            let line = list[start..].split('\n').next().unwrap_or_default();
            let path = line.split(':').next().unwrap_or_default();
            is_same(stem(path), module).then_some(line)
        })
}

/// The modules in `modules.dep`, each with its name and the path of its file.
pub(crate) fn files(list: &str) -> impl Iterator<Item = (&str, &str)> {
    list.lines().filter_map(|line| {
        let (path, _) = line.split_once(':')?;
        Some((stem(path), path)).filter(|(name, _)| !name.is_empty())
    })
}

/// Whether a file name is that of the module. `-` and `_` are the same in file names.
fn is_same(stem: &str, module: &str) -> bool {
    let same = |byte: u8| if byte == b'-' { b'_' } else { byte };
    stem.len() == module.len()
        && !stem.is_empty()
        && stem.bytes().map(same).eq(module.bytes().map(same))
}

/// The module's name in the path of its file, which may be compressed: `ifb.ko`, `ifb.ko.xz`.
pub(crate) fn stem(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or_default();
    name.split('.').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_found_by_its_file_whatever_dash_and_compression() {
        let list =
            "kernel/net/sched/sch_fq_codel.ko: \nkernel/net/ipv4/tcp-bbr.ko.xz: kernel/x.ko\n";
        let names = |list, module| line_of(list, module).is_some();
        assert!(names(list, "tcp_bbr"));
        assert!(names(list, "sch_fq_codel"));
        assert!(!names(list, "sch_fq"));
        assert!(!names(list, "x"));
        assert!(!names("", "sch_fq"));
    }
}
