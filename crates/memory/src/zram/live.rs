//! The zram devices of the running kernel.

#![expect(
    clippy::disallowed_methods,
    reason = "a read of hot_add creates a device and a page of a device is not the value of a file, so neither uses the host's files"
)]

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use hosttune_core::child::{Child, NotRun};
use hosttune_core::{HostError, HostErrorKind, Operation, Unsupported, UnsupportedKind};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::backend::{ZramDevices, file, node};

const HOT_ADD: &str = "/sys/class/zram-control/hot_add";

/// Length of the beginning of a device in which file systems have their first block.
const BEGINNING: usize = 128 << 10;

/// The paths of swapon and swapoff, which are run because `swapon(2)` and `swapoff(2)` have no safe
/// wrapper.
const SWAPON: [&str; 3] = [
    "/sbin/swapon",
    "/usr/sbin/swapon",
    "/run/current-system/sw/bin/swapon",
];
const SWAPOFF: [&str; 3] = [
    "/sbin/swapoff",
    "/usr/sbin/swapoff",
    "/run/current-system/sw/bin/swapoff",
];

/// Messages that the programs print for an errno in the locale of an empty environment.
const ERRORS: [(&str, Errno); 6] = [
    ("Operation not permitted", Errno::PERM),
    ("Permission denied", Errno::ACCESS),
    ("Cannot allocate memory", Errno::NOMEM),
    ("Device or resource busy", Errno::BUSY),
    ("Invalid argument", Errno::INVAL),
    ("No such file or directory", Errno::NOENT),
];

#[derive(Debug)]
pub(super) struct Kernel;

fn failed(operation: Operation, subject: &str, error: &std::io::Error) -> HostError {
    let errno = error.raw_os_error().unwrap_or(Errno::IO.raw_os_error());
    HostError::from_errno(operation, subject, errno)
}

impl ZramDevices for Kernel {
    fn add(&mut self) -> Result<u32, HostError> {
        let text = std::fs::read_to_string(HOT_ADD)
            .map_err(|error| failed(Operation::Create, HOT_ADD, &error))?;
        text.trim().parse().map_err(|_| {
            HostError::malformed(HOT_ADD, format!("'{}' is not a number", text.trim()))
        })
    }

    fn page_size(&self) -> usize {
        rustix::param::page_size()
    }

    fn first_page(&self, number: u32) -> Result<Vec<u8>, HostError> {
        let node = node(number);
        let read = || -> std::io::Result<Vec<u8>> {
            let mut page = vec![0; self.page_size()];
            let count = File::open(&node)?.read_at(&mut page, 0)?;
            page.truncate(count);
            Ok(page)
        };
        read().map_err(|error| failed(Operation::Read, &node, &error))
    }

    fn has_data_after_first_page(&self, number: u32) -> Result<bool, HostError> {
        let node = node(number);
        let read = || -> std::io::Result<bool> {
            let mut rest = vec![0; BEGINNING - self.page_size()];
            let at = u64::try_from(self.page_size()).unwrap_or_default();
            let device = File::open(&node)?;
            let mut length = 0;
            while length < rest.len() {
                let after = at + u64::try_from(length).unwrap_or_default();
                match device.read_at(&mut rest[length..], after)? {
                    0 => break,
                    count => length += count,
                }
            }
            Ok(rest[..length].iter().any(|byte| *byte != 0))
        };
        read().map_err(|error| failed(Operation::Read, &node, &error))
    }

    fn erase(&mut self, number: u32) -> Result<(), HostError> {
        let size = std::fs::read_to_string(file(number, "disksize"))
            .map_err(|error| failed(Operation::Read, &node(number), &error))?;
        let size = size.trim().parse().unwrap_or(BEGINNING);
        write(number, &vec![0; size.min(BEGINNING)])
    }

    fn write_first_page(&mut self, number: u32, page: &[u8]) -> Result<(), HostError> {
        write(number, page)
    }

    fn swap_on(&mut self, number: u32, priority: u16) -> Result<(), HostError> {
        run(number, "swapon", &SWAPON, &["-p", &priority.to_string()])
    }

    fn swap_off(&mut self, number: u32) -> Result<(), HostError> {
        run(number, "swapoff", &SWAPOFF, &[])
    }
}

/// Writes the beginning of a device.
fn write(number: u32, bytes: &[u8]) -> Result<(), HostError> {
    let node = node(number);
    let write = || -> std::io::Result<()> {
        // Exclusive: the kernel then refuses a device that is mounted or part of another one.
        let exclusive = OFlags::EXCL.bits().cast_signed();
        let mut options = OpenOptions::new();
        let device = options.write(true).custom_flags(exclusive).open(&node)?;
        device.write_all_at(bytes, 0)?;
        // swapon reads the device itself and not what is still in the page cache.
        device.sync_all()
    };
    write().map_err(|error| failed(Operation::Write, &node, &error))
}

fn run(
    number: u32,
    program: &str,
    paths: &'static [&'static str],
    arguments: &[&str],
) -> Result<(), HostError> {
    let subject = format!("{} as swap", node(number));
    let child = Child::new(paths)
        .arguments(arguments)
        .arguments([node(number)]);
    match child.run() {
        Ok(ended) if ended.is_success() => return Ok(()),
        Ok(ended) => return Err(refused(program, &subject, ended.messages().trim())),
        Err(NotRun::NotStarted { program, errno }) => {
            return Err(HostError::from_errno(Operation::Backend, subject, errno)
                .detail(format!("{program} cannot be started")));
        }
        Err(NotRun::NotInstalled) => {}
    }
    let unsupported = Unsupported::new(
        UnsupportedKind::NoBackend,
        format!("{program} is not installed on this machine"),
    )
    .hint("install the package util-linux");
    Err(HostError::not_applicable(
        Operation::Backend,
        subject,
        unsupported,
    ))
}

/// Converts the output of a failed program into an error.
pub(super) fn refused(program: &str, subject: &str, said: &str) -> HostError {
    let text = if said.is_empty() {
        format!("{program} failed without a message")
    } else {
        format!("it reported: {said}")
    };
    let known = ERRORS.iter().find(|(words, _)| said.contains(words));
    let error = match known {
        Some((_, errno)) => {
            HostError::from_errno(Operation::Backend, subject, errno.raw_os_error())
        }
        None => HostError::new(Operation::Backend, subject, HostErrorKind::Other),
    };
    let error = error.detail(text);
    match (program, known.map(|(_, errno)| *errno)) {
        ("swapoff", Some(Errno::NOMEM)) => error.with_kind(HostErrorKind::Busy).with_hint(
            "the swapped-out pages do not fit into memory; end some programs, then revert again",
        ),
        // It is still listed but takes no more pages: another swapoff of it is running.
        ("swapoff", Some(Errno::INVAL)) => error.with_kind(HostErrorKind::Busy).with_hint(
            "it is already being switched off, which takes a while; revert again afterwards",
        ),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_programs_say_is_told_apart() {
        let full = "swapoff: /dev/zram0: swapoff failed: Cannot allocate memory";
        let error = refused("swapoff", "/dev/zram0 as swap", full);
        assert_eq!(*error.kind(), HostErrorKind::Busy);
        assert_eq!(error.errno(), Some(Errno::NOMEM.raw_os_error()));
        assert!(error.hint().unwrap().contains("end some programs"));
        let denied = refused(
            "swapon",
            "x",
            "swapon: cannot open /dev/zram0: Permission denied",
        );
        assert_eq!(*denied.kind(), HostErrorKind::Denied);
        assert!(
            refused("swapon", "x", "")
                .to_string()
                .contains("without a message")
        );
    }
}
