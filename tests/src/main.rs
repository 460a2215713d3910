//! `scripts/vm`: runs the test machine with an interactive shell or a single command.
#![expect(
    clippy::print_stderr,
    reason = "a program reports errors on standard error"
)]

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use hosttune_test_machine::{Kernel, Machine, MachineError, Stream};

/// Exit code if the machine itself fails, as for `timeout` and `env`; commands do not use it.
const NO_MACHINE: u8 = 125;

/// Boots a machine with a stock Debian kernel and emulated hardware of every kind that hosttune tunes.
///
/// It sees this machine's /usr and this checkout, read-only. Its changes are lost when it ends. The
/// exit code is that of the command or shell, or 125 if the machine failed.
#[derive(Debug, Parser)]
#[command(name = "scripts/vm")]
struct Options {
    /// Kernel to boot: 6.1, 6.12 or newest.
    #[arg(long, default_value = "6.12", value_name = "KERNEL")]
    kernel: Kernel,

    /// Add a parameter to the kernel command line; can be repeated.
    #[arg(long = "parameter", value_name = "PARAMETER")]
    parameters: Vec<String>,

    /// Kill the machine if the command takes longer than this.
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    time_limit: u64,

    /// Kill the machine if it takes longer than this to start [default: 300].
    #[arg(long, value_name = "SECONDS")]
    start_limit: Option<u64>,

    /// Command to run, with its arguments (default: an interactive shell).
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("scripts/vm: {error}");
            ExitCode::from(NO_MACHINE)
        }
    }
}

fn run(options: &Options) -> Result<ExitCode, MachineError> {
    let checkout = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let mut machine = Machine::own(options.kernel, "scripts/vm").share(checkout);
    for parameter in &options.parameters {
        machine = machine.parameter(parameter);
    }
    if let Some(seconds) = options.start_limit {
        machine = machine.start_within(Duration::from_secs(seconds));
    }
    // The host binaries are in the same directory as this program.
    let this = std::env::current_exe().ok();
    if let Some(programs) = this.as_deref().and_then(|path| path.parent()) {
        machine = machine.programs(programs);
    }
    let code = if options.command.is_empty() {
        let mut machine = machine.on_this_terminal().boot()?;
        // A new session with the console as controlling terminal, so that Ctrl-C reaches the running command.
        let size = rustix::termios::tcgetwinsize(std::io::stdin());
        let size = size.map(|size| format!("rows {} cols {}", size.ws_row, size.ws_col));
        let shell = format!(
            "stty sane {} </dev/console; cd /root; \
             printf '\\r\\nLinux %s. Your changes are lost when the machine ends; it ends with this shell.\\r\\n' \
             \"$(uname -r)\" >/dev/console; \
             export PS1='\\h:\\w# '; exec setsid --wait --ctty bash -i </dev/console >/dev/console 2>&1",
            size.unwrap_or_default(),
        );
        let ended = machine.shell(&shell, Duration::MAX / 4, &mut |_, _| {})?;
        // QEMU restores the terminal settings only if it exits by itself.
        machine.power_off()?;
        ended.code
    } else {
        let mut machine = machine.boot()?;
        let limit = Duration::from_secs(options.time_limit);
        let ended = machine.program(&options.command, limit, &mut |stream, bytes| {
            // If the output cannot be written, the command still runs to completion.
            let _ = match stream {
                Stream::Out => std::io::stdout().write_all(bytes),
                Stream::Err => std::io::stderr().write_all(bytes),
            };
        })?;
        let _ = std::io::stdout().flush();
        ended.code
    };
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
}
