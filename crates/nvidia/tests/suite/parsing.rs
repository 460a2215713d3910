//! Texts of the driver and its modules: each form, and any bytes.

use hosttune_nvidia::{
    DriverModule, DriverVersion, LONGEST_TEXT, LoadedDriver, ModuleInfo, ModuleInfoError,
    ModuleKind, PARAMETERS, RegistryDwords, RegistryError, find, information, parse_params,
};
use proptest::prelude::*;

use crate::tree::elf;

const MODULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/modules");

#[test]
fn both_kinds_of_module_name_their_version() {
    for (text, version, kind) in [
        (
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  595.45.04  Release Build  (u@h)  Tue\nGCC version: gcc 14.2.0\n",
            "595.45.04",
            ModuleKind::Open,
        ),
        (
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.90.07  Fri May 31 09:35:42 UTC 2024\n",
            "550.90.07",
            ModuleKind::Proprietary,
        ),
        (
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  390.157  Wed Oct 12\n",
            "390.157",
            ModuleKind::Proprietary,
        ),
    ] {
        let loaded = LoadedDriver::parse(text).unwrap();
        assert_eq!((loaded.version.as_str(), loaded.kind), (version, kind));
    }
    for text in ["", "GCC version: gcc 14.2.0", "NVRM version: none"] {
        assert_eq!(LoadedDriver::parse(text), None);
    }
    assert_eq!(DriverVersion::parse("595.45.04").unwrap().branch(), 595);
    for text in ["595", "1.2.3.4", "a.b", "1.", "99999.1", "-1.2"] {
        assert_eq!(DriverVersion::parse(text), None, "{text}");
    }
}

#[test]
fn numbers_and_texts_of_the_parameters_are_read() {
    let params = parse_params(
        "ResmanDebugLevel: 4294967295\nRmProfilingAdminOnly: 1\nRegistryDwords: \"a=1;b=2\"\nRmMsg: \"\"\nbroken\n",
    );
    assert_eq!(params["ResmanDebugLevel"], "4294967295");
    assert_eq!(params["RegistryDwords"], "a=1;b=2");
    assert_eq!(params["RmMsg"], "");
    assert_eq!(params.len(), 4);
    let fields = information("Model: \t\t NVIDIA GeForce GTX 960\nVideo BIOS: \t ??.??.??.??.??\n");
    assert_eq!(fields["Model"], "NVIDIA GeForce GTX 960");
}

/// The files are made by GNU as, gzip, xz and zstd; see their README.
#[test]
fn modules_are_read_plain_and_compressed() {
    for name in ["small.ko", "small.ko.gz", "small.ko.xz", "small.ko.zst"] {
        let bytes = std::fs::read(format!("{MODULES}/{name}")).unwrap();
        let info = ModuleInfo::of_file(&bytes).unwrap();
        assert_eq!(info.kind(), Some(ModuleKind::Open), "{name}");
        assert_eq!(info.version(), DriverVersion::parse("595.45.04"));
        assert_eq!(info.parameter_type("NVreg_EnableMSI"), Some("int"));
        assert_eq!(info.parameters().count(), 2);
        assert_eq!(info.described_default("modeset"), Some(1));
        // Cut anywhere, it is an error or at least no panic.
        for end in 0..bytes.len() {
            let _ = ModuleInfo::of_file(&bytes[..end]);
        }
    }
    let none = ModuleInfo::of_file(&elf(".text", b"")).unwrap_err();
    assert_eq!(none, ModuleInfoError::NoModinfo);
    let text = ModuleInfo::of_file(b"not a module").unwrap_err();
    assert!(matches!(text, ModuleInfoError::NotElf(_)), "{text}");
    let cut = ModuleInfo::of_file(b"\xfd7zXZ\0\0\x01").unwrap_err();
    assert!(
        matches!(cut, ModuleInfoError::Compressed { format: "xz", .. }),
        "{cut}"
    );
}

#[test]
fn a_default_is_read_from_the_description() {
    for (text, default) in [
        ("Enable (1 = enable (default), 0 = disable)", Some(1)),
        ("Enable (1 = enable, 0 = disable (default))", Some(0)),
        ("Enable (0 = off, 1 = on, 2 = auto (default))", Some(2)),
        ("Enable (1 = enable, 0 = disable)", None),
        ("(default)", None),
        ("a = b (default)", None),
    ] {
        let info = ModuleInfo::parse(format!("parm=x:{text}").as_bytes());
        assert_eq!(info.described_default("x"), default, "{text}");
    }
}

#[test]
fn dwords_are_read_as_the_driver_reads_them() {
    let read =
        RegistryDwords::parse(" A = 1 ; B=0x10;;A=2;C=abc;D=0x1zz;E=1,F=2;G;H=;=3;I=4294967295");
    let pairs: Vec<_> = read.pairs().collect();
    assert_eq!(
        pairs,
        [("A", 2), ("B", 16), ("C", 0), ("D", 1), ("I", u32::MAX)]
    );
    assert_eq!(read.dropped(), ["E=1,F=2", "G", "H=", "=3"]);
    let mut read = RegistryDwords::default();
    for key in ["", "a;b", "a=b", "a b", "\u{e0}"] {
        assert_eq!(read.set(key, 1), Err(RegistryError::Key(key.into())));
    }
    let long = "k".repeat(LONGEST_TEXT);
    assert!(matches!(read.set(&long, 1), Err(RegistryError::TooLong(_))));
    assert!(read.is_empty());
}

#[test]
fn the_table_is_consistent() {
    for (place, known) in PARAMETERS.iter().enumerate() {
        let twice = PARAMETERS[..place]
            .iter()
            .any(|other| (other.module, other.name) == (known.module, known.name));
        assert!(!twice, "{}", known.option());
        assert!(
            known.until.is_none_or(|until| until > known.since),
            "{}",
            known.option()
        );
        assert_eq!(find(known.module, &known.option()), Some(known));
        assert_eq!(find(known.module, known.name), Some(known));
        assert!(known.module == DriverModule::Nvidia || known.shown.is_none());
    }
    let pat = find(DriverModule::Nvidia, "NVreg_UsePageAttributeTable").unwrap();
    assert!(pat.is_in(595) && !pat.is_in(610));
    let preserve = find(DriverModule::Nvidia, "PreserveVideoMemoryAllocations").unwrap();
    assert_eq!(
        (preserve.default_in(590), preserve.default_in(595)),
        (Some(0), Some(2))
    );
    let fbdev = find(DriverModule::Drm, "fbdev").unwrap();
    assert_eq!(
        (
            fbdev.is_in(535),
            fbdev.default_in(565),
            fbdev.default_in(570)
        ),
        (false, Some(0), Some(1))
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn any_text_is_read(text in ".{0,80}", bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = (LoadedDriver::parse(&text), parse_params(&text), information(&text));
        let info = ModuleInfo::parse(&bytes);
        let _ = (info.kind(), info.version(), info.described_default("x"));
        let _ = ModuleInfo::of_file(&bytes);
        let _ = ModuleInfo::of_file(&elf(".modinfo", &bytes)).unwrap();
    }

    #[test]
    fn dwords_are_read_back(pairs in prop::collection::vec(("[A-Za-z0-9_]{1,8}", any::<u32>()), 0..8), text in "[A-C=;, 0x]{0,20}") {
        let mut dwords = RegistryDwords::parse(&text);
        for (key, value) in &pairs {
            dwords.set(key, *value).unwrap();
        }
        let again = RegistryDwords::parse(&dwords.to_string());
        prop_assert!(again.dropped().is_empty());
        prop_assert_eq!(again.pairs().collect::<Vec<_>>(), dwords.pairs().collect::<Vec<_>>());
    }
}
