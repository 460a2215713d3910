//! The client side.

use std::fs::File;
use std::io::{self, BufReader};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::protocol::{
    self, BORROW, END, ERR, FAILED, Frame, GIVE_BACK, HOLD, LENT, LIMIT, OUT, SHELL, WELCOME,
};
use super::{BROKER, Place};
use crate::error::file_error;
use crate::shell::quoted;
use crate::{Kernel, MachineError, Output, Stream};

/// Exclusive use of a shared machine, for the lifetime of this value.
///
/// If it is dropped without [`give_back`](Self::give_back), the machine ends and the next borrower gets a new
/// one.
#[derive(Debug)]
pub struct Borrowed {
    kernel: Kernel,
    release: String,
    to: UnixStream,
    from: BufReader<UnixStream>,
}

/// Keeps shared machines running until it is dropped.
#[derive(Debug)]
pub struct Held(#[expect(dead_code, reason = "the open connection holds the machines")] UnixStream);

/// Requests the running broker to start machines with these kernels and to keep them.
///
/// # Errors
///
/// Fails if no broker is running, or one of another version.
pub fn hold(kernels: &[Kernel]) -> Result<Held, MachineError> {
    let place = Place::open().map_err(unreachable_broker)?;
    let (mut to, _) =
        connect(&place)?.ok_or_else(|| unreachable_broker(io::ErrorKind::NotFound.into()))?;
    let names: Vec<&str> = kernels.iter().map(|kernel| kernel.name()).collect();
    protocol::write(&mut to, HOLD, names.join(" ").as_bytes()).map_err(unreachable_broker)?;
    Ok(Held(to))
}

impl Borrowed {
    /// Waits until the machine with this kernel is free and borrows it. If no broker is running yet, starts one
    /// with the given command.
    ///
    /// # Errors
    ///
    /// Fails with the reason if no machine is available.
    pub fn borrow(kernel: Kernel, broker: &mut Command) -> Result<Self, MachineError> {
        let place = Place::open().map_err(unreachable_broker)?;
        // Only a watchdog: each iteration of the loop terminates.
        let begun = Instant::now();
        let (mut to, mut from) = loop {
            if let Some(connected) = connect(&place)? {
                break connected;
            }
            if begun.elapsed() > Duration::from_secs(60) {
                let log = std::fs::read_to_string(place.log()).unwrap_or_default();
                return Err(MachineError::Broker {
                    problem: format!("the broker does not start; its log: {log}"),
                });
            }
            start(&place, broker).map_err(unreachable_broker)?;
        };
        protocol::write(&mut to, BORROW, kernel.name().as_bytes()).map_err(unreachable_broker)?;
        let answer = protocol::read(&mut from).map_err(unreachable_broker)?;
        match answer {
            Some(answer) if answer.word == LENT => Ok(Self {
                kernel,
                release: answer.text(),
                to,
                from,
            }),
            other => Err(refused(other)),
        }
    }

    /// The kernel of the machine.
    #[must_use]
    pub fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// The kernel release, as `uname -r` prints it.
    #[must_use]
    pub fn release(&self) -> &str {
        &self.release
    }

    /// Runs a program with its arguments, for at most five minutes.
    ///
    /// # Errors
    ///
    /// Fails if the machine ends or hangs. The failure of the program is not an error.
    pub fn run<A: AsRef<str>>(&mut self, program: &[A]) -> Result<Output, MachineError> {
        self.shell(&quoted(program), Duration::from_secs(300), &mut |_, _| {})
    }

    /// Runs a script in the machine's shell (`dash`) and passes its output to `show` as it arrives.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run). Also fails, and ends the machine, if the script takes longer than `limit`.
    pub fn shell(
        &mut self,
        text: &str,
        limit: Duration,
        show: &mut dyn FnMut(Stream, &[u8]),
    ) -> Result<Output, MachineError> {
        let seconds = limit.as_secs().to_string();
        protocol::write(&mut self.to, LIMIT, seconds.as_bytes()).map_err(unreachable_broker)?;
        protocol::write(&mut self.to, SHELL, text.as_bytes()).map_err(unreachable_broker)?;
        let mut output = Output {
            code: 0,
            stdout: Vec::new(),
            stderr: Vec::new(),
        };
        loop {
            let frame = protocol::read(&mut self.from).map_err(unreachable_broker)?;
            match frame {
                Some(frame) if frame.word == OUT => {
                    show(Stream::Out, &frame.bytes);
                    output.stdout.extend(frame.bytes);
                }
                Some(frame) if frame.word == ERR => {
                    show(Stream::Err, &frame.bytes);
                    output.stderr.extend(frame.bytes);
                }
                Some(frame) if frame.word == END => {
                    output.code = frame.text().parse().unwrap_or(-1);
                    return Ok(output);
                }
                other => return Err(refused(other)),
            }
        }
    }

    /// Gives the machine back, unchanged, so that it can be lent again.
    pub fn give_back(mut self) {
        let _ = protocol::write(&mut self.to, GIVE_BACK, b"");
    }
}

/// Connects to the broker and reads its welcome. Returns `None` if no broker answers.
fn connect(place: &Place) -> Result<Option<(UnixStream, BufReader<UnixStream>)>, MachineError> {
    let Ok(to) = UnixStream::connect(place.socket()) else {
        return Ok(None);
    };
    let mut from = BufReader::new(to.try_clone().map_err(unreachable_broker)?);
    match protocol::read(&mut from) {
        Ok(Some(frame)) if frame.word == WELCOME => Ok(Some((to, from))),
        Ok(Some(_)) => Err(MachineError::Broker {
            problem:
                "a broker of another version is running: wait until the other test run has ended"
                    .to_owned(),
        }),
        // The broker was about to exit.
        Ok(None) | Err(_) => Ok(None),
    }
}

/// Starts a broker that outlives this process. Waits until it accepts connections, or exits because another one
/// runs.
fn start(place: &Place, broker: &mut Command) -> io::Result<()> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(place.log())?;
    let mut child = broker
        .env(BROKER, "1")
        // In its own process group, because Ctrl-C on the terminal is for the tests. The broker exits when
        // they have ended.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?;
    loop {
        if UnixStream::connect(place.socket()).is_ok() {
            return Ok(());
        }
        if child.try_wait()?.is_some() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn refused(answer: Option<Frame>) -> MachineError {
    MachineError::Broker {
        problem: match answer {
            Some(frame) if frame.word == FAILED => frame.text(),
            Some(frame) => format!("unexpected answer {:?} from the broker", frame.word),
            None => "the broker exited".to_owned(),
        },
    }
}

fn unreachable_broker(source: io::Error) -> MachineError {
    file_error(
        std::path::Path::new("the broker of the test machines"),
        "reached",
    )(source)
}
