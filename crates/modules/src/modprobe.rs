//! Loads modules of the running kernel with modprobe, and unloads them with `delete_module(2)`.

use std::ffi::CString;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use hosttune_core::child::{Child, NotRun};
use hosttune_core::{
    HostError, HostErrorKind, Operation, Unsupported, UnsupportedKind, child_guard,
};
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::link;
use crate::modules::ModuleLoader;

/// The paths of modprobe on all distributions.
const PROGRAMS: [&str; 3] = [
    "/sbin/modprobe",
    "/usr/sbin/modprobe",
    // The only one on NixOS.
    "/run/current-system/sw/bin/modprobe",
];

/// The environment with which the kernel itself starts modprobe; `install` lines may need it.
const ENVIRONMENT: [(&str, &str); 3] = [
    ("HOME", "/"),
    ("TERM", "linux"),
    ("PATH", "/sbin:/usr/sbin:/bin:/usr/bin"),
];

/// `O_NONBLOCK` of `delete_module(2)`: neither waits until the module is unused nor forces it.
const NOT_WAITING: i32 = OFlags::NONBLOCK.bits() as i32;

/// How long the kernel may take to release a module after its last user was removed: filters and
/// their actions are freed one or two RCU grace periods after the request has returned.
const GRACE: Duration = Duration::from_millis(500);

/// modprobe's messages for error numbers, in the locale of an empty environment.
const ERRORS: [(&str, Errno); 10] = [
    ("Operation not permitted", Errno::PERM),
    ("Permission denied", Errno::ACCESS),
    ("Key was rejected by service", Errno::KEYREJECTED),
    ("Required key not available", Errno::NOKEY),
    ("Exec format error", Errno::NOEXEC),
    ("Invalid argument", Errno::INVAL),
    ("Cannot allocate memory", Errno::NOMEM),
    ("No such device", Errno::NODEV),
    ("Device or resource busy", Errno::BUSY),
    ("Unknown symbol in module", Errno::NOENT),
];

/// modprobe, and whether those of earlier programs have ended. That is asked once: what comes later
/// has taken the lock of the journals, which only one program has at a time.
#[derive(Debug, Default)]
pub(crate) struct Modprobe(OnceLock<()>);

impl ModuleLoader for Modprobe {
    fn wait_for_loads(&self) -> Result<(), HostError> {
        if self.0.get().is_none() {
            child_guard::wait("kernel modules")?;
            let _ = self.0.set(());
        }
        Ok(())
    }

    fn load(&mut self, module: &str, parameters: &[String]) -> Result<(), HostError> {
        let modprobe = Child::new(&PROGRAMS)
            .environment(ENVIRONMENT)
            .arguments(["--use-blacklist", "--", module])
            .arguments(parameters)
            .makes_changes();
        match modprobe.run() {
            Ok(ended) if ended.is_success() => return Ok(()),
            Ok(ended) => return Err(refused(module, &ended.messages())),
            Err(NotRun::NotStarted { program, errno }) => {
                return Err(HostError::from_errno(Operation::Load, named(module), errno)
                    .detail(format!("cannot start {program}")));
            }
            Err(NotRun::NotInstalled) => {}
        }
        let unsupported = Unsupported::new(UnsupportedKind::NoBackend, "modprobe is not installed")
            .hint("install the package kmod")
            .module(module);
        Err(HostError::not_applicable(
            Operation::Load,
            named(module),
            unsupported,
        ))
    }

    fn unload(&mut self, module: &str) -> Result<(), HostError> {
        let Ok(name) = CString::new(module) else {
            return Err(HostError::malformed(
                named(module),
                "its name contains a NUL byte",
            ));
        };
        let mut waited = Duration::ZERO;
        let mut pause = Duration::from_millis(1);
        loop {
            match rustix::system::delete_module(&name, NOT_WAITING) {
                // ENOENT: another process has unloaded it.
                Ok(()) | Err(Errno::NOENT) => return Ok(()),
                Err(errno) if is_used(errno) && waited < GRACE => {
                    thread::sleep(pause);
                    waited += pause;
                    pause *= 2;
                }
                Err(errno) => return Err(not_unloaded(module, errno)),
            }
        }
    }

    fn links(&self, kinds: &[String]) -> Result<Vec<String>, HostError> {
        link::of_kinds(kinds)
    }
}

/// The name of a module in error messages.
pub(crate) fn named(module: &str) -> String {
    format!("the module {module}")
}

/// EAGAIN: the module is in use. EBUSY: it is being loaded or unloaded right now, or it cannot be
/// unloaded.
fn is_used(errno: Errno) -> bool {
    matches!(errno, Errno::AGAIN | Errno::BUSY)
}

pub(crate) fn not_unloaded(module: &str, errno: Errno) -> HostError {
    let error = HostError::from_errno(Operation::Unload, named(module), errno.raw_os_error());
    match errno {
        Errno::AGAIN => error
            .with_kind(HostErrorKind::Busy)
            .with_hint("run revert again when it is no longer in use"),
        Errno::BUSY => error
            .detail("the kernel cannot unload it")
            .with_hint("it stays loaded until the next boot"),
        Errno::PERM => error.with_hint(CAPABILITY),
        _ => error,
    }
}

const CAPABILITY: &str = "loading modules requires root with the capability CAP_SYS_MODULE and a kernel that is not locked down; in a container, load them on the host";

/// Converts the error output of a failed modprobe to an error.
pub(crate) fn refused(module: &str, said: &str) -> HostError {
    let lines = said.lines().map(|line| {
        let line = line.trim();
        line.strip_prefix("modprobe: ").unwrap_or(line)
    });
    let said: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    let text = if said.is_empty() {
        "modprobe failed without an error message".to_owned()
    } else {
        format!("modprobe: {}", said.join("; "))
    };
    if said.iter().any(|line| line.contains(" not found in ")) {
        let unsupported = Unsupported::new(UnsupportedKind::ValueUnavailable, text)
            .hint(format!("install a kernel that has {module}"))
            .module(module);
        return HostError::not_applicable(Operation::Load, named(module), unsupported);
    }
    let errno = said.iter().rev().find_map(|line| {
        let known = |(words, _): &&(&str, Errno)| line.contains(*words);
        ERRORS.iter().find(known).map(|(_, errno)| *errno)
    });
    let error = match errno {
        // The error of an `install` line's program is not an error number of the kernel, whatever
        // modprobe prints.
        Some(errno) if !said.iter().any(|line| line.contains("install command")) => {
            HostError::from_errno(Operation::Load, named(module), errno.raw_os_error())
        }
        _ => HostError::new(Operation::Load, named(module), HostErrorKind::Other),
    };
    let hint = match errno {
        Some(Errno::PERM) => CAPABILITY.to_owned(),
        Some(Errno::KEYREJECTED | Errno::NOKEY) => {
            "the kernel loads only modules that are signed with a trusted key".to_owned()
        }
        _ => format!(
            "check the kernel log and modprobe.d: dmesg, and modprobe --showconfig | grep {module}"
        ),
    };
    error.detail(text).with_hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_modprobe_says_is_told_apart() {
        let error = refused(
            "ifb",
            "modprobe: ERROR: could not insert 'ifb': Operation not permitted\n",
        );
        assert_eq!(*error.kind(), HostErrorKind::Denied);
        assert_eq!(error.errno(), Some(Errno::PERM.raw_os_error()));
        assert_eq!(
            error.to_string(),
            "cannot load the module ifb: modprobe: ERROR: could not insert 'ifb': Operation not permitted"
        );
        assert!(error.hint().unwrap().contains("CAP_SYS_MODULE"));

        let error = refused(
            "x",
            "modprobe: FATAL: Module x not found in directory /lib/modules/6.1.0\n",
        );
        assert!(
            matches!(error.kind(), HostErrorKind::NotApplicable(unsupported) if unsupported.module.as_deref() == Some("x"))
        );

        let error = refused(
            "ifb",
            "modprobe: ERROR: ../libkmod/libkmod-module.c:1047 command_do() Error running install command '/bin/false' for module ifb: retcode 1\n\
             modprobe: ERROR: could not insert 'ifb': Invalid argument\n",
        );
        assert_eq!(*error.kind(), HostErrorKind::Other);
        assert_eq!(error.errno(), None, "not an error of the kernel");
        assert!(error.to_string().contains("/bin/false"), "{error}");
        assert!(error.hint().unwrap().contains("modprobe.d"));

        assert!(
            refused("x", "")
                .to_string()
                .contains("without an error message")
        );
    }
}
