//! Where a daemon looks for its configuration.

use std::path::{Path, PathBuf};

/// The directory of the packages.
pub(crate) const VENDOR: &str = "/usr/share/pipewire";

/// The directory of the administrator.
pub(crate) const SYSTEM: &str = "/etc/pipewire";

/// The variables of a daemon's environment that change where it looks for configuration.
///
/// They are those of the user's service manager, not of a shell: `systemctl --user show-environment`
/// prints them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// `HOME`, or the home directory of the user.
    pub home: Option<PathBuf>,
    /// `XDG_CONFIG_HOME`.
    pub xdg_config_home: Option<PathBuf>,
    /// `PIPEWIRE_CONFIG_DIR`: the only directory, if it is set.
    pub config_dir: Option<PathBuf>,
    /// `PIPEWIRE_CONFIG_PREFIX`: a directory below each of the directories, or an absolute one that
    /// is the only one.
    pub config_prefix: Option<PathBuf>,
    /// `PIPEWIRE_CONFIG_NAME`: the file to read instead of the daemon's own, if it exists.
    pub config_name: Option<String>,
    /// `PIPEWIRE_NO_CONFIG`: only the directory of the packages is read.
    pub no_config: bool,
}

impl Environment {
    /// A daemon whose user has this home directory and no variables.
    pub fn of_home(home: impl Into<PathBuf>) -> Self {
        Self {
            home: Some(home.into()),
            ..Self::default()
        }
    }

    /// A daemon with these variables.
    pub fn from_variables<'v>(variables: impl IntoIterator<Item = (&'v str, &'v str)>) -> Self {
        let mut environment = Self::default();
        for (name, value) in variables {
            match name {
                "HOME" => environment.home = Some(value.into()),
                "XDG_CONFIG_HOME" => environment.xdg_config_home = Some(value.into()),
                "PIPEWIRE_CONFIG_DIR" => environment.config_dir = Some(value.into()),
                "PIPEWIRE_CONFIG_PREFIX" => environment.config_prefix = Some(value.into()),
                "PIPEWIRE_CONFIG_NAME" => environment.config_name = Some(value.to_owned()),
                "PIPEWIRE_NO_CONFIG" => environment.no_config = matches!(value, "true" | "1"),
                _ => {}
            }
        }
        environment
    }

    /// The directory in which this user's own configuration belongs.
    pub fn user_directory(&self) -> Option<PathBuf> {
        self.user_directories().into_iter().next()
    }

    /// The user's directories, in the order in which they are looked at: the first that has what is
    /// looked for counts.
    fn user_directories(&self) -> Vec<PathBuf> {
        let own = self
            .xdg_config_home
            .as_ref()
            .map(|own| own.join("pipewire"));
        let home = self.home.as_ref().map(|home| home.join(".config/pipewire"));
        own.into_iter().chain(home).collect()
    }

    /// The path of a name below a directory, with the prefix.
    fn below(&self, directory: &Path, name: &str) -> PathBuf {
        match &self.config_prefix {
            Some(prefix) => directory.join(prefix).join(name),
            None => directory.join(name),
        }
    }

    /// The only path of a name, if there is only one.
    fn exclusive(&self, name: &str) -> Option<PathBuf> {
        let is_absolute = self
            .config_prefix
            .as_ref()
            .map_or(name.starts_with('/'), |prefix| prefix.is_absolute());
        match &self.config_dir {
            _ if is_absolute => Some(self.below(Path::new("/"), name)),
            _ if self.no_config => Some(self.below(Path::new(VENDOR), name)),
            Some(directory) => Some(self.below(directory, name)),
            None => None,
        }
    }

    /// The paths at which a main file may be; the first that exists is read.
    pub(crate) fn main_files(&self, name: &str) -> Vec<PathBuf> {
        if let Some(only) = self.exclusive(name) {
            return vec![only];
        }
        let user = self.user_directories().into_iter();
        user.chain([PathBuf::from(SYSTEM), PathBuf::from(VENDOR)])
            .map(|directory| self.below(&directory, name))
            .collect()
    }

    /// The directories at which the drop-ins of a layer may be; the first that exists is read.
    pub(crate) fn drop_in_directories(&self, name: &str) -> Vec<(Layer, Vec<PathBuf>)> {
        let name = format!("{name}.d");
        if let Some(only) = self.exclusive(&name) {
            return vec![(Layer::Only, vec![only])];
        }
        let user = self.user_directories().into_iter();
        vec![
            (Layer::Vendor, vec![self.below(Path::new(VENDOR), &name)]),
            (Layer::System, vec![self.below(Path::new(SYSTEM), &name)]),
            (
                Layer::User,
                user.map(|directory| self.below(&directory, &name))
                    .collect(),
            ),
        ]
    }
}

/// Whose directory a drop-in is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layer {
    /// The packages' directory, `/usr/share/pipewire`.
    Vendor,
    /// The administrator's directory, `/etc/pipewire`.
    System,
    /// The user's directory.
    User,
    /// The only directory that is read, because of a variable of the environment.
    Only,
}
