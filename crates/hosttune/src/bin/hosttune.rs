//! `hosttune`: the commands that need no host profile.

fn main() -> std::process::ExitCode {
    hosttune::cli::tool()
}
