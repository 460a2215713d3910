//! The command line with a small profile of one file, on an image.
#![expect(
    clippy::disallowed_methods,
    reason = "these tests create the trees that the program works on"
)]

mod asked;
mod boot_units;
mod constructed;
mod guests;
mod import;
mod manual;
mod measured;
mod pci;
mod schema;
mod unrecorded;
mod weighed;
mod who_sets;

use std::cell::RefCell;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::rc::Rc;

use hosttune_core::file::{ConfigFile, FileState};
use hosttune_core::host::FileContent;
use hosttune_core::{Error, Planner, Registry, Tuning, Unsupported, UnsupportedKind, Why};
use serde_json::Value;

use super::exit::Exit;
use super::run::run;
use super::streams::Streams;
use super::{HostProfile, Options};

/// A profile with a part for every case: a request, one that is unsupported, and an optional part.
#[derive(Debug)]
struct Greeter;

impl HostProfile for Greeter {
    fn name(&self) -> &'static str {
        "greeter"
    }
    fn about(&self) -> &'static str {
        "A host that greets"
    }
    fn candidates(&self) -> &'static [&'static str] {
        &["farewell"]
    }
    fn register(&self, _: &mut Registry) {}
    fn tuning(&self, options: &Options) -> Result<Box<dyn Tuning>, Error> {
        assert!(options.persist, "an image implies --persist");
        let mut parts: Vec<(&str, Box<dyn Tuning>)> = vec![
            ("greeting", Box::new(File("/etc/motd", "welcome\n"))),
            ("radio", Box::new(NeverSupported)),
        ];
        if options.has("farewell") {
            parts.push(("farewell", Box::new(File("/etc/goodbye", "bye\n"))));
        }
        Ok(Box::new(parts))
    }
}

struct File(&'static str, &'static str);

impl Tuning for File {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        let mut content = FileContent::new(self.1);
        // The user who runs the tests can create files only with their own ids.
        content.uid = rustix::process::geteuid().as_raw();
        content.gid = rustix::process::getegid().as_raw();
        let why = Why::new("people like it")
            .looks_wrong("nobody reads it")
            .source("motd(5)")
            .risk("none");
        at.want(&ConfigFile::new(self.0)?, &FileState::Present(content))
            .why(why);
        Ok(())
    }
}

struct NeverSupported;

impl Tuning for NeverSupported {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        let unsupported = Unsupported::new(UnsupportedKind::NoBackend, "there is no radio")
            .hint("buy one")
            .module("radio");
        at.skip("radio", unsupported).why("music");
        Ok(())
    }
}

/// The result of a run.
#[derive(Debug)]
struct Ran {
    exit: Exit,
    out: String,
    err: String,
}

impl Ran {
    fn document(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }
}

#[derive(Clone, Default)]
struct Sink(Rc<RefCell<Vec<u8>>>);

impl Sink {
    fn text(&self) -> String {
        String::from_utf8(self.0.borrow().clone()).unwrap()
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn arguments(root: &Path, arguments: &[&str]) -> Vec<OsString> {
    let mut all: Vec<OsString> = vec!["greeter".into(), "--root".into(), root.into()];
    all.extend(arguments.iter().map(OsString::from));
    all
}

/// Runs the profile; with answers, a terminal is assumed for the prompts.
fn greeter_asked(root: &Path, typed: &[&str], answers: Option<&str>) -> Ran {
    let (out, err) = (Sink::default(), Sink::default());
    let mut streams = Streams::over(Box::new(out.clone()), Box::new(err.clone()), answers);
    let exit = run(&Greeter, arguments(root, typed), &mut streams);
    Ran {
        exit,
        out: out.text(),
        err: err.text(),
    }
}

fn greeter(root: &Path, typed: &[&str]) -> Ran {
    greeter_asked(root, typed, None)
}

/// A command that works on no host.
fn without_root(typed: &[&str]) -> Ran {
    let (out, err) = (Sink::default(), Sink::default());
    let mut streams = Streams::over(Box::new(out.clone()), Box::new(err.clone()), None);
    let typed = ["greeter"].iter().chain(typed);
    let exit = run(&Greeter, typed.map(OsString::from), &mut streams);
    Ran {
        exit,
        out: out.text(),
        err: err.text(),
    }
}

fn image() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("etc")).unwrap();
    root
}

fn motd(root: &tempfile::TempDir) -> Option<String> {
    std::fs::read_to_string(root.path().join("etc/motd")).ok()
}

#[test]
fn a_plan_is_the_default_and_changes_nothing() {
    let root = image();
    let ran = greeter(root.path(), &[]);
    assert_eq!(ran.exit, Exit::Done, "{ran:?}");
    assert!(
        ran.out.contains("1 change, 1 not applicable"),
        "{}",
        ran.out
    );
    assert!(ran.out.contains("absent → 1 line, 8 bytes"), "{}", ran.out);
    assert!(
        ran.out
            .contains("people like it (intentional; see explain)"),
        "{}",
        ran.out
    );
    assert!(ran.out.contains("there is no radio"), "{}", ran.out);
    assert!(ran.out.contains("try: buy one"), "{}", ran.out);
    assert!(
        ran.out.contains("A reboot undoes none of these changes"),
        "{}",
        ran.out
    );
    assert_eq!(ran.err, "");
    assert_eq!(motd(&root), None);
    assert!(!root.path().join("run").exists());
    let ran = greeter(root.path(), &["plan", "--exit-code"]);
    assert_eq!(ran.exit, Exit::Drift);
}

#[test]
fn apply_verify_revert_and_what_they_say() {
    let root = image();
    assert_eq!(greeter(root.path(), &["verify"]).exit, Exit::Drift);
    let ran = greeter(root.path(), &["apply", "--yes"]);
    assert_eq!(ran.exit, Exit::Done, "{ran:?}");
    assert!(
        ran.out.contains("Done: 1 change made and read back."),
        "{}",
        ran.out
    );
    assert_eq!(motd(&root).as_deref(), Some("welcome\n"));
    let ran = greeter(root.path(), &["verify"]);
    assert_eq!(ran.exit, Exit::Done);
    assert!(
        ran.out.contains("as wanted: 1 of 2, 1 not applicable"),
        "{}",
        ran.out
    );
    let ran = greeter(root.path(), &["apply", "--yes"]);
    assert!(ran.out.contains("nothing to do"), "{}", ran.out);
    assert_eq!(
        greeter(root.path(), &["plan", "--exit-code"]).exit,
        Exit::Done
    );
    let ran = greeter(root.path(), &["status"]);
    assert!(ran.out.contains("1 change active"), "{}", ran.out);
    let ran = greeter(root.path(), &["revert", "--yes"]);
    assert_eq!(ran.exit, Exit::Done, "{ran:?}");
    assert!(ran.out.contains("1 reverted"), "{}", ran.out);
    assert_eq!(motd(&root), None);
    let ran = greeter(root.path(), &["revert", "--yes"]);
    assert!(ran.out.contains("nothing to revert"), "{}", ran.out);
    assert_eq!(ran.exit, Exit::Done);
}

#[test]
fn what_somebody_else_has_set_is_left_unless_forced() {
    let root = image();
    greeter(root.path(), &["apply", "--yes"]);
    std::fs::write(root.path().join("etc/motd"), "theirs, and longer\n").unwrap();
    assert_eq!(greeter(root.path(), &["verify"]).exit, Exit::Drift);
    let ran = greeter(root.path(), &["revert", "--yes"]);
    assert_eq!(ran.exit, Exit::Drift, "{ran:?}");
    assert!(
        ran.out.contains("another process has set it since"),
        "{}",
        ran.out
    );
    assert!(ran.out.contains("revert --force"), "{}", ran.out);
    let ran = greeter(root.path(), &["revert", "--yes", "--json"]);
    assert_eq!(ran.exit, Exit::Drift);
    let document = ran.document();
    schema::assert_valid("revert", &document);
    assert_eq!(document["outcome"], "not-reverted");
    assert_eq!(document["not_reverted"][0]["original"], "absent");
    let ran = greeter(root.path(), &["revert", "--yes", "--force"]);
    assert_eq!(ran.exit, Exit::Done, "{ran:?}");
    assert_eq!(motd(&root), None);
}

#[test]
fn it_asks_and_takes_only_a_yes() {
    let root = image();
    let ran = greeter_asked(root.path(), &["apply"], Some("no\n"));
    assert_eq!(ran.exit, Exit::Refused);
    assert!(ran.err.contains("Apply 1 change? [y/N]"), "{}", ran.err);
    assert!(ran.out.contains("Declined"), "{}", ran.out);
    assert_eq!(motd(&root), None);
    let ran = greeter_asked(root.path(), &["apply", "--json"], Some("no\n"));
    assert_eq!(ran.exit, Exit::Refused);
    let document = ran.document();
    schema::assert_valid("apply", &document);
    assert_eq!(document["outcome"], "declined");
    let ran = greeter_asked(root.path(), &["apply"], Some("y\n"));
    assert_eq!(ran.exit, Exit::Done, "{ran:?}");
    let ran = greeter_asked(root.path(), &["revert"], Some("n\n"));
    assert_eq!(ran.exit, Exit::Refused);
    assert!(motd(&root).is_some());
    let ran = greeter_asked(root.path(), &["revert"], Some("y\n"));
    assert_eq!(ran.exit, Exit::Done, "{ran:?}");
    // There is nothing to revert, so there is no prompt.
    let ran = greeter_asked(root.path(), &["revert"], Some(""));
    assert_eq!((ran.exit, ran.err.as_str()), (Exit::Done, ""));
}

#[test]
fn putting_an_interrupted_run_right_is_asked_about_as_well() {
    let root = image();
    assert_eq!(greeter(root.path(), &["apply", "--yes"]).exit, Exit::Done);
    // Without its last line the journal describes an unfinished apply.
    let journal = root.path().join("var/lib/hosttune/greeter.journal");
    let text = std::fs::read_to_string(&journal).unwrap();
    let end = text.trim_end().rfind('\n').unwrap() + 1;
    std::fs::write(&journal, &text[..end]).unwrap();
    let ran = greeter_asked(root.path(), &["apply"], Some("no\n"));
    assert_eq!(ran.exit, Exit::Refused, "{ran:?}");
    assert!(ran.out.contains("interrupted"), "{}", ran.out);
    assert!(ran.out.contains("Declined"), "{}", ran.out);
    let ran = greeter_asked(root.path(), &["apply", "--json"], Some("no\n"));
    assert_eq!(ran.exit, Exit::Refused, "{ran:?}");
    let document = ran.document();
    schema::assert_valid("apply", &document);
    assert_eq!(document["outcome"], "declined");
    assert!(ran.err.contains("interrupted"), "{}", ran.err);
    assert!(motd(&root).is_some());
    let ran = greeter_asked(root.path(), &["apply", "--json"], Some("y\ny\n"));
    assert_eq!(ran.exit, Exit::Done, "{ran:?}");
    assert_eq!(ran.document()["outcome"], "applied");
}

#[test]
fn without_a_terminal_only_yes_changes_anything() {
    let root = image();
    for command in ["apply", "revert"] {
        let ran = greeter(root.path(), &[command]);
        assert_eq!(ran.exit, Exit::Usage, "{ran:?}");
        assert!(ran.err.contains("this is not a terminal"), "{}", ran.err);
        assert!(ran.err.contains(&format!("{command} --yes")), "{}", ran.err);
    }
    assert_eq!(motd(&root), None);
}

#[test]
fn an_unknown_name_is_answered_with_the_known_ones() {
    let root = image();
    let cases: [(&[&str], &str); 4] = [
        (&["--only", "greting"], "greeting, radio"),
        (&["--with", "nothing"], "farewell"),
        (&["explain", "/etc/mtd"], "/etc/motd, radio"),
        (&["who-sets", ""], "vm.swappiness"),
    ];
    for (typed, known) in cases {
        let ran = greeter(root.path(), typed);
        assert_eq!(ran.exit, Exit::Usage, "{ran:?}");
        assert!(ran.err.contains(known), "{}", ran.err);
        let ran = greeter(root.path(), &[typed, &["--json"]].concat());
        assert_eq!(ran.exit, Exit::Usage);
        let document = ran.document();
        schema::assert_valid("error", &document);
        assert_eq!(document["error"]["exit_code"], 2);
    }
}

#[test]
fn what_clap_does_not_take_is_a_document_too() {
    let root = image();
    let ran = greeter(root.path(), &["appply", "--json"]);
    assert_eq!(ran.exit, Exit::Usage);
    assert!(ran.err.contains("appply"), "{}", ran.err);
    schema::assert_valid("error", &ran.document());
    for typed in ["--help", "--version"] {
        let ran = greeter(root.path(), &[typed]);
        assert_eq!((ran.exit, ran.err.as_str()), (Exit::Done, ""), "{ran:?}");
    }
    let help = greeter(root.path(), &["--help"]).out;
    assert!(
        help.contains("Exit codes:") && help.contains("farewell"),
        "{help}"
    );
}

#[test]
fn only_and_with_choose() {
    let root = image();
    let ran = greeter(root.path(), &["--only", "radio", "apply", "--yes"]);
    assert_eq!(ran.exit, Exit::Done, "{ran:?}");
    assert_eq!(motd(&root), None);
    // Options before and after the command are combined.
    let both = &["--only", "radio", "plan", "--only", "greeting", "--json"];
    let document = greeter(root.path(), both).document();
    assert_eq!(document["steps"].as_array().unwrap().len(), 1);
    assert_eq!(document["not_applicable"].as_array().unwrap().len(), 1);
    let ran = greeter(root.path(), &["plan", "--root", "/"]);
    assert_eq!(ran.exit, Exit::Usage, "{ran:?}");
    assert!(ran.err.contains("--root is given twice"), "{}", ran.err);
    let ran = greeter(root.path(), &["--with", "farewell", "plan"]);
    assert!(ran.out.contains("2 changes"), "{}", ran.out);
    greeter(root.path(), &["--with", "farewell", "apply", "--yes"]);
    // Revert takes the part from the journal, whatever options are given now.
    let ran = greeter(root.path(), &["revert", "--yes", "--only", "farewell"]);
    assert_eq!(ran.exit, Exit::Done, "{ran:?}");
    assert!(
        ran.out.contains("1 other change still in effect"),
        "{ran:?}"
    );
    assert!(!root.path().join("etc/goodbye").exists());
    assert!(motd(&root).is_some());
    let status = greeter(root.path(), &["status", "--json", "--only", "radio"]).document();
    assert_eq!(status["pending"], Value::Array(Vec::new()));
}

#[test]
fn an_option_without_effect_is_refused_before_and_after_the_command() {
    let root = image();
    for (command, option) in [
        ("revert", "--persist"),
        ("revert", "--strict"),
        ("status", "--with=farewell"),
        ("status", "--persist"),
        ("explain", "--strict"),
        ("who-sets", "--only=greeting"),
        ("facts", "--persist"),
    ] {
        let value = ["radio"].into_iter();
        let value: Vec<&str> = value
            .filter(|_| ["explain", "who-sets"].contains(&command))
            .collect();
        for typed in [
            [&[option, command][..], &value].concat(),
            [&[command, option][..], &value].concat(),
        ] {
            let ran = greeter(root.path(), &typed);
            assert_eq!(ran.exit, Exit::Usage, "{typed:?}: {ran:?}");
            let name = option.split('=').next().unwrap();
            let told = format!("{name} has no effect on {command}: omit it");
            assert!(ran.err.contains(&told), "{typed:?}: {}", ran.err);
        }
        let help = greeter(root.path(), &[command, "--help"]).out;
        let name = option.split('=').next().unwrap();
        assert!(!help.contains(name), "{command}: {help}");
    }
}

#[test]
fn several_names_are_separated_by_commas() {
    let root = image();
    let both = greeter(root.path(), &["plan", "--json", "--only", "radio,greeting"]);
    let document = both.document();
    assert_eq!(document["steps"].as_array().unwrap().len(), 1);
    assert_eq!(document["not_applicable"].as_array().unwrap().len(), 1);
}

#[test]
fn words_of_other_tools_are_understood() {
    let root = image();
    let planned = greeter(root.path(), &["plan"]).out;
    for typed in [["apply", "--dry-run"], ["apply", "-n"]] {
        assert_eq!(greeter(root.path(), &typed).out, planned, "{typed:?}");
    }
    assert_eq!(motd(&root), None);
    greeter(root.path(), &["apply", "--yes"]);
    let ran = greeter(root.path(), &["undo", "--yes"]);
    assert_eq!(ran.exit, Exit::Done, "{ran:?}");
    assert_eq!(motd(&root), None);
}

#[test]
fn strict_makes_a_lack_an_error() {
    let root = image();
    let ran = greeter(root.path(), &["--strict", "apply", "--yes"]);
    assert_eq!(ran.exit, Exit::Refused, "{ran:?}");
    assert!(ran.err.contains("there is no radio"), "{}", ran.err);
    assert!(ran.err.contains("try: buy one"), "{}", ran.err);
    assert_eq!(motd(&root), None);
    let ran = greeter(root.path(), &["--strict", "apply", "--yes", "--json"]);
    let document = ran.document();
    schema::assert_valid("apply", &document);
    assert_eq!(document["outcome"], "refused");
    assert_eq!(document["error"]["exit_code"], 3);
    greeter(root.path(), &["apply", "--yes"]);
    assert_eq!(
        greeter(root.path(), &["--strict", "verify"]).exit,
        Exit::Drift
    );
    assert_eq!(greeter(root.path(), &["verify"]).exit, Exit::Done);
}

#[test]
fn explain_says_why_it_looks_wrong_and_is_right() {
    let root = image();
    greeter(root.path(), &["apply", "--yes"]);
    let ran = greeter(root.path(), &["explain", "/etc/motd"]);
    assert_eq!(ran.exit, Exit::Done, "{ran:?}");
    for line in [
        "may look wrong      nobody reads it",
        "intentional because people like it",
        "source              motd(5)",
        "risk                none",
        "on disk, until revert",
        "absent → 1 line, 8 bytes, still in effect",
    ] {
        assert!(ran.out.contains(line), "{line}: {}", ran.out);
    }
    schema::assert_valid(
        "explain",
        &greeter(root.path(), &["explain", "radio", "--json"]).document(),
    );
}

#[test]
fn every_verb_prints_one_document_of_its_schema() {
    let root = image();
    let verbs: [(&[&str], &str); 9] = [
        (&["plan"], "plan"),
        (&["verify"], "verify"),
        (&["apply", "--yes"], "apply"),
        (&["apply", "--yes"], "apply"),
        (&["status"], "status"),
        (&["explain", "/etc/motd"], "explain"),
        (&["who-sets", "vm.swappiness"], "who-sets"),
        (&["revert", "--yes"], "revert"),
        (&["revert", "--yes"], "revert"),
    ];
    for (typed, name) in verbs {
        let ran = greeter(root.path(), &[typed, &["--json"]].concat());
        assert_eq!(ran.err, "", "{typed:?}");
        schema::assert_valid(name, &ran.document());
    }
}

#[test]
fn who_sets_follows_links_inside_the_root_and_names_the_winner() {
    let root = image();
    let at = |path: &str| root.path().join(path);
    for directory in ["etc/sysctl.d", "usr/lib/sysctl.d", "run/sysctl.d"] {
        std::fs::create_dir_all(at(directory)).unwrap();
    }
    std::fs::write(
        at("usr/lib/sysctl.d/50-default.conf"),
        "vm.swappiness = 60\n",
    )
    .unwrap();
    std::fs::write(at("usr/lib/sysctl.d/90-off.conf"), "vm.swappiness = 1\n").unwrap();
    std::fs::write(at("etc/sysctl.conf"), "# mine\nvm.swappiness = 10\n").unwrap();
    std::os::unix::fs::symlink("/etc/sysctl.conf", at("etc/sysctl.d/99-sysctl.conf")).unwrap();
    std::os::unix::fs::symlink("/dev/null", at("etc/sysctl.d/90-off.conf")).unwrap();
    let ran = greeter(root.path(), &["who-sets", "vm/swappiness", "--json"]);
    assert_eq!(ran.exit, Exit::Done, "{ran:?}");
    let document = ran.document();
    schema::assert_valid("who-sets", &document);
    assert_eq!(document["winner"]["file"], "/etc/sysctl.d/99-sysctl.conf");
    assert_eq!(document["winner"]["line"], 2);
    let standings: Vec<&str> = document["settings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|setting| setting["standing"].as_str().unwrap())
        .collect();
    assert_eq!(standings, ["overridden", "masked", "wins"]);
    let text = greeter(root.path(), &["who-sets", "vm.swappiness"]).out;
    assert!(text.contains("/etc/sysctl.d/99-sysctl.conf:2"), "{text}");
    std::os::unix::fs::symlink("circle.conf", at("etc/sysctl.d/circle.conf")).unwrap();
    let ran = greeter(root.path(), &["who-sets", "vm.swappiness"]);
    assert_eq!(ran.exit, Exit::Done, "loaders ignore a link loop");
    assert!(
        ran.out.contains("/etc/sysctl.d/99-sysctl.conf:2"),
        "{}",
        ran.out
    );
}

/// A writer that fails, as for a closed pipe or a full disk.
struct Failing(io::ErrorKind);

impl Write for Failing {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn into(kind: io::ErrorKind, root: &Path, typed: &[&str]) -> (Exit, String) {
    let err = Sink::default();
    let mut streams = Streams::over(Box::new(Failing(kind)), Box::new(err.clone()), Some("y\n"));
    let exit = run(&Greeter, arguments(root, typed), &mut streams);
    (exit, err.text())
}

#[test]
fn a_closed_pipe_ends_quietly_and_a_full_disk_does_not() {
    let root = image();
    let closed = into(io::ErrorKind::BrokenPipe, root.path(), &["plan"]);
    assert_eq!(closed, (Exit::Done, String::new()));
    let (exit, err) = into(io::ErrorKind::StorageFull, root.path(), &["plan"]);
    assert_eq!(exit, Exit::Refused);
    assert!(err.contains("cannot write the output"), "{err}");
    // A plan that could not be shown cannot be confirmed, not even by answering yes.
    let (exit, _) = into(io::ErrorKind::BrokenPipe, root.path(), &["apply"]);
    assert_eq!(exit, Exit::Refused);
    assert_eq!(motd(&root), None);
    // With --yes it is applied, whether or not the output can be written.
    let (exit, _) = into(io::ErrorKind::BrokenPipe, root.path(), &["apply", "--yes"]);
    assert_eq!(exit, Exit::Done);
    assert!(motd(&root).is_some());
}
