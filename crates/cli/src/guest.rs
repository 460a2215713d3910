//! `guest`: the guest's side of lent devices. It changes nothing and does not need root.

use std::path::{Path, PathBuf};

use clap::Args;
use hosttune_core::{Error, Host, LinuxHost};
use hosttune_guest::{FileState, Guest, hook, libvirt, qemu, tmpfiles};

use super::arguments::Global;
use super::boot_units::changeable;
use super::exit::Exit;
use super::failure::Failure;
use super::streams::Streams;
use super::{HostProfile, Options, json};

/// How many seconds `lend` and `return` wait for another run to end: they are called by scripts, and a
/// run that lends a card takes a few seconds.
pub(super) const WAIT: u16 = 60;

/// The arguments of `lend` and `return`.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct LoanArguments {
    /// The guest; without it, the only one
    pub(super) guest: Option<String>,
}

/// The arguments of `guest`.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct GuestArguments {
    /// The guest; without it, the only one
    guest: Option<String>,
    /// Print a libvirt domain with the lent devices and the shared memory
    #[arg(long, group = "format")]
    libvirt: bool,
    /// Print a command line for QEMU
    #[arg(long, group = "format")]
    qemu: bool,
    /// Print a libvirt hook script that calls lend and return
    #[arg(long, group = "format")]
    hook: bool,
    /// Print the tmpfiles.d line of the shared memory
    #[arg(long, group = "format")]
    tmpfiles: bool,
}

/// The guest that is meant.
pub(super) fn chosen(
    profile: &dyn HostProfile,
    name: Option<&str>,
) -> Result<&'static str, Failure> {
    let known = profile.guests();
    let names = || -> Vec<String> { known.iter().map(|&name| name.to_owned()).collect() };
    match (name, known) {
        (_, []) => Err(Failure::usage(
            format!("{} has no guest", profile.name()),
            "run with --help to see the commands",
        )),
        (None, [only]) => Ok(only),
        (None, _) => Err(Failure::usage(
            format!("{} has several guests", profile.name()),
            format!("name one of: {}", names().join(", ")),
        )),
        (Some(name), _) => known
            .iter()
            .find(|known| **known == name)
            .copied()
            .ok_or_else(|| Failure::unknown("guest", name, &names())),
    }
}

/// The texts of a guest.
#[derive(Debug)]
pub(super) struct Texts {
    pub(super) libvirt: String,
    pub(super) qemu: Vec<String>,
    pub(super) hook: String,
    pub(super) tmpfiles: Option<String>,
    pub(super) file_state: Option<FileState>,
}

/// Prints the guest's side.
pub(super) fn guest(
    arguments: &GuestArguments,
    profile: &dyn HostProfile,
    global: &Global,
    host: &Host,
    options: &Options,
    streams: &mut Streams,
) -> Result<Exit, Failure> {
    let name = chosen(profile, arguments.guest.as_deref())?;
    let formats = [
        arguments.libvirt,
        arguments.qemu,
        arguments.hook,
        arguments.tmpfiles,
    ];
    if global.json && formats.contains(&true) {
        return Err(Failure::usage(
            "--json prints all formats in one document",
            "omit --libvirt, --qemu, --hook and --tmpfiles, or omit --json",
        ));
    }
    let guest = profile.guest(name, host, options)?;
    let shared = guest.shared();
    let program = program(profile);
    if arguments.hook
        && let Some(danger) = danger(&program)?
    {
        streams.complain(&format!("warning: {danger}\n"));
    }
    let texts = Texts {
        libvirt: libvirt::domain(&guest),
        qemu: qemu::arguments(&guest),
        hook: hook::script(
            guest.name(),
            &program.display().to_string(),
            &words(options),
        ),
        tmpfiles: shared.map(tmpfiles::line),
        file_state: shared
            .map(|memory| memory.state(host))
            .transpose()
            .map_err(Error::from)?,
    };
    if global.json {
        streams.document(&json::guest(&guest, &texts))?;
        return Ok(Exit::Done);
    }
    let text = if arguments.libvirt {
        texts.libvirt
    } else if arguments.qemu {
        qemu::command_line(&guest)
    } else if arguments.hook {
        texts.hook
    } else if arguments.tmpfiles {
        texts
            .tmpfiles
            .ok_or_else(|| Failure::usage(format!("{name} shares no memory"), "omit --tmpfiles"))?
    } else {
        summary(&guest, &texts, profile.name(), global)
    };
    streams.print(&text);
    Ok(Exit::Done)
}

/// The path of this program, for a script that is called without a useful `PATH`.
fn program(profile: &dyn HostProfile) -> PathBuf {
    let Ok(path) = std::env::current_exe() else {
        // /proc is not mounted.
        return Path::new("/usr/local/bin").join(profile.name());
    };
    // The kernel adds a word if the file was replaced since, as an update does.
    let text = path.to_string_lossy();
    match text.strip_suffix(" (deleted)") {
        Some(replaced) if !path.exists() => PathBuf::from(replaced),
        _ => path,
    }
}

/// Why the hook is dangerous: libvirt runs it as root, so whoever can change the program becomes root with
/// the next start of the guest.
fn danger(program: &Path) -> Result<Option<String>, Failure> {
    // The program is here, also if the devices are those of a tree.
    let here = Host::new(LinuxHost::at("/").map_err(Error::from)?);
    let why = changeable(program, &here, None, None).map_err(Error::from)?;
    Ok(why.map(|why| {
        format!(
            "libvirt would run {} as root, and others than root could change it ({why}): install it where only root can, such as /usr/local/bin, and print the hook with that one",
            program.display()
        )
    }))
}

/// The optional parts and the profile's own options as words of a command line: the hook lends what
/// `guest` was asked for.
fn words(options: &Options) -> Vec<String> {
    let parts = options.with.iter();
    let parts = parts.flat_map(|name| ["--with".to_owned(), name.clone()]);
    let set = options.set.iter();
    let set = set.flat_map(|(name, value)| [format!("--{name}"), value.clone()]);
    parts.chain(set).collect()
}

fn summary(guest: &Guest, texts: &Texts, program: &str, global: &Global) -> String {
    let devices: Vec<String> = guest.functions().iter().map(ToString::to_string).collect();
    let mut text = format!(
        "{}: {} cores, {} MiB\n\n  devices        {}\n",
        guest.name(),
        guest.cores(),
        guest.mebibytes(),
        devices.join(", ")
    );
    if let Some(memory) = guest.shared() {
        text.push_str(&format!("  shared memory  {memory}\n"));
        let why = match texts.file_state {
            Some(FileState::NotAFile) => Some("is not a file".to_owned()),
            Some(FileState::TooSmall { bytes }) => {
                Some(format!("has only {} MiB, from an earlier run", bytes >> 20))
            }
            _ => None,
        };
        if let Some(why) = why {
            text.push_str(&format!(
                "  note: {} {why}, so the guest cannot start: remove it\n",
                memory.path()
            ));
        }
    }
    let command = global.invocation(program, "guest");
    text.push_str(&format!(
        "\nlibvirt domain:           {command} --libvirt\n\
         QEMU command line:        {command} --qemu\n\
         libvirt hook:             {command} --hook | install -Dm755 /dev/stdin {}/{program}\n",
        hook::DIRECTORY
    ));
    if guest.shared().is_some() {
        text.push_str(&format!(
            "shared memory at boot:    {command} --tmpfiles >{}\n",
            tmpfiles::path(program)
        ));
    }
    text
}
