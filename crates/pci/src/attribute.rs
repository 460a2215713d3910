//! Reading the attributes of a function in sysfs.

use hosttune_core::host::EntryKind;
use hosttune_core::{Host, HostError, HostErrorKind};

use crate::address::Address;

/// An attribute without its newline; `None` if the function or this attribute does not exist.
pub(crate) fn text(host: &Host, address: Address, name: &str) -> Result<Option<String>, HostError> {
    let bytes = match host.read(address.file(name)) {
        Ok(bytes) => bytes,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(Some(String::from_utf8_lossy(&bytes).trim_end().to_owned()))
}

/// An attribute that is parsed.
pub(crate) fn parsed<T: std::str::FromStr>(
    host: &Host,
    address: Address,
    name: &str,
) -> Result<Option<T>, HostError>
where
    T::Err: std::fmt::Display,
{
    let Some(text) = text(host, address, name)? else {
        return Ok(None);
    };
    let parsed = text.parse::<T>();
    parsed
        .map(Some)
        .map_err(|error| HostError::malformed(address.file(name), error.to_string()))
}

/// The last component of a link of a function; `None` if there is no such link.
pub(crate) fn link_name(
    host: &Host,
    address: Address,
    name: &str,
) -> Result<Option<String>, HostError> {
    Ok(
        match host.entry(address.file(name))?.map(|entry| entry.kind) {
            Some(EntryKind::Link(target)) => target
                .file_name()
                .map(|name| name.to_string_lossy().into_owned()),
            _ => None,
        },
    )
}

/// Whether an error means that there is no such file, also because its device has just vanished.
pub(crate) fn is_absent(error: &HostError) -> bool {
    matches!(error.kind(), HostErrorKind::Missing | HostErrorKind::Gone)
}
