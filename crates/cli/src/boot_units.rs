//! `install-units` and `uninstall-units` of the program `hosttune`: what tunes a host at boot, and for users
//! without root.
//!
//! The units are files like any other: they are journalled, and uninstalling reverts exactly. Enabling them is
//! systemd's (`systemctl enable`).

use std::path::{Path, PathBuf};

use clap::Args;
use hosttune_core::file::{ConfigFile, Directory, DirectoryState, FileState};
use hosttune_core::host::{EntryKind, FileContent};
use hosttune_core::journal::DirectoryStore;
use hosttune_core::{Error, Host, HostError, Planner, Session, Tuning};
use hosttune_helper::Installed;
use hosttune_run::helper_units::HelperUnits;
use hosttune_run::units::{Unit, Units};

use super::colour::visible;
use super::exit::Exit;
use super::failure::Failure;
use super::json;
use super::streams::Streams;

/// Where units of the administrator are.
const DIRECTORY: &str = "/etc/systemd/system";

/// Where groups of the administrator are.
const GROUPS: &str = "/etc/sysusers.d";

/// The name of the helper's program.
const HELPER: &str = "hosttuned";

/// Where a host program is looked for.
const PROGRAMS: [&str; 4] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"];

/// The arguments of `install-units`.
#[derive(Debug, Clone, Args)]
pub(super) struct InstallArguments {
    /// The host program: gaming
    host: String,
    /// Its file (default: the first in /usr/local/sbin, /usr/local/bin, /usr/sbin, /usr/bin)
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// The helper's file, for its socket and service (default: hosttuned, looked for in the same places)
    #[arg(long, value_name = "FILE")]
    helper: Option<PathBuf>,
    /// Also write a unit that keeps hot-plugged devices tuned, for a host with the command watch
    #[arg(long)]
    watch: bool,
    /// Options for the host program: -- --only cpu,memory
    #[arg(last = true, value_name = "OPTIONS")]
    options: Vec<String>,
}

/// The arguments of `uninstall-units`.
#[derive(Debug, Clone, Args)]
pub(super) struct UninstallArguments {
    /// The host program: gaming
    host: String,
}

/// The end of the name under which the units of a host are journalled.
const UNITS_OWNER: &str = ".units";

/// How a file that did not exist is printed.
const ABSENT: &str = "absent";

/// The units as files.
struct Files {
    units: Vec<Unit>,
    group: Option<Unit>,
}

impl Tuning for Files {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        for unit in &self.units {
            let file = ConfigFile::new(format!("{DIRECTORY}/{}", unit.name))?;
            let wanted = FileState::Present(FileContent::new(unit.text.clone()));
            // A unit that could not be written, because it is masked, must not be named as one to enable.
            at.want(&file, &wanted)
                .required()
                .why(if unit.name.starts_with(HELPER) {
                    "tunes the host while commands of users run, once it is enabled"
                } else {
                    "tunes the host at boot, once it is enabled"
                });
        }
        if let Some(group) = &self.group {
            let directory = Directory::new(GROUPS)?;
            at.intermediate(&directory, &DirectoryState::Empty)
                .why("holds the file of the group");
            let file = ConfigFile::new(format!("{GROUPS}/{}", group.name))?;
            let wanted = FileState::Present(FileContent::new(group.text.clone()));
            at.want(&file, &wanted)
                .required()
                .why("the group whose members may connect to the helper");
        }
        Ok(())
    }
}

fn session(host: &str, root: Option<&Path>) -> Result<Session, Failure> {
    let owner = format!("{host}{UNITS_OWNER}");
    let session = match root {
        Some(root) if root != Path::new("/") => Session::at(root, &owner)?,
        _ => Session::live(&owner)?,
    };
    Ok(session.program(concat!("hosttune ", env!("CARGO_PKG_VERSION"))))
}

/// Writes the units.
pub(super) fn install(
    arguments: &InstallArguments,
    root: Option<&Path>,
    as_json: bool,
    streams: &mut Streams,
) -> Result<Exit, Failure> {
    let wrong = |error: hosttune_run::units::UnitsError| {
        Failure::usage(error.to_string(), "run with --help to see the arguments")
    };
    // The name is checked before it is a part of a path.
    Units::new(&arguments.host, Path::new("/"), &[]).map_err(wrong)?;
    let mut session = session(&arguments.host, root)?;
    let program = program(
        &arguments.host,
        arguments.program.as_deref(),
        session.host(),
        root,
    )?;
    let helper = helper(arguments, session.host(), root)?;
    let units = Units::new(&arguments.host, &program, &arguments.options).map_err(wrong)?;
    let mut files = vec![units.apply()];
    if arguments.watch {
        files.push(units.watch());
    }
    let names: Vec<String> = files.iter().map(|unit| unit.name.clone()).collect();
    let mut group = None;
    if let Some(helper) = &helper {
        let units = HelperUnits::new(helper).map_err(wrong)?;
        files.extend([units.socket(), units.service()]);
        group = Some(units.group());
    }
    let files = Files {
        units: files,
        group,
    };
    let applied = files.apply(&mut session)?;
    if as_json {
        streams.document(&json::applied(&applied))?;
        return Ok(Exit::Done);
    }
    let mut text = String::new();
    for step in &applied.changed {
        text.push_str(&format!("wrote {}\n", visible(&step.knob.text)));
    }
    if applied.changed.is_empty() {
        text.push_str("nothing to do: the units are there already\n");
    }
    let systemctl = match root {
        Some(root) => format!("systemctl --root {} enable", root.display()),
        None => "systemctl daemon-reload; systemctl enable --now".to_owned(),
    };
    text.push_str(&format!(
        "To tune the host at boot: {systemctl} {}\n",
        names.join(" ")
    ));
    text.push_str(&match helper {
        Some(_) => for_users(&arguments.host, &program, root, &systemctl),
        None => format!(
            "Not for users without root: there is no program {HELPER} in {}\n",
            PROGRAMS.join(", ")
        ),
    });
    if helper.is_some() {
        let devices = nvidia_devices(session.host())?;
        text.push_str(&for_nvidia(&devices, root));
    }
    streams.print(&text);
    Ok(Exit::Done)
}

/// The devices that NVML opens: that of the driver, and one for each GPU. Empty without the driver.
fn nvidia_devices(host: &Host) -> Result<Vec<String>, Failure> {
    let names = host.list_if_there("/dev").map_err(Error::from)?;
    let is_gpu = |name: &str| {
        let number = name.strip_prefix("nvidia").unwrap_or_default();
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    };
    let control = names.iter().filter(|name| *name == "nvidiactl");
    let mut gpus: Vec<&String> = names.iter().filter(|name| is_gpu(name)).collect();
    gpus.sort_by_key(|name| (name.len(), name.as_str()));
    let devices: Vec<String> = control
        .chain(gpus)
        .map(|name| format!("/dev/{name}"))
        .collect();
    // Without the first one the driver is not loaded.
    let has_driver = devices.first().is_some_and(|path| path == "/dev/nvidiactl");
    Ok(if has_driver { devices } else { Vec::new() })
}

/// What to type so that the helper can set the mode of NVIDIA GPUs, where there are any.
fn for_nvidia(devices: &[String], root: Option<&Path>) -> String {
    if devices.is_empty() {
        return String::new();
    }
    let (shown, reload) = match root {
        Some(root) => (root.display().to_string(), String::new()),
        None => (String::new(), "systemctl daemon-reload\n".to_owned()),
    };
    let unit = HelperUnits::nvidia(devices);
    format!(
        "To set maximum performance of NVIDIA GPUs as well (the part gpu), which gives CAP_SYS_ADMIN to what the \
         helper starts:\n\
         install -D -m 0644 /dev/stdin {shown}{DIRECTORY}/{} <<'END'\n{}END\n{reload}",
        unit.name, unit.text
    )
}

/// What to type so that users without root can have the host tuned.
fn for_users(host: &str, program: &Path, root: Option<&Path>, systemctl: &str) -> String {
    let (shown, sysusers) = match root {
        Some(root) => (
            root.display().to_string(),
            format!("systemd-sysusers --root={}", root.display()),
        ),
        None => (String::new(), "systemd-sysusers".to_owned()),
    };
    let mut steps = Vec::new();
    let hosts = hosttune_helper::HOSTS;
    let below = |path: &str| format!("{shown}{path}");
    if Installed::new(below(hosts)).open(host).is_err() {
        steps.push(format!(
            "install -D -o root -g root -m 0755 {} {}",
            below(&program.display().to_string()),
            below(&format!("{hosts}/{host}"))
        ));
    }
    steps.push(sysusers);
    steps.push(format!("{systemctl} {HELPER}.socket"));
    let mut text = "To tune it while commands of users run:\n".to_owned();
    for step in steps {
        text.push_str(&format!("  {step}\n"));
    }
    text.push_str("  usermod -aG hosttune USER          # who logs in again after that\n");
    text
}

/// Removes the units, or restores what was in their place.
pub(super) fn uninstall(
    arguments: &UninstallArguments,
    root: Option<&Path>,
    as_json: bool,
    streams: &mut Streams,
) -> Result<Exit, Failure> {
    let units = Units::new(&arguments.host, Path::new("/"), &[])
        .map_err(|error| Failure::usage(error.to_string(), "name a host program: gaming"))?;
    let mut session = session(&arguments.host, root)?;
    let written = session.status()?;
    let is_written = |name: &str| {
        let mut pending = written.pending.iter();
        pending.any(|pending| pending.knob.text.ends_with(&format!("/{name}")))
    };
    let mut enabled = vec![
        (units.apply().name, "multi-user.target.wants"),
        (units.watch().name, "multi-user.target.wants"),
    ];
    // The socket stays if the units of another host need it, and enabled as it is.
    let socket = format!("{HELPER}.socket");
    if is_written(&socket) && !is_needed_by_others(&arguments.host, &socket, root, &session)? {
        enabled.push((socket, "sockets.target.wants"));
    }
    for (unit, wants) in enabled {
        let link = format!("{DIRECTORY}/{wants}/{unit}");
        // Without its unit it would point to nothing, and systemd would complain at each boot.
        if session.host().entry(&link).map_err(Error::from)?.is_some() {
            return Err(Failure::StillEnabled {
                unit,
                root: root.map(Path::to_owned),
            });
        }
    }
    let reverted = session.revert()?;
    if as_json {
        streams.document(&json::reverted(&reverted, &reverted.notes, None))?;
    } else if reverted.undone.is_empty() && reverted.not_reverted.is_empty() {
        streams.print("nothing to do: there are no units of this program\n");
    } else {
        let mut text = String::new();
        for (at, undone) in reverted.undone.iter().enumerate() {
            // After two installs with different options a unit is reverted in two steps.
            let mut later = reverted.undone[at + 1..].iter();
            if later.any(|later| later.knob == undone.knob) {
                continue;
            }
            let unit = visible(&undone.knob.text);
            text.push_str(&match &undone.held_by {
                Some(owner) => {
                    let host = owner.strip_suffix(UNITS_OWNER).unwrap_or(owner);
                    format!("kept {unit} for {}\n", visible(host))
                }
                None if undone.original == ABSENT => format!("removed {unit}\n"),
                None => format!("put back {unit}: {}\n", visible(&undone.original)),
            });
        }
        for left in &reverted.not_reverted {
            text.push_str(&format!("not removed: {}\n", visible(&left.to_string())));
        }
        text.push_str(&format!(
            "What was applied at boot stays: {} revert\n",
            arguments.host
        ));
        streams.print(&text);
    }
    Ok(Exit::of_reverted(&reverted))
}

/// Whether the units of another host have this unit too, by their journals.
fn is_needed_by_others(
    host: &str,
    unit: &str,
    root: Option<&Path>,
    own: &Session,
) -> Result<bool, Failure> {
    let [_, journals] = DirectoryStore::SYSTEM;
    for name in own.host().list_if_there(journals).map_err(Error::from)? {
        let owner = name.strip_suffix(".journal").unwrap_or_default();
        let Some(other) = owner.strip_suffix(UNITS_OWNER) else {
            continue;
        };
        if other == host || other.is_empty() {
            continue;
        }
        let written = session(other, root)?.status()?;
        let mut pending = written.pending.iter();
        if pending.any(|pending| pending.knob.text.ends_with(&format!("/{unit}"))) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The helper's program; `None` if it is not installed and was not named.
fn helper(
    arguments: &InstallArguments,
    host: &Host,
    root: Option<&Path>,
) -> Result<Option<PathBuf>, Failure> {
    let named = arguments.helper.as_deref();
    if named.is_none() && found(HELPER, host).is_none() {
        return Ok(None);
    }
    program(HELPER, named, host, root).map(Some)
}

/// The first program of a name in the usual places.
fn found(name: &str, host: &Host) -> Option<PathBuf> {
    let mut candidates = PROGRAMS.iter().map(|place| Path::new(place).join(name));
    candidates.find(|path| matches!(host.entry(path), Ok(Some(_))))
}

/// A program that root will start by itself: only root may be able to change it.
fn program(
    name: &str,
    named: Option<&Path>,
    host: &Host,
    root: Option<&Path>,
) -> Result<PathBuf, Failure> {
    let found = match named {
        Some(program) => Some(program.to_owned()),
        None => found(name, host),
    };
    let Some(path) = found else {
        return Err(Failure::usage(
            format!("there is no program {name} in {}", PROGRAMS.join(", ")),
            format!(
                "install it (cargo install --locked --path examples --root /usr/local), or name it: \
                 --program /path/to/{name}"
            ),
        ));
    };
    if !path.is_absolute() {
        return Err(Failure::usage(
            format!("'{}' is not an absolute path", path.display()),
            "systemd starts programs by their absolute path",
        ));
    }
    // A tree can be that of the user who works on it.
    let us = rustix::process::geteuid().as_raw();
    if let Some(why) = changeable(&path, host, root, Some(us)).map_err(Error::from)? {
        return Err(Failure::usage(
            format!("root cannot start {} at boot: {why}", path.display()),
            "install the program where only root can change it, such as /usr/local/bin",
        ));
    }
    Ok(path)
}

/// Why others than root could change what an absolute path of a program leads to, or `None`. `trusted` is a
/// user beside root who may.
pub(super) fn changeable(
    path: &Path,
    host: &Host,
    root: Option<&Path>,
    trusted: Option<u32>,
) -> Result<Option<String>, HostError> {
    let mut place = PathBuf::new();
    for component in path.components() {
        place.push(component);
        let why = match host.entry(&place)? {
            None => Some("it does not exist".to_owned()),
            Some(entry) if place == path && matches!(entry.kind, EntryKind::Link(_)) => {
                Some("it is a symlink: name the file that it leads to".to_owned())
            }
            Some(entry) => untrusted(&entry.kind, entry.mode, owner(root, &place), trusted),
        };
        if let Some(why) = why {
            return Ok(Some(format!("{}: {why}", place.display())));
        }
    }
    Ok(None)
}

/// Why an entry on the path of the program cannot be trusted.
fn untrusted(
    kind: &EntryKind,
    mode: u32,
    owner: Option<u32>,
    trusted: Option<u32>,
) -> Option<String> {
    // The mode of a link says nothing. Only links to directories come here, such as /bin.
    if matches!(kind, EntryKind::Link(_)) {
        return None;
    }
    match owner {
        Some(owner) if owner == 0 || Some(owner) == trusted => {}
        Some(owner) => return Some(format!("it belongs to user {owner}")),
        None => return Some("it cannot be read".to_owned()),
    }
    // Others may add files to a sticky directory, and cannot replace those of root in it.
    let is_sticky = *kind == EntryKind::Directory && mode & 0o1000 != 0;
    (mode & 0o022 != 0 && !is_sticky).then(|| format!("others can write to it (mode {mode:04o})"))
}

fn owner(root: Option<&Path>, path: &Path) -> Option<u32> {
    let root = root.unwrap_or(Path::new("/"));
    let path = root.join(path.strip_prefix("/").unwrap_or(path));
    rustix::fs::lstat(path).ok().map(|stat| stat.st_uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_others_can_change_is_not_trusted() {
        let of = |kind: EntryKind, mode, owner| untrusted(&kind, mode, owner, Some(1000));
        assert_eq!(of(EntryKind::File, 0o755, Some(1000)), None);
        let of_root_alone = untrusted(&EntryKind::File, 0o755, Some(1000), None);
        assert_eq!(of_root_alone.as_deref(), Some("it belongs to user 1000"));
        assert_eq!(of(EntryKind::File, 0o755, Some(0)), None);
        assert_eq!(of(EntryKind::Directory, 0o1777, Some(0)), None);
        for (kind, mode, owner) in [
            (EntryKind::File, 0o755, Some(u32::MAX)),
            (EntryKind::File, 0o775, Some(0)),
            (EntryKind::File, 0o1757, Some(0)),
            (EntryKind::Directory, 0o777, Some(0)),
            (EntryKind::File, 0o755, None),
        ] {
            assert!(
                of(kind.clone(), mode, owner).is_some(),
                "{kind:?} {mode:o} {owner:?}"
            );
        }
    }
}
