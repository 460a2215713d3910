//! Whether a requested parameter applies to the installed driver, and its value as the kernel reads
//! it.

use hosttune_core::{Error, Unsupported, UnsupportedKind};

use crate::driver::InstalledDriver;
use crate::number;
use crate::parameter::{DriverModule, PARAMETERS, Parameter, Values, nearest};
use crate::registry::LONGEST_TEXT;
use crate::setting::NvidiaSetting;

/// Why a setting does not apply to the installed driver.
pub(crate) fn unsupported(
    setting: &NvidiaSetting,
    known: Option<&'static Parameter>,
    driver: &InstalledDriver,
) -> Result<Option<Unsupported>, Error> {
    let option = setting.option();
    let branch = driver.branch();
    let Some(module) = driver.module(setting.module) else {
        let why = format!("the module {} is not installed", setting.module);
        return Ok(Some(
            Unsupported::new(UnsupportedKind::ValueUnavailable, why)
                .hint("install all modules of the driver"),
        ));
    };
    if setting.module == DriverModule::Nvidia && option == "NVreg_RegistryDwords" {
        return Err(Error::tuning(
            "RegistryDwords is one text for all keys and cannot be requested as a parameter",
            "give its keys as the registry of the tuning",
        ));
    }
    if module.parameter_type(&option).is_none() {
        let missing = |why: String, hint: &str| {
            let unsupported = Unsupported::new(UnsupportedKind::Missing, why);
            Ok(Some(unsupported.hint(hint)))
        };
        return match known {
            Some(known) if known.until.is_some_and(|until| branch >= until) => missing(
                format!(
                    "{option} was removed in branch {}, and the installed driver is {}",
                    known.until.unwrap_or(branch),
                    driver.version
                ),
                "remove it from the profile",
            ),
            Some(known) if branch < known.since => missing(
                format!(
                    "{option} needs branch {} or later, and the installed driver is {}",
                    known.since, driver.version
                ),
                "install a newer driver, or make the setting optional",
            ),
            Some(_) => missing(
                format!(
                    "the installed module {} does not declare {option}",
                    setting.module
                ),
                "see modinfo for the parameters that it has",
            ),
            None => Err(misspelt(setting, module.parameters())),
        };
    }
    match known.and_then(|known| known.only) {
        Some(only) if only != driver.kind => {
            let caution = known.and_then(|known| known.caution);
            let why = format!(
                "{option} acts only with the {only} module, and the {} one is installed",
                driver.kind
            );
            let unsupported = Unsupported::new(UnsupportedKind::ValueUnavailable, why);
            Ok(Some(unsupported.hint(caution.map_or_else(
                || "leave it out".to_owned(),
                |why| format!("leave it out: {why}"),
            ))))
        }
        _ => Ok(None),
    }
}

/// The error for a name that neither this version nor the installed module knows.
fn misspelt<'m>(setting: &NvidiaSetting, declared: impl Iterator<Item = &'m str>) -> Error {
    let option = setting.option();
    let known = PARAMETERS
        .iter()
        .filter(|known| known.module == setting.module)
        .map(Parameter::option);
    let mut names: Vec<String> = known.collect();
    names.extend(declared.map(str::to_owned));
    let nearest = nearest(&option, names.iter().map(String::as_str));
    let hint = match nearest {
        Some(nearest) => format!("the nearest name is {nearest}"),
        None => format!("see modinfo {} for its parameters", setting.module),
    };
    Error::tuning(
        format!(
            "the driver has no parameter {option}; it would ignore it with a line in the kernel log"
        ),
        hint,
    )
}

/// The value in the spelling that the kernel takes.
pub(crate) fn value(
    setting: &NvidiaSetting,
    known: Option<&'static Parameter>,
) -> Result<String, Error> {
    let refused = |what: String| {
        Error::tuning(
            format!(
                "{} cannot be set to {:?}: it takes {what}",
                setting.option(),
                setting.value
            ),
            "with a value that it cannot read, the driver does not load at all",
        )
    };
    let Some(known) = known else {
        return Ok(setting.value.clone());
    };
    let truth = match setting.value.as_str() {
        "Y" | "y" => Some(1),
        "N" | "n" => Some(0),
        text => number::parse(text),
    };
    let number = number::parse(&setting.value);
    match (known.values, number) {
        (Values::Text, _) if setting.value.len() >= LONGEST_TEXT => {
            Err(refused(format!("fewer than {LONGEST_TEXT} bytes")))
        }
        (Values::Text, _) => Ok(setting.value.clone()),
        (Values::Truth, _) => match truth {
            Some(number @ (0 | 1)) => Ok(number.to_string()),
            _ => Err(refused("0 or 1".into())),
        },
        (_, None) => Err(refused("a number of 32 bits".into())),
        (Values::UpTo(1), Some(2..)) => Err(refused("0 or 1".into())),
        (Values::UpTo(last), Some(number)) if number > last => Err(refused(format!("0 to {last}"))),
        (Values::SwitchOrAutomatic, Some(2..=0xffff_fffe)) => {
            Err(refused("0, 1, or -1 for the driver's choice".into()))
        }
        (_, Some(number)) => Ok(number::to_option(number)),
    }
}
