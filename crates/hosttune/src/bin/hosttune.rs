//! `hosttune`: what can be asked of any host, without a profile.

fn main() -> std::process::ExitCode {
    hosttune::cli::tool()
}
