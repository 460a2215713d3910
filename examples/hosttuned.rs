//! `hosttuned`: the helper that tunes the host for users without root. It is no host: it executes installed hosts.

fn main() -> std::process::ExitCode {
    hosttune::cli::helper()
}
