//! Container detection, from files that container managers leave inside.

use crate::kernel::RELEASE;
use crate::source::{Source, plain};
use crate::virtualisation::words;

/// From systemd's container interface: written by the manager, or by systemd when it starts in a container.
const MANAGER: [&str; 2] = ["/run/host/container-manager", "/run/systemd/container"];
/// Readable only with CAP_SYS_PTRACE.
const ENVIRONMENT: &str = "/proc/1/environ";
const PODMAN: &str = "/run/.containerenv";
const DOCKER: &str = "/.dockerenv";
/// OpenVZ: the first exists in every container and on the host, the second only on the host.
const OPENVZ: [&str; 2] = ["/proc/vz", "/proc/bc"];
/// The root of the whole hierarchy (version 2) has neither. The root of a control group namespace has both,
/// like every other control group.
const CONTROL_GROUP: [&str; 2] = ["/sys/fs/cgroup/cgroup.events", "/sys/fs/cgroup/cgroup.type"];

pub(crate) const SOURCES: &[&str] = &[
    MANAGER[0],
    MANAGER[1],
    ENVIRONMENT,
    PODMAN,
    DOCKER,
    OPENVZ[0],
    OPENVZ[1],
    CONTROL_GROUP[0],
    CONTROL_GROUP[1],
    RELEASE,
];

words! {
    /// The container that a system runs in.
    Container {
        /// Nothing.
        None = "none",
        /// Docker.
        Docker = "docker",
        /// LXC, Incus and LXD.
        Lxc = "lxc",
        /// libvirt's LXC.
        LxcLibvirt = "lxc-libvirt",
        /// OpenVZ.
        OpenVz = "openvz",
        /// Podman.
        Podman = "podman",
        /// PouchContainer.
        Pouch = "pouch",
        /// PRoot.
        Proot = "proot",
        /// rkt.
        Rkt = "rkt",
        /// systemd-nspawn.
        SystemdNspawn = "systemd-nspawn",
        /// Windows Subsystem for Linux.
        Wsl = "wsl",
        /// Another container, or one without a name.
        Other = "container-other",
    }
}

impl Container {
    pub(crate) fn of(source: Source<'_>) -> Option<Self> {
        // Files such as /.dockerenv may remain in an image, so they count only on a running system.
        let release = source.value(RELEASE)?;
        if source.exists(OPENVZ[0]) && !source.exists(OPENVZ[1]) {
            return Some(Self::OpenVz);
        }
        if release.contains("Microsoft") || release.contains("WSL") {
            return Some(Self::Wsl);
        }
        let said = MANAGER.iter().find_map(|file| source.value(file));
        let said = said.or_else(|| said_in_environment(&source.lines(ENVIRONMENT)?));
        Some(match said.as_deref() {
            // Some images only say that they are OCI containers.
            Some("oci") => by_files(source).unwrap_or(Self::Other),
            Some(word) => Self::of_word(word),
            None => by_files(source).unwrap_or_else(|| {
                match CONTROL_GROUP.iter().all(|file| source.exists(file)) {
                    true => Self::Other,
                    false => Self::None,
                }
            }),
        })
    }

    fn of_word(word: &str) -> Self {
        let mut known = Self::ALL.iter().copied();
        let known = known.find(|one| *one != Self::None && one.word() == word);
        known.unwrap_or(Self::Other)
    }
}

fn by_files(source: Source<'_>) -> Option<Container> {
    // Docker's file comes last, because other managers run images that contain it.
    [(PODMAN, Container::Podman), (DOCKER, Container::Docker)]
        .into_iter()
        .find_map(|(file, container)| source.exists(file).then_some(container))
}

/// Returns the value of `container=lxc` among NUL-separated assignments.
fn said_in_environment(text: &str) -> Option<String> {
    let mut assignments = text.split('\0');
    plain(assignments.find_map(|one| one.strip_prefix("container="))?)
}
