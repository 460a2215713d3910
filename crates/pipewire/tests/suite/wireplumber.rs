//! Which file gives a device its period: the same as WirePlumber 0.5.8 says when it applies its rules, and
//! 0.4.13 when it runs its scripts.

use hosttune_pipewire::wireplumber::{DeviceSettings, SessionManagerEnvironment};
use hosttune_test_machine::PipeWire;

use crate::bench::{HOME, Tree};

const VENDOR: &str = "/usr/share/wireplumber/wireplumber.conf.d";
const LOCAL: &str = "/usr/local/share/wireplumber/wireplumber.conf.d";
const SYSTEM: &str = "/etc/wireplumber/wireplumber.conf.d";
const XDG: &str = "/etc/xdg/wireplumber/wireplumber.conf.d";
const USER: &str = "/etc/home/.config/wireplumber/wireplumber.conf.d";

/// A section with a rule that sets the period of the device `n`.
macro_rules! rule {
    ($period:literal) => {
        concat!(
            "monitor.alsa.rules = [ { matches = [ { node.name = n } ] actions = { update-props = { api.alsa.period-size = ",
            $period,
            " } } } ]\n"
        )
    };
}

/// Files in directories, and what they are a case of.
type Case = (
    &'static str,
    &'static [(&'static str, &'static str, &'static str)],
);

const CASES: &[Case] = &[
    ("nothing", &[]),
    ("a file of the user's", &[(USER, "51-x.conf", rule!("1"))]),
    (
        "the directories count before the names",
        &[
            (USER, "01-a.conf", rule!("1")),
            (XDG, "50-c.conf", rule!("3")),
            (SYSTEM, "99-b.conf", rule!("2")),
        ],
    ),
    (
        "/etc/xdg wins over /etc",
        &[
            (XDG, "01-c.conf", rule!("3")),
            (SYSTEM, "99-b.conf", rule!("2")),
        ],
    ),
    (
        "a name hides the same name of a lower directory",
        &[
            (USER, "a.conf", "# nothing\n"),
            (SYSTEM, "a.conf", rule!("2")),
        ],
    ),
    (
        "an override takes the rules before it away",
        &[
            (USER, "a.conf", concat!("override.", rule!("1"), rule!("5"))),
            (SYSTEM, "b.conf", rule!("2")),
            (USER, "z.conf", rule!("7")),
        ],
    ),
    (
        "a fault in another section drops the file",
        &[
            (
                USER,
                "a.conf",
                concat!(rule!("1"), "foo = [ { a = \"\\q\" } ]\n"),
            ),
            (SYSTEM, "b.conf", rule!("2")),
        ],
    ),
    (
        "a section that is not closed drops the file",
        &[
            (USER, "a.conf", concat!(rule!("1"), "foo = { a = 1\n")),
            (SYSTEM, "b.conf", rule!("2")),
        ],
    ),
    (
        "a section without a value drops nothing",
        &[
            (USER, "a.conf", concat!(rule!("1"), "foo")),
            (SYSTEM, "b.conf", rule!("2")),
        ],
    ),
    (
        "a stray bracket ends the file",
        &[
            (USER, "a.conf", concat!(rule!("1"), "] ", rule!("3"))),
            (SYSTEM, "b.conf", rule!("2")),
        ],
    ),
    (
        "a raw newline in quotes ends the file",
        &[
            (
                USER,
                "a.conf",
                concat!(rule!("1"), "\"x\n\" = 3\n", rule!("3")),
            ),
            (SYSTEM, "b.conf", rule!("2")),
        ],
    ),
    (
        "braces around all",
        &[(USER, "a.conf", concat!("{ ", rule!("1"), "}"))],
    ),
    (
        "two sections in one file",
        &[(USER, "a.conf", concat!(rule!("1"), rule!("3")))],
    ),
    (
        "a semicolon belongs to the value",
        &[(USER, "a.conf", rule!("1;"))],
    ),
    (
        "a semicolon in the place of a section ends the file",
        &[
            (USER, "a.conf", concat!("foo = 1 ; ", rule!("1"))),
            (SYSTEM, "b.conf", rule!("2")),
        ],
    ),
    (
        "a number is no name of a section",
        &[
            (USER, "a.conf", concat!(rule!("1"), "3 = 4\n")),
            (SYSTEM, "b.conf", rule!("2")),
        ],
    ),
    (
        "a number in quotes is one",
        &[
            (USER, "a.conf", concat!(rule!("1"), "\"3\" = 4\n")),
            (SYSTEM, "b.conf", rule!("2")),
        ],
    ),
    (
        "an object loses the rules before it, and itself",
        &[
            (SYSTEM, "b.conf", rule!("2")),
            (USER, "a.conf", "monitor.alsa.rules = { a = 1 }\n"),
            (USER, "c.conf", rule!("4")),
        ],
    ),
    (
        "a word does too",
        &[
            (SYSTEM, "b.conf", rule!("2")),
            (USER, "a.conf", "monitor.alsa.rules = none\n"),
        ],
    ),
    (
        "other names, hidden files and directories are not read",
        &[
            (USER, "a.conf.bak", rule!("1")),
            (USER, ".a.conf", rule!("3")),
            (USER, "d.conf/x.conf", rule!("4")),
            (SYSTEM, "b.conf", rule!("2")),
        ],
    ),
    (
        "a section of another name is another section",
        &[
            (USER, "a.conf", concat!("my.", rule!("1"))),
            (SYSTEM, "b.conf", rule!("2")),
        ],
    ),
    (
        "a nested section is none",
        &[(USER, "a.conf", concat!("monitor = { ", rule!("1"), " }\n"))],
    ),
    (
        "null takes the property away",
        &[
            (USER, "a.conf", rule!("null")),
            (SYSTEM, "b.conf", rule!("2")),
        ],
    ),
    (
        "an element that is no object ends the rules of all files",
        &[
            (
                SYSTEM,
                "b.conf",
                concat!(rule!("2"), "monitor.alsa.rules = [ 3 ]\n"),
            ),
            (USER, "a.conf", rule!("1")),
        ],
    ),
    (
        "a rule without conditions is passed over",
        &[
            (
                SYSTEM,
                "b.conf",
                "monitor.alsa.rules = [ { x = 1 } { matches = { node.name = n } actions = { update-props = { api.alsa.period-size = 5 } } } ]\n",
            ),
            (USER, "a.conf", rule!("1")),
        ],
    ),
    (
        "two rules of a list after one that is no object",
        &[(
            USER,
            "a.conf",
            "monitor.alsa.rules = [ 3 { matches = [ { node.name = n } ] actions = { update-props = { api.alsa.period-size = 8 } } } { matches = [ { node.name = n } ] actions = { update-props = { \"api.alsa.period-size\": 9 } } } ]\n",
        )],
    ),
];

/// A profile of one script, which applies the rules to a device and says what came of it.
const PROFILE: &str = "wireplumber.profiles = { dump = { support.dump = required } }
wireplumber.components = [ { name = dump.lua, type = script/lua, provides = support.dump } ]
";
const SCRIPT: &str = r#"
local rules = Conf.get_section_as_json ("monitor.alsa.rules", Json.Array {})
local properties = JsonUtils.match_rules_update_properties (rules, { ["node.name"] = "n" })
print ("PERIOD " .. tostring (properties["api.alsa.period-size"]) .. " END")
"#;

/// The files of a case, with the main file that packages have.
fn tree(case: &Case) -> Tree {
    let directory = PipeWire::Backports
        .directory()
        .expect("run scripts/machine");
    #[expect(
        clippy::disallowed_methods,
        reason = "this is a file of the test bench"
    )]
    let main = std::fs::read(directory.join("usr/share/wireplumber/wireplumber.conf"))
        .expect("a shipped file is read");
    let paths: Vec<(String, &str)> = case
        .1
        .iter()
        .map(|(directory, name, text)| (format!("{directory}/{name}"), *text))
        .collect();
    let mut files: Vec<(&str, &[u8])> = vec![("/usr/share/wireplumber/wireplumber.conf", &main)];
    files.extend(
        paths
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_bytes())),
    );
    Tree::new(&files, &[])
}

fn collected(tree: &Tree) -> DeviceSettings {
    let environment = SessionManagerEnvironment::from_variables([("HOME", HOME)]);
    DeviceSettings::collect(&tree.host(), &environment).expect("the files are read")
}

/// All cases, one WirePlumber after the other with one daemon.
#[test]
fn the_rule_that_wins_is_that_of_wireplumber() {
    let mut all: Vec<(String, &[u8])> = vec![
        ("/etc/dump.conf".to_owned(), PROFILE.as_bytes()),
        ("/etc/dump.lua".to_owned(), SCRIPT.as_bytes()),
    ];
    for (number, case) in CASES.iter().enumerate() {
        all.push((format!("/etc/cases/{number}/home/"), b""));
        for (directory, name, text) in case.1 {
            let below = directory
                .strip_prefix("/etc/")
                .expect("a directory below /etc");
            let path = format!("/etc/cases/{number}/{below}/{name}");
            all.push((path, text.as_bytes()));
        }
    }
    let files: Vec<(&str, &[u8])> = all
        .iter()
        .map(|(path, text)| (path.as_str(), *text))
        .collect();
    let tree = Tree::new(&files, &[]);
    let unpacked = PipeWire::Backports
        .directory()
        .expect("run scripts/machine");
    let script = format!(
        "
cp -a {unpacked}/usr/share/pipewire {unpacked}/usr/share/wireplumber /usr/share
cp /etc/dump.conf /usr/share/wireplumber/wireplumber.conf.d
cp /etc/dump.lua /usr/share/wireplumber/scripts
mkdir /etc/run
export XDG_RUNTIME_DIR=/etc/run
pipewire >/etc/log 2>&1 &
for try in $(seq 6000); do
    [ -S /etc/run/pipewire-0 ] && pw-cli info 0 >/etc/info 2>/dev/null && break
    sleep 0.05
done
for case in $(seq 0 {last}); do
    rm -rf /etc/wireplumber /etc/xdg /etc/home /etc/said
    cp -a /etc/cases/$case/. /etc
    wireplumber -p dump >/etc/said 2>&1 &
    tries=0
    until grep -q END /etc/said || [ $tries -gt 15000 ]; do tries=$((tries + 1)); sleep 0.02; done
    kill $!
    wait $!
    grep -o 'PERIOD .*' /etc/said || {{ echo failed; cat /etc/said; exit 1; }}
done
",
        unpacked = unpacked.display(),
        last = CASES.len() - 1,
    );
    let (worked, output) = tree.run(PipeWire::Backports, &script);
    assert!(worked, "{output}");
    let said: Vec<&str> = output
        .lines()
        .filter_map(|line| line.strip_prefix("PERIOD ")?.strip_suffix(" END"))
        .collect();
    assert_eq!(said.len(), CASES.len(), "{output}");
    let mut differing = Vec::new();
    for (case, said) in CASES.iter().zip(said) {
        let settings = collected(&self::tree(case)).settings;
        let ours = settings
            .last()
            .map(|setting| setting.properties[0].1.clone());
        let ours = ours.filter(|period| period != "null");
        let ours = ours.unwrap_or_else(|| "nil".to_owned());
        if ours != said {
            differing.push(format!("{}: {ours}, WirePlumber {said}", case.0));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

#[test]
fn scripts_are_read_in_the_order_of_wireplumber_0_4() {
    let mark = |name: &str, text: &str| {
        let (first, second) = (
            "print (\"MARK\", \"",
            "\")\nx = { [\"api.alsa.period-size\"] = ",
        );
        (name.to_owned(), format!("{first}{text}{second}{text} }}\n"))
    };
    let user = "/etc/home/.config/wireplumber/main.lua.d";
    let system = "/etc/wireplumber/main.lua.d";
    let vendor = "/usr/share/wireplumber/main.lua.d";
    let own = [
        mark(&format!("{user}/01-a.lua"), "1"),
        mark(&format!("{system}/52-b.lua"), "2"),
        mark("/etc/xdg/wireplumber/main.lua.d/53-c.lua", "3"),
        mark(&format!("{user}/60-d.lua"), "4"),
        mark(&format!("{system}/60-d.lua"), "5"),
        mark(&format!("{system}/61-e.lua"), "6"),
        mark(&format!("{vendor}/61-e.lua"), "7"),
        mark(&format!("{vendor}/99-f.lua"), "8"),
        mark(&format!("{user}/98-g.lua"), "9"),
        mark(&format!("{system}/A.lua"), "10"),
        mark(&format!("{user}/.h.lua"), "11"),
        mark(&format!("{user}/x.txt"), "12"),
    ];
    let unpacked = PipeWire::Bookworm.directory().expect("run scripts/machine");
    #[expect(
        clippy::disallowed_methods,
        reason = "this is a file of the test bench"
    )]
    let main = std::fs::read(unpacked.join("usr/share/wireplumber/wireplumber.conf"))
        .expect("a shipped file is read");
    let mut files: Vec<(&str, &[u8])> = vec![("/usr/share/wireplumber/wireplumber.conf", &main)];
    files.extend(
        own.iter()
            .map(|(path, text)| (path.as_str(), text.as_bytes())),
    );
    let tree = Tree::new(&files, &[]);
    let script = format!(
        "
cp -an {unpacked}/usr/share/pipewire {unpacked}/usr/share/wireplumber /usr/share
mkdir /etc/run
export XDG_RUNTIME_DIR=/etc/run
pipewire >/etc/log 2>&1 &
for try in $(seq 6000); do
    [ -S /etc/run/pipewire-0 ] && pw-cli info 0 >/etc/info 2>/dev/null && break
    sleep 0.05
done
wireplumber >/etc/said 2>&1 &
tries=0
until grep -q 'MARK.10' /etc/said || [ $tries -gt 15000 ]; do tries=$((tries + 1)); sleep 0.02; done
kill $!
grep MARK /etc/said
",
        unpacked = unpacked.display(),
    );
    let (_, output) = tree.run(PipeWire::Bookworm, &script);
    let said: Vec<&str> = output
        .lines()
        .filter_map(|line| line.strip_prefix("MARK")?.split_whitespace().next())
        .collect();
    let settings = collected(&tree);
    let ours: Vec<&str> = settings
        .settings
        .iter()
        .map(|setting| setting.properties[0].1.trim_end_matches('}').trim())
        .collect();
    assert_eq!(ours, said, "{output}");
    assert_eq!(ours, ["1", "2", "4", "6", "9", "8", "10"]);
    let notes = settings.notes(None);
    assert!(
        notes[0].starts_with(
            "/etc/home/.config/wireplumber/main.lua.d/01-a.lua:2: a Lua script of WirePlumber sets api.alsa.period-size = 1"
        ),
        "{notes:?}"
    );
    assert!(notes.iter().all(|note| !note.contains(vendor)), "{notes:?}");
}

#[test]
fn a_rule_is_named_with_its_line_and_its_devices() {
    let text = "# of the user\nmonitor.alsa.rules = [\n  {\n    matches = [ { node.name = \"~alsa_output.usb-.*\" media.class = Audio/Sink } { device.name = x } ]\n    actions = {\n      update-props = {\n        api.alsa.period-size = 256\n        node.description = mine\n        priority.driver = 9\n      }\n    }\n  }\n]\n";
    let machines = "monitor.alsa.rules = [ { matches = [ { cpu.vm.name = \"~.*\" } ] actions = { update-props = { api.alsa.headroom = 2048 } } } ]\n";
    let text: &'static str = text;
    let tree = tree(&(
        "",
        Box::leak(Box::new([
            (USER, "51-usb.conf", text),
            (VENDOR, "alsa-vm.conf", machines),
            (
                LOCAL,
                "odd.conf",
                "monitor.alsa.rules = [ { a = \"\\q\" } ]",
            ),
        ])),
    ));
    let settings = collected(&tree);
    let notes = settings.notes(None);
    assert_eq!(
        notes[0],
        "/etc/home/.config/wireplumber/wireplumber.conf.d/51-usb.conf:6: a rule of WirePlumber sets api.alsa.period-size = 256, priority.driver = 9 on devices that match node.name = ~alsa_output.usb-.* and media.class = Audio/Sink or device.name = x"
    );
    assert_eq!(notes.len(), 3, "{notes:?}");
    assert!(notes[2].starts_with("/usr/local/share/wireplumber/wireplumber.conf.d/odd.conf: WirePlumber ignores the file: line 1:"), "{notes:?}");
    // What the packages set for virtual machines matters there.
    let notes = settings.notes(Some("qemu"));
    assert!(
        notes[0].contains("alsa-vm.conf:1: a rule of WirePlumber sets api.alsa.headroom = 2048"),
        "{notes:?}"
    );
}

#[test]
fn without_wireplumber_there_is_nothing_to_say() {
    let settings = collected(&Tree::new(
        &[(
            "/etc/wireplumber/wireplumber.conf.d/x.conf",
            rule!("1").as_bytes(),
        )],
        &[],
    ));
    assert_eq!(settings, DeviceSettings::default());
    assert!(settings.notes(None).is_empty());
}
