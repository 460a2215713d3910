//! Units of the helper that tunes the host for users without root, as text: a socket, the service that it starts,
//! and the group whose members may connect (`systemd.socket(5)`, `sysusers.d(5)`).

use std::path::Path;

use crate::units::{HARDENING_OF_ALL, Quoted, Unit, UnitsError, check_program};

/// The units of the helper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HelperUnits {
    program: String,
}

impl HelperUnits {
    /// The units for the helper that is this program.
    ///
    /// # Errors
    /// If the path cannot be in a unit.
    pub fn new(program: &Path) -> Result<Self, UnitsError> {
        Ok(Self {
            program: check_program(program)?,
        })
    }

    /// The socket. The kernel checks the group, so nobody outside of it reaches the helper.
    pub fn socket(&self) -> Unit {
        Unit {
            name: "hosttuned.socket".to_owned(),
            text: "# Written by hosttune install-units; hosttune uninstall-units removes it.\n\
                   [Unit]\n\
                   Description=Tune this host while commands of users run\n\
                   Documentation=https://github.com/hosttune/hosttune\n\
                   \n\
                   [Socket]\n\
                   ListenStream=/run/hosttune/run.sock\n\
                   SocketMode=0660\n\
                   SocketGroup=hosttune\n\
                   DirectoryMode=0711\n\
                   # The directory of the journals may be there already, closed to others. They may pass through\n\
                   # it to the socket; what else is in it only root can read.\n\
                   ExecStartPost=/bin/chmod 0711 /run/hosttune\n\
                   Backlog=128\n\
                   # A limit would shut everybody out after some kills of the helper, until root restarts the socket.\n\
                   TriggerLimitIntervalSec=0\n\
                   RemoveOnStop=yes\n\
                   \n\
                   [Install]\n\
                   WantedBy=sockets.target\n"
                .to_owned(),
        }
    }

    /// The service. Stopping or upgrading it ends no lease, so it untunes nothing.
    pub fn service(&self) -> Unit {
        let start = Quoted(&self.program);
        Unit {
            name: "hosttuned.service".to_owned(),
            text: format!(
                "# Written by hosttune install-units; hosttune uninstall-units removes it.\n\
                 [Unit]\n\
                 Description=Tune this host while commands of users run\n\
                 Documentation=https://github.com/hosttune/hosttune\n\
                 Requires=hosttuned.socket\n\
                 After=hosttuned.socket\n\
                 # Killed, it is started again, and reverts what is left of killed leases.\n\
                 StartLimitIntervalSec=0\n\
                 \n\
                 [Service]\n\
                 Type=exec\n\
                 ExecStart={start}\n\
                 StandardInput=socket\n\
                 StandardOutput=journal\n\
                 StandardError=journal\n\
                 Restart=on-failure\n\
                 RestartSec=500ms\n\
                 # A lease is a process of the host program, and goes on without the helper.\n\
                 KillMode=process\n\
                 OOMPolicy=continue\n\
                 OOMScoreAdjust=-900\n\
                 TasksMax=512\n\
                 {HARDENING_OF_ALL}{HARDENING}"
            ),
        }
    }

    /// What the helper's service needs besides to set the mode of NVIDIA GPUs, as a drop-in: the devices that NVML
    /// opens, and the capability that the driver asks for. It is not a part of the service, because every host program
    /// would have it. `devices` are paths in `/dev`.
    pub fn nvidia(devices: &[String]) -> Unit {
        let allowed = devices
            .iter()
            .map(|path| format!("DeviceAllow={path} rw\n"));
        let allowed: String = allowed.collect();
        Unit {
            name: "hosttuned.service.d/nvidia.conf".to_owned(),
            text: format!("[Service]\n{allowed}CapabilityBoundingSet=CAP_SYS_ADMIN\n"),
        }
    }

    /// The group, as a file for `/etc/sysusers.d`.
    pub fn group(&self) -> Unit {
        Unit {
            name: "hosttune.conf".to_owned(),
            text: "# Written by hosttune install-units; hosttune uninstall-units removes it, and the group stays.\n\
                   # Members may have the host tuned while their commands run.\n\
                   g hosttune - -\n"
                .to_owned(),
        }
    }
}

/// What else the helper and the host programs that it starts may not do. `@module` and `CAP_SYS_MODULE` are for the
/// modules of sysctls, `CAP_NET_ADMIN` for net sysctls, `CAP_SYS_NICE` for the nice value of the command.
const HARDENING: &str = "\
CapabilityBoundingSet=CAP_NET_ADMIN CAP_SYS_MODULE CAP_SYS_NICE
DevicePolicy=closed
IPAddressDeny=any
KeyringMode=private
SystemCallFilter=@system-service @module
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_shuts_everybody_out_and_stopping_ends_no_lease() {
        let units = HelperUnits::new(Path::new("/usr/local/bin/hosttuned")).unwrap();
        let (socket, service) = (units.socket().text, units.service().text);
        let has = |text: &str, line: &str| text.lines().any(|own| own == line);
        assert!(has(&socket, "TriggerLimitIntervalSec=0"));
        assert!(has(&service, "StartLimitIntervalSec=0"));
        assert!(has(&service, "KillMode=process"));
        assert!(has(&service, "ExecStart=/usr/local/bin/hosttuned"));
        assert!(!service.contains("ExecStop"));
        assert!(!service.contains("PrivateNetwork=yes"));
    }

    #[test]
    fn the_drop_in_adds_devices_and_one_capability() {
        let unit = HelperUnits::nvidia(&["/dev/nvidiactl".to_owned(), "/dev/nvidia0".to_owned()]);
        assert_eq!(
            unit.text,
            "[Service]\nDeviceAllow=/dev/nvidiactl rw\nDeviceAllow=/dev/nvidia0 rw\nCapabilityBoundingSet=CAP_SYS_ADMIN\n"
        );
    }

    #[test]
    fn a_path_that_cannot_be_in_a_unit_is_refused() {
        for path in ["hosttuned", "/usr/../x", "/a\nExecStop=/b"] {
            assert!(HelperUnits::new(Path::new(path)).is_err(), "{path}");
        }
    }
}
