//! Runs a test again in network and mount namespaces of its own, where it affects no other process.

use std::process::Command;

use hosttune_test_machine::inside;

/// Set for the second process, which is inside the namespaces.
const INSIDE: &str = "HOSTTUNE_TEST_INSIDE";

/// Whether this process is in namespaces of its own, with the interfaces `eth0` and `eth0.100`.
///
/// If not, it runs the test again in a process that is, where the test must pass. If no namespaces can be
/// created, it prints that the test was not run.
pub(crate) fn inside() -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let test = inside::test_name();
    let links = "ip link add eth0 type veth peer name eth0.100";
    let probe = Command::new("unshare")
        .args(["-n", "-m", "sh", "-c", links])
        .output();
    match probe {
        Ok(probe) if probe.status.success() => {}
        Ok(probe) => {
            let why = String::from_utf8_lossy(&probe.stderr);
            eprintln!("not run: {test}: {}", why.trim());
            return false;
        }
        Err(error) => {
            eprintln!("not run: {test}: unshare: {error}");
            return false;
        }
    }
    let again = Command::new("unshare")
        .args(["-n", "-m", "sh", "-c"])
        .arg(format!(
            r#"{links} && exec "$0" "$1" --exact --test-threads=1"#
        ))
        .arg(std::env::current_exe().unwrap())
        .arg(&test)
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&again.stdout);
    assert!(
        again.status.success() && said.contains("1 passed"),
        "{said}\n{}",
        String::from_utf8_lossy(&again.stderr)
    );
    false
}
