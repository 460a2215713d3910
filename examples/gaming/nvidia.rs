//! The part `nvidia`: parameters of the NVIDIA driver, kept in modprobe.d.

use hosttune::cli::Options;
use hosttune::nvidia::{DriverModule, InstalledDriver, NvidiaParameters, NvidiaSetting, gpus};
use hosttune::{Error, Host, Planner, Tuning, Unsupported, UnsupportedKind, Why};

/// The name of the part.
pub(crate) const PART: &str = "nvidia";

/// The optional part that keeps the contents of video memory while the host sleeps.
pub(crate) const PRESERVE: &str = "preserve-video-memory";

const README: &str = "https://download.nvidia.com/XFree86/Linux-x86_64/580.95.05/README/";

const WHAT: &str = "NVIDIA driver parameters";

const NEEDS_PERSIST: &str = "the parameters of the NVIDIA driver are read when it is loaded, and are kept in a file: gaming plan --persist shows them";

const SECURITY: &str = "NVreg_InitializeSystemMemoryAllocations=0 is a security trade-off: a program that uses the GPU can see what others left in memory; to leave it out, name the other parts with --only";

/// The parameters of the driver, where there is a card and a driver for it.
pub(crate) struct Driver {
    persist: bool,
    preserve: bool,
    rebuilds_initramfs: bool,
}

impl Driver {
    pub(crate) fn of(options: &Options) -> Self {
        Self {
            persist: options.persist,
            preserve: options.has(PRESERVE),
            rebuilds_initramfs: options.regenerate,
        }
    }

    fn settings(&self) -> Vec<NvidiaSetting> {
        let mut settings = vec![
            NvidiaSetting::nvreg("UsePageAttributeTable", 1)
                .why("memory shared with the GPU is mapped write-combined, without MTRRs")
                .optional(),
            NvidiaSetting::nvreg("InitializeSystemMemoryAllocations", 0).why(
                Why::new("system memory for the GPU is not cleared first, which shortens stalls of streaming games")
                    .looks_wrong("clearing keeps the data of other programs out of the memory that a program gets")
                    .risk("a security trade-off: a program that uses the GPU can see what others left in memory"),
            ),
            NvidiaSetting::nvreg("EnableGpuFirmware", 0)
                .why(
                    Why::new("without the GPU's own processor (GSP) some games have fewer stutters")
                        .looks_wrong("the firmware is NVIDIA's default: it is switched off only on the proprietary module")
                        .source(README),
                )
                .optional(),
            NvidiaSetting::new(DriverModule::Drm, "modeset", 1)
                .why("Wayland and PRIME synchronization need kernel mode setting"),
        ];
        if self.preserve {
            settings.push(
                NvidiaSetting::nvreg("PreserveVideoMemoryAllocations", 1).why(
                    Why::new("a game survives suspend with its textures")
                        .risk("suspending fails without the suspend services, and needs the space of all video memory in /tmp"),
                ),
            );
        }
        settings
    }
}

impl Tuning for Driver {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        if !at.is_selected() {
            return Ok(());
        }
        if let Some(unsupported) = unsupported(at)? {
            at.skip(WHAT, unsupported).optional();
            return Ok(());
        }
        if !self.persist {
            at.note(NEEDS_PERSIST);
            return Ok(());
        }
        NvidiaParameters::new("gaming", self.settings())
            .rebuild_initramfs(self.rebuilds_initramfs)
            .declare(at)?;
        at.note(SECURITY);
        Ok(())
    }
}

/// What the loaded driver still has of the profile after a revert, as notes.
pub(crate) fn stays_until_loaded_again(host: &Host, options: &Options) -> Vec<String> {
    if options.user {
        return Vec::new();
    }
    let parameters = NvidiaParameters::new("gaming", Driver::of(options).settings());
    match parameters.left_in_the_driver(host) {
        Ok(left) => left.into_iter().collect(),
        Err(error) => vec![format!(
            "whether the loaded NVIDIA driver still has values of this profile cannot be told: {error}"
        )],
    }
}

/// Why the part does not apply to this host, as one reason for all of its settings.
fn unsupported(at: &Planner<'_>) -> Result<Option<Unsupported>, Error> {
    let of_kind = |kind, why: &str| Some(Unsupported::new(kind, why));
    if gpus(at.host())?.is_empty() {
        return Ok(of_kind(
            UnsupportedKind::Missing,
            "this host has no NVIDIA GPU",
        ));
    }
    Ok(match InstalledDriver::find(at.host()) {
        Ok(Some(_)) => None,
        Ok(None) => of_kind(
            UnsupportedKind::NoBackend,
            "the running kernel has no module of the NVIDIA driver",
        )
        .map(|unsupported| unsupported.hint("install the driver for this kernel")),
        // A damaged module must not keep the other parts from being planned.
        Err(error) => {
            let unsupported = of_kind(UnsupportedKind::Other, &error.to_string());
            match error.hint() {
                Some(hint) => unsupported.map(|unsupported| unsupported.hint(hint)),
                None => unsupported,
            }
        }
    })
}
