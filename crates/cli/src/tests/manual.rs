//! Completion scripts, read by the shells themselves, and manual pages.

use std::process::Command;

use super::{Exit, greeter, image, without_root};

#[test]
fn a_shell_accepts_its_completion_script() {
    let tree = image();
    let ran = greeter(tree.path(), &["completions", "bash"]);
    // greeter() names a tree, which has no effect here.
    assert_eq!(ran.exit, Exit::Usage, "{ran:?}");
    assert!(ran.err.contains("--root has no effect on completions"));

    let script = without_root(&["completions", "bash"]);
    assert_eq!(script.exit, Exit::Done, "{script:?}");
    assert!(!script.out.contains("run-watchdog"), "{}", script.out);
    // Completes the first word after the program's name.
    let asked = format!(
        "{}\nCOMP_WORDS=(greeter re); COMP_CWORD=1; _greeter greeter re greeter; echo ${{COMPREPLY[*]}}",
        script.out
    );
    let bash = Command::new("bash").args(["-c", &asked]).output().unwrap();
    assert!(bash.status.success(), "{bash:?}");
    assert_eq!(String::from_utf8_lossy(&bash.stdout).trim(), "revert");
}

#[test]
fn every_command_has_a_manual_page() {
    let page = without_root(&["manual"]);
    assert_eq!(page.exit, Exit::Done, "{page:?}");
    assert!(page.out.contains(".TH greeter 1"), "{}", page.out);
    for text in ["plan", "verify", "\\-\\-only", "Exit codes"] {
        assert!(page.out.contains(text), "{text} is missing in {}", page.out);
    }
    assert!(!page.out.contains("run\\-watchdog"), "{}", page.out);

    let page = without_root(&["manual", "apply"]);
    assert!(page.out.contains(".TH greeter-apply 1"), "{}", page.out);
    assert!(
        page.out.contains("Do not ask for confirmation"),
        "{}",
        page.out
    );

    // The program alone has the option.
    let has_version = |out: &str| out.contains("\\-\\-version");
    assert!(!has_version(&page.out), "{}", page.out);
    assert!(has_version(&without_root(&["manual"]).out));
    assert_eq!(without_root(&["apply", "--version"]).exit, Exit::Usage);

    let unknown = without_root(&["manual", "aply"]);
    assert_eq!(unknown.exit, Exit::Usage);
    assert!(unknown.err.contains("apply"), "{}", unknown.err);
}
