//! Detecting irqbalance by the files that it leaves.

use hosttune_core::Host;
use hosttune_core::testing::{Behaviour, CrashPoint, Memory};
use hosttune_cpu::irqbalance::Irqbalance;

const UNIT: &str = "/sys/fs/cgroup/system.slice/irqbalance.service/cgroup.procs";

fn running(memory: &Memory) -> Option<Irqbalance> {
    let host = Host::new(memory.host(&CrashPoint::lives()));
    Irqbalance::running(&host).unwrap()
}

fn file(memory: Memory, path: &str, value: &str) -> Memory {
    memory.file(path, value, Behaviour::takes_all())
}

#[test]
fn it_is_found_by_its_unit_its_socket_and_its_pid_file() {
    for told_by in [
        UNIT,
        "/run/irqbalance/irqbalance812.sock",
        "/run/irqbalance.pid",
    ] {
        let memory = file(Memory::new(), told_by, "812");
        assert_eq!(running(&memory), None, "a file alone is stale");
        let memory = file(memory, "/proc/812/comm", "sshd");
        assert_eq!(running(&memory), None, "another process by now");
        let memory = file(memory, "/proc/812/comm", "irqbalance");
        let found = running(&memory).unwrap();
        assert_eq!((found.process, found.told_by.as_str()), (812, told_by));
        assert!(found.note().contains("process 812"));
    }
}

#[test]
fn where_it_is_not_nothing_is_said() {
    assert_eq!(running(&Memory::new()), None);
    let memory = file(Memory::new(), UNIT, "");
    let memory = file(memory, "/run/irqbalance/other.sock", "");
    assert_eq!(running(&memory), None);
}
