//! Dumps, refusals and notifications.

use std::time::Duration;

use hosttune_netlink::numbers::*;
use hosttune_netlink::{
    Attributes, HostError, KernelMonitor, KernelSocket, Monitor, NetlinkError, Request, Rtnetlink,
    Stop, Subject, WaitOutcome, find,
};

/// `struct ifinfomsg` for the link with this index, with these flags set.
fn header(index: u32, flags: u32) -> Vec<u8> {
    [0, index, flags, flags].map(u32::to_ne_bytes).concat()
}

fn get(header: Vec<u8>, attributes: Attributes, device: &str) -> Request {
    Request::new(
        RTM_GETLINK,
        0,
        header,
        attributes,
        "look up the link",
        device,
    )
}

#[test]
fn a_dump_has_the_loopback_interface() {
    let all = Request::new(
        RTM_GETLINK,
        0,
        header(0, 0),
        Attributes::new(),
        "list the links",
        "",
    );
    let listed = KernelSocket::open().unwrap().dump(&all).unwrap();
    let lo = listed.iter().find(|link| {
        let name = find(&link.payload[16..], IFLA_IFNAME).unwrap();
        name.text() == "lo"
    });
    let lo = lo.unwrap();
    assert_eq!(lo.number, RTM_NEWLINK);
    // In every network namespace it is the first link.
    assert_eq!(lo.u32_at(4), Some(1));
    assert_eq!(lo.u32_at(lo.payload.len()), None);
}

#[test]
fn a_refusal_has_the_number_of_the_error_and_the_text_of_the_kernel() {
    let socket = KernelSocket::on_demand();
    let name = Attributes::new().with_text(IFLA_IFNAME, "no-such-link");
    let missing = socket.get(&get(header(0, 0), name, "no-such-link"));
    let missing: NetlinkError = missing.unwrap_err();
    assert_eq!(missing.errno(), Some(ENODEV));
    assert_eq!(
        missing.to_string(),
        "cannot look up the link on no-such-link"
    );

    // A socket with strict checks, which this one is, refuses flags in a get request.
    let refused = socket.get(&get(header(1, IFF_UP), Attributes::new(), "lo"));
    let refused = refused.unwrap_err();
    assert_eq!(refused.errno(), Some(EINVAL));
    let text = refused.text().unwrap();
    assert!(text.contains("Invalid values in header"), "{text}");
    let host = HostError::from(refused.clone());
    assert_eq!(host.errno(), Some(EINVAL));
    assert!(host.to_string().contains("netlink for lo"), "{host}");

    // The answers to refused requests are not taken for those of the next one.
    let lo = socket
        .get(&get(header(1, 0), Attributes::new(), "lo"))
        .unwrap();
    assert_eq!(lo.u32_at(4), Some(1));
}

#[test]
fn a_change_is_made_and_reported_to_a_monitor() {
    if let Err(errno) = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET) {
        println!("not run: a change over netlink: a network namespace of its own: {errno}");
        return;
    }
    let mut monitor = KernelMonitor::open().unwrap();
    let stop = Stop::new().unwrap();
    assert_eq!(
        monitor.wait(&stop, Some(Duration::ZERO)).unwrap(),
        WaitOutcome::Nothing
    );
    let mut socket = KernelSocket::open().unwrap();
    let up = Request::new(
        RTM_SETLINK,
        0,
        header(1, IFF_UP),
        Attributes::new(),
        "bring up",
        "lo",
    );
    socket.change(&up).unwrap();
    let lo = socket
        .get(&get(header(1, 0), Attributes::new(), "lo"))
        .unwrap();
    assert_eq!(lo.u32_at(8).unwrap() & IFF_UP, IFF_UP);
    let WaitOutcome::Notices(notices) = monitor.wait(&stop, None).unwrap() else {
        panic!("no notification");
    };
    assert_eq!(notices[0].subject, Subject::Link);
    assert_eq!(
        (notices[0].index, notices[0].name.as_deref()),
        (1, Some("lo"))
    );
    stop.request();
    assert_eq!(monitor.wait(&stop, None).unwrap(), WaitOutcome::Stopped);
}
