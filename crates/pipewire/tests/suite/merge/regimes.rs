//! The three orders of files, rules, and virtual machines.

use hosttune_pipewire::merge::{How, Merged, Properties};
use hosttune_pipewire::{Clock, Frames, Version};

use super::VENDOR;
use crate::bench::Tree;

const SYSTEM: &str = "/etc/pipewire/pipewire.conf.d";
const USER: &str = "/etc/home/.config/pipewire/pipewire.conf.d";
const PACKAGES: &str = "/usr/share/pipewire/pipewire.conf.d";
const MAIN: &[u8] = b"context.properties = { a = main }\n";

const VERSIONS: [Version; 3] = [
    Version::new(0, 3, 65),
    Version::new(1, 4, 2),
    Version::new(1, 6, 8),
];

/// The value of `a` in each of the three regimes.
fn values(files: &[(String, &str)]) -> [String; 3] {
    let mut all: Vec<(&str, &[u8])> = vec![(VENDOR, MAIN)];
    all.extend(
        files
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_bytes())),
    );
    let files = Tree::new(&all, &[]).files("pipewire.conf");
    VERSIONS.map(|version| {
        let properties = Merged::of(version, &files).properties("context.properties", None);
        properties.get("a").unwrap_or("unset").to_owned()
    })
}

fn file(directory: &str, name: &str) -> String {
    format!("{directory}/{name}")
}

#[test]
fn the_order_of_the_directories_was_turned_round_in_1_0_4() {
    let files = [
        (
            file(SYSTEM, "99-x.conf"),
            "context.properties = { a = system }",
        ),
        (file(USER, "01-y.conf"), "context.properties = { a = user }"),
    ];
    assert_eq!(values(&files), ["system", "user", "user"]);
    let files = [
        (
            file(PACKAGES, "01-x.conf"),
            "context.properties = { a = packages }",
        ),
        (
            file(SYSTEM, "99-x.conf"),
            "context.properties = { a = system }",
        ),
    ];
    assert_eq!(values(&files), ["packages", "system", "system"]);
}

#[test]
fn a_name_in_two_directories_was_masked_in_both_orders_until_1_5_81() {
    let files = [
        (
            file(SYSTEM, "92-x.conf"),
            "context.properties = { a = system }",
        ),
        (file(USER, "92-x.conf"), "context.properties = { a = user }"),
    ];
    // At first the user's file hides, then it is hidden, then both are read.
    assert_eq!(values(&files), ["user", "system", "user"]);
    for (version, is_user) in [
        (Version::new(1, 0, 3), true),
        (Version::new(1, 0, 4), false),
        (Version::new(1, 4, 10), false),
        (Version::new(1, 5, 80), false),
        (Version::new(1, 5, 81), true),
    ] {
        let mut all: Vec<(&str, &[u8])> = vec![(VENDOR, MAIN)];
        all.extend(
            files
                .iter()
                .map(|(path, text)| (path.as_str(), text.as_bytes())),
        );
        let files = Tree::new(&all, &[]).files("pipewire.conf");
        let merged = Merged::of(version, &files);
        let properties = merged.properties("context.properties", None);
        let value = properties.get("a");
        assert_eq!(
            value,
            Some(if is_user { "user" } else { "system" }),
            "{version}"
        );
        // Both are read from 1.5.81 on; before, one is named as ignored.
        assert_eq!(
            merged.dropped.is_empty(),
            version >= Version::new(1, 5, 81),
            "{version}"
        );
    }
}

#[test]
fn a_fault_drops_the_rest_before_1_1_81_and_the_whole_file_since() {
    let files = [(
        file(SYSTEM, "x.conf"),
        "context.properties = { a = before }\ncontext.modules = [ { name = \"\\q\" } ]\n",
    )];
    assert_eq!(values(&files), ["before", "main", "main"]);
    // A value with a semicolon is a word there, which `atoi` reads as 64.
    let files = [(file(SYSTEM, "x.conf"), "context.properties = { a = 64; }")];
    assert_eq!(values(&files), ["64;", "64;", "64;"]);
}

fn merged(version: Version, text: &str) -> Merged {
    let files: &[(&str, &[u8])] = &[(VENDOR, text.as_bytes())];
    Merged::of(version, &Tree::new(files, &[]).files("pipewire.conf"))
}

fn rules(text: &str, vm: Option<&str>) -> Properties {
    let text = format!(
        "context.properties = {{ a = 1 b = \"x y\" }}\ncontext.properties.rules = {text}\n"
    );
    merged(VERSIONS[1], &text).properties("context.properties", vm)
}

#[test]
fn rules_are_applied_after_all_files_if_their_conditions_hold() {
    let applies = |condition: &str, vm| {
        let text = format!(
            "[ {{ matches = [ {condition} ] actions = {{ update-props = {{ a = 2 }} }} }} ]"
        );
        rules(&text, vm).get("a") == Some("2")
    };
    assert!(applies("{ a = 1 }", None));
    assert!(applies("{ b = \"x y\" a = 1 }", None));
    assert!(!applies("{ b = x a = 1 }", None));
    assert!(applies("{ b = x } { a = 1 }", None));
    assert!(!applies("", None));
    assert!(!applies("{ }", None));
    assert!(applies("{ a = !2 }", None));
    assert!(!applies("{ a = !1 }", None));
    // null is absence; in quotes it is text.
    assert!(applies("{ z = null }", None));
    assert!(!applies("{ a = null }", None));
    assert!(applies("{ a = !null }", None));
    assert!(!applies("{ z = !null }", None));
    assert!(!applies("{ z = \"null\" }", None));
    assert!(applies("{ z = \"!abc\" }", None));
    // As shipped: only in a virtual machine.
    assert!(!applies("{ cpu.vm.name = !null }", None));
    assert!(applies("{ cpu.vm.name = !null }", Some("qemu")));
    assert!(applies("{ cpu.vm.name = qemu }", Some("qemu")));
    assert!(!applies("{ cpu.vm.name = vmware }", Some("qemu")));
}

#[test]
fn a_rule_sees_what_the_rule_before_it_has_set() {
    let properties = rules(
        "[ { matches = [ { a = 1 } ] actions = { update-props = { a = 2 } } }
           { matches = [ { a = 2 } ] actions = { update-props = { a = 3 } } } ]",
        None,
    );
    let a = properties.property("a").expect("a");
    assert_eq!(
        (a.value.as_str(), a.origin.how, a.origin.line),
        ("3", How::Rule, 3)
    );
    assert_eq!(
        a.origin.to_string(),
        "/usr/share/pipewire/pipewire.conf:3 (a rule)"
    );
}

#[test]
fn a_rule_with_a_regular_expression_is_said_to_be_undetermined() {
    let text = "[ { matches = [ { b = ~x.* } ] actions = { update-props = { a = 2 c = 3 } } } ]";
    let properties = rules(text, None);
    assert_eq!(properties.get("a"), Some("1"));
    assert_eq!(properties.undetermined.len(), 1);
    assert_eq!(properties.undetermined[0].keys, ["a", "c"]);
    assert_eq!(properties.undetermined[0].origin.line, 2);
    // Another condition that fails decides it.
    let text = "[ { matches = [ { b = ~x.* a = 9 } ] actions = { update-props = { a = 2 } } } ]";
    assert!(rules(text, None).undetermined.is_empty());
}

/// As shipped by 0.3.65.
#[test]
fn vm_overrides_count_only_in_a_virtual_machine_and_disappear() {
    let text = "context.properties = {\n  default.clock.min-quantum = 16\n  vm.overrides = {\n    default.clock.min-quantum = 1024\n  }\n}\n";
    for version in VERSIONS {
        let merged = merged(version, text);
        let outside = merged.properties("context.properties", None);
        assert_eq!(outside.get("default.clock.min-quantum"), Some("16"));
        assert_eq!(outside.get("vm.overrides"), None);
        let inside = merged.properties("context.properties", Some("kvm"));
        let minimum = inside
            .property("default.clock.min-quantum")
            .expect("a minimum");
        assert_eq!(minimum.value, "1024");
        assert_eq!(
            minimum.origin.to_string(),
            format!("{VENDOR}:4 (vm.overrides)")
        );
    }
}

/// The rule that Debian's 1.4.2 ships comes after every drop-in, but a maximum of 64 wins over its
/// minimum.
#[test]
fn the_shipped_rule_for_virtual_machines_yields_to_the_maximum() {
    let shipped =
        crate::bench::shipped(hosttune_test_machine::PipeWire::Backports, "pipewire.conf");
    let clock = |drop_in: &str| {
        let path = file(SYSTEM, "92-gaming-latency.conf");
        let files: &[(&str, &[u8])] = &[(VENDOR, &shipped), (&path, drop_in.as_bytes())];
        let merged = Merged::of(VERSIONS[1], &Tree::new(files, &[]).files("pipewire.conf"));
        let properties = merged.properties("context.properties", Some("qemu"));
        assert_eq!(properties.get("default.clock.min-quantum"), Some("1024"));
        Clock::loaded(VERSIONS[1], |key| properties.get(key))
    };
    let keys = "default.clock.quantum = 64 default.clock.min-quantum = 64";
    let open = clock(&format!("context.properties = {{ {keys} }}"));
    assert_eq!(open.quantum, Frames(1024));
    let closed = clock(&format!(
        "context.properties = {{ {keys} default.clock.max-quantum = 64 }}"
    ));
    assert_eq!(
        (closed.quantum, closed.min_quantum),
        (Frames(64), Frames(64))
    );
}

#[test]
fn the_server_for_pulseaudio_programs_has_sections_of_its_own() {
    let files: &[(&str, &[u8])] = &[
        (
            "/usr/share/pipewire/pipewire-pulse.conf",
            b"context.properties = { }\npulse.properties = { pulse.min.req = 128/48000 }\npulse.properties.rules = [ { matches = [ { cpu.vm.name = !null } ] actions = { update-props = { pulse.min.quantum = 1024/48000 } } } ]\n",
        ),
        (
            "/etc/pipewire/pipewire-pulse.conf.d/x.conf",
            b"pulse.properties = { pulse.min.req = 64/48000 pulse.min.quantum = 64/48000 }\n",
        ),
    ];
    let merged = Merged::of(
        VERSIONS[1],
        &Tree::new(files, &[]).files("pipewire-pulse.conf"),
    );
    let outside = merged.properties("pulse.properties", None);
    assert_eq!(outside.get("pulse.min.req"), Some("64/48000"));
    assert_eq!(outside.get("pulse.min.quantum"), Some("64/48000"));
    let inside = merged.properties("pulse.properties", Some("kvm"));
    assert_eq!(inside.get("pulse.min.quantum"), Some("1024/48000"));
}
