//! Options of modules on NixOS, which makes `/etc/modprobe.d` from its configuration: the plan says what to add to
//! it, and nothing is written.

use hosttune_core::host::RootKind;
use hosttune_core::{Error, Host, HostError, HostErrorKind, Planner, Unsupported, UnsupportedKind};

use crate::modprobe_d::ModprobeConfiguration;
use crate::module_option::{
    LiveValue, ModuleOption, expect_value, takes_effect, unsupported_option,
};
use crate::module_parameter::is_same_value;
use crate::nix_text;

/// The file with `boot.extraModprobeConfig` (`nixos/modules/system/boot/modprobe.nix`).
const FILE: &str = "/etc/modprobe.d/nixos.conf";

/// The same file of the generation that the next boot starts.
const NEXT: &str = "/nix/var/nix/profiles/system/etc/modprobe.d/nixos.conf";

/// Whether the configuration of NixOS makes the files of this host.
pub(crate) fn is_nixos(host: &Host) -> Result<bool, HostError> {
    host.exists("/etc/NIXOS")
}

/// The options of all files, with those of the next boot's generation.
fn configuration(host: &Host) -> Result<ModprobeConfiguration, HostError> {
    match host.read(NEXT) {
        Err(error) if matches!(error.kind(), HostErrorKind::Missing | HostErrorKind::Denied) => {
            ModprobeConfiguration::read(host)
        }
        text => ModprobeConfiguration::read_as_if(host, FILE, Some(&text?)),
    }
}

/// The lines of modprobe.d as a definition.
fn definition<'o>(options: impl IntoIterator<Item = &'o ModuleOption>) -> String {
    let lines: String = options
        .into_iter()
        .map(|option| format!("options {}\n", option.text()))
        .collect();
    format!(
        "in the configuration of NixOS: add boot.extraModprobeConfig = {}; then run nixos-rebuild boot and reboot",
        nix_text::string(&lines)
    )
}

/// Says what the configuration needs for the options that the next boot does not have, and expects those that it
/// has.
pub(crate) fn declare(at: &mut Planner<'_>, options: &[ModuleOption]) -> Result<(), Error> {
    let configuration = configuration(at.host())?;
    let mut missing: Vec<&ModuleOption> = Vec::new();
    for (place, option) in options.iter().enumerate() {
        if options[..place]
            .iter()
            .any(|earlier| earlier.is_same_parameter(option))
        {
            continue;
        }
        if let Some(unsupported) = unsupported_option(at.host(), option)? {
            option.on(at.skip(&option.text(), unsupported));
            continue;
        }
        let winner = configuration.winner(&option.module, &option.parameter);
        let is_set = winner.is_some_and(|set| {
            let value = set.value.as_deref().unwrap_or("Y");
            is_same_value(value, &option.value)
        });
        if !is_set {
            missing.push(option);
        } else if at.host().root_kind() != RootKind::Image && option.live == LiveValue::Sysfs {
            let when = takes_effect(at.host(), &option.module)?;
            expect_value(at, option, when);
        }
    }
    for option in &missing {
        let unsupported = Unsupported::new(
            UnsupportedKind::Managed,
            "the files of modprobe.d belong to NixOS, and this program does not write them",
        )
        .hint(definition([*option]));
        option.on(at.skip(&option.text(), unsupported));
    }
    if missing.len() > 1 {
        at.note(format!("all of them {}", definition(missing)));
    }
    Ok(())
}
