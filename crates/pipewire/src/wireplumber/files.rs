//! Which files WirePlumber reads, in which order.

use std::path::{Path, PathBuf};

use hosttune_core::host::EntryKind;
use hosttune_core::{Host, HostError, HostErrorKind};

use super::{Generation, Text, VENDOR};

/// The main file.
const MAIN: &str = "wireplumber.conf";

/// The variables of the session manager's environment that change where it looks for configuration.
///
/// They are those of the user's service manager, not of a shell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionManagerEnvironment {
    /// `HOME`, or the home directory of the user; `None` if only the files for all users are asked for.
    pub home: Option<PathBuf>,
    /// `XDG_CONFIG_HOME`.
    pub xdg_config_home: Option<PathBuf>,
    /// `XDG_CONFIG_DIRS`, separated with colons; without it `/etc/xdg`.
    pub xdg_config_dirs: Option<String>,
    /// `XDG_DATA_DIRS`, separated with colons; without it `/usr/local/share` and `/usr/share`.
    pub xdg_data_dirs: Option<String>,
    /// `WIREPLUMBER_CONFIG_DIR`, separated with colons: the only directories, if it is set.
    pub config_dir: Option<String>,
}

impl SessionManagerEnvironment {
    /// An environment with these variables.
    pub fn from_variables<'v>(variables: impl IntoIterator<Item = (&'v str, &'v str)>) -> Self {
        let mut environment = Self::default();
        for (name, value) in variables {
            match name {
                "HOME" => environment.home = Some(value.into()),
                "XDG_CONFIG_HOME" => environment.xdg_config_home = Some(value.into()),
                "XDG_CONFIG_DIRS" => environment.xdg_config_dirs = Some(value.to_owned()),
                "XDG_DATA_DIRS" => environment.xdg_data_dirs = Some(value.to_owned()),
                "WIREPLUMBER_CONFIG_DIR" => environment.config_dir = Some(value.to_owned()),
                _ => {}
            }
        }
        environment
    }

    /// The directories that are searched, the one that wins first.
    pub(super) fn directories(&self, generation: Generation) -> Vec<PathBuf> {
        let absolute = |list: &str| -> Vec<PathBuf> {
            let each = list.split(':').filter(|path| path.starts_with('/'));
            each.map(PathBuf::from).collect()
        };
        if let Some(only) = &self.config_dir {
            return absolute(only);
        }
        let listed = |list: &Option<String>, usual: &str| -> Vec<PathBuf> {
            let list = list.as_deref().filter(|list| !list.is_empty());
            let each = absolute(list.unwrap_or(usual)).into_iter();
            each.map(|path| path.join("wireplumber")).collect()
        };
        let own = self
            .xdg_config_home
            .as_ref()
            .filter(|own| own.is_absolute());
        let home = self.home.as_ref().map(|home| home.join(".config"));
        let own = own.cloned().or(home).map(|own| own.join("wireplumber"));
        let mut directories: Vec<PathBuf> = own.into_iter().collect();
        if generation == Generation::Rules {
            directories.extend(listed(&self.xdg_config_dirs, "/etc/xdg"));
        }
        directories.push("/etc/wireplumber".into());
        if generation == Generation::Rules {
            directories.extend(listed(&self.xdg_data_dirs, "/usr/local/share:/usr/share"));
        }
        directories.push(VENDOR.into());
        let mut once: Vec<PathBuf> = Vec::new();
        for directory in directories {
            if !once.contains(&directory) {
                once.push(directory);
            }
        }
        once
    }
}

/// The form of the installed WirePlumber's files; `None` if it is not installed.
pub(super) fn generation(host: &Host) -> Result<Option<Generation>, HostError> {
    let main = host.file(Path::new(VENDOR).join(MAIN))?;
    // 0.4 loads its scripts with components of this type, and 0.5 refuses a file that has one.
    let is_lua = |bytes: &[u8]| bytes.windows(10).any(|part| part == b"config/lua");
    Ok(main.map(|main| match is_lua(&main.bytes) {
        true => Generation::Lua,
        false => Generation::Rules,
    }))
}

/// Files and directories that could not be read, and why.
type Unreadable = Vec<(PathBuf, String)>;

/// The files, in the order in which they are read: from 0.5 those of a directory after those of the
/// directories that it wins over, up to 0.4 by name. In both a file hides those of the same name.
pub(super) fn collect(
    host: &Host,
    environment: &SessionManagerEnvironment,
    generation: Generation,
) -> Result<(Vec<Text>, Unreadable), HostError> {
    let directories = environment.directories(generation);
    let mut unreadable = Vec::new();
    let mut main = None;
    let (parts, suffix) = match generation {
        Generation::Lua => ("main.lua.d", ".lua"),
        Generation::Rules => ("wireplumber.conf.d", ".conf"),
    };
    if generation == Generation::Rules {
        for directory in &directories {
            main = read(host, &directory.join(MAIN), &mut unreadable)?;
            if main.is_some() {
                break;
            }
        }
    }
    let mut files: Vec<Text> = Vec::new();
    for directory in directories.iter().rev() {
        let directory = directory.join(parts);
        let names = match host.list(&directory) {
            Ok(names) => names,
            Err(error) if is_absent(&error) => continue,
            Err(error) if *error.kind() == HostErrorKind::Denied => {
                unreadable.push((directory, error.to_string()));
                continue;
            }
            Err(error) => return Err(error),
        };
        let is_read = |name: &&String| name.ends_with(suffix) && !name.starts_with('.');
        for name in names.iter().filter(is_read) {
            let Some(file) = read(host, &directory.join(name), &mut unreadable)? else {
                continue;
            };
            files.retain(|known| known.path().file_name() != file.path().file_name());
            files.push(file);
        }
    }
    if generation == Generation::Lua {
        files.sort_by(|one, other| one.path().file_name().cmp(&other.path().file_name()));
    }
    let main = main.into_iter();
    Ok((main.chain(files).collect(), unreadable))
}

fn is_absent(error: &HostError) -> bool {
    /// Not a directory, and too many symlinks (errno(3)).
    const OTHERS: [i32; 2] = [20, 40];
    *error.kind() == HostErrorKind::Missing
        || error.errno().is_some_and(|errno| OTHERS.contains(&errno))
}

fn read(host: &Host, path: &Path, unreadable: &mut Unreadable) -> Result<Option<Text>, HostError> {
    let kind = match host.entry(path) {
        Err(error) if is_absent(&error) => return Ok(None),
        other => other?.map(|entry| entry.kind),
    };
    if matches!(kind, None | Some(EntryKind::Directory | EntryKind::Other)) {
        return Ok(None);
    }
    match host.read(path) {
        Ok(bytes) => Ok(Some(Text {
            path: path.to_owned(),
            bytes,
        })),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error)
            if matches!(
                error.kind(),
                HostErrorKind::Denied | HostErrorKind::Malformed
            ) =>
        {
            unreadable.push((path.to_owned(), error.to_string()));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
