//! Who is logged in with PipeWire.

use hosttune_core::Host;
use hosttune_core::host::FileContent;
use hosttune_core::testing::{CrashPoint, Memory};
use hosttune_pipewire::users::logged_in;

fn names(memory: &Memory) -> Vec<String> {
    let host = Host::new(memory.host(&CrashPoint::lives()));
    let users = logged_in(&host).expect("the users are read");
    users.iter().map(ToString::to_string).collect()
}

#[test]
fn users_with_a_socket_are_named() {
    let socket = |uid: &str| format!("/run/user/{uid}/pipewire-0");
    let memory = Memory::new()
        .content("/proc/sys/kernel/osrelease", FileContent::new("6.12.0\n"))
        .content(socket("1001"), FileContent::new(""))
        .content(socket("1000"), FileContent::new(""))
        .content(socket("70000"), FileContent::new(""))
        .content("/run/user/1002/bus", FileContent::new(""))
        .content("/run/user/notes/pipewire-0", FileContent::new(""))
        .content(
            "/etc/passwd",
            FileContent::new(
                "root:x:0:0::/root:/bin/sh\n\nbroken\n:x:1000:1::/:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\nbob:x:1001:1001::/home/bob:/bin/sh\n",
            ),
        );
    assert_eq!(names(&memory), ["alice", "bob", "the user 70000"]);
    assert!(names(&Memory::new()).is_empty());
}
