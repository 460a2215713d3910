//! `scripts/vm`: the test machine with a shell for a person, or for one command.
#![expect(
    clippy::print_stderr,
    reason = "a program says on its standard error why it cannot go on"
)]

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use hosttune_test_machine::{Kernel, Machine, MachineError, Stream};

/// Where the machine itself fails: as `timeout` and `env` have it, none that a command would use.
const NO_MACHINE: u8 = 125;

/// Boots a machine with a stock Debian kernel and the hardware that hosttune tunes, emulated.
///
/// It sees this machine's /usr and this checkout, read-only; what it changes is gone with it. The
/// exit code is the command's, or the shell's; 125 where there is no machine.
#[derive(Debug, Parser)]
#[command(name = "scripts/vm")]
struct Options {
    /// Which kernel: 6.1, 6.12 or newest.
    #[arg(long, default_value = "6.12", value_name = "KERNEL")]
    kernel: Kernel,

    /// Added to the kernel's command line; may be said more than once.
    #[arg(long = "parameter", value_name = "PARAMETER")]
    parameters: Vec<String>,

    /// Seconds after which a command that has not ended is given up, with the machine.
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    time_limit: u64,

    /// Seconds after which a machine that does not come up is given up [default: 300].
    #[arg(long, value_name = "SECONDS")]
    start_limit: Option<u64>,

    /// What to run in it, with its arguments; without one, a shell.
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
    // Where this program lies, the host binaries do.
    let this = std::env::current_exe().ok();
    if let Some(programs) = this.as_deref().and_then(|path| path.parent()) {
        machine = machine.programs(programs);
    }
    let code = if options.command.is_empty() {
        let mut machine = machine.on_this_terminal().boot()?;
        // A session of its own with the console as its terminal, so that keys reach what runs.
        let size = rustix::termios::tcgetwinsize(std::io::stdin());
        let size = size.map(|size| format!("rows {} cols {}", size.ws_row, size.ws_col));
        let shell = format!(
            "stty sane {} </dev/console; cd /root; \
             printf '\\r\\nLinux %s. What you change is gone with the machine; it ends with this shell.\\r\\n' \
             \"$(uname -r)\" >/dev/console; \
             export PS1='\\h:\\w# '; exec setsid --wait --ctty bash -i </dev/console >/dev/console 2>&1",
            size.unwrap_or_default(),
        );
        let ended = machine.shell(&shell, Duration::MAX / 4, &mut |_, _| {})?;
        // QEMU gives the terminal back as it found it when it may end by itself.
        machine.power_off()?;
        ended.code
    } else {
        let mut machine = machine.boot()?;
        let limit = Duration::from_secs(options.time_limit);
        let ended = machine.program(&options.command, limit, &mut |stream, bytes| {
            // Where nobody listens any more, the command is still run to its end.
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
