//! Events about hot-plugged disks, without a kernel: parsing messages, and which disk is handled when.

use std::collections::BTreeMap;
use std::time::Duration;

use hosttune_blockdev::uevent::{
    Due, Hotplug, Malformed, RetryPolicy, ToldUevents, Uevent, UeventAction, UeventMonitor,
    WaitOutcome, udev_message,
};
use proptest::prelude::*;

/// The message of Linux 6.1 about a null_blk disk.
const NULL_BLK: &[u8] = b"add@/devices/virtual/block/nullb0\0ACTION=add\0\
DEVPATH=/devices/virtual/block/nullb0\0SUBSYSTEM=block\0MAJOR=252\0MINOR=0\0\
DEVNAME=nullb0\0DEVTYPE=disk\0DISKSEQ=17\0SEQNUM=1500\0";

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn event(action: &str, kernel: &str, more: &[(&str, &str)]) -> Uevent {
    let devpath = format!("/devices/virtual/block/{kernel}");
    let mut properties = vec![
        ("ACTION", action),
        ("DEVPATH", &*devpath),
        ("SUBSYSTEM", "block"),
        ("DEVTYPE", "disk"),
    ];
    properties.extend_from_slice(more);
    Uevent::from_udev(&udev_message(&properties)).unwrap()
}

#[test]
fn what_the_kernel_tells_is_read() {
    let event = Uevent::from_kernel(NULL_BLK).unwrap();
    assert_eq!(event.action, UeventAction::Add);
    assert_eq!(event.devpath, "/devices/virtual/block/nullb0");
    assert_eq!(event.kernel(), "nullb0");
    assert_eq!(event.get("DISKSEQ"), Some("17"));
    assert!(event.is_disk() && event.brings_disk() && !event.is_device_mapper());
}

#[test]
fn what_has_no_value_or_is_not_text_is_passed_over() {
    let message = b"change@/devices/a\0ACTION=change\0\0=x\0NOTHING\0SUBSYSTEM=block\0DEVTYPE=disk\0ID=\xff\xfe\0LAST=1";
    let event = Uevent::from_kernel(message).unwrap();
    assert!(event.brings_disk());
    assert_eq!(event.get("ID"), Some("\u{fffd}\u{fffd}"));
    assert_eq!(event.get("LAST"), Some("1"));
    assert_eq!(event.properties.len(), 6, "{:?}", event.properties);
    // The name of a device may contain a slash, which is a `!` in its path.
    let event = Uevent::from_kernel(b"add@/devices/cciss!c0d0\0").unwrap();
    assert_eq!(event.kernel(), "cciss/c0d0");
    assert!(!event.is_disk());
    let event = Uevent::from_kernel(b"frobnicate@/devices/a\0").unwrap();
    assert_eq!(event.action, UeventAction::Other("frobnicate".to_owned()));
}

#[test]
fn what_names_no_device_is_no_event() {
    for message in [
        &b""[..],
        b"add",
        b"add@\0",
        b"@/devices/a\0",
        b"add@devices/a\0",
        b"libudev\0",
    ] {
        assert_eq!(
            Uevent::from_kernel(message),
            Err(Malformed::Unnamed),
            "{message:?}"
        );
    }
    let whole = udev_message(&[("ACTION", "add"), ("DEVPATH", "/devices/a")]);
    assert!(Uevent::from_udev(&whole).is_ok());
    // A message in the kernel's format is not one of udev's.
    assert_eq!(Uevent::from_udev(NULL_BLK), Err(Malformed::Header));
    // Another magic number, and offsets that point outside the message.
    for (at, byte) in [(8, 0), (16, 0xff), (17, 0xff), (19, 0xff), (23, 0xff)] {
        let mut torn = whole.clone();
        torn[at] = byte;
        assert!(Uevent::from_udev(&torn).is_err(), "{at}");
    }
}

#[test]
fn only_whole_disks_count() {
    for (subsystem, devtype, expected) in [
        ("block", "disk", true),
        ("block", "partition", false),
        ("nvme", "", false),
        ("scsi", "scsi_device", false),
        ("bdi", "disk", false),
    ] {
        let event = event(
            "add",
            "x",
            &[("SUBSYSTEM", subsystem), ("DEVTYPE", devtype)],
        );
        assert_eq!(event.brings_disk(), expected, "{subsystem} {devtype}");
    }
    assert!(!event("remove", "sda", &[]).brings_disk());
    assert!(!event("offline", "sda", &[]).brings_disk());
}

#[test]
fn of_device_mapper_the_activation_counts_and_not_the_addition() {
    let brings = |action, more: &[(&str, &str)]| event(action, "dm-0", more).brings_disk();
    assert!(!brings("add", &[]));
    // From the kernel: libdevmapper's cookie, with its flags in the upper half.
    assert!(brings("change", &[]));
    assert!(
        brings("change", &[("DM_COOKIE", "6291456")]),
        "PRIMARY_SOURCE and DISABLE_LIBRARY_FALLBACK"
    );
    assert!(
        !brings("change", &[("DM_COOKIE", "524288")]),
        "DISABLE_OTHER_RULES"
    );
    assert!(!brings("change", &[("DISK_RO", "1")]));
    // From udev.
    let rules = ("DM_UDEV_RULES_VSN", "2");
    assert!(brings("change", &[rules, ("DM_ACTIVATION", "1")]));
    assert!(!brings("change", &[rules]));
    assert!(!brings("add", &[rules, ("DM_ACTIVATION", "1")]));
    let left = ("DM_UDEV_DISABLE_OTHER_RULES_FLAG", "1");
    assert!(!brings("change", &[rules, ("DM_ACTIVATION", "1"), left]));
}

/// What is handled, and when, after these events.
fn looked_at(told: Vec<(u64, WaitOutcome)>) -> Vec<(u64, String)> {
    let mut monitor = ToldUevents::new(told.into_iter().map(|(at, heard)| (millis(at), heard)));
    let mut hotplug = Hotplug::new(RetryPolicy::default());
    let mut looks = Vec::new();
    loop {
        let at = u64::try_from(monitor.now().as_millis()).unwrap();
        match hotplug.due(monitor.now()) {
            Due::Disks(disks) => {
                let names: Vec<String> = disks
                    .into_iter()
                    .map(|disk| format!("{}#{}", disk.kernel, disk.diskseq.unwrap_or(0)))
                    .collect();
                looks.push((at, names.join(" ")));
            }
            Due::Everything => looks.push((at, "everything".to_owned())),
            Due::Wait(until) => match monitor.wait(&[], until).unwrap() {
                WaitOutcome::Events(events) => {
                    let now = monitor.now();
                    events.iter().for_each(|event| hotplug.on(event, now));
                }
                WaitOutcome::Lost => {
                    let now = monitor.now();
                    hotplug.lost(now);
                }
                WaitOutcome::Nothing => {}
                WaitOutcome::Stopped => return looks,
            },
        }
    }
}

fn told(at: u64, action: &str, kernel: &str, diskseq: &str) -> (u64, WaitOutcome) {
    let event = event(action, kernel, &[("DISKSEQ", diskseq)]);
    (at, WaitOutcome::Events(vec![event]))
}

#[test]
fn a_disk_that_has_come_is_looked_at_once_when_it_has_settled() {
    let events = vec![
        told(0, "add", "sda", "1"),
        told(100, "change", "sda", "1"),
        told(150, "add", "sdb", "2"),
    ];
    assert_eq!(
        looked_at(events),
        [(400, "sda#1".to_owned()), (450, "sdb#2".to_owned())]
    );
}

#[test]
fn one_that_goes_on_changing_is_looked_at_all_the_same() {
    let events = (0..40)
        .map(|tick| told(tick * 200, "change", "sda", "1"))
        .collect();
    let looks: Vec<u64> = looked_at(events).into_iter().map(|(at, _)| at).collect();
    assert_eq!(looks, [3000, 6200, 8100]);
}

#[test]
fn one_that_has_gone_is_not_looked_at_and_another_of_its_name_is_another() {
    let events = vec![
        told(0, "add", "sda", "1"),
        told(100, "remove", "sda", "1"),
        told(200, "add", "sda", "2"),
    ];
    assert_eq!(looked_at(events), [(500, "sda#2".to_owned())]);
    assert_eq!(
        looked_at(vec![
            told(0, "add", "sda", "1"),
            told(1, "remove", "sda", "1")
        ]),
        []
    );
}

#[test]
fn what_was_lost_may_have_been_about_any_disk() {
    let events = vec![
        told(0, "add", "sda", "1"),
        (100, WaitOutcome::Lost),
        told(200, "add", "sdb", "2"),
        (300, WaitOutcome::Lost),
        told(2000, "add", "sdc", "3"),
    ];
    assert_eq!(
        looked_at(events),
        [(600, "everything".to_owned()), (2300, "sdc#3".to_owned())]
    );
}

fn any_told() -> impl Strategy<Value = Vec<(u64, WaitOutcome)>> {
    let one = (
        0..5000_u64,
        prop_oneof![
            1 => Just(None),
            9 => (
                proptest::sample::select(vec!["add", "change", "remove"]),
                proptest::sample::select(vec!["sda", "sdb", "dm-0"]),
                1..4_u64,
            )
                .prop_map(Some),
        ],
    );
    proptest::collection::vec(one, 0..30).prop_map(|all| {
        let mut told: Vec<(u64, WaitOutcome)> = all
            .into_iter()
            .map(|(at, what)| match what {
                None => (at, WaitOutcome::Lost),
                Some((action, kernel, diskseq)) => {
                    let event = event(action, kernel, &[("DISKSEQ", &diskseq.to_string())]);
                    (at, WaitOutcome::Events(vec![event]))
                }
            })
            .collect();
        told.sort_by_key(|(at, _)| *at);
        told
    })
}

proptest! {
    #[test]
    fn whatever_comes_is_looked_at_within_its_time_unless_it_goes(told in any_told()) {
        let looks = looked_at(told.clone());
        let at_most = u64::try_from(RetryPolicy::default().at_most.as_millis()).unwrap();
        for (position, (at, heard)) in told.iter().enumerate() {
            let wanted = match heard {
                WaitOutcome::Events(events) if events[0].brings_disk() => {
                    let seq = events[0].get("DISKSEQ").unwrap().to_owned();
                    Some((events[0].kernel(), seq))
                }
                WaitOutcome::Lost => None,
                _ => continue,
            };
            // It need not be handled if it is removed, or replaced by another disk of its name.
            let goes = told[position + 1..].iter().any(|(later, heard)| {
                let (Some((kernel, seq)), WaitOutcome::Events(events)) = (&wanted, heard) else { return false };
                let other = events[0].kernel() == *kernel
                    && (events[0].action == UeventAction::Remove || events[0].brings_disk() && events[0].get("DISKSEQ") != Some(seq.as_str()));
                other && *later <= at + at_most
            });
            let looked = looks.iter().any(|(look, names)| {
                let about = match &wanted {
                    Some((kernel, seq)) => names.split(' ').any(|name| name == format!("{kernel}#{seq}")),
                    None => false,
                };
                // Handling all disks may itself be delayed once, by as much.
                look >= at && *look <= at + 2 * at_most && (about || names == "everything")
            });
            prop_assert!(looked || goes, "{at}: {wanted:?}: {looks:?}");
        }
        // Nothing is handled more often than there were events.
        prop_assert!(looks.len() <= told.len());
    }

    #[test]
    fn no_message_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0..60_usize, byte in any::<u8>()) {
        let _ = Uevent::from_kernel(&bytes);
        let _ = Uevent::from_udev(&bytes);
        let mut message = udev_message(&[("ACTION", "add"), ("DEVPATH", "/devices/a"), ("X", "y")]);
        let at = at.min(message.len() - 1);
        message[at] = byte;
        let _ = Uevent::from_udev(&message);
        for length in 0..message.len() {
            let _ = Uevent::from_udev(&message[..length]);
        }
    }

    #[test]
    fn what_is_told_is_what_is_read(properties in proptest::collection::btree_map("[A-Z_]{1,8}", "[^\0]{0,8}", 0..8)) {
        let mut all: BTreeMap<String, String> = properties;
        all.insert("ACTION".to_owned(), "add".to_owned());
        all.insert("DEVPATH".to_owned(), "/devices/a".to_owned());
        let lines: Vec<(&str, &str)> = all.iter().map(|(name, value)| (&**name, &**value)).collect();
        prop_assert_eq!(&Uevent::from_udev(&udev_message(&lines)).unwrap().properties, &all);
        let mut message = b"add@/devices/a\0".to_vec();
        for (name, value) in &lines {
            message.extend_from_slice(format!("{name}={value}\0").as_bytes());
        }
        prop_assert_eq!(&Uevent::from_kernel(&message).unwrap().properties, &all);
    }
}
