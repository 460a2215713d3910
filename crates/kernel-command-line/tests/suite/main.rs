//! The kernel command line: kept byte for byte, read as the kernel reads it, changed in one place.

#![expect(clippy::unwrap_used, reason = "tests fail where they cannot go on")]

use hosttune_kernel_command_line::{
    CommandLineSetting, KernelCommandLine, LONGEST_LINE, LineError, each_counts,
};
use proptest::prelude::*;

fn applied(line: &str, setting: &CommandLineSetting) -> String {
    let mut line = KernelCommandLine::parse(line);
    setting.apply(&mut line).unwrap();
    assert!(setting.is_met(&line), "{setting}: {line}");
    line.to_string()
}

#[test]
fn each_kind_of_setting_changes_its_own_parameter_only() {
    type Set = CommandLineSetting;
    for (before, setting, after) in [
        ("ro", Set::present("quiet"), "ro quiet"),
        ("ro quiet=1", Set::present("quiet"), "ro quiet=1"),
        ("", Set::present("quiet"), "quiet"),
        ("\n", Set::present("quiet"), "quiet\n"),
        ("ro -- x", Set::present("quiet"), "ro quiet -- x"),
        ("-- x", Set::present("quiet"), "quiet -- x"),
        ("ro  quiet  splash", Set::absent("quiet"), "ro   splash"),
        ("quiet ro quiet", Set::absent("quiet"), "ro"),
        ("ro -- quiet", Set::absent("quiet"), "ro -- quiet"),
        (
            "a mitigations=auto b",
            Set::equals("mitigations", "off"),
            "a mitigations=off b",
        ),
        // Each occurrence of an early parameter acts, so only one is left.
        (
            "mitigations=auto a mitigations=off,nosmt",
            Set::equals("mitigations", "off"),
            "a mitigations=off",
        ),
        (
            "nvidia-drm.modeset=0",
            Set::equals("nvidia_drm.modeset", "1"),
            "nvidia_drm.modeset=1",
        ),
        (
            "a",
            Set::equals("dyndbg", "file x +p"),
            "a dyndbg=\"file x +p\"",
        ),
        (
            "isolcpus=2,3",
            Set::contains("isolcpus", "4"),
            "isolcpus=2,3,4",
        ),
        (
            "a",
            Set::contains("module_blacklist", "b"),
            "a module_blacklist=b",
        ),
        (
            "module_blacklist=",
            Set::contains("module_blacklist", "b"),
            "module_blacklist=b",
        ),
        (
            "modprobe.blacklist=a modprobe.blacklist=b",
            Set::contains("modprobe.blacklist", "a"),
            "modprobe.blacklist=a modprobe.blacklist=b",
        ),
        // Of another list only the last occurrence counts.
        (
            "isolcpus=4 isolcpus=2",
            Set::contains("isolcpus", "4"),
            "isolcpus=4 isolcpus=2,4",
        ),
        (
            "console=tty0",
            Set::occurs("console", "ttyS0"),
            "console=tty0 console=ttyS0",
        ),
        (
            "a",
            Set::HugePages {
                size: "1G".into(),
                pages: 16,
            },
            "a hugepagesz=1G hugepages=16",
        ),
        (
            "hugepages=9 hugepagesz=2M hugepages=8 hugepagesz=1G hugepages=1 b",
            Set::HugePages {
                size: "1G".into(),
                pages: 16,
            },
            "hugepages=9 hugepagesz=2M hugepages=8 hugepagesz=1G hugepages=16 b",
        ),
        (
            "hugepagesz=1G hugepagesz=2M hugepages=8",
            Set::HugePages {
                size: "1G".into(),
                pages: 2,
            },
            "hugepagesz=1G hugepages=2 hugepagesz=2M hugepages=8",
        ),
    ] {
        assert_eq!(applied(before, &setting), after, "{before:?} {setting}");
        assert_eq!(applied(after, &setting), after, "twice: {setting}");
    }
}

#[test]
fn what_the_kernel_or_the_initramfs_would_misread_is_refused() {
    let mut line = KernelCommandLine::parse("root=/dev/sda1 quiet");
    let before = line.clone();
    for (name, value) in [
        ("", None),
        ("a b", None),
        ("--", None),
        ("a", Some("x\ny")),
        ("a", Some("\"x\"")),
        ("a=b", Some("c")),
        ("caf\u{e9}", Some("1")),
    ] {
        let error = line.add(name, value).unwrap_err();
        assert!(matches!(error, LineError::NotWritable { .. }), "{error}");
    }
    for name in ["root", "panic", "init"] {
        let error = line.set(name, Some("a b")).unwrap_err();
        assert!(
            matches!(error, LineError::BlankForInitramfs { .. }),
            "{error}"
        );
    }
    assert!(each_counts("console"));
    let error = line.set("console", Some("ttyS0")).unwrap_err();
    assert!(matches!(error, LineError::EachCounts { .. }), "{error}");
    let error = CommandLineSetting::contains("a", "b,c")
        .apply(&mut line)
        .unwrap_err();
    assert!(matches!(error, LineError::NotWritable { .. }), "{error}");
    assert_eq!(line, before);
    for (text, what) in [("a=\"b c", "quote"), ("a\0b", "NUL"), ("a\nb", "line feed")] {
        let mut line = KernelCommandLine::parse(text);
        let error = line.add("x", None).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
        assert!(line.remove("a").is_err());
    }
}

#[test]
fn the_length_is_checked_on_the_final_line() {
    let fits = KernelCommandLine::parse(format!("{}\n", "a".repeat(LONGEST_LINE)));
    assert_eq!(fits.check_length(), Ok(()));
    let long = KernelCommandLine::parse("a".repeat(LONGEST_LINE + 1));
    assert_eq!(
        long.check_length(),
        Err(LineError::TooLong { length: 2048 })
    );
}

#[test]
fn a_line_that_would_lose_its_root_is_refused() {
    let line = KernelCommandLine::parse("root=UUID=1 rd.luks.uuid=2 quiet");
    let check = |other: &str| line.check_root(&KernelCommandLine::parse(other));
    assert_eq!(check("rd.luks.uuid=2 root=UUID=3"), Ok(()));
    for (other, what) in [
        ("quiet", "root=UUID=1"),
        ("root=UUID=1 -- rd.luks.uuid=2", "rd.luks.uuid=2"),
    ] {
        let LineError::LosesRoot { what: lost } = check(other).unwrap_err() else {
            panic!("another error");
        };
        assert_eq!(lost, what);
    }
    assert_eq!(KernelCommandLine::parse("quiet").check_root(&line), Ok(()));
}

#[test]
fn arguments_behind_two_dashes_belong_to_init() {
    let line = KernelCommandLine::parse("a -- b=1 -- c");
    let names = |all: Vec<String>| all.join(" ");
    let kernel = line.arguments().map(|one| one.name().into_owned());
    assert_eq!(names(kernel.collect()), "a");
    let init = line.init_arguments().map(|one| one.name().into_owned());
    assert_eq!(names(init.collect()), "b -- c");
    assert!(!line.has("b"));
}

#[test]
fn a_setting_is_read_back_from_json() {
    let setting = CommandLineSetting::contains("isolcpus", "4");
    let json = r#"{"is":"contains","name":"isolcpus","word":"4"}"#;
    assert_eq!(serde_json::to_string(&setting).unwrap(), json);
    assert_eq!(
        serde_json::from_str::<CommandLineSetting>(json).unwrap(),
        setting
    );
    assert!(serde_json::from_str::<CommandLineSetting>(r#"{"is":"is"}"#).is_err());
}

fn line() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => prop_oneof![
            Just("quiet"), Just("a=1"), Just("a-b=\"1 2\""), Just("a_b=3"), Just(" "), Just(" "),
            Just("  "), Just("--"), Just("console=tty0"), Just("\"a=1 2\""), Just("hugepagesz=1G"),
            Just("hugepages=4"), Just("list=x,y"),
        ].prop_map(|text| text.as_bytes().to_vec()),
        1 => any::<u8>().prop_map(|byte| vec![byte]),
    ];
    prop::collection::vec(piece, 0..16).prop_map(|pieces| pieces.concat())
}

fn setting() -> impl Strategy<Value = CommandLineSetting> {
    let name = prop_oneof![
        Just("a"),
        Just("a-b"),
        Just("quiet"),
        Just("list"),
        Just("new.one")
    ];
    let value = prop_oneof![Just("1"), Just("x"), Just("4 5"), Just("")];
    prop_oneof![
        name.clone().prop_map(CommandLineSetting::present),
        name.clone().prop_map(CommandLineSetting::absent),
        (name.clone(), value.clone()).prop_map(|(n, v)| CommandLineSetting::equals(n, v)),
        (name, prop_oneof![Just("x"), Just("z")])
            .prop_map(|(n, w)| CommandLineSetting::contains(n, w)),
        value.prop_map(|v| CommandLineSetting::occurs("console", v)),
        (1u64..5).prop_map(|pages| CommandLineSetting::HugePages {
            size: "1G".into(),
            pages
        }),
    ]
}

/// The arguments of other parameters, as text.
fn others(line: &KernelCommandLine, setting: &CommandLineSetting) -> Vec<Vec<u8>> {
    let is_own = |argument: &hosttune_kernel_command_line::Argument<'_>| {
        argument.is_named(setting.name())
            || matches!(setting, CommandLineSetting::HugePages { .. })
                && argument.is_named("hugepages")
    };
    let of_kernel = line.arguments().filter(|argument| !is_own(argument));
    let of_init = line.init_arguments();
    of_kernel
        .chain(of_init)
        .map(|argument| argument.text().to_vec())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn any_bytes_are_a_line_and_an_edit_keeps_everything_else(bytes in line(), setting in setting()) {
        let before = KernelCommandLine::parse(bytes.clone());
        prop_assert_eq!(before.bytes(), &bytes[..]);
        let mut after = before.clone();
        match setting.apply(&mut after) {
            Err(_) => prop_assert_eq!(after.bytes(), before.bytes()),
            Ok(()) => {
                prop_assert!(setting.is_met(&after), "{} in {}", setting, after);
                prop_assert_eq!(others(&before, &setting), others(&after, &setting));
                let once = after.clone();
                setting.apply(&mut after).unwrap();
                prop_assert_eq!(once, after);
            }
        }
    }

    #[test]
    fn removing_what_was_added_gives_the_same_bytes(bytes in line()) {
        let before = KernelCommandLine::parse(bytes);
        let mut line = before.clone();
        if line.add("added.one", Some("1 2")).is_ok() {
            prop_assert_eq!(line.remove("added.one").unwrap(), 1);
            prop_assert_eq!(line.bytes(), before.bytes());
        }
    }
}
