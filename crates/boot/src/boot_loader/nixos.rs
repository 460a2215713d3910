//! Parameters on NixOS, which makes the line of each generation from its configuration. Nothing is changed
//! here; the plan says what to add to the configuration.

use hosttune_core::{Error, Host, HostError, HostErrorKind, Planner, Unsupported, UnsupportedKind};

use super::argument_edit::{ArgumentEdit, added_to, names};
use super::boot_setting::BootSetting;
use super::detection::BootLoader;
use super::entries::groups;
use super::leftover::Leftover;
use super::tuning::expect;
use crate::command_line::{CommandLineSetting, KernelCommandLine, RUNNING_LINE};
use hosttune_modules::nix_text;

/// The line of the generation that the next boot starts, without `init=`, which the loader's files add
/// (`nixos/modules/system/activation/top-level.nix`).
const NEXT: &str = "/nix/var/nix/profiles/system/kernel-params";

/// What makes the configuration that of the next boot.
pub(crate) const REBUILD: &str = "run nixos-rebuild boot and reboot";

/// The line of the next boot; that of the running kernel if it cannot be read.
pub(crate) fn next_line(host: &Host) -> Result<KernelCommandLine, HostError> {
    for path in [NEXT, RUNNING_LINE] {
        match host.read(path) {
            Err(error)
                if matches!(error.kind(), HostErrorKind::Missing | HostErrorKind::Denied) => {}
            line => return Ok(KernelCommandLine::parse(line?)),
        }
    }
    Ok(KernelCommandLine::default())
}

/// What the configuration gets for settings. `prefix` is where its options are: empty, or with a dot at the
/// end.
pub(crate) fn definition(
    line: &KernelCommandLine,
    settings: &[&CommandLineSetting],
    prefix: &str,
) -> Result<String, Error> {
    let edit = ArgumentEdit::of(line, settings).map_err(|error| {
        Error::tuning(
            format!("the line of NixOS cannot be changed: {error}"),
            "correct the parameter in the profile",
        )
    })?;
    let (added, mut removed) = match &edit {
        Some(edit) => (edit.added().to_vec(), edit.removed().to_vec()),
        None => (Vec::new(), Vec::new()),
    };
    // What is added after it overrides it.
    let result = added_to(line, &added);
    let unmet = settings.iter().filter(|one| !one.is_met(&result));
    let unmet: Vec<String> = unmet.flat_map(|setting| names(setting)).collect();
    removed.retain(|text| {
        let line = KernelCommandLine::parse(text.as_str());
        unmet.iter().any(|name| line.has(name))
    });
    // Of the lists of several files this comes last, and the last value of a parameter counts.
    let comes_last = settings.iter().any(|one| line.has(one.name()));
    let mut parts = Vec::new();
    if edit.is_none() {
        let all: Vec<String> = settings.iter().map(ToString::to_string).collect();
        parts.push(format!(
            "write {prefix}boot.kernelParams so that the line has {}",
            all.join(" ")
        ));
    }
    if !added.is_empty() {
        let list = nix_text::list(&added);
        parts.push(match comes_last {
            true => format!("add {prefix}boot.kernelParams = lib.mkAfter {list};"),
            false => format!("add {prefix}boot.kernelParams = {list};"),
        });
    }
    if !removed.is_empty() {
        let list: Vec<String> = removed.iter().map(|text| nix_text::string(text)).collect();
        parts.push(format!(
            "remove {} from boot.kernelParams, which other options add to as well (boot.consoleLogLevel adds loglevel=)",
            list.join(" ")
        ));
    }
    Ok(parts.join(" and "))
}

/// Says what the configuration needs for the parameters that the next boot does not have, and expects those
/// that it has.
pub(super) fn declare(at: &mut Planner<'_>, settings: &[BootSetting]) -> Result<(), Error> {
    let line = next_line(at.host())?;
    let mut missing: Vec<BootSetting> = Vec::new();
    for one in settings {
        match one.setting.is_met(&line) {
            true => expect(at, one),
            false => missing.push(one.clone()),
        }
    }
    for (_, of_it) in groups(&missing) {
        let all: Vec<&CommandLineSetting> = of_it.iter().map(|one| &one.setting).collect();
        let definition = definition(&line, &all, "")?;
        for one in of_it {
            let why = format!(
                "the kernel command line belongs to {}, and this program does not change it",
                BootLoader::NixOs
            );
            let unsupported = Unsupported::new(UnsupportedKind::Managed, why).hint(format!(
                "in the configuration of NixOS: {definition} then {REBUILD}"
            ));
            let what = format!("kernel parameter {}", one.setting);
            one.on(at.skip(&what, unsupported));
        }
    }
    if missing.len() > 1 {
        let all: Vec<&CommandLineSetting> = missing.iter().map(|one| &one.setting).collect();
        at.note(format!(
            "all of them in the configuration of NixOS: {} then {REBUILD}",
            definition(&line, &all, "")?
        ));
    }
    if !missing.is_empty() {
        at.note(
            "a revert does not take the kernel parameters back: remove them from the configuration of NixOS again; the present generations stay in the boot menu",
        );
    }
    Ok(())
}

/// The parameters that the next boot has of these: no revert takes them away.
pub(super) fn leftovers(
    host: &Host,
    settings: &[&CommandLineSetting],
) -> Result<Vec<Leftover>, HostError> {
    let line = match host.read(NEXT) {
        Err(error) if *error.kind() == HostErrorKind::Missing => return Ok(Vec::new()),
        line => KernelCommandLine::parse(line?),
    };
    let met = settings.iter().filter(|one| one.is_met(&line));
    let parameters: Vec<String> = met.map(ToString::to_string).collect();
    if parameters.is_empty() {
        return Ok(Vec::new());
    }
    Ok(vec![Leftover::managed(
        "the generation of the next boot",
        parameters,
        format!("remove it from boot.kernelParams in the configuration of NixOS, {REBUILD}"),
        host,
    )])
}
