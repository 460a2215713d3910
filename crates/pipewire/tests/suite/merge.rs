//! Which file wins: the same as `pw-config` of 1.4.2 says, for each case; the other two orders and
//! the rules are in `regimes`.

mod regimes;

use std::collections::BTreeMap;

use hosttune_pipewire::Version;
use hosttune_pipewire::merge::{ConfigFiles, Merged};
use hosttune_spa_json::{Data, Entry, Value};
use hosttune_test_machine::PipeWire;

use crate::bench::{HOME, Tree};

const TRIXIE: Version = Version::new(1, 4, 2);

const VENDOR: &str = "/usr/share/pipewire/pipewire.conf";
const MAIN: &[u8] = b"context.properties = {\n  a = 1\n  b = [ 1 2 ]\n  c = { d = 1 }\n}\ncontext.modules = [\n  { name = x }\n]\n";

/// Files, variables, and a name.
type Case<'c> = (&'c str, &'c [(&'c str, &'c [u8])], &'c [(&'c str, &'c str)]);

/// `context.properties` of a drop-in that sets `a`.
macro_rules! sets_a {
    ($value:literal) => {
        concat!("context.properties = { a = ", $value, " }\n").as_bytes()
    };
}

const CASES: &[Case<'static>] = &[
    ("only a main file", &[(VENDOR, MAIN)], &[]),
    (
        "the system's drop-in wins over the main file",
        &[(VENDOR, MAIN), ("/etc/pipewire/pipewire.conf.d/10-x.conf", sets_a!("2"))],
        &[],
    ),
    (
        "the user's 01 wins over the system's 99",
        &[
            (VENDOR, MAIN),
            ("/etc/pipewire/pipewire.conf.d/99-x.conf", sets_a!("2")),
            ("/etc/home/.config/pipewire/pipewire.conf.d/01-y.conf", sets_a!("3")),
        ],
        &[],
    ),
    (
        "the packages' 99 loses to the system's 01",
        &[
            (VENDOR, MAIN),
            ("/usr/share/pipewire/pipewire.conf.d/99-x.conf", sets_a!("2")),
            ("/etc/pipewire/pipewire.conf.d/01-y.conf", sets_a!("3")),
        ],
        &[],
    ),
    (
        "the system's file hides the user's of the same name",
        &[
            (VENDOR, MAIN),
            ("/etc/pipewire/pipewire.conf.d/92-x.conf", sets_a!("2")),
            ("/etc/home/.config/pipewire/pipewire.conf.d/92-x.conf", sets_a!("3")),
        ],
        &[],
    ),
    (
        "the packages' file hides both others of the same name",
        &[
            (VENDOR, MAIN),
            ("/usr/share/pipewire/pipewire.conf.d/92-x.conf", sets_a!("4")),
            ("/etc/pipewire/pipewire.conf.d/92-x.conf", sets_a!("2")),
            ("/etc/home/.config/pipewire/pipewire.conf.d/92-x.conf", sets_a!("3")),
        ],
        &[],
    ),
    (
        "drop-ins are sorted as text and not by number",
        &[
            (VENDOR, MAIN),
            ("/etc/pipewire/pipewire.conf.d/9-x.conf", sets_a!("9")),
            ("/etc/pipewire/pipewire.conf.d/10-x.conf", sets_a!("10")),
        ],
        &[],
    ),
    (
        "XDG_CONFIG_HOME hides the drop-ins in ~/.config",
        &[
            (VENDOR, MAIN),
            ("/etc/xdg/pipewire/pipewire.conf.d/x.conf", sets_a!("2")),
            ("/etc/home/.config/pipewire/pipewire.conf.d/y.conf", sets_a!("3")),
        ],
        &[("XDG_CONFIG_HOME", "/etc/xdg")],
    ),
    (
        "an XDG_CONFIG_HOME without drop-ins does not",
        &[
            (VENDOR, MAIN),
            ("/etc/xdg/pipewire/other.conf", b""),
            ("/etc/home/.config/pipewire/pipewire.conf.d/y.conf", sets_a!("3")),
        ],
        &[("XDG_CONFIG_HOME", "/etc/xdg")],
    ),
    (
        "the user's main file replaces the others",
        &[
            (VENDOR, MAIN),
            ("/etc/pipewire/pipewire.conf", sets_a!("2")),
            ("/etc/home/.config/pipewire/pipewire.conf", sets_a!("3")),
            ("/usr/share/pipewire/pipewire.conf.d/x.conf", b"context.properties = { z = 1 }"),
        ],
        &[],
    ),
    (
        "the system's main file replaces the packages'",
        &[(VENDOR, MAIN), ("/etc/pipewire/pipewire.conf", sets_a!("2"))],
        &[],
    ),
    (
        "PIPEWIRE_CONFIG_DIR is the only directory",
        &[
            (VENDOR, MAIN),
            ("/etc/only/pipewire.conf", sets_a!("2")),
            ("/etc/only/pipewire.conf.d/x.conf", b"context.properties = { z = 1 }"),
            ("/etc/pipewire/pipewire.conf.d/y.conf", sets_a!("3")),
        ],
        &[("PIPEWIRE_CONFIG_DIR", "/etc/only")],
    ),
    (
        "a PIPEWIRE_CONFIG_DIR without a main file is not enough",
        &[(VENDOR, MAIN), ("/etc/only/pipewire.conf.d/x.conf", sets_a!("2"))],
        &[("PIPEWIRE_CONFIG_DIR", "/etc/only")],
    ),
    (
        "PIPEWIRE_NO_CONFIG leaves only the packages' file",
        &[
            (VENDOR, MAIN),
            ("/etc/pipewire/pipewire.conf", sets_a!("2")),
            ("/etc/home/.config/pipewire/pipewire.conf.d/x.conf", sets_a!("3")),
        ],
        &[("PIPEWIRE_NO_CONFIG", "true")],
    ),
    (
        "PIPEWIRE_NO_CONFIG is a truth value",
        &[(VENDOR, MAIN), ("/etc/pipewire/pipewire.conf", sets_a!("2"))],
        &[("PIPEWIRE_NO_CONFIG", "yes")],
    ),
    (
        "PIPEWIRE_CONFIG_NAME changes the main file and its drop-ins",
        &[
            (VENDOR, MAIN),
            ("/etc/pipewire/other.conf", sets_a!("2")),
            ("/etc/pipewire/other.conf.d/x.conf", b"context.properties = { z = 1 }"),
            ("/etc/pipewire/pipewire.conf.d/x.conf", sets_a!("3")),
        ],
        &[("PIPEWIRE_CONFIG_NAME", "other.conf")],
    ),
    (
        "a PIPEWIRE_CONFIG_NAME that does not exist is ignored",
        &[(VENDOR, MAIN), ("/etc/pipewire/pipewire.conf.d/x.conf", sets_a!("3"))],
        &[("PIPEWIRE_CONFIG_NAME", "other.conf")],
    ),
    (
        "PIPEWIRE_CONFIG_PREFIX is a directory below each",
        &[
            (VENDOR, MAIN),
            ("/usr/share/pipewire/p/pipewire.conf", sets_a!("2")),
            ("/etc/pipewire/p/pipewire.conf.d/x.conf", sets_a!("3")),
            ("/etc/pipewire/pipewire.conf.d/x.conf", sets_a!("4")),
        ],
        &[("PIPEWIRE_CONFIG_PREFIX", "p")],
    ),
    (
        "an absolute PIPEWIRE_CONFIG_PREFIX is the only directory",
        &[
            (VENDOR, MAIN),
            ("/etc/p/pipewire.conf", sets_a!("2")),
            ("/etc/p/pipewire.conf.d/x.conf", sets_a!("3")),
            ("/etc/pipewire/pipewire.conf.d/x.conf", sets_a!("4")),
        ],
        &[("PIPEWIRE_CONFIG_PREFIX", "/etc/p")],
    ),
    (
        "a semicolon drops a whole drop-in",
        &[
            (VENDOR, MAIN),
            ("/etc/pipewire/pipewire.conf.d/x.conf", b"context.properties = { a = 2 ; }\n"),
        ],
        &[],
    ),
    (
        "a drop-in with a fault hides none of the same name",
        &[
            (VENDOR, MAIN),
            ("/etc/pipewire/pipewire.conf.d/x.conf", b"context.properties = { a = 2 ]\n"),
            ("/etc/home/.config/pipewire/pipewire.conf.d/x.conf", sets_a!("3")),
        ],
        &[],
    ),
    (
        "a fault at the first token is no fault, and hides",
        &[
            (VENDOR, MAIN),
            ("/etc/pipewire/pipewire.conf.d/x.conf", b"= context.properties = { a = 2 }\n"),
            ("/etc/home/.config/pipewire/pipewire.conf.d/x.conf", sets_a!("3")),
        ],
        &[],
    ),
    (
        "a drop-in with only a comment hides none",
        &[
            (VENDOR, MAIN),
            ("/etc/pipewire/pipewire.conf.d/x.conf", b"# nothing\n"),
            ("/etc/home/.config/pipewire/pipewire.conf.d/x.conf", sets_a!("3")),
        ],
        &[],
    ),
    (
        "an empty drop-in hides",
        &[
            (VENDOR, MAIN),
            ("/etc/pipewire/pipewire.conf.d/x.conf", b""),
            ("/etc/home/.config/pipewire/pipewire.conf.d/x.conf", sets_a!("3")),
        ],
        &[],
    ),
    (
        "a drop-in that is an array is nothing, and hides",
        &[
            (VENDOR, MAIN),
            ("/etc/pipewire/pipewire.conf.d/x.conf", b"[ { a = 2 } ]\n"),
            ("/etc/home/.config/pipewire/pipewire.conf.d/x.conf", sets_a!("3")),
        ],
        &[],
    ),
    (
        "other names than *.conf are not read",
        &[
            (VENDOR, MAIN),
            ("/etc/pipewire/pipewire.conf.d/x.txt", sets_a!("2")),
            ("/etc/pipewire/pipewire.conf.d/x.conf.bak", sets_a!("3")),
            ("/etc/pipewire/pipewire-client.conf.d/x.conf", sets_a!("4")),
            ("/etc/pipewire/pipewire.conf.d/.conf", b"context.properties = { z = 1 }"),
        ],
        &[],
    ),
    (
        "a directory and a dangling link are not read",
        &[
            (VENDOR, MAIN),
            ("/etc/pipewire/pipewire.conf.d/x.conf/", b""),
            ("/etc/pipewire/pipewire.conf.d/y.conf", "→ /nonexistent".as_bytes()),
            ("/etc/pipewire/pipewire.conf.d/z.conf", "→ /etc/pipewire/real".as_bytes()),
            ("/etc/pipewire/real", sets_a!("2")),
        ],
        &[],
    ),
    (
        "null unsets a key, and leaves the others",
        &[
            (VENDOR, MAIN),
            ("/etc/pipewire/pipewire.conf.d/x.conf", sets_a!("null")),
        ],
        &[],
    ),
    (
        "null in the place of a section unsets nothing of other files",
        &[
            (VENDOR, MAIN),
            ("/etc/pipewire/pipewire.conf.d/x.conf", b"context.properties = null\n"),
        ],
        &[],
    ),
    (
        "a section with something before its name is that section",
        &[
            (VENDOR, MAIN),
            ("/etc/pipewire/pipewire.conf.d/x.conf", b"my.context.properties = { a = 2 }\n"),
        ],
        &[],
    ),
    (
        "in the main file it is not",
        &[(VENDOR, b"context.properties = { a = 1 }\nmy.context.properties = { a = 2 }\n")],
        &[],
    ),
    (
        "a section that is nested is not read",
        &[
            (VENDOR, MAIN),
            ("/etc/pipewire/pipewire.conf.d/x.conf", b"context = { properties = { a = 2 } }\n"),
        ],
        &[],
    ),
    (
        "a repeated section replaces the first in its file",
        &[
            (VENDOR, MAIN),
            (
                "/etc/pipewire/pipewire.conf.d/x.conf",
                b"context.properties = { a = 2 z = 1 }\ncontext.properties = { a = 3 }\n",
            ),
        ],
        &[],
    ),
    (
        "a repeated key has its last value, unless that is the one from before",
        &[
            (VENDOR, MAIN),
            (
                "/etc/pipewire/pipewire.conf.d/x.conf",
                b"context.properties = { a = 2 a = 1 z = 5 z = 6 }\n",
            ),
        ],
        &[],
    ),
    (
        "a section in quotes is read too",
        &[
            (VENDOR, MAIN),
            ("/etc/pipewire/pipewire.conf.d/x.conf", b"context.properties = \"{ a = \\\"2 3\\\" }\"\n"),
        ],
        &[],
    ),
    (
        "objects and arrays of a section are replaced as a whole",
        &[
            (VENDOR, MAIN),
            (
                "/etc/pipewire/pipewire.conf.d/x.conf",
                b"context.properties = { b = [ 3 ] c = { e = 2 } }\n",
            ),
        ],
        &[],
    ),
    (
        "braces around a file, JSON, and text after its end",
        &[
            (VENDOR, MAIN),
            (
                "/etc/pipewire/pipewire.conf.d/x.conf",
                b"{ \"context.properties\": { \"a\": \"two\", \"f\": 1.5 } } context.properties = { a = 9 }\n",
            ),
        ],
        &[],
    ),
    (
        "a NUL ends the section that it is in",
        &[
            (VENDOR, MAIN),
            ("/etc/pipewire/pipewire.conf.d/x.conf", b"context.properties = { a = 2 \0 z = 1 }\n"),
        ],
        &[],
    ),
    (
        "vm.overrides and rules are not applied by pw-config",
        &[
            (VENDOR, MAIN),
            (
                "/etc/pipewire/pipewire.conf.d/x.conf",
                b"context.properties = { vm.overrides = { a = 9 } }\ncontext.properties.rules = [ { matches = [ { a = 1 } ] actions = { u = { a = 8 } } } ]",
            ),
        ],
        &[],
    ),
    ("no main file", &[("/etc/pipewire/pipewire.conf.d/x.conf", sets_a!("2"))], &[]),
    ("a main file with a fault", &[(VENDOR, b"context.properties = { a = 1 ]\n")], &[]),
    ("a main file that is empty", &[(VENDOR, b"")], &[]),
    ("a main file with only a comment", &[(VENDOR, b"# nothing\n")], &[]),
];

/// The entries of an object that pw-config prints, as texts.
fn printed(output: &str) -> Vec<(String, String)> {
    let value =
        hosttune_spa_json::parse(output).unwrap_or_else(|error| panic!("{error}: {output}"));
    let entries = value
        .as_object()
        .expect("pw-config prints an object")
        .iter();
    entries
        .map(|Entry { key, value, .. }| (key.clone(), text(value, output)))
        .collect()
}

/// Objects and arrays as they are written.
fn text(value: &Value, output: &str) -> String {
    match &value.data {
        Data::Word(text) | Data::String(text) => text.clone(),
        Data::Array(_) | Data::Object(_) => {
            String::from_utf8_lossy(value.span.of(output.as_bytes())).into_owned()
        }
    }
}

#[test]
fn each_case_is_merged_as_pw_config_merges_it() {
    assert!(CASES.len() >= 24);
    for (name, files, variables) in CASES {
        let tree = Tree::new(files, variables);
        let merged = Merged::of(TRIXIE, &tree.files("pipewire.conf"));
        let (worked, output) = tree.run(
            PipeWire::Backports,
            "pw-config -N paths && echo '#####' && pw-config -N merge context.properties",
        );
        assert_eq!(
            worked,
            merged.failure.is_none(),
            "{name}: {output} {merged:?}"
        );
        let Some((paths, properties)) = output.split_once("#####") else {
            assert!(!worked, "{name}: {output}");
            continue;
        };
        let paths: Vec<String> = printed(paths).into_iter().map(|(_, path)| path).collect();
        let ours: Vec<String> = merged
            .paths()
            .map(|path| path.display().to_string())
            .collect();
        assert_eq!(ours, paths, "{name}");
        let theirs: BTreeMap<String, String> = printed(properties).into_iter().collect();
        let ours: BTreeMap<String, String> = merged
            .section("context.properties")
            .into_iter()
            .map(|property| (property.key, property.value))
            .collect();
        assert_eq!(ours, theirs, "{name}");
    }
}

#[test]
fn the_origin_of_a_property_is_a_file_and_a_line() {
    let files: &[(&str, &[u8])] = &[
        (VENDOR, MAIN),
        (
            "/etc/pipewire/pipewire.conf.d/x.conf",
            b"# theirs\n\ncontext.properties = {\n  a = 2\n  f = \"x\"\n}\n",
        ),
    ];
    let merged = Merged::of(TRIXIE, &Tree::new(files, &[]).files("pipewire.conf"));
    let properties = merged.properties("context.properties", None);
    let origin = |key: &str| properties.property(key).expect(key).origin.to_string();
    assert_eq!(origin("a"), "/etc/pipewire/pipewire.conf.d/x.conf:4");
    assert_eq!(origin("f"), "/etc/pipewire/pipewire.conf.d/x.conf:5");
    assert_eq!(origin("b"), "/usr/share/pipewire/pipewire.conf:3");
}

/// What has no effect in these files, as text.
fn dropped(version: Version, files: &ConfigFiles) -> Vec<String> {
    let merged = Merged::of(version, files);
    merged.dropped.iter().map(ToString::to_string).collect()
}

#[test]
fn what_has_no_effect_is_named_with_its_reason() {
    let system = "/etc/pipewire/pipewire.conf.d/x.conf";
    let user = "/etc/home/.config/pipewire/pipewire.conf.d/x.conf";
    assert!(user.starts_with(HOME));
    let files: &[(&str, &[u8])] = &[(VENDOR, MAIN), (system, sets_a!("2")), (user, sets_a!("3"))];
    let tree = Tree::new(files, &[]);
    assert_eq!(
        dropped(TRIXIE, &tree.files("pipewire.conf")),
        [format!(
            "{user}: the whole file is ignored: PipeWire 1.4.2 reads only {system}, which has the same name"
        )]
    );
    let files: &[(&str, &[u8])] = &[
        (VENDOR, MAIN),
        (system, b"context.propertes = { a = 2 }\na = 3\n"),
        (
            "/etc/pipewire/pipewire.conf.d/y.conf",
            b"context.properties = {\n  a = [ 2 }\n}\n",
        ),
    ];
    let tree = Tree::new(files, &[]);
    let y = "/etc/pipewire/pipewire.conf.d/y.conf";
    assert_eq!(
        dropped(TRIXIE, &tree.files("pipewire.conf")),
        [
            format!("{system}:1: nothing reads the section 'context.propertes'"),
            format!("{system}:2: nothing reads the section 'a'"),
            format!(
                "{y}:2: line 2, column 11: an array is closed with '}}' instead of ']'; PipeWire drops the whole text"
            ),
        ]
    );
    // The older parser takes the wrong bracket.
    assert_eq!(
        dropped(Version::new(0, 3, 65), &tree.files("pipewire.conf")).len(),
        2
    );
}
