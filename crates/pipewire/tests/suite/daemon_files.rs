//! Daemons of both versions load what the merge of their files says, and clamp it as the crate does.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use hosttune_pipewire::merge::Merged;
use hosttune_pipewire::{Clock, Version};
use hosttune_test_machine::PipeWire;

use crate::bench::{Tree, shipped};

const MAIN: &str = "/usr/share/pipewire/pipewire.conf";
/// What the programs that ask the daemon read.
const CLIENT: &str = "/usr/share/pipewire/client.conf";

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
struct Shown {
    loaded: BTreeMap<String, String>,
    settings: BTreeMap<String, String>,
}

fn start(version: PipeWire, tree: &Tree) -> Shown {
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

fn number(version: PipeWire) -> Version {
    match version {
        PipeWire::Bookworm => Version::new(0, 3, 65),
        PipeWire::Backports => Version::new(1, 4, 2),
    }
}

/// The name of the virtual machine that this is, as 1.4.2 knows it. 0.3.65 finds out in the same way
/// and does not say so.
static VM: LazyLock<Option<String>> = LazyLock::new(|| {
    let version = PipeWire::Backports;
    let [main, client] = ["pipewire.conf", "client.conf"].map(|name| shipped(version, name));
    let files: &[(&str, &[u8])] = &[(MAIN, &main), (CLIENT, &client)];
    let tree = Tree::new(files, &[]);
    start(version, &tree).loaded.get("cpu.vm.name").cloned()
});

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
