//! Daemons of both versions load what the merge of their files says, and clamp it as the crate does.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use hosttune_pipewire::merge::Merged;
use hosttune_pipewire::{Clock, Version};
use hosttune_test_machine::PipeWire;

use crate::bench::{Tree, shipped};

pub(crate) const MAIN: &str = "/usr/share/pipewire/pipewire.conf";
/// What the programs that ask the daemon read.
pub(crate) const CLIENT: &str = "/usr/share/pipewire/client.conf";

const START: &str = "
mkdir /etc/run
export XDG_RUNTIME_DIR=/etc/run
pipewire >/etc/log 2>&1 &
for try in $(seq 100); do
    [ -S /etc/run/pipewire-0 ] && pw-cli info 0 >/etc/info 2>/dev/null && break
    sleep 0.05
done
[ -s /etc/info ] || { cat /etc/log; exit 1; }
cat /etc/info
echo '#####'
timeout 5 pw-metadata -n settings
";

/// What a daemon shows: the properties of its Core object, and its metadata `settings`.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) loaded: BTreeMap<String, String>,
    settings: BTreeMap<String, String>,
}

pub(crate) fn start(version: PipeWire, tree: &Tree) -> Shown {
    let (worked, output) = tree.run(version, START);
    assert!(worked, "{output}");
    let (info, settings) = output.split_once("#####").expect("both are printed");
    // `*	default.clock.rate = "48000"`
    let loaded = info.lines().filter_map(|line| {
        let (key, value) = line
            .trim_start_matches(['*', '\t', ' '])
            .split_once(" = ")?;
        Some((key.to_owned(), value.trim_matches('"').to_owned()))
    });
    // `update: id:0 key:'clock.rate' value:'48000' type:''`
    let settings = settings.lines().filter_map(|line| {
        let (_, rest) = line.split_once("key:'")?;
        let (key, rest) = rest.split_once("' value:'")?;
        Some((key.to_owned(), rest.split_once("' type:")?.0.to_owned()))
    });
    Shown {
        loaded: loaded.collect(),
        settings: settings.collect(),
    }
}

pub(crate) fn number(version: PipeWire) -> Version {
    match version {
        PipeWire::Bookworm => Version::new(0, 3, 65),
        PipeWire::Backports => Version::new(1, 4, 2),
    }
}

/// The name of the virtual machine that this is, as 1.4.2 knows it. 0.3.65 finds out in the same way
/// and does not say so.
pub(crate) static VM: LazyLock<Option<String>> = LazyLock::new(|| {
    let version = PipeWire::Backports;
    let [main, client] = ["pipewire.conf", "client.conf"].map(|name| shipped(version, name));
    let files: &[(&str, &[u8])] = &[(MAIN, &main), (CLIENT, &client)];
    let tree = Tree::new(files, &[]);
    start(version, &tree).loaded.get("cpu.vm.name").cloned()
});

/// Properties that a daemon has if its files do not set them.
const FILLED_IN: [&str; 7] = [
    "default.clock.rate",
    "default.clock.quantum",
    "default.clock.min-quantum",
    "default.clock.max-quantum",
    "default.clock.quantum-limit",
    "default.clock.quantum-floor",
    "clock.power-of-two-quantum",
];

/// Compares a daemon with these drop-ins, by path, with the crate.
fn compare(drop_ins: &[(&str, &str)]) {
    for version in PipeWire::ALL {
        let [main, client] = ["pipewire.conf", "client.conf"].map(|name| shipped(version, name));
        let mut files: Vec<(&str, &[u8])> = vec![(MAIN, &main), (CLIENT, &client)];
        files.extend(drop_ins.iter().map(|(path, text)| (*path, text.as_bytes())));
        let tree = Tree::new(&files, &[]);
        let shown = start(version, &tree);
        let merged = Merged::of(number(version), &tree.files("pipewire.conf"));
        let ours = merged.properties("context.properties", VM.as_deref());
        let clock = Clock::loaded(number(version), |key| ours.get(key));
        for (key, value) in &shown.loaded {
            if (key.starts_with("default.clock.") || key.starts_with("clock."))
                && let Some(ours) = ours.get(key)
            {
                assert_eq!(ours, value, "{version:?} {drop_ins:?}: {key}");
            }
        }
        for key in FILLED_IN {
            let filled_in = Clock::filled_in(number(version), key);
            let ours = ours.get(key).or(filled_in);
            let shown = shown.loaded.get(key).map(String::as_str);
            assert_eq!(ours, shown, "{version:?} {drop_ins:?}: {key}");
        }
        let rates: Vec<String> = clock
            .allowed_rates
            .iter()
            .map(|rate| rate.0.to_string())
            .collect();
        for (key, ours) in [
            ("clock.rate", clock.rate.0.to_string()),
            ("clock.allowed-rates", format!("[ {} ]", rates.join(", "))),
            ("clock.quantum", clock.quantum.0.to_string()),
            ("clock.min-quantum", clock.min_quantum.0.to_string()),
            ("clock.max-quantum", clock.max_quantum.0.to_string()),
        ] {
            assert_eq!(
                shown.settings.get(key),
                Some(&ours),
                "{version:?} {drop_ins:?}: {key}"
            );
        }
    }
}

#[test]
fn shipped_settings_are_loaded_as_computed() {
    compare(&[]);
}

#[test]
fn a_fixed_quantum_is_loaded_as_computed() {
    compare(&[(
        "/etc/pipewire/pipewire.conf.d/92-gaming-latency.conf",
        "{ \"context.properties\": { \"default.clock.rate\": 48000, \"default.clock.quantum\": 64, \
         \"default.clock.min-quantum\": 64, \"default.clock.max-quantum\": 64 } }\n",
    )]);
}

#[test]
fn numbers_that_are_none_are_loaded_as_computed() {
    compare(&[(
        "/etc/pipewire/pipewire.conf.d/x.conf",
        "context.properties = { default.clock.quantum = 512.7 default.clock.min-quantum = 0x40 \
         default.clock.max-quantum = -1 default.clock.rate = 44100 \
         default.clock.allowed-rates = [ 0xac44 48000 abc ] }\n",
    )]);
}

#[test]
fn contradicting_settings_of_several_files_are_loaded_as_computed() {
    compare(&[
        (
            "/etc/pipewire/pipewire.conf.d/99-x.conf",
            "context.properties = { default.clock.quantum = 16 default.clock.max-quantum = 128 \
             default.clock.allowed-rates = [ 44100 96000 ] }\n",
        ),
        (
            "/etc/home/.config/pipewire/pipewire.conf.d/01-y.conf",
            "context.properties = { default.clock.min-quantum = 512 default.clock.quantum-limit = 256 \
             default.clock.quantum = 2048 }\n",
        ),
        (
            "/etc/home/.config/pipewire/pipewire.conf.d/02-z.conf",
            "context.properties = { default.clock.max-quantum = 64 } ; \n",
        ),
        (
            "/etc/home/.config/pipewire/pipewire.conf.d/99-x.conf",
            "context.properties = { default.clock.quantum = 32 }\n",
        ),
    ]);
}

#[test]
fn settings_that_a_file_unsets_are_loaded_with_their_defaults() {
    compare(&[
        (
            "/etc/pipewire/pipewire.conf.d/92-gaming-latency.conf",
            "context.properties = { default.clock.quantum = 64 default.clock.max-quantum = 64 }",
        ),
        (
            "/etc/pipewire/pipewire.conf.d/95-other.conf",
            "context.properties = { default.clock.quantum = null default.clock.max-quantum = null }",
        ),
    ]);
}

/// Keys that rules may ask for: of the process, of the files, of settings whose defaults come later, and
/// of nothing.
const ASKED: [&str; 26] = [
    "application.language",
    "application.name",
    "application.process.binary",
    "application.process.id",
    "application.process.user",
    "clock.power-of-two-quantum",
    "config.name",
    "config.prefix",
    "core.daemon",
    "core.id",
    "core.name",
    "core.version",
    "cpu.max-align",
    "default.clock.max-quantum",
    "default.clock.quantum",
    "default.clock.quantum-limit",
    "default.video.width",
    "library.name.system",
    "link.max-buffers",
    "log.level",
    "mem.allow-mlock",
    "module.x11.bell",
    "my.own",
    "object.id",
    "settings.check-quantum",
    "window.x11.display",
];

#[test]
fn rules_that_ask_for_what_only_the_daemon_has_are_undetermined() {
    let version = PipeWire::Backports;
    let rule = |key: &str| {
        format!(
            "{{ matches = [ {{ {key} = !null }} ] actions = {{ update-props = {{ asked.{key} = 1 }} }} }}\n"
        )
    };
    let all: String = ASKED.iter().map(|key| rule(key)).collect();
    let text = format!("context.properties.rules = [ {all} ]\n");
    let [main, client] = ["pipewire.conf", "client.conf"].map(|name| shipped(version, name));
    let files: &[(&str, &[u8])] = &[
        (MAIN, &main),
        (CLIENT, &client),
        ("/etc/pipewire/pipewire.conf.d/95-x.conf", text.as_bytes()),
    ];
    let tree = Tree::new(files, &[]);
    let shown = start(version, &tree);
    let merged = Merged::of(number(version), &tree.files("pipewire.conf"));
    let ours = merged.properties("context.properties", VM.as_deref());
    let mut undetermined = 0;
    for key in ASKED {
        let set = format!("asked.{key}");
        if ours.may_be_set(&set) {
            undetermined += 1;
        } else {
            let is_set = shown.loaded.contains_key(&set);
            assert_eq!(ours.get(&set).is_some(), is_set, "{key}");
        }
    }
    // Those of the process, and no others.
    assert_eq!(undetermined, 8);
}

#[test]
fn links_that_lead_nowhere_and_odd_files_do_not_take_the_plan_away() {
    for version in PipeWire::ALL {
        let [main, client] = ["pipewire.conf", "client.conf"].map(|name| shipped(version, name));
        let directory = "/etc/pipewire/pipewire.conf.d";
        let [circle, device, ours] = ["20-circle.conf", "30-zero.conf", "92-x.conf"]
            .map(|name| format!("{directory}/{name}"));
        let files: &[(&str, &[u8])] = &[
            (MAIN, &main),
            (CLIENT, &client),
            (&circle, "→ 20-circle.conf".as_bytes()),
            (&device, "→ /dev/zero".as_bytes()),
            (
                &ours,
                b"context.properties = { default.clock.quantum = 128 }",
            ),
            (
                "/etc/home/.config/pipewire/pipewire.conf.d",
                "→ pipewire.conf.d".as_bytes(),
            ),
        ];
        let tree = Tree::new(files, &[]);
        let read = tree.files("pipewire.conf");
        let unreadable: Vec<_> = read
            .unreadable
            .iter()
            .map(|(path, _)| path.clone())
            .collect();
        assert!(unreadable.contains(&circle.into()), "{read:?}");
        let ours = Merged::of(number(version), &read);
        let ours = ours.properties("context.properties", VM.as_deref());
        let shown = start(version, &tree);
        let loaded = shown.loaded.get("default.clock.quantum");
        assert_eq!(
            ours.get("default.clock.quantum"),
            loaded.map(String::as_str)
        );
        assert_eq!(loaded.map(String::as_str), Some("128"), "{version:?}");
    }
}
