//! Events about hot-plugged disks.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::time::Duration;

use hosttune_blockdev::uevent::{
    Due, Hotplug, RetryPolicy, Sender, Uevent, UeventAction, UeventMonitor, Uevents, WaitOutcome,
    udev_message,
};
use hosttune_test_machine::{Udev, Udevd};
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, sendto, socket_with};

use super::tell;

/// Longer than anything here takes, even in an emulator on a machine that is compiling.
const LONG: Duration = Duration::from_secs(300);

/// Receives events and queues those that are not asked for yet.
struct Listener {
    uevents: Uevents,
    told: VecDeque<Uevent>,
}

impl Listener {
    fn open(sender: Sender) -> Self {
        Self {
            uevents: Uevents::open(sender).unwrap(),
            told: VecDeque::new(),
        }
    }

    /// Waits for a matching event and discards the events before it.
    fn hear(&mut self, wanted: impl Fn(&Uevent) -> bool) -> Uevent {
        let until = self.uevents.now() + LONG;
        let mut others = Vec::new();
        loop {
            while let Some(event) = self.told.pop_front() {
                if wanted(&event) {
                    return event;
                }
                others.push(format!("{} {}", event.action, event.devpath));
            }
            match self.uevents.wait(&[], Some(until)).unwrap() {
                WaitOutcome::Events(events) => self.told.extend(events),
                other => panic!("{other:?} behind {others:?}"),
            }
        }
    }
}

fn is(action: UeventAction, kernel: &str) -> impl Fn(&Uevent) -> bool {
    move |event| event.is_disk() && event.action == action && event.kernel() == kernel
}

/// Waits until disks are due and returns their names.
fn due(uevents: &mut Uevents) -> Vec<String> {
    let mut hotplug = Hotplug::new(RetryPolicy::default());
    let end = uevents.now() + LONG;
    loop {
        let until = match hotplug.due(uevents.now()) {
            Due::Disks(disks) => return disks.into_iter().map(|disk| disk.kernel).collect(),
            Due::Everything => panic!("lost"),
            Due::Wait(until) => until.unwrap_or(end),
        };
        assert!(uevents.now() < end, "nothing came");
        if let WaitOutcome::Events(events) = uevents.wait(&[], Some(until)).unwrap() {
            let now = uevents.now();
            events.iter().for_each(|event| hotplug.on(event, now));
        }
    }
}

pub(super) fn disks_that_come_are_told_of() {
    tell(
        "modprobe null_blk nr_devices=0 && modprobe configfs; mountpoint -q /sys/kernel/config || mount -t configfs c /sys/kernel/config",
    );
    let mut kernel = Listener::open(Sender::Kernel);
    let mut silent = Listener::open(Sender::Udev);
    let add = "set -e; cd /sys/kernel/config/nullb; mkdir nullb0; echo 8 > nullb0/size; echo 1 > nullb0/memory_backed; echo 1 > nullb0/power";
    let remove = "set -e; cd /sys/kernel/config/nullb; echo 0 > nullb0/power; rmdir nullb0";

    // Without udev, only the kernel sends events.
    tell(add);
    let found = tell("ls /sys/block | grep ^nullb").trim().to_owned();
    assert_eq!(due(&mut kernel.uevents), std::slice::from_ref(&found));
    tell(remove);
    let event = kernel.hear(is(UeventAction::Remove, &found));
    assert!(!event.brings_disk());
    let nothing = silent
        .uevents
        .wait(&[], Some(silent.uevents.now() + Duration::from_millis(200)));
    assert_eq!(nothing.unwrap(), WaitOutcome::Nothing);

    for udev in Udev::ALL {
        let udevd = Udevd::start(udev);
        let mut behind = Listener::open(Sender::Udev);
        tell(
            "echo 'ACTION==\"add\", KERNEL==\"nullb*\", ATTR{queue/read_ahead_kb}=\"20\", ENV{FOUND}=\"it\"' > /run/udev/rules.d/61-x.rules",
        );
        udevd.reload();
        tell(add);
        // udev sends its event after it has run the rules, and includes the properties that they set.
        let event = behind.hear(is(UeventAction::Add, &found));
        let path = format!("/sys/block/{found}/queue/read_ahead_kb");
        assert_eq!(super::read(&path), "20");
        assert_eq!(event.get("FOUND"), Some("it"), "{event:?}");
        let diskseq = super::read(&format!("/sys/block/{found}/diskseq"));
        assert_eq!(event.get("DISKSEQ"), Some(&*diskseq));
        let from_kernel = kernel.hear(is(UeventAction::Add, &found));
        assert_eq!(from_kernel.get("DISKSEQ"), Some(&*diskseq));
        assert_eq!(from_kernel.get("FOUND"), None);
        tell(remove);
        behind.hear(is(UeventAction::Remove, &found));
        kernel.hear(is(UeventAction::Remove, &found));

        // A device-mapper device counts as new when it is activated, in events of udev and of the kernel.
        tell("modprobe dm-mod; dmsetup create told --table '0 2048 zero'");
        for uevents in [&mut behind, &mut kernel] {
            let event = uevents.hear(Uevent::is_device_mapper);
            assert_eq!(event.action, UeventAction::Add);
            assert!(!event.brings_disk());
            let event = uevents.hear(Uevent::is_device_mapper);
            assert_eq!(event.action, UeventAction::Change);
            assert!(event.brings_disk(), "{event:?}");
        }
        tell("dmsetup remove told");
        for uevents in [&mut behind, &mut kernel] {
            uevents.hear(|event| event.is_device_mapper() && event.action == UeventAction::Remove);
        }
        drop(udevd);
    }
}

fn sender() -> rustix::fd::OwnedFd {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(netlink::KOBJECT_UEVENT),
    );
    socket.unwrap()
}

pub(super) fn what_is_lost_or_forged_is_known() {
    let mut kernel = Listener::open(Sender::Kernel);
    let mut udev = Listener::open(Sender::Udev);
    let forger = sender();
    let forge = |group: u32, message: &[u8]| {
        let to = SocketAddrNetlink::new(0, group);
        sendto(&forger, message, SendFlags::empty(), &to).unwrap();
    };
    // A message of a process is not taken for the kernel's, even if the process is root.
    forge(1, b"add@/devices/forged\0SUBSYSTEM=block\0DEVTYPE=disk\0");
    // A root process that sends as udev counts as udev, but not for the listener to the kernel.
    let properties = [
        ("ACTION", "add"),
        ("DEVPATH", "/devices/told"),
        ("SUBSYSTEM", "block"),
        ("DEVTYPE", "disk"),
    ];
    forge(2, &udev_message(&properties));
    let event = udev.hear(|_| true);
    assert_eq!(event.devpath, "/devices/told");
    tell("echo change > /sys/block/vda/uevent");
    let event = kernel.hear(|_| true);
    assert_eq!(event.kernel(), "vda");
    // A malformed message of an accepted sender may have been about any disk, so it counts as a loss.
    forge(2, b"nonsense");
    assert_eq!(
        udev.uevents
            .wait(&[], Some(udev.uevents.now() + LONG))
            .unwrap(),
        WaitOutcome::Lost
    );

    // More events than the buffer holds: the loss is reported, and later events arrive.
    let mut narrow = Listener {
        uevents: Uevents::with_room(Sender::Kernel, 4096).unwrap(),
        told: VecDeque::new(),
    };
    tell("for n in $(seq 200); do echo change > /sys/block/vda/uevent; done");
    let mut lost = 0;
    let mut told = 0;
    loop {
        match narrow
            .uevents
            .wait(&[], Some(narrow.uevents.now() + Duration::from_millis(500)))
            .unwrap()
        {
            WaitOutcome::Lost => lost += 1,
            WaitOutcome::Events(events) => told += events.len(),
            WaitOutcome::Nothing => break,
            WaitOutcome::Stopped => panic!("nobody asked"),
        }
    }
    assert!(lost >= 1 && told < 200, "{lost} {told}");
    tell("echo change > /sys/block/vda/uevent");
    narrow.hear(is(UeventAction::Change, "vda"));
    println!("of 200, {told} were told and {lost} times something was lost");

    // A request to stop takes precedence over pending events.
    let (reads, writes) = std::io::pipe().unwrap();
    tell("echo change > /sys/block/vda/uevent");
    rustix::io::write(&writes, b"x").unwrap();
    let heard = narrow.uevents.wait(&[reads.as_fd()], None).unwrap();
    assert_eq!(heard, WaitOutcome::Stopped);
}
