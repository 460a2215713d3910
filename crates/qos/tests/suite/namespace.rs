//! A separate network namespace for a test, in the test machine.

use hosttune_qos::Netlink;
pub(crate) use hosttune_test_machine::tell;

/// Moves the calling thread to a new network namespace. Modules that the kernel may load by itself
/// are loaded first, so that none appears between two snapshots.
pub(crate) fn enter() {
    tell("modprobe -a ifb numifbs=0 2>/dev/null || modprobe ifb numifbs=0");
    tell("modprobe -qa act_mirred cls_matchall cls_u32 sch_ingress sch_cake || true");
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
    tell("ip link set lo up");
}

/// The backend of this namespace.
pub(crate) fn backend() -> Netlink {
    Netlink::open().unwrap()
}
