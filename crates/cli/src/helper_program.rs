//! `hosttuned`: the helper that tunes the host for users without root.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use hosttune_helper::{
    GROUP, HOSTS, Installed, ListenError, SOCKET, Server, listen, listener_on_stdin,
};
use rustix::fs::FileType;

use super::exit::Exit;
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
        Err(Failed { why, hint, exit }) => {
            let mut text = format!("hosttuned: {why}\n");
            if let Some(hint) = hint {
                text.push_str(&format!("  try: {hint}\n"));
            }
            let _ = std::io::stderr().write_all(text.as_bytes());
            exit.into()
        }
    }
}

/// Why it does not serve, what to type, and the exit code.
struct Failed {
    why: String,
    hint: Option<String>,
    exit: Exit,
}

impl Failed {
    /// As all commands: refused, and nothing was changed.
    fn refused(why: impl Into<String>, hint: Option<String>) -> Self {
        Self {
            why: why.into(),
            hint,
            exit: Exit::Refused,
        }
    }

    /// The command line names something that does not exist.
    fn usage(why: impl Into<String>, hint: &str) -> Self {
        Self {
            why: why.into(),
            hint: Some(hint.to_owned()),
            exit: Exit::Usage,
        }
    }
}

fn serve(arguments: &Arguments) -> Result<(), Failed> {
    let plain = |error: std::io::Error| Failed::refused(error.to_string(), None);
    let root = match &arguments.root {
        // The host programs have another working directory.
        Some(root) => {
            need_directory("--root", root)?;
            Some(std::path::absolute(root).map_err(plain)?)
        }
        None => None,
    };
    let is_root = rustix::process::geteuid().is_root();
    if root.is_none() && !is_root {
        return Err(Failed::refused(
            "the helper needs root",
            Some("run it as root: sudo hosttuned".to_owned()),
        ));
    }
    let given = listener_on_stdin().map_err(plain)?;
    let listener = match given {
        Some(listener) => listener,
        None if std::env::var_os("LISTEN_FDS").is_some() => {
            return Err(Failed::refused(
                "the socket was not given as standard input",
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

/// Refuses a directory that does not exist: nothing could be tuned there, and each client would be told so.
fn need_directory(option: &str, path: &Path) -> Result<(), Failed> {
    let shown = path.display();
    let why = match rustix::fs::stat(path) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => return Ok(()),
        Ok(_) => format!("{option} {shown}: it is not a directory"),
        Err(errno) => format!("{option} {shown}: {errno}"),
    };
    Err(Failed::usage(why, "name the directory of a tree"))
}

/// A socket that is made here. A user's own helper, which works on a tree, needs no group.
fn made(arguments: &Arguments, is_root: bool) -> Result<std::os::unix::net::UnixListener, Failed> {
    let group = match groups(&arguments.group) {
        Some(group) => Some(group),
        None if !is_root => None,
        None => {
            let why = format!("there is no group {}", arguments.group);
            if arguments.group != GROUP {
                let hint = format!("omit it for the group {GROUP}, or name one of /etc/group");
                return Err(Failed::usage(format!("--group: {why}"), &hint));
            }
            let hint = format!("groupadd --system {GROUP}; usermod -aG {GROUP} USER");
            return Err(Failed::refused(why, Some(hint)));
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
            Err(Failed::refused(why, hint(&error)))
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
