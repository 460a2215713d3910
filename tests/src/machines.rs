//! Keeps the shared machines running until end of file on standard input. `scripts/test` starts this program
//! before the tests, so that the machines are running when the first test needs one.
#![expect(
    clippy::print_stderr,
    reason = "a program reports errors on standard error"
)]

use std::io::Read;
use std::process::ExitCode;

use clap::Parser;
use hosttune_test_machine::{Kernel, broker};

/// Keeps the shared test machines running until end of file on standard input.
#[derive(Debug, Parser)]
#[command(name = "machines")]
struct Options {
    /// Kernels to start: 6.1, 6.12, newest (default: all).
    kernels: Vec<Kernel>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let kernels = if options.kernels.is_empty() {
        Kernel::ALL.to_vec()
    } else {
        options.kernels
    };
    let broker = std::thread::spawn(broker::serve);
    let mut held = broker::hold(&kernels);
    // Until the thread listens on its socket, or returns because another process is the broker.
    while held.is_err() && !broker.is_finished() {
        std::thread::sleep(std::time::Duration::from_millis(5));
        held = broker::hold(&kernels);
    }
    let held = match held.or_else(|_| broker::hold(&kernels)) {
        Ok(held) => held,
        Err(error) => {
            eprintln!("machines: {error}");
            return ExitCode::FAILURE;
        }
    };
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    drop(held);
    match broker.join() {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            eprintln!("machines: {error}");
            ExitCode::FAILURE
        }
        Err(_) => ExitCode::FAILURE,
    }
}
