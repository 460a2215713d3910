//! Child processes: every program that a backend starts is started here, by one of a fixed list of
//! paths, without a shell, and with an environment that is set and not inherited.
//!
//! Programs that become a user's command (`hosttune-run`) and the helper's host programs
//! (`hosttune-helper`) are not children of this kind: they get what their user has.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, SeekFrom};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::child_guard;
use crate::host::linux::write_all;
use crate::host::regular;

/// The longest output that is kept of a child, in bytes. The longest that is expected is a boot menu.
const LONGEST_OUTPUT: u64 = 16 << 20;

/// A program to be started.
///
/// ```
/// use hosttune_core::child::{Child, NotRun};
///
/// let echo = Child::new(&["/bin/echo", "/run/current-system/sw/bin/echo"]).arguments(["hello"]);
/// match echo.run() {
///     Ok(ended) => assert_eq!(ended.output(), b"hello\n"),
///     Err(NotRun::NotInstalled) => {}
///     Err(error) => panic!("{error}"),
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Child {
    paths: &'static [&'static str],
    environment: Vec<(OsString, OsString)>,
    arguments: Vec<OsString>,
    input: Vec<u8>,
    makes_changes: bool,
    time_limit: Option<Duration>,
}

/// Why a program was not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotRun {
    /// None of its paths exists.
    #[error("it is not installed")]
    NotInstalled,
    /// The system did not start it, with this error number.
    #[error("cannot start {program}: {}", std::io::Error::from_raw_os_error(*.errno))]
    NotStarted {
        /// The path.
        program: &'static str,
        /// The error number, as in `errno(3)`.
        errno: i32,
    },
}

/// A program that has ended.
#[derive(Debug)]
pub struct Ended {
    program: &'static str,
    status: ExitStatus,
    output: Vec<u8>,
    messages: Vec<u8>,
    is_out_of_time: bool,
}

impl Child {
    /// The program at the first of these absolute paths that exists. `PATH` is not searched, because
    /// the caller may have set it.
    #[must_use]
    pub fn new(paths: &'static [&'static str]) -> Self {
        Self {
            paths,
            environment: Vec::new(),
            arguments: Vec::new(),
            input: Vec::new(),
            makes_changes: false,
            time_limit: None,
        }
    }

    /// Adds variables to its environment, which is empty otherwise; nothing is inherited.
    #[must_use]
    pub fn environment<N: AsRef<OsStr>, V: AsRef<OsStr>>(
        mut self,
        variables: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let variables = variables.into_iter();
        self.environment
            .extend(variables.map(|(name, value)| (name.as_ref().into(), value.as_ref().into())));
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn arguments<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        let arguments = arguments.into_iter();
        self.arguments
            .extend(arguments.map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Sets what it reads from its standard input; by default that is empty. A child that
    /// [makes changes](Self::makes_changes) has none.
    #[must_use]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self
    }

    /// Says that it changes the host: as its standard input it holds the lock of
    /// [`child_guard`], so that whoever recovers from a kill of this program waits
    /// for it.
    #[must_use]
    pub fn makes_changes(mut self) -> Self {
        self.makes_changes = true;
        self
    }

    /// Kills it, and the other processes of its group, after this time. By default it is waited for
    /// without a limit.
    #[must_use]
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = Some(limit);
        self
    }

    /// Runs it to its end.
    ///
    /// It has a process group of its own: Ctrl-C signals the foreground process group, and the child
    /// finishes its change before the caller stops. Its output goes to memory and not through pipes,
    /// so that neither a process that it leaves behind nor much output makes it hang.
    ///
    /// # Errors
    /// If it is not installed or cannot be started. That it failed is in [`Ended`].
    pub fn run(&self) -> Result<Ended, NotRun> {
        for program in self.paths {
            match self.run_at(program) {
                Err(NotRun::NotStarted { errno, .. }) if errno == Errno::NOENT.raw_os_error() => {}
                ran => return ran,
            }
        }
        Err(NotRun::NotInstalled)
    }

    fn run_at(&self, program: &'static str) -> Result<Ended, NotRun> {
        let not_started = |errno: Errno| NotRun::NotStarted {
            program,
            errno: errno.raw_os_error(),
        };
        let of_io =
            |error: std::io::Error| not_started(Errno::from_io_error(&error).unwrap_or(Errno::IO));
        let output = MemoryFile::new().map_err(not_started)?;
        let messages = MemoryFile::new().map_err(not_started)?;
        let input = match self.makes_changes {
            true => child_guard::stdin(),
            false if self.input.is_empty() => Stdio::null(),
            false => MemoryFile::with(&self.input)
                .map_err(not_started)?
                .into_stdio(),
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place where the programs of backends are started"
        )]
        let mut child = Command::new(program)
            .process_group(0)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .args(&self.arguments)
            .stdin(input)
            .stdout(output.stdio().map_err(of_io)?)
            .stderr(messages.stdio().map_err(of_io)?)
            .spawn()
            .map_err(of_io)?;
        let (status, is_out_of_time) = self.waited_for(&mut child).map_err(of_io)?;
        Ok(Ended {
            program,
            status,
            output: output.read().map_err(not_started)?,
            messages: messages.read().map_err(not_started)?,
            is_out_of_time,
        })
    }

    /// Waits for the end, and for the time limit.
    fn waited_for(&self, child: &mut std::process::Child) -> std::io::Result<(ExitStatus, bool)> {
        let Some(limit) = self.time_limit else {
            return Ok((child.wait()?, false));
        };
        let begun = Instant::now();
        let mut pause = Duration::from_millis(1);
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok((status, false));
            }
            let left = limit.saturating_sub(begun.elapsed());
            if left.is_zero() {
                break;
            }
            thread::sleep(pause.min(left));
            pause = (pause * 2).min(Duration::from_millis(50));
        }
        // The number of a child that has not been waited for is not given to another process.
        if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        Ok((child.wait()?, true))
    }
}

impl Ended {
    /// The path of the program.
    pub fn program(&self) -> &'static str {
        self.program
    }

    /// Whether it ended by itself, with the exit code 0.
    pub fn is_success(&self) -> bool {
        self.status.success() && !self.is_out_of_time
    }

    /// What it has written to its standard output.
    pub fn output(&self) -> &[u8] {
        &self.output
    }

    /// What it has written to its standard output, without a copy.
    pub fn into_output(self) -> Vec<u8> {
        self.output
    }

    /// What it has written to its standard error.
    pub fn messages(&self) -> String {
        String::from_utf8_lossy(&self.messages).into_owned()
    }

    /// How it ended and the last lines of what it said, for an error.
    pub fn failure(&self) -> String {
        use std::os::unix::process::ExitStatusExt;

        const LINES: usize = 3;
        let how = match (
            self.is_out_of_time,
            self.status.code(),
            self.status.signal(),
        ) {
            (true, ..) => "did not end in time and was killed".to_owned(),
            (false, Some(0), _) => "succeeded".to_owned(),
            (false, Some(code), _) => format!("failed with exit code {code}"),
            (false, None, Some(signal)) => format!("was killed by signal {signal}"),
            (false, None, None) => "failed".to_owned(),
        };
        let messages = self.messages();
        let lines: Vec<&str> = messages
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        let last = &lines[lines.len().saturating_sub(LINES)..];
        match last.is_empty() {
            true => format!("{} {how}", self.program),
            false => format!("{} {how}: {}", self.program, last.join("; ")),
        }
    }
}

/// What a child reads or writes, in memory.
struct MemoryFile(OwnedFd);

impl MemoryFile {
    fn new() -> Result<Self, Errno> {
        rustix::fs::memfd_create("hosttune-child", MemfdFlags::CLOEXEC).map(Self)
    }

    fn with(bytes: &[u8]) -> Result<Self, Errno> {
        let file = Self::new()?;
        write_all(&file.0, bytes)?;
        rustix::fs::seek(&file.0, SeekFrom::Start(0))?;
        Ok(file)
    }

    fn stdio(&self) -> std::io::Result<Stdio> {
        Ok(Stdio::from(self.0.try_clone()?))
    }

    fn into_stdio(self) -> Stdio {
        Stdio::from(self.0)
    }

    fn read(&self) -> Result<Vec<u8>, Errno> {
        rustix::fs::seek(&self.0, SeekFrom::Start(0))?;
        regular::read_all(&self.0, LONGEST_OUTPUT).map_err(|_| Errno::FBIG)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHELL: &[&str] = &["/not/there", "/bin/sh"];

    fn shell(script: &str) -> Child {
        Child::new(SHELL).arguments(["-c", script])
    }

    #[test]
    fn output_and_messages_are_kept_and_nothing_is_inherited() {
        let ended = shell("echo out; echo one >&2; echo two >&2; pwd; /usr/bin/env; read line && echo $line; exit 3")
            .environment([("LC_ALL", "C")])
            .run()
            .unwrap();
        assert!(!ended.is_success());
        assert_eq!(ended.failure(), "/bin/sh failed with exit code 3: one; two");
        let output = String::from_utf8_lossy(ended.output()).into_owned();
        let mut names: Vec<&str> = output
            .lines()
            .skip(2)
            .filter_map(|line| Some(line.split_once('=')?.0))
            // The shell sets these itself.
            .filter(|name| !matches!(*name, "PWD" | "OLDPWD" | "SHLVL" | "_"))
            .collect();
        names.sort_unstable();
        assert!(output.starts_with("out\n/\n"), "{output}");
        assert_eq!(names, ["LC_ALL"]);
    }

    #[test]
    fn input_is_read_by_the_child() {
        let ended = shell("cat; echo end").input("one\ntwo\n").run().unwrap();
        assert_eq!(ended.into_output(), b"one\ntwo\nend\n");
    }

    #[test]
    fn a_program_that_is_not_there_is_told_from_one_that_does_not_start() {
        let missing = Child::new(&["/not/there", "/nor/there"]).run();
        assert_eq!(missing.unwrap_err(), NotRun::NotInstalled);
        let error = Child::new(&["/etc"]).run().unwrap_err();
        assert!(
            error.to_string().starts_with("cannot start /etc: "),
            "{error}"
        );
        let killed = shell("kill -9 $$").run().unwrap();
        assert_eq!(killed.failure(), "/bin/sh was killed by signal 9");
        assert!(shell("exit 0").run().unwrap().is_success());
    }

    /// Nor is a process that it leaves behind waited for, although that has its output open.
    #[test]
    fn much_output_and_a_process_left_behind_do_not_make_it_hang() {
        let ended = shell("i=0; while [ $i -lt 3000 ]; do echo 0123456789012345678901234567890123456789 >&2; i=$((i+1)); done; sleep 100000 & echo $!")
            .run()
            .unwrap();
        assert!(ended.is_success());
        assert_eq!(ended.messages().len(), 3000 * 41);
        let left = String::from_utf8_lossy(ended.output())
            .trim()
            .parse::<i32>();
        let left = Pid::from_raw(left.unwrap()).unwrap();
        rustix::process::kill_process(left, Signal::KILL).unwrap();
    }

    #[expect(clippy::disallowed_methods, reason = "a process of this test")]
    fn runs(process: i32) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
        state.is_some_and(|state| !state.starts_with('Z'))
    }

    #[test]
    fn after_the_time_limit_its_whole_group_is_killed() {
        let mut limit = Duration::from_millis(200);
        // A machine that has not started the program in time gets more.
        let (ended, inner) = loop {
            let ended = shell("sleep 100000 & echo $!; wait")
                .time_limit(limit)
                .run()
                .unwrap();
            let said = String::from_utf8_lossy(ended.output()).into_owned();
            match said.strip_suffix('\n').map(str::parse::<i32>) {
                Some(Ok(inner)) => break (ended, inner),
                _ => limit *= 2,
            }
        };
        assert!(!ended.is_success());
        assert_eq!(
            ended.failure(),
            "/bin/sh did not end in time and was killed"
        );
        let begun = Instant::now();
        while runs(inner) && begun.elapsed() < Duration::from_secs(300) {
            thread::sleep(Duration::from_millis(5));
        }
        assert!(!runs(inner));
        // One that ends in time is not killed.
        let ended = shell("exit 0").time_limit(Duration::from_secs(300)).run();
        assert!(ended.unwrap().is_success());
    }
}
