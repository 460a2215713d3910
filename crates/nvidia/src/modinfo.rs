//! What a kernel module's file says of itself: the section `.modinfo` of a `.ko`, which may be
//! compressed.

use std::collections::BTreeMap;
use std::io::Read;

use hosttune_core::{Host, HostError, HostErrorKind};
use object::{Object, ObjectSection};

use crate::version::{DriverVersion, ModuleKind};

/// The most that is read of a module, and that it is decompressed to, in bytes. The largest module of the driver has some
/// 100 MiB; a file that claims more is not a module.
const LARGEST: u64 = 512 << 20;

/// The memory that the xz decoder may use, in KiB. Modules are compressed with small dictionaries.
const XZ_MEMORY: u32 = 256 << 10;

/// Why the information of a module cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ModuleInfoError {
    /// The file cannot be decompressed.
    #[error("it cannot be decompressed ({format}): {detail}")]
    Compressed {
        /// `gzip`, `xz` or `zstd`.
        format: &'static str,
        /// What the decoder says.
        detail: String,
    },
    /// The file is too large.
    #[error("it is larger than {LARGEST} bytes")]
    TooLarge,
    /// The file is not an ELF file.
    #[error("it is not an ELF file: {0}")]
    NotElf(String),
    /// The file has no section `.modinfo`, so it is not a kernel module.
    #[error("it has no section .modinfo, so it is not a kernel module")]
    NoModinfo,
}

/// The information in a module's file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModuleInfo {
    fields: BTreeMap<String, Vec<String>>,
}

impl ModuleInfo {
    /// Reads the file of a module: plain, or compressed with gzip, xz or zstd, told by its first bytes.
    ///
    /// # Errors
    /// If the file is not a module: see [`ModuleInfoError`].
    pub fn of_file(bytes: &[u8]) -> Result<Self, ModuleInfoError> {
        let bytes = decompressed(bytes)?;
        let file = object::File::parse(bytes.as_ref())
            .map_err(|error| ModuleInfoError::NotElf(error.to_string()))?;
        let section = file.section_by_name(".modinfo");
        let data = section.ok_or(ModuleInfoError::NoModinfo)?.data();
        let data = data.map_err(|error| ModuleInfoError::NotElf(error.to_string()))?;
        Ok(Self::parse(data))
    }

    /// Reads the section: texts `key=value`, each ended by a NUL byte.
    pub fn parse(section: &[u8]) -> Self {
        let mut fields: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for text in section.split(|byte| *byte == 0) {
            let text = String::from_utf8_lossy(text);
            if let Some((key, value)) = text.split_once('=') {
                let values = fields.entry(key.to_owned()).or_default();
                values.push(value.to_owned());
            }
        }
        Self { fields }
    }

    /// The first value of a field: `license`, `name`, `vermagic`.
    pub fn field(&self, key: &str) -> Option<&str> {
        self.fields.get(key)?.first().map(String::as_str)
    }

    /// The driver's version.
    pub fn version(&self) -> Option<DriverVersion> {
        self.field("version").and_then(DriverVersion::parse)
    }

    /// The kind of an NVIDIA module, by its license; `None` if that is another one.
    pub fn kind(&self) -> Option<ModuleKind> {
        match self.field("license")? {
            "Dual MIT/GPL" => Some(ModuleKind::Open),
            "NVIDIA" => Some(ModuleKind::Proprietary),
            _ => None,
        }
    }

    /// The type of a parameter that the module declares: `int`, `bool`, `charp`; `None` if it
    /// declares none of this name.
    pub fn parameter_type(&self, parameter: &str) -> Option<&str> {
        self.of_parameter("parmtype", parameter)
    }

    /// The description of a parameter, in the module's own words.
    pub fn description(&self, parameter: &str) -> Option<&str> {
        self.of_parameter("parm", parameter)
    }

    /// The names of the parameters that the module declares.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        let all = self.fields.get("parmtype").into_iter().flatten();
        all.filter_map(|text| Some(text.split_once(':')?.0))
    }

    /// The default of a switch, from its description: `(1 = enable, 0 = disable (default))`.
    /// Distributions change defaults, and the description with them.
    pub fn described_default(&self, parameter: &str) -> Option<u32> {
        let text = self.description(parameter)?;
        let before = text.split_once("(default)")?.0;
        let (number, meaning) = before.rsplit_once('=')?;
        // The number of this choice, and not of an earlier one that is separated by a comma.
        if meaning.contains(',') {
            return None;
        }
        let digits = number.trim_end().rsplit([' ', '(', ',']).next()?;
        crate::number::parse(digits)
    }

    fn of_parameter(&self, key: &str, parameter: &str) -> Option<&str> {
        let all = self.fields.get(key)?.iter();
        all.filter_map(|text| text.split_once(':'))
            .find(|(name, _)| *name == parameter)
            .map(|(_, value)| value)
    }
}

/// Reads the information of the module's file at a path.
pub(crate) fn read(host: &Host, path: &str) -> Result<ModuleInfo, HostError> {
    let unusable = |error: HostError| {
        match error.kind() {
        HostErrorKind::Malformed => error.with_hint(
            "install the driver for this kernel again: modinfo, with this path, tells what the file is",
        ),
        _ => error,
    }
    };
    let bytes = host.read_up_to(path, LARGEST).map_err(unusable)?;
    ModuleInfo::of_file(&bytes)
        .map_err(|error| unusable(HostError::malformed(path, error.to_string())))
}

fn decompressed(bytes: &[u8]) -> Result<std::borrow::Cow<'_, [u8]>, ModuleInfoError> {
    const XZ: &[u8] = b"\xfd7zXZ\0";
    const GZIP: &[u8] = b"\x1f\x8b";
    const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";
    let (format, decoder): (_, Box<dyn Read + '_>) = if bytes.starts_with(XZ) {
        let decoder = lzma_rust2::XzReader::new_mem_limit(bytes, true, XZ_MEMORY);
        ("xz", Box::new(decoder))
    } else if bytes.starts_with(GZIP) {
        ("gzip", Box::new(flate2::read::MultiGzDecoder::new(bytes)))
    } else if bytes.starts_with(ZSTD) {
        let decoder = ruzstd::decoding::StreamingDecoder::new(bytes);
        let decoder = decoder.map_err(|error| ModuleInfoError::Compressed {
            format: "zstd",
            detail: error.to_string(),
        })?;
        ("zstd", Box::new(decoder))
    } else {
        return Ok(bytes.into());
    };
    let mut plain = Vec::new();
    decoder
        .take(LARGEST + 1)
        .read_to_end(&mut plain)
        .map_err(|error| ModuleInfoError::Compressed {
            format,
            detail: error.to_string(),
        })?;
    if u64::try_from(plain.len()).is_ok_and(|length| length > LARGEST) {
        return Err(ModuleInfoError::TooLarge);
    }
    Ok(plain.into())
}
