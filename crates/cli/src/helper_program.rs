//! `hosttuned`: the helper that tunes the host for users without root.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use hosttune_helper::{
    GROUP, HOSTS, Installed, ListenError, SOCKET, Server, listen, listener_on_stdin,
};

use super::helper_hint::group_id;

/// Tune this host for users without root, while their commands run. systemd starts it when a user connects; started
/// by hand it makes the socket itself
#[derive(Debug, Parser)]
#[command(name = "hosttuned", version)]
struct Arguments {
    /// The socket to make if systemd gives none
    #[arg(long, value_name = "FILE", default_value = SOCKET)]
    socket: PathBuf,
    /// The group whose members may connect
    #[arg(long, value_name = "NAME", default_value = GROUP)]
    group: String,
    /// Where root has installed the host programs that may be executed
    #[arg(long, value_name = "DIR", default_value = HOSTS)]
    hosts: PathBuf,
    /// Have the host programs tune the tree beneath DIR instead of the running system
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
}

/// Runs the program `hosttuned`; called from its `main`.
pub fn helper() -> ExitCode {
    let arguments = Arguments::parse();
    match serve(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err((why, hint)) => {
            let mut text = format!("hosttuned: {why}\n");
            if let Some(hint) = hint {
                text.push_str(&format!("  try: {hint}\n"));
            }
            let _ = std::io::stderr().write_all(text.as_bytes());
            // As all commands: refused, and nothing was changed.
            ExitCode::from(3)
        }
    }
}

type Failed = (String, Option<String>);

fn serve(arguments: &Arguments) -> Result<(), Failed> {
    let plain = |error: std::io::Error| (error.to_string(), None);
    let root = match &arguments.root {
        // The host programs have another working directory.
        Some(root) => Some(std::path::absolute(root).map_err(plain)?),
        None => None,
    };
    let is_root = rustix::process::geteuid().is_root();
    if root.is_none() && !is_root {
        return Err((
            "the helper needs root".to_owned(),
            Some("run it as root: sudo hosttuned".to_owned()),
        ));
    }
    let given = listener_on_stdin().map_err(plain)?;
    let listener = match given {
        Some(listener) => listener,
        None if std::env::var_os("LISTEN_FDS").is_some() => {
            return Err((
                "the socket was not given as standard input".to_owned(),
                Some("add StandardInput=socket to the unit, or unset LISTEN_FDS".to_owned()),
            ));
        }
        None => made(arguments, is_root)?,
    };
    let mut fixed: Vec<OsString> = Vec::new();
    if let Some(root) = root {
        fixed.extend(["--root".into(), root.into_os_string()]);
    }
    let installed = Installed::new(&arguments.hosts);
    let mut server = Server::new(listener, installed, fixed, std::io::stderr()).map_err(plain)?;
    server.run().map_err(plain)
}

/// A socket that is made here. A user's own helper, which works on a tree, needs no group.
fn made(arguments: &Arguments, is_root: bool) -> Result<std::os::unix::net::UnixListener, Failed> {
    let group = match groups(&arguments.group) {
        Some(group) => Some(group),
        None if !is_root => None,
        None => {
            return Err((
                format!("there is no group {}", arguments.group),
                Some(format!(
                    "groupadd --system {0}; usermod -aG {0} USER",
                    arguments.group
                )),
            ));
        }
    };
    let group = group.filter(|_| is_root);
    match listen(&arguments.socket, group) {
        Ok(listening) => {
            let text = format!("hosttuned: listening on {}\n", listening.path.display());
            let _ = std::io::stderr().write_all(text.as_bytes());
            Ok(listening.listener)
        }
        Err(error) => {
            let mut why = error.to_string();
            if let Some(source) = std::error::Error::source(&error) {
                why.push_str(&format!(": {source}"));
            }
            Err((why, hint(&error)))
        }
    }
}

fn hint(error: &ListenError) -> Option<String> {
    match error {
        ListenError::Taken(_) => {
            Some("systemctl stop hosttuned.socket hosttuned.service".to_owned())
        }
        // What it is and whose is not known here, so nothing is to be removed or changed.
        ListenError::NotASocket(_) | ListenError::Directory(_) => Some(format!(
            "choose a place in a directory that only root can write: --socket {SOCKET}"
        )),
        _ => None,
    }
}

/// The ID of a group of this machine.
#[expect(
    clippy::disallowed_methods,
    reason = "the group of the socket is one of this machine, also with --root"
)]
fn groups(name: &str) -> Option<u32> {
    let bytes = std::fs::read("/etc/group").unwrap_or_default();
    group_id(&String::from_utf8_lossy(&bytes), name)
}
