//! The side of those who borrow.

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

/// A shared machine, for as long as this value lasts.
///
/// Dropped without [`give_back`](Self::give_back) the machine ends and the next one who asks gets
/// another.
#[derive(Debug)]
pub struct Borrowed {
    kernel: Kernel,
    release: String,
    to: UnixStream,
    from: BufReader<UnixStream>,
}

/// Keeps shared machines running; they may end once this is dropped.
#[derive(Debug)]
pub struct Held(#[expect(dead_code, reason = "the connection is what holds them")] UnixStream);

/// Has machines with these kernels started and kept, where a broker runs already.
///
/// # Errors
///
/// Where none runs, or another version of one.
pub fn hold(kernels: &[Kernel]) -> Result<Held, MachineError> {
    let place = Place::open().map_err(unreachable_broker)?;
    let (mut to, _) =
        connect(&place)?.ok_or_else(|| unreachable_broker(io::ErrorKind::NotFound.into()))?;
    let names: Vec<&str> = kernels.iter().map(|kernel| kernel.name()).collect();
    protocol::write(&mut to, HOLD, names.join(" ").as_bytes()).map_err(unreachable_broker)?;
    Ok(Held(to))
}

impl Borrowed {
    /// Borrows the machine with this kernel: waits for its turn, and where there is no broker yet,
    /// starts one by this command.
    ///
    /// # Errors
    ///
    /// Where there is no machine to be had, with the reason.
    pub fn borrow(kernel: Kernel, broker: &mut Command) -> Result<Self, MachineError> {
        let place = Place::open().map_err(unreachable_broker)?;
        // As a watchdog only: each turn of the loop ends by itself.
        let begun = Instant::now();
        let (mut to, mut from) = loop {
            if let Some(connected) = connect(&place)? {
                break connected;
            }
            if begun.elapsed() > Duration::from_secs(60) {
                let log = std::fs::read_to_string(place.log()).unwrap_or_default();
                return Err(MachineError::Broker {
                    problem: format!("none can be started; it said: {log}"),
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

    /// The kernel that it runs.
    #[must_use]
    pub fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// What `uname -r` says in it.
    #[must_use]
    pub fn release(&self) -> &str {
        &self.release
    }

    /// Runs a program with its arguments, five minutes at most.
    ///
    /// # Errors
    ///
    /// Where the machine ends or hangs meanwhile. A program that fails is no error here.
    pub fn run<A: AsRef<str>>(&mut self, program: &[A]) -> Result<Output, MachineError> {
        self.shell(&quoted(program), Duration::from_secs(300), &mut |_, _| {})
    }

    /// Evaluates a text in the machine's shell (`dash`), and shows what it prints while it does.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run); also where it takes longer than `limit`, which ends the machine.
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

    /// Gives the machine back to be lent again: it is as it was.
    pub fn give_back(mut self) {
        let _ = protocol::write(&mut self.to, GIVE_BACK, b"");
    }
}

/// A connection that was welcomed; nothing where no broker answers.
fn connect(place: &Place) -> Result<Option<(UnixStream, BufReader<UnixStream>)>, MachineError> {
    let Ok(to) = UnixStream::connect(place.socket()) else {
        return Ok(None);
    };
    let mut from = BufReader::new(to.try_clone().map_err(unreachable_broker)?);
    match protocol::read(&mut from) {
        Ok(Some(frame)) if frame.word == WELCOME => Ok(Some((to, from))),
        Ok(Some(_)) => Err(MachineError::Broker {
            problem: "it is of another version: wait until the other run has ended".to_owned(),
        }),
        // It was about to end.
        Ok(None) | Err(_) => Ok(None),
    }
}

/// Starts a broker that outlives this process, and waits until it can be asked or has found another.
fn start(place: &Place, broker: &mut Command) -> io::Result<()> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(place.log())?;
    let mut child = broker
        .env(BROKER, "1")
        // Not of this process's group: an interrupt on the terminal is for the tests, and the broker ends
        // with them.
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
            Some(frame) => format!("it answered {:?}", frame.word),
            None => "it ended".to_owned(),
        },
    }
}

fn unreachable_broker(source: io::Error) -> MachineError {
    file_error(std::path::Path::new("the machines' broker"), "asked")(source)
}
