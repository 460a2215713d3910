//! The facts of this machine, or of the tree beneath a directory that is given; `--json` for a
//! program.

use hosttune_core::{Host, HostError, LinuxHost};
use hosttune_facts::Facts;

#[expect(
    clippy::print_stdout,
    reason = "a program prints what it was asked for"
)]
fn main() -> Result<(), HostError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let root = arguments
        .iter()
        .find(|argument| !argument.starts_with("--"));
    let facts = Facts::of(&Host::new(LinuxHost::at(root.map_or("/", String::as_str))?));
    if arguments.iter().any(|argument| argument == "--json") {
        println!("{:#}", serde_json::json!(facts));
    } else {
        print!("{facts}");
    }
    Ok(())
}
