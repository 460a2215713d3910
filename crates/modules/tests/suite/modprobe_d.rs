//! modprobe.d: read as modprobe reads it, edited without touching anything else, and who wins.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use hosttune_core::host::FileContent;
use hosttune_core::testing::{Behaviour, CrashPoint, Memory};
use hosttune_core::{Host, HostErrorKind};
use hosttune_modules::modprobe_d::{
    Document, EditError, Entry, ModprobeConfiguration, ProblemKind, Source, Statement,
};
use proptest::prelude::*;

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/modprobe.d");

fn host(memory: &Memory) -> Host {
    Host::new(memory.host(&CrashPoint::lives()))
}

fn put(memory: Memory, path: &str, bytes: impl Into<Vec<u8>>) -> Memory {
    memory.content(path, FileContent::new(bytes))
}

/// What `modprobe --showconfig` prints for these statements.
fn shown(configuration: &ModprobeConfiguration) -> String {
    let mut lists: [Vec<String>; 7] = Default::default();
    for (_, statement) in configuration.statements() {
        let (list, line) = match statement {
            Statement::Blacklist { module } => (0, format!("blacklist {module}")),
            Statement::Install { module, command } => (1, format!("install {module} {command}")),
            Statement::Remove { module, command } => (2, format!("remove {module} {command}")),
            Statement::Alias { pattern, module } => (3, format!("alias {pattern} {module}")),
            Statement::Options { module, options } => (4, format!("options {module} {options}")),
            Statement::Softdep { module, pre, post } => {
                let list = |name: &str, all: &[String]| match all {
                    [] => String::new(),
                    all => format!("{name}: {}", all.join(" ")),
                };
                // Without a blank between the two, as modprobe prints them.
                let both = format!("{}{}", list("pre", pre), list("post", post));
                (5, format!("softdep {module} {both}"))
            }
            Statement::Weakdep { module, modules } => {
                (6, format!("weakdep {module} {}", modules.join(" ")))
            }
            Statement::Blank | Statement::Comment | Statement::Ignored => continue,
            other => panic!("not printed: {other:?}"),
        };
        lists[list].push(format!("{line}\n"));
    }
    lists.concat().concat()
}

/// The names of the cases, and what modprobe of kmod 34 prints for each.
fn cases() -> Vec<(String, Vec<u8>)> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(CASES).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if let Some(case) = name.strip_suffix(".conf") {
            names.insert(case.to_owned());
        }
    }
    let golden = |case: String| {
        let newer = fs::read(format!("{CASES}/{case}.showconfig-34"));
        let all = newer.or_else(|_| fs::read(format!("{CASES}/{case}.showconfig")));
        (case.clone(), all.unwrap())
    };
    names.into_iter().map(golden).collect()
}

#[test]
fn every_file_is_read_as_modprobe_reads_it() {
    let cases = cases();
    assert!(cases.len() >= 50, "{} cases", cases.len());
    for (case, golden) in cases {
        let read = |ending: &str| fs::read(format!("{CASES}/{case}.{ending}"));
        let memory = put(
            Memory::new(),
            "/etc/modprobe.d/case.conf",
            read("conf").unwrap(),
        );
        let line = read("cmdline").unwrap_or_default();
        let memory = put(memory, "/proc/cmdline", line);
        let configuration = ModprobeConfiguration::read(&host(&memory)).unwrap();
        // Bytes that are not UTF-8 are replaced for people.
        let golden = String::from_utf8_lossy(&golden);
        assert_eq!(shown(&configuration), golden, "{case}");
        let document = Document::parse(read("conf").unwrap());
        assert_eq!(document.bytes(), read("conf").unwrap(), "{case}");
    }
}

/// What the installed modprobe prints for a directory, without the indexes.
fn printed(directory: &Path) -> Vec<String> {
    let output = Command::new("/sbin/modprobe")
        .arg("-C")
        .arg(directory)
        .arg("--showconfig")
        .output()
        .expect("modprobe is needed for this test: install the package kmod");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let end = "\n# End of configuration files";
    let all = text.split(end).next().unwrap_or_default();
    all.lines().map(str::to_owned).collect()
}

/// The cases were captured; this is the modprobe of the machine that runs the tests. Its own command
/// line adds lines, which are those that it prints for an empty directory.
#[test]
fn the_installed_modprobe_prints_what_was_captured() {
    let version = Command::new("/sbin/modprobe").arg("--version").output();
    let version = String::from_utf8(version.unwrap().stdout).unwrap();
    let number = version.split_whitespace().nth(2).unwrap();
    let is_new = number.parse::<u32>().unwrap_or(34) >= 33;
    let empty = tempfile::tempdir().unwrap();
    let own_line = printed(empty.path());
    for (case, newer) in cases() {
        if fs::exists(format!("{CASES}/{case}.cmdline")).unwrap() {
            continue;
        }
        let older = fs::read(format!("{CASES}/{case}.showconfig")).unwrap();
        let golden = if is_new { newer } else { older };
        let directory = tempfile::tempdir().unwrap();
        let name = format!("{case}.conf");
        fs::copy(format!("{CASES}/{name}"), directory.path().join(name)).unwrap();
        let mut lines = printed(directory.path());
        for line in &own_line {
            if let Some(at) = lines.iter().rposition(|printed| printed == line) {
                lines.remove(at);
            }
        }
        let golden = String::from_utf8_lossy(&golden);
        assert_eq!(lines, golden.lines().collect::<Vec<_>>(), "{case}");
    }
}

#[test]
fn each_trap_of_a_file_is_reported_with_its_line() {
    for (text, line, kind) in [
        ("\nOptions a x=1\n", 2, ProblemKind::UnknownCommand),
        ("include x\n", 1, ProblemKind::Include),
        ("blacklist\n", 1, ProblemKind::MissingWord),
        ("options a[ x=1\n", 1, ProblemKind::Bracket),
        ("  # note\n", 1, ProblemKind::IndentedComment),
        ("# note \\\nblacklist a\n", 1, ProblemKind::ContinuedComment),
        ("options a x=1 # why\n", 1, ProblemKind::CommentInOptions),
        ("options a x=\"1\n", 1, ProblemKind::UnclosedQuote),
        (
            "options a-b x=1 a_b y=1\n",
            1,
            ProblemKind::ModuleAmongOptions,
        ),
        ("options a x=1\r\n", 1, ProblemKind::CarriageReturn),
        ("blacklist a\nblacklist b\\", 2, ProblemKind::BackslashAtEnd),
        ("blacklist a\0\n", 1, ProblemKind::NulByte),
        ("blacklist a\\\n\nfoo\n", 3, ProblemKind::UnknownCommand),
    ] {
        let problems = Document::parse(text).problems();
        assert_eq!(problems.len(), 1, "{text:?}: {problems:?}");
        assert_eq!(
            (problems[0].line, problems[0].kind),
            (line, kind),
            "{text:?}"
        );
        assert!(!problems[0].to_string().is_empty());
    }
    let fine = "# a comment\noptions a x=\"1 # 2\" y='z'\r\n".replace('\r', "");
    assert_eq!(Document::parse(fine).problems(), []);
}

#[test]
fn a_value_is_changed_in_its_place_and_nothing_else() {
    for (before, module, parameter, value, after) in [
        ("options a x=1 y=2\n", "a", "x", "3", "options a x=3 y=2\n"),
        (
            "options a-b\tx-y=1\r\n",
            "a_b",
            "x_y",
            "3",
            "options a-b\tx_y=3\r\n",
        ),
        (
            "options a x=1\noptions a x=2",
            "a",
            "x",
            "3",
            "options a x=1\noptions a x=3",
        ),
        (
            "options a x=1 \\\n  y=2\n",
            "a",
            "y",
            "3",
            "options a x=1 \\\n  y=3\n",
        ),
        (
            "options a name=\"b \\\n c\" y=1\n",
            "a",
            "name",
            "d",
            "options a name=d y=1\n",
        ),
        (
            "blacklist b",
            "a",
            "x",
            "c:\\d e",
            "blacklist b\noptions a x=\"c:\\\\d e\"",
        ),
        (
            "# note \\\noptions a x=1\n",
            "a",
            "x",
            "2",
            "# note \\\noptions a x=1\noptions a x=2\n",
        ),
        ("options a x=1\n", "a", "x", "1", "options a x=1\n"),
        ("", "a", "x", "1", "options a x=1\n"),
    ] {
        let mut document = Document::parse(before);
        document.set(module, parameter, value).unwrap();
        assert_eq!(document.to_string(), after, "{before:?}");
        assert_eq!(document.value(module, parameter), Some(Some(value.into())));
    }
}

#[test]
fn what_modprobe_would_read_otherwise_is_refused() {
    for (module, parameter, value) in [
        ("a", "x", "1\ny=2"),
        ("a", "x", "\"1\""),
        ("a b", "x", "1"),
        ("a", "x y", "1"),
        ("a", "", "1"),
        ("", "x", "1"),
        ("a", "a=b", "1"),
        ("a", "x", "caf\u{e9}"),
        ("[a]", "x", "1"),
        ("a", "a", "1\0"),
    ] {
        let mut document = Document::parse("options a x=0\n");
        let error = document.set(module, parameter, value).unwrap_err();
        assert!(matches!(error, EditError::NotWritable { .. }), "{error}");
        assert_eq!(document.to_string(), "options a x=0\n");
    }
    let unclosed = Document::parse("options a x=\"1\n").set("a", "y", "1");
    assert_eq!(unclosed, Err(EditError::UnclosedQuote { line: 1 }));
    let backslash = Document::parse("blacklist b\\").set("a", "y", "1");
    assert_eq!(backslash, Err(EditError::BackslashAtEnd));
}

#[test]
fn a_comment_of_a_generated_file_swallows_no_line() {
    let entry = Entry {
        module: "a".into(),
        parameter: "x".into(),
        value: "1".into(),
        comment: Some("C:\\\noptions a x=2".into()),
    };
    let document = Document::render("head \\", &[entry]).unwrap();
    assert_eq!(
        document.to_string(),
        "# head \\.\n\n# C:\\.\n# options a x=2\noptions a x=1\n"
    );
    assert_eq!(document.value("a", "x"), Some(Some("1".into())));
    assert_eq!(document.problems(), []);
}

fn configuration(files: &[(&str, &str)]) -> ModprobeConfiguration {
    let memory = files.iter().fold(Memory::new(), |memory, (path, text)| {
        put(memory, path, *text)
    });
    ModprobeConfiguration::read(&host(&memory)).unwrap()
}

fn file(path: &str, line: usize) -> Source {
    Source::File {
        path: path.into(),
        line,
    }
}

#[test]
fn files_are_read_by_base_name_over_all_directories() {
    let both = configuration(&[
        ("/etc/modprobe.d/10-a.conf", "options a x=1\n"),
        ("/usr/lib/modprobe.d/90-b.conf", "\noptions a x=2\n"),
        ("/etc/modprobe.d/99-c.txt", "options a x=3\n"),
        ("/etc/modprobe.d/.d.conf", "options a x=4\n"),
        ("/etc/modprobe.d/.conf", "options a x=5\n"),
        ("/etc/modprobe.d/sub.conf/e", "options a x=6\n"),
    ]);
    let winner = both.winner("a", "x").unwrap();
    assert_eq!(winner.value.as_deref(), Some("2"));
    assert_eq!(winner.source, file("/usr/lib/modprobe.d/90-b.conf", 2));
    assert_eq!(both.who_sets("a", "x").len(), 2);
}

#[test]
fn a_file_of_the_same_name_masks_and_does_not_merge() {
    let masked = configuration(&[
        ("/etc/modprobe.d/nvidia.conf", "options nvidia a=1\n"),
        ("/usr/lib/modprobe.d/nvidia.conf", "options nvidia b=1\n"),
        ("/run/modprobe.d/x.conf", "options x y=1\n"),
        ("/usr/local/lib/modprobe.d/x.conf", "options x y=2\n"),
    ]);
    assert!(masked.winner("nvidia", "b").is_none());
    assert_eq!(masked.winner("x", "y").unwrap().value.as_deref(), Some("1"));
    assert_eq!(masked.files()[0].masks, ["/usr/lib/modprobe.d/nvidia.conf"]);
}

#[test]
fn a_link_to_dev_null_masks_and_one_that_leads_nowhere_does_not() {
    let memory = put(Memory::new(), "/usr/lib/modprobe.d/a.conf", "blacklist a\n");
    let memory = put(memory, "/usr/lib/modprobe.d/b.conf", "blacklist b\n");
    let memory = memory
        .link("/etc/modprobe.d/a.conf", "/dev/null")
        .link("/etc/modprobe.d/b.conf", "/nowhere");
    let read = ModprobeConfiguration::read(&host(&memory)).unwrap();
    assert_eq!(read.blacklisted_by("a"), None);
    assert_eq!(
        read.blacklisted_by("b"),
        Some(file("/usr/lib/modprobe.d/b.conf", 1))
    );
}

#[test]
fn where_lib_is_a_link_its_files_are_not_read_twice() {
    let memory = put(Memory::new(), "/usr/lib/modprobe.d/a.conf", "blacklist a\n");
    let memory = memory.link("/lib", "usr/lib");
    let read = ModprobeConfiguration::read(&host(&memory)).unwrap();
    assert_eq!(read.files().len(), 1);
    assert!(read.files()[0].masks.is_empty());
}

#[test]
fn a_file_that_cannot_be_read_is_an_error() {
    let memory = put(Memory::new(), "/etc/modprobe.d/a.conf", "blacklist a\n");
    let memory = memory.mode("/etc/modprobe.d/a.conf", 0);
    let error = ModprobeConfiguration::read(&host(&memory)).unwrap_err();
    assert_eq!(*error.kind(), HostErrorKind::Denied);
}

#[test]
fn the_command_line_wins_over_all_files() {
    let both = configuration(&[
        ("/etc/modprobe.d/zz.conf", "options nvidia-drm modeset=0\n"),
        (
            "/proc/cmdline",
            "quiet nvidia-drm.modeset=1 -- nvidia_drm.fbdev=1\n",
        ),
    ]);
    let winner = both.winner("nvidia_drm", "modeset").unwrap();
    assert_eq!(winner.value.as_deref(), Some("1"));
    assert_eq!(winner.source, Source::CommandLine);
    assert_eq!(winner.to_string(), "modeset=1 in the kernel command line");
    // modprobe reads on behind `--`.
    assert!(both.winner("nvidia_drm", "fbdev").is_some());
}

#[test]
fn a_quote_that_is_not_closed_takes_the_options_of_later_lines() {
    let read = configuration(&[
        ("/etc/modprobe.d/a.conf", "options a x=\"1\n"),
        ("/etc/modprobe.d/b.conf", "options a y=2\n"),
    ]);
    assert!(read.winner("a", "y").is_none());
    let all = read.options_of("a");
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].value.as_deref(), Some("1 y=2"));
}

#[test]
fn the_first_install_and_softdep_line_that_matches_counts() {
    let read = configuration(&[(
        "/etc/modprobe.d/a.conf",
        "install nvidia* /bin/one\ninstall nvidia-drm /bin/two\n\
         softdep nv* pre: vfio-pci\nsoftdep nvidia post: x\nblacklist nvidia-drm\n",
    )]);
    let (source, command) = read.install_command("nvidia-drm").unwrap();
    assert_eq!(
        (source, command),
        (file("/etc/modprobe.d/a.conf", 1), "/bin/one")
    );
    assert!(read.install_command("vfio").is_none());
    let (_, pre, post) = read.soft_dependencies("nvidia").unwrap();
    assert_eq!((pre, post), (&["vfio-pci".to_owned()][..], &[][..]));
    assert!(read.blacklisted_by("nvidia_drm").is_some());
}

/// As modprobe 30 does: `modprobe -C FILE -d ROOT --show-depends nvidia`.
#[test]
fn an_alias_names_all_modules_of_its_lines_and_is_not_followed_twice() {
    let read = configuration(&[(
        "/etc/modprobe.d/a.conf",
        "alias nvidia nvidia-340\nalias nvid* nvidia-current\nalias nvidia off\n\
         alias nvidia-340 other\n",
    )]);
    assert_eq!(read.aliased("nvidia"), ["nvidia_340", "nvidia_current"]);
    assert_eq!(read.aliased("nvidia-340"), ["nvidia_current", "other"]);
    assert!(read.aliased("vfio").is_empty());
}

#[test]
fn a_configuration_can_be_read_as_if_a_file_were_other() {
    let memory = put(
        Memory::new(),
        "/etc/modprobe.d/zz-ours.conf",
        "options a x=1\n",
    );
    let memory = put(memory, "/etc/modprobe.d/b.conf", "options a x=2\n");
    let path = "/etc/modprobe.d/zz-ours.conf";
    let value = |bytes: Option<&[u8]>| {
        let read = ModprobeConfiguration::read_as_if(&host(&memory), path, bytes).unwrap();
        read.winner("a", "x").unwrap().value.unwrap()
    };
    assert_eq!(value(Some(b"options a x=3\n")), "3");
    assert_eq!(value(None), "2");
    let other = "/etc/modprobe.d/zzz.conf";
    let read = ModprobeConfiguration::read_as_if(&host(&memory), other, Some(b"options a x=4"));
    assert_eq!(read.unwrap().winner("a", "x").unwrap().value.unwrap(), "4");
}

/// Text made of what matters: commands, names, blanks, quotes, backslashes and odd bytes.
fn text() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => prop_oneof![
            Just("options "), Just("a "), Just("a-b "), Just("x=1"), Just("y=\"1 2\""), Just(" "),
            Just("\n"), Just("blacklist "), Just("# "), Just("\\\n"), Just("install "),
        ].prop_map(|text| text.as_bytes().to_vec()),
        1 => any::<u8>().prop_map(|byte| vec![byte]),
        1 => prop_oneof![Just(b"\\".to_vec()), Just(b"\"".to_vec()), Just(b"\r\n".to_vec())],
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(700))]

    #[test]
    fn any_bytes_are_kept(bytes in text()) {
        let document = Document::parse(&bytes);
        prop_assert_eq!(document.bytes(), &bytes[..]);
        let _ = (document.problems(), document.value("a", "x"));
    }

    #[test]
    fn an_edit_keeps_everything_else(bytes in text(), value in "[a-z0-9]{1,4}( [a-z]{1,2})?") {
        let before = Document::parse(&bytes);
        let mut after = before.clone();
        if after.set("a", "x", &value).is_err() {
            return Ok(());
        }
        prop_assert_eq!(after.value("a", "x"), Some(Some(value.clone())));
        // Every other statement, and every other option, is as it was.
        let others = |document: &Document| -> Vec<String> {
            document
                .statements()
                .filter(|(_, statement)| !matches!(statement, Statement::Options { module, .. } if module == "a"))
                .map(|(_, statement)| format!("{statement:?}"))
                .collect()
        };
        prop_assert_eq!(others(&before), others(&after));
        prop_assert_eq!(before.value("a", "y"), after.value("a", "y"));
        prop_assert_eq!(before.value("a_b", "x"), after.value("a_b", "x"));
        if before.value("a", "x").is_none() {
            // Removing what was added gives the same bytes.
            prop_assert_eq!(after.remove("a", "x").unwrap(), 1);
            prop_assert_eq!(after.bytes(), before.bytes());
        }
    }

    #[test]
    fn a_generated_file_says_what_was_requested(
        options in prop::collection::vec(("[a-z][a-z_-]{0,5}", "[a-z_.]{1,5}", "[ -~&&[^\"]]{0,8}", ".{0,10}"), 0..5)
    ) {
        let entries: Vec<Entry> = options
            .into_iter()
            .map(|(module, parameter, value, comment)| Entry { module, parameter, value, comment: Some(comment) })
            .collect();
        let Ok(document) = Document::render("head", &entries) else { return Ok(()) };
        let memory = put(Memory::new(), "/etc/modprobe.d/x.conf", document.bytes());
        let read = ModprobeConfiguration::read(&host(&memory)).unwrap();
        for entry in &entries {
            let set = read.who_sets(&entry.module, &entry.parameter);
            prop_assert!(set.iter().any(|set| set.value.as_deref() == Some(&*entry.value)), "{document}");
        }
        prop_assert_eq!(read.statements().filter(|(_, s)| matches!(s, Statement::Options { .. })).count(), entries.len());
    }

    #[test]
    fn any_configuration_is_read(one in text(), other in text(), line in text()) {
        let memory = put(Memory::new(), "/etc/modprobe.d/a.conf", one);
        let memory = put(memory, "/usr/lib/modprobe.d/b.conf", other);
        let memory = put(memory, "/proc/cmdline", line).behaving("/x", Behaviour::takes_all());
        let read = ModprobeConfiguration::read(&host(&memory)).unwrap();
        for module in ["a", "a-b", "[", ""] {
            let _ = (read.options_of(module), read.install_command(module), read.soft_dependencies(module));
        }
    }
}
