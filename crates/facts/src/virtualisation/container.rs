//! Whether this is a container, by what its manager leaves inside.

use crate::kernel::RELEASE;
use crate::source::{Source, plain};
use crate::virtualisation::words;

/// Of the container interface that systemd documents: placed there by the manager, or by systemd as
/// it starts inside.
const MANAGER: [&str; 2] = ["/run/host/container-manager", "/run/systemd/container"];
/// Readable only with CAP_SYS_PTRACE.
const ENVIRONMENT: &str = "/proc/1/environ";
const PODMAN: &str = "/run/.containerenv";
const DOCKER: &str = "/.dockerenv";
/// OpenVZ: the first is in every container and on the host, the second only on the host.
const OPENVZ: [&str; 2] = ["/proc/vz", "/proc/bc"];
/// The root of the whole hierarchy (version 2) has neither; one that is the root only of a namespace
/// has both, as every other control group.
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
    /// What a system is contained in.
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
        /// One that says no name, or none of these.
        Other = "container-other",
    }
}

impl Container {
    pub(crate) fn of(source: Source<'_>) -> Option<Self> {
        // Files such as /.dockerenv can be left in an image; only of what runs do they tell.
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
            // Some images say only that they are for containers.
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
    // Docker's last: it is the one that is found in images that something else runs.
    [(PODMAN, Container::Podman), (DOCKER, Container::Docker)]
        .into_iter()
        .find_map(|(file, container)| source.exists(file).then_some(container))
}

/// `container=lxc` among assignments with zero bytes between them.
fn said_in_environment(text: &str) -> Option<String> {
    let mut assignments = text.split('\0');
    plain(assignments.find_map(|one| one.strip_prefix("container="))?)
}
