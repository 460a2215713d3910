//! Keeps the machines that tests share running until its standard input ends: `scripts/test` starts it before
//! it builds the tests, so that the machines have started when the first test wants one.
#![expect(
    clippy::print_stderr,
    reason = "a program says on its standard error why it cannot go on"
)]

use std::io::Read;
use std::process::ExitCode;

use clap::Parser;
use hosttune_test_machine::{Kernel, broker};

/// Keeps the machines that tests share running until its standard input ends.
#[derive(Debug, Parser)]
#[command(name = "machines")]
struct Options {
    /// Which kernels: 6.1, 6.12, newest. All of them if none is named.
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
    // Until the thread has its socket, or has ended because another process is the broker already.
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
