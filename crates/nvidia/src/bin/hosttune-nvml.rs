//! Makes one call of NVML, the NVIDIA driver's management library, for a host program that is linked
//! statically and cannot load a library.
//!
//! It must be linked dynamically: `RUSTFLAGS= cargo install --locked --path crates/nvidia --features nvml
//! --root /usr/local`. The empty `RUSTFLAGS` take the place of those in `.cargo/config.toml`.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "its answer goes to the standard output, and how to call it to the standard error"
)]

use std::process::ExitCode;

use hosttune_nvidia::runtime::{Call, LoadedLibrary, PROTOCOL};

const USAGE: &str = "hosttune-nvml is started by the host programs of hosttune: hosttune-nvml 1 CALL, where CALL is JSON such as {\"call\":\"power-limits\",\"gpu\":\"0000:01:00.0\"}";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let [protocol, call] = arguments.as_slice() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    if protocol != PROTOCOL {
        eprintln!(
            "hosttune-nvml has protocol {PROTOCOL} and was asked in {protocol}: install it and the host program from the same version"
        );
        return ExitCode::from(2);
    }
    let call: Call = match serde_json::from_str(call) {
        Ok(call) => call,
        Err(error) => {
            eprintln!("hosttune-nvml does not know the call: {error}; {USAGE}");
            return ExitCode::from(2);
        }
    };
    let answer = call.make(&mut LoadedLibrary::new());
    match serde_json::to_string(&answer) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("hosttune-nvml cannot write its answer: {error}");
            ExitCode::FAILURE
        }
    }
}
