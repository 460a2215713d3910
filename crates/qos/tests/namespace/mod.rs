//! A network namespace of the test's own, in the test machine.

use std::process::Command;

use hosttune_qos::Netlink;

/// The calling thread is in a new network namespace from here on; whatever the kernel may load by
/// itself is loaded, so that no snapshot sees it come.
pub(crate) fn enter() {
    tell("modprobe -a ifb numifbs=0 2>/dev/null || modprobe ifb numifbs=0");
    tell("modprobe -qa act_mirred cls_matchall cls_u32 sch_ingress sch_cake || true");
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
    tell("ip link set lo up");
}

/// Runs a script; what it prints.
///
/// # Panics
/// Where it fails.
pub(crate) fn tell(script: &str) -> String {
    let (worked, said) = ask(script);
    assert!(worked, "{script}: {said}");
    said
}

/// Runs a script: whether it worked, and what it prints.
pub(crate) fn ask(script: &str) -> (bool, String) {
    let output = Command::new("sh").args(["-c", script]).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

/// The wire of this namespace.
pub(crate) fn wire() -> Netlink {
    Netlink::open().unwrap()
}
