//! Disks that appear during a watch.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use hosttune_blockdev::testing::{Linux, MemoryDisk, unplug, with_disk};
use hosttune_blockdev::uevent::{Uevent, UeventMonitor, WaitOutcome};
use hosttune_blockdev::{DiskEvent, Rule, Rules};
use hosttune_core::journal::{JournalLocation, Store};
use hosttune_core::testing::{CrashPoint, Memory, MemoryStore, Moment};
use hosttune_core::{Host, HostError, Session, Stop};

use super::support::scheduler;

type Step = Box<dyn FnMut() -> WaitOutcome>;

/// A monitor with a script: each step happens at its time and returns its event. The end of the script is a
/// request to stop.
#[derive(Default)]
struct Script {
    now: Duration,
    ahead: VecDeque<(Duration, Step)>,
}

impl std::fmt::Debug for Script {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} more at {:?}", self.ahead.len(), self.now)
    }
}

impl Script {
    fn at(mut self, seconds: u64, step: impl FnMut() -> WaitOutcome + 'static) -> Self {
        let at = Duration::from_secs(seconds);
        self.ahead.push_back((at, Box::new(step)));
        self
    }
}

impl UeventMonitor for Script {
    fn now(&self) -> Duration {
        self.now
    }

    fn wait(
        &mut self,
        _: &[BorrowedFd<'_>],
        until: Option<Duration>,
    ) -> Result<WaitOutcome, HostError> {
        let Some((at, _)) = self.ahead.front() else {
            // Disks that are due are still handled.
            let Some(until) = until else {
                return Ok(WaitOutcome::Stopped);
            };
            self.now = self.now.max(until);
            return Ok(WaitOutcome::Nothing);
        };
        if let Some(until) = until.filter(|until| until < at) {
            self.now = self.now.max(until);
            return Ok(WaitOutcome::Nothing);
        }
        self.now = self.now.max(*at);
        let step = self.ahead.pop_front();
        Ok(step.map_or(WaitOutcome::Stopped, |(_, mut step)| step()))
    }
}

struct Machine {
    memory: Memory,
    store: MemoryStore,
}

fn disk(name: &str, diskseq: u64) -> MemoryDisk {
    MemoryDisk::scsi(name, &format!("usb1/host{diskseq}"), false, diskseq)
}

fn told(action: &str, disk: &MemoryDisk) -> WaitOutcome {
    let message = format!(
        "{action}@/devices/{path}\0ACTION={action}\0DEVPATH=/devices/{path}\0SUBSYSTEM=block\0DEVTYPE=disk\0DEVNAME={name}\0DISKSEQ={number}\0",
        path = disk.device,
        name = disk.name,
        number = disk.diskseq,
    );
    WaitOutcome::Events(vec![Uevent::from_kernel(message.as_bytes()).unwrap()])
}

impl Machine {
    fn new() -> Self {
        let memory = Memory::new().directory("/proc/sys");
        Self {
            memory: with_disk(memory, Linux::V7_2, &disk("sda", 1)),
            store: MemoryStore::new(),
        }
    }

    fn session(&self, crash_point: &CrashPoint) -> Session {
        let host = Host::new(self.memory.host(crash_point)).gated(crash_point.clone());
        let session = Session::new(host, "storage", self.store.of(crash_point), "boot").unwrap();
        session.with(hosttune_blockdev::knobs)
    }

    fn living(&self) -> Session {
        self.session(&CrashPoint::lives())
    }

    fn plug_in(&self, disk: &MemoryDisk) -> impl FnMut() -> WaitOutcome + 'static {
        let (memory, disk) = (self.memory.clone(), disk.clone());
        move || {
            let _ = with_disk(memory.clone(), Linux::V7_2, &disk);
            told("add", &disk)
        }
    }

    fn pull_out(&self, disk: &MemoryDisk) -> impl FnMut() -> WaitOutcome + 'static {
        let (memory, disk) = (self.memory.clone(), disk.clone());
        move || {
            unplug(&memory, &disk);
            told("remove", &disk)
        }
    }

    fn set(&self, disk: &MemoryDisk, name: &'static str) -> impl FnMut() -> WaitOutcome + 'static {
        let (memory, disk) = (self.memory.clone(), disk.clone());
        move || {
            let path = format!("/sys/block/{}/queue/scheduler", disk.name);
            memory.write(path, name).unwrap();
            told("change", &disk)
        }
    }

    fn scheduler(&self, disk: &str) -> String {
        let snapshot = self.memory.snapshot();
        let end = format!("/{disk}/queue/scheduler");
        let mut found = snapshot.iter().filter(|(path, _)| path.ends_with(&end));
        let offered = found.next().unwrap().1.clone();
        let active = offered.split(['[', ']']).nth(1).unwrap();
        active.to_owned()
    }

    /// Runs the script and returns what was reported, each as `DISK WORD`.
    fn watch(&self, script: Script) -> Vec<String> {
        self.watch_by(&rules(), script)
    }

    fn watch_by(&self, rules: &Rules, mut script: Script) -> Vec<String> {
        let said = RefCell::new(Vec::new());
        let stop = Stop::new().unwrap();
        let mut session = self.living();
        let run =
            rules
                .watcher()
                .part("disks")
                .run(&mut session, &mut script, &stop, |disk, event| {
                    let disk = disk.map_or("all", |disk| disk.as_str());
                    said.borrow_mut().push(format!("{disk} {}", event.word()));
                });
        run.unwrap();
        said.into_inner()
    }
}

fn rules() -> Rules {
    Rules::new([Rule::new("all").scheduler(scheduler("bfq")).why("tested")])
}

#[test]
fn a_disk_that_is_there_and_one_that_comes_are_tuned_once() {
    let machine = Machine::new();
    let new = disk("sdb", 2);
    let script = Script::default()
        .at(5, machine.plug_in(&new))
        .at(9, {
            let new = new.clone();
            move || told("change", &new)
        })
        .at(12, machine.plug_in(&disk("loop0", 3)));
    assert_eq!(machine.watch(script), ["sda applied", "sdb applied"]);
    assert_eq!(machine.scheduler("sdb"), "bfq");
    assert_eq!(machine.scheduler("loop0"), "mq-deadline");
    let mut session = machine.living();
    let pending = session.status().unwrap().pending;
    assert!(
        pending.iter().all(|pending| pending.part == "disks/all"),
        "{pending:?}"
    );
    assert_eq!(session.revert().unwrap().not_reverted, []);
    assert_eq!(machine.scheduler("sdb"), "mq-deadline");
    assert!(machine.store.is_empty());
}

/// udev sends `change` whenever a process closes a disk that it had opened for writing.
#[test]
fn what_an_administrator_has_set_stays_whatever_is_told() {
    let machine = Machine::new();
    let sda = disk("sda", 1);
    let script = Script::default()
        .at(5, machine.set(&sda, "kyber"))
        .at(10, || WaitOutcome::Lost);
    assert_eq!(machine.watch(script), ["sda applied"]);
    assert_eq!(machine.scheduler("sda"), "kyber");
    // Also if the watch begins later.
    assert_eq!(machine.watch(Script::default()), ["sda left"]);
    assert_eq!(machine.scheduler("sda"), "kyber");
    // Another disk in the same place is tuned.
    let again = disk("sda", 9);
    let script = Script::default()
        .at(5, machine.pull_out(&sda))
        .at(6, machine.plug_in(&again));
    assert_eq!(machine.watch(script), ["sda left", "sda applied"]);
    assert_eq!(machine.scheduler("sda"), "bfq");
    assert_eq!(machine.living().revert().unwrap().not_reverted, []);
    assert_eq!(machine.scheduler("sda"), "mq-deadline");
    assert!(machine.store.is_empty());
}

#[test]
fn what_was_lost_is_found_by_looking_at_everything() {
    let machine = Machine::new();
    let mut plug_in = machine.plug_in(&disk("sdb", 2));
    let script = Script::default().at(5, move || {
        plug_in();
        WaitOutcome::Lost
    });
    assert_eq!(machine.watch(script), ["sda applied", "sdb applied"]);
}

#[test]
fn a_disk_that_lacks_what_is_wanted_is_named_and_the_next_is_tuned() {
    let machine = Machine::new();
    let rules = Rules::new([Rule::new("all").scheduler(scheduler("elevator"))]);
    let script = Script::default().at(5, machine.plug_in(&disk("sdb", 2)));
    let said = machine.watch_by(&rules, script);
    assert_eq!(said, ["sda not-applicable", "sdb not-applicable"]);
    let script = Script::default();
    assert_eq!(machine.watch(script), ["sda applied", "sdb applied"]);
}

#[test]
fn somebody_at_work_is_waited_for() {
    let machine = Machine::new();
    let mut store = machine.store.of(&CrashPoint::lives());
    store.lock("somebody").unwrap();
    let script = Script::default().at(5, move || {
        store.unlock();
        WaitOutcome::Nothing
    });
    assert_eq!(machine.watch(script), ["sda applied"]);
}

/// If a disk is plugged in and out all day, the journal holds only the disks that are present.
#[test]
fn the_journal_does_not_grow_with_the_disks_that_have_gone() {
    let machine = Machine::new();
    let mut script = Script::default();
    for round in 0..200 {
        let new = disk("sdb", 10 + round);
        script = script
            .at(10 + 10 * round, machine.plug_in(&new))
            .at(15 + 10 * round, machine.pull_out(&new));
    }
    let said = machine.watch(script);
    let applied = said.iter().filter(|said| *said == "sdb applied").count();
    assert_eq!(applied, 200, "{said:?}");
    let pending = machine.living().status().unwrap().pending;
    println!("{} owed, {} bytes", pending.len(), machine.store.longest());
    assert!(pending.len() <= 4, "{pending:#?}");
    assert!(machine.store.longest() < 64 << 10);
    assert_eq!(machine.living().revert().unwrap().not_reverted, []);
    assert!(machine.store.is_empty());
}

/// At every write of a watch during which a disk appears.
#[test]
fn killed_anywhere_and_reverted_it_is_as_it_came() {
    let mut deaths = 0;
    for moment in [Moment::Before, Moment::Within, Moment::After] {
        for write in 0.. {
            let machine = Machine::new();
            let crash_point = CrashPoint::dies_at(write, moment);
            let mut session = machine.session(&crash_point);
            let stop = Stop::new().unwrap();
            let mut script = Script::default().at(5, machine.plug_in(&disk("sdb", 2)));
            let run = rules()
                .watcher()
                .run(&mut session, &mut script, &stop, |_, event| {
                    if matches!(event, DiskEvent::Failed(_)) {
                        // A crashed process receives no more events.
                        stop.request();
                    }
                });
            run.unwrap();
            let reverted = machine.living().revert().unwrap();
            assert_eq!(reverted.not_reverted, [], "{moment:?} {write}");
            for (path, offered) in machine.memory.snapshot() {
                if path.ends_with("/queue/scheduler") {
                    assert!(offered.contains("[mq-deadline]"), "{path}: {offered}");
                }
            }
            assert!(machine.store.is_empty(), "{moment:?} {write}");
            if !crash_point.is_dead() {
                break;
            }
            deaths += 1;
        }
    }
    println!("{deaths} deaths");
    assert!(deaths > 20, "{deaths}");
}

#[test]
fn whoever_asks_to_stop_beforehand_sees_nothing_done() {
    let machine = Machine::new();
    let stop = Stop::new().unwrap();
    stop.request();
    let before = machine.memory.snapshot();
    let run = rules().watcher().run(
        &mut machine.living(),
        &mut Script::default(),
        &stop,
        |_, event| panic!("{event}"),
    );
    run.unwrap();
    assert!(machine.memory.snapshot() == before);
    assert_eq!(
        machine.store.bytes(JournalLocation::Volatile, "storage"),
        None
    );
}
