//! With which priority the daemon's data threads run.
//!
//! A data thread runs the graph. The daemon asks for a real-time priority of it once, when it starts
//! (`libpipewire-module-rt`): first within the limits of the user, then from the portal, then from
//! rtkit. It starts without one too, and rtkit takes priorities away later, so what a thread has is
//! read anew each time.

use std::fmt;

use hosttune_core::{Host, HostError, HostErrorKind};
use serde::{Deserialize, Serialize};

use super::pipewire::{no_backend, view};

/// The scheduling class of a thread (sched(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Class {
    /// `SCHED_FIFO`. The daemon sets it itself, which needs root or the limit `rtprio` of its user.
    Fifo,
    /// `SCHED_RR`, which rtkit sets, with a priority of at most 20 by default.
    RoundRobin,
    /// Without a real-time priority: `SCHED_OTHER` and the others.
    Other,
}

/// A data thread of the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub struct DataThread {
    /// Its name: that of the program up to 0.3, `pw-data-loop` in 1.0, `data-loop.N` from 1.1.81.
    pub name: String,
    /// Its scheduling class.
    pub class: Class,
    /// Its real-time priority, 1 to 99; 0 without one.
    pub priority: u32,
    /// Its nice value, -20 to 19. It counts only without a real-time priority.
    pub nice: i32,
}

impl DataThread {
    /// Whether it has a real-time priority.
    #[must_use]
    pub fn is_real_time(&self) -> bool {
        self.class != Class::Other
    }
}

impl fmt::Display for DataThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            class,
            priority,
            nice,
        } = self;
        match class {
            Class::Fifo => write!(
                f,
                "{name} has the real-time priority {priority} (SCHED_FIFO, within the limits of its user)"
            ),
            Class::RoundRobin => write!(
                f,
                "{name} has the real-time priority {priority} (SCHED_RR, as rtkit gives it)"
            ),
            Class::Other => write!(f, "{name} has no real-time priority (nice value {nice})"),
        }
    }
}

/// The data threads of the user's daemon; `None` if no daemon runs, or if its process is not seen from
/// here.
///
/// # Errors
/// If a daemon runs and cannot be asked, or its process cannot be read.
pub fn data_threads(host: &Host) -> Result<Option<Vec<DataThread>>, HostError> {
    if no_backend(host).is_some() {
        return Ok(None);
    }
    let Some(view) = view(host)? else {
        return Ok(None);
    };
    let process = view.core.property("application.process.id");
    let Some(process) = process.and_then(|id| id.parse::<u32>().ok()) else {
        return Ok(None);
    };
    let program = view.core.property("application.process.binary");
    let read = |thread: &str| {
        let stat = host.read_text(format!("/proc/{process}/task/{thread}/stat"));
        ended(stat.map(Some), None)
    };
    let threads = ended(host.list(format!("/proc/{process}/task")), Vec::new())?;
    let main = process.to_string();
    let Some((name, _)) = read(&main)?.as_deref().and_then(parse) else {
        return Ok(None);
    };
    // The number is that of the daemon's own PID namespace, where this process may not be.
    if program.is_none_or(|program| !program.starts_with(&name)) {
        return Ok(None);
    }
    let mut found = Vec::new();
    for thread in threads.iter().filter(|thread| **thread != main) {
        if let Some((_, thread)) = read(thread)?.as_deref().and_then(parse)
            && is_data_thread(&thread.name, &name)
        {
            found.push(thread);
        }
    }
    Ok((!found.is_empty()).then_some(found))
}

/// What a user should know of the data threads of the user's daemon; `None` if nothing is known.
///
/// # Errors
/// As [`data_threads`].
pub fn note(host: &Host) -> Result<Option<String>, HostError> {
    Ok(data_threads(host)?.map(|threads| describe(&threads)))
}

/// Describes data threads, with what to do where one has no real-time priority.
#[must_use]
pub fn describe(threads: &[DataThread]) -> String {
    let each: Vec<String> = threads.iter().map(ToString::to_string).collect();
    let each = format!("PipeWire's data thread {}", each.join("; "));
    if threads.iter().all(DataThread::is_real_time) {
        return each;
    }
    format!(
        "{each}, so sound breaks up with a small quantum while the CPUs are busy: give its user the limits rtprio and nice in /etc/security/limits.d, or install rtkit, and log in again"
    )
}

/// A thread or a process may end while it is read.
fn ended<T>(read: Result<T, HostError>, absent: T) -> Result<T, HostError> {
    /// No such process (errno(3)), which a file of a thread gives after its end.
    const ESRCH: i32 = 3;
    match read {
        Err(error) if *error.kind() == HostErrorKind::Missing || error.errno() == Some(ESRCH) => {
            Ok(absent)
        }
        other => other,
    }
}

/// Whether a thread runs the graph, by its name. `module-rt` asks for priorities, and the main thread
/// has the name of the program.
fn is_data_thread(name: &str, program: &str) -> bool {
    name == program || name == "pw-data-loop" || name.starts_with("data-loop.")
}

/// The name of a thread, and what its file `stat` says (proc(5)).
fn parse(stat: &str) -> Option<(String, DataThread)> {
    /// The number of the first field after the name.
    const STATE: usize = 3;
    const NICE: usize = 19;
    const PRIORITY: usize = 40;
    const POLICY: usize = 41;
    // The name may have any characters, also brackets.
    let (before, after) = stat.rsplit_once(')')?;
    let name = before.split_once('(')?.1;
    let fields: Vec<&str> = after.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - STATE).copied();
    let thread = DataThread {
        name: name.to_owned(),
        class: match field(POLICY)?.parse().ok()? {
            1_u32 => Class::Fifo,
            2 => Class::RoundRobin,
            _ => Class::Other,
        },
        priority: field(PRIORITY)?.parse().ok()?,
        nice: field(NICE)?.parse().ok()?,
    };
    Some((name.to_owned(), thread))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(name: &str, nice: i32, priority: u32, policy: u32) -> String {
        // As Linux 6.12 prints it, with the fields up to 52.
        format!(
            "4711 ({name}) S 1 4700 4700 0 -1 4194368 12 0 0 0 5 3 0 0 20 {nice} 3 0 9050 97112064 2048 \
             18446744073709551615 1 1 0 0 0 0 0 4096 16384 0 0 0 -1 1 {priority} {policy} 0 0 0 0 0 0 0 0 0 0 0\n"
        )
    }

    #[test]
    fn the_class_of_a_thread_is_read_whatever_its_name() {
        for name in ["data-loop.0", "a) S 1 (b", "", "x 1 2 3"] {
            let (read, thread) = parse(&stat(name, -11, 88, 1)).unwrap();
            assert_eq!((read.as_str(), thread.class), (name, Class::Fifo));
            assert_eq!((thread.priority, thread.nice), (88, -11));
        }
        let (_, thread) = parse(&stat("pipewire", 0, 20, 2)).unwrap();
        assert_eq!((thread.class, thread.priority), (Class::RoundRobin, 20));
        let (_, thread) = parse(&stat("pipewire", 0, 0, 0)).unwrap();
        assert!(!thread.is_real_time());
        for damaged in ["", "4711 (pipewire", "4711 (pipewire) S 1 2", ")("] {
            assert_eq!(parse(damaged), None, "{damaged}");
        }
    }

    #[test]
    fn data_threads_are_known_by_the_names_of_each_version() {
        for (name, is) in [
            ("pipewire", true),
            ("pw-data-loop", true),
            ("data-loop.0", true),
            ("data-loop.1", true),
            ("module-rt", false),
            ("pipewire-main", false),
        ] {
            assert_eq!(is_data_thread(name, "pipewire"), is, "{name}");
        }
    }

    #[test]
    fn what_has_no_priority_is_said_with_what_to_do() {
        let (_, thread) = parse(&stat("data-loop.0", 0, 0, 0)).unwrap();
        let said = describe(&[thread]);
        assert!(
            said.contains("data-loop.0 has no real-time priority"),
            "{said}"
        );
        assert!(said.contains("/etc/security/limits.d"), "{said}");
        let (_, thread) = parse(&stat("data-loop.0", -11, 88, 1)).unwrap();
        let said = describe(&[thread]);
        assert!(
            said.ends_with("(SCHED_FIFO, within the limits of its user)"),
            "{said}"
        );
    }
}
