//! On the fake kernel, with a simulated clock.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hosttune_core::Stop;
use hosttune_core::journal::{JournalError, JournalLocation, Store};
use hosttune_core::testing::{CrashPoint, Memory, MemoryStore, Moment};
use hosttune_core::{Host, Session, Tuning};
use hosttune_qos::netlink::{TC_H_ROOT, TrafficControl};
use hosttune_qos::testing::{Kernel, Script};
use hosttune_qos::{Cake, Netlink, Rate, Shaper, WatchEvent, Yielded};

struct Machine {
    kernel: Kernel,
    memory: Memory,
    store: MemoryStore,
}

impl Machine {
    fn new() -> Self {
        let kernel = Kernel::new();
        kernel.plug_in("wan", "veth");
        Self {
            kernel,
            memory: Memory::new().directory("/sys/module/ifb"),
            store: MemoryStore::new(),
        }
    }

    fn session(&self, crash_point: &CrashPoint) -> Session {
        let host = Host::new(self.memory.host(crash_point))
            .with_backend(Netlink::over(self.kernel.clone()))
            .gated(crash_point.clone());
        let session = Session::new(host, "router", self.store.of(crash_point), "boot").unwrap();
        session.with(hosttune_qos::knobs)
    }

    fn living(&self) -> Session {
        self.session(&CrashPoint::lives())
    }

    /// The events as text, after the script has ended.
    fn watch(&self, shaper: &Shaper, script: impl FnOnce(Script) -> Script) -> Vec<String> {
        let said = RefCell::new(Vec::new());
        let mut script = script(Script::of(&self.kernel));
        let stop = Stop::new().unwrap();
        let say = |event: WatchEvent| said.borrow_mut().push(event.to_string());
        let mut session = self.living();
        let run = shaper.watcher().run(&mut session, &mut script, &stop, say);
        run.unwrap();
        said.into_inner()
    }
}

fn cake(rate: u32) -> Cake {
    Cake::default().bandwidth(Rate::mbit(rate)).diffserv4()
}

fn shaper() -> Shaper {
    Shaper::new("wan").egress(cake(6)).ingress(cake(20))
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn replace_root(kernel: &Kernel, kind: &'static str) {
    let mut backend = Netlink::over(kernel.clone());
    let link = backend.link("wan").unwrap().unwrap();
    let limit = 77_u32.to_ne_bytes();
    let request = TrafficControl::replace(&link, TC_H_ROOT, kind, 0x77_0000, Some(&limit));
    backend.change(&request).unwrap();
}

fn delete_root(kernel: &Kernel) {
    let mut backend = Netlink::over(kernel.clone());
    let link = backend.link("wan").unwrap().unwrap();
    // This is refused if there is no explicit root.
    let _ = backend.change(&TrafficControl::delete(&link, TC_H_ROOT, 0));
}

fn count(said: &[String], what: &str) -> usize {
    said.iter().filter(|said| said.starts_with(what)).count()
}

#[test]
fn a_device_that_comes_back_is_shaped_once() {
    let machine = Machine::new();
    let said = machine.watch(&shaper(), |script| {
        script
            .at(seconds(5), |kernel| kernel.pull_out("wan"))
            .at(seconds(10), |kernel| kernel.plug_in("wan", "veth"))
    });
    assert_eq!(count(&said, "applied"), 2, "{said:#?}");
    assert_eq!(count(&said, "there is no such device"), 1, "{said:#?}");
    assert!(shaper().verify(&machine.living()).unwrap().is_as_wanted());
    assert!(!machine.kernel.snapshot().contains_key("lost"));
    let reverted = machine.living().revert().unwrap();
    assert_eq!(reverted.not_reverted, []);
    assert!(machine.store.is_empty());
}

/// Unplugged and plugged in again before it is checked.
#[test]
fn a_device_that_is_another_one_at_once_is_shaped_once() {
    let machine = Machine::new();
    let said = machine.watch(&shaper(), |script| {
        script.at(seconds(5), |kernel| {
            kernel.pull_out("wan");
            kernel.plug_in("wan", "veth");
        })
    });
    assert_eq!(count(&said, "applied"), 2, "{said:#?}");
    assert!(shaper().verify(&machine.living()).unwrap().is_as_wanted());
}

#[test]
fn flaps_of_the_carrier_write_nothing() {
    let machine = Machine::new();
    let _ = shaper().apply(&mut machine.living()).unwrap();
    let (changes, journal) = (machine.kernel.changes(), machine.store.longest());
    let said = machine.watch(&shaper(), |mut script| {
        for flap in 0..40 {
            script = script.at(seconds(1 + flap), move |kernel| {
                kernel.set_carrier("wan", flap % 2 == 1);
            });
        }
        script
    });
    assert_eq!(machine.kernel.changes(), changes);
    assert_eq!(machine.store.longest(), journal);
    assert!(said.len() >= 40, "{said:#?}");
    assert_eq!(count(&said, "as wanted"), said.len(), "{said:#?}");
}

#[test]
fn what_somebody_else_has_set_is_left_and_said_once() {
    let machine = Machine::new();
    let said = machine.watch(&shaper(), |script| {
        script
            .at(seconds(5), |kernel| replace_root(kernel, "pfifo"))
            .at(seconds(10), |kernel| kernel.set_carrier("wan", false))
            .at(seconds(15), |kernel| kernel.set_carrier("wan", true))
    });
    let left =
        "left as it is: another process has set root qdisc of wan: pfifo 77: limit 77p since";
    assert_eq!(
        said.iter().filter(|said| *said == left).count(),
        1,
        "{said:#?}"
    );
    assert_eq!(count(&said, "applied"), 1, "{said:#?}");
    assert!(machine.kernel.snapshot()["root wan"].starts_with("pfifo 77:"));

    // A restarted watch still leaves it alone. A new device is shaped.
    let said = machine.watch(&shaper(), |script| {
        script.at(seconds(5), |kernel| {
            kernel.pull_out("wan");
            kernel.plug_in("wan", "veth");
        })
    });
    assert_eq!(said[0], left);
    assert_eq!(count(&said, "applied"), 1, "{said:#?}");
    assert!(shaper().verify(&machine.living()).unwrap().is_as_wanted());
}

/// The same owner, on the same link, with other rates: the root is not another process's.
#[test]
fn what_an_earlier_version_has_set_is_replaced() {
    let machine = Machine::new();
    let _ = shaper().apply(&mut machine.living()).unwrap();
    let faster = Shaper::new("wan").egress(cake(60)).ingress(cake(200));
    let said = machine.watch(&faster, |script| script);
    assert_eq!(count(&said, "applied"), 1, "{said:#?}");
    assert!(faster.verify(&machine.living()).unwrap().is_as_wanted());
}

#[test]
fn whoever_keeps_taking_it_away_is_given_way_to() {
    let machine = Machine::new();
    let said = machine.watch(&shaper(), |mut script| {
        for tenth in 0..300 {
            script = script.at(Duration::from_millis(1000 + 100 * tenth), delete_root);
        }
        script
    });
    assert_eq!(count(&said, "applied"), 5, "{said:#?}");
    assert_eq!(
        said.last().unwrap(),
        "left as it is: another process keeps removing it, 5 times within 600 s"
    );
    assert_eq!(count(&said, "left as it is"), 1);
}

#[test]
fn what_somebody_reverts_stays_reverted() {
    let machine = Machine::new();
    let other = Machine {
        kernel: machine.kernel.clone(),
        memory: machine.memory.clone(),
        store: machine.store.clone(),
    };
    let said = machine.watch(&shaper(), |script| {
        script.at(seconds(5), move |_| {
            assert!(other.living().revert().unwrap().is_complete());
        })
    });
    assert_eq!(count(&said, "applied"), 1, "{said:#?}");
    assert_eq!(
        said.last().unwrap(),
        "left as it is: it has been reverted since"
    );
    assert!(machine.store.is_empty());
}

#[test]
fn what_was_lost_is_made_up_for_by_looking() {
    let machine = Machine::new();
    let said = machine.watch(&shaper(), |script| {
        script.room(1).at(seconds(5), |kernel| {
            // More notifications than there is room for, most of them about other links.
            for number in 0..50 {
                kernel.plug_in(&format!("other{number}"), "veth");
            }
            kernel.pull_out("wan");
            kernel.plug_in("wan", "veth");
        })
    });
    assert_eq!(count(&said, "applied"), 2, "{said:#?}");
}

#[test]
fn what_happens_to_others_is_not_even_looked_at() {
    let machine = Machine::new();
    let _ = shaper().apply(&mut machine.living()).unwrap();
    let said = machine.watch(&shaper(), |script| {
        script.at(seconds(5), |kernel| {
            kernel.plug_in("other", "veth");
            kernel.pull_out("other");
        })
    });
    assert_eq!(said, ["as wanted"]);
}

/// The journal has the original state of the present device, and never of one that is gone.
#[test]
fn after_two_hundred_reconnects_the_journal_is_small_and_leads_back() {
    let machine = Machine::new();
    replace_root(&machine.kernel, "pfifo");
    let _ = shaper().apply(&mut machine.living()).unwrap();
    let once = machine.store.longest();
    let mut pending = Vec::new();
    for number in 0..200 {
        machine.kernel.pull_out("wan");
        machine.kernel.plug_in("wan", "veth");
        let applied = shaper().apply(&mut machine.living()).unwrap();
        // The root, the hook and the redirect. The IFB has stayed.
        assert_eq!(applied.changed.len(), 3, "{number}");
        pending.push(machine.living().status().unwrap().pending.len());
        let longest = machine.store.longest();
        assert!(longest < 64 * 1024 + 2 * once, "{number}: {longest}");
    }
    println!(
        "one apply: {once} bytes; 200 reconnects: {} bytes in the end, {} steps owed",
        machine.store.longest(),
        pending.last().unwrap()
    );
    assert!(pending.iter().all(|steps| *steps == 5), "{pending:?}");
    let reverted = machine.living().revert().unwrap();
    assert_eq!(reverted.not_reverted, []);
    assert_eq!(reverted.undone.len(), 5);
    assert_eq!(machine.kernel.snapshot()["root wan"], "default noqueue");
    assert!(machine.store.is_empty());
}

/// At every message and journal write of a watch during which the device is replaced.
#[test]
fn killed_anywhere_and_reverted_it_is_as_it_came() {
    let mut deaths = 0;
    for moment in [Moment::Before, Moment::Within, Moment::After] {
        for write in 0.. {
            let machine = Machine::new();
            let crash_point = CrashPoint::dies_at(write, moment);
            let mut session = machine.session(&crash_point);
            let stop = Stop::new().unwrap();
            let mut script = Script::of(&machine.kernel).at(seconds(5), |kernel| {
                kernel.pull_out("wan");
                kernel.plug_in("wan", "veth");
            });
            let run = shaper()
                .watcher()
                .run(&mut session, &mut script, &stop, |event| {
                    if matches!(event, WatchEvent::Failed(_)) {
                        // A dead process receives no more events.
                        stop.request();
                    }
                });
            run.unwrap();
            let reverted = machine.living().revert().unwrap();
            assert_eq!(reverted.not_reverted, [], "{moment:?} {write}");
            let mut snapshot = machine.kernel.snapshot();
            snapshot.retain(|what, _| !what.contains(" lo"));
            let there: Vec<&String> = snapshot.keys().collect();
            assert_eq!(
                there,
                ["link wan", "root wan"],
                "{moment:?} {write}: {snapshot:#?}"
            );
            assert_eq!(
                snapshot["root wan"], "default noqueue",
                "{moment:?} {write}"
            );
            assert!(machine.store.is_empty(), "{moment:?} {write}");
            if !crash_point.is_dead() {
                break;
            }
            deaths += 1;
        }
    }
    println!("{deaths} deaths");
    assert!(deaths > 60, "{deaths}");
}

#[test]
fn a_part_of_a_greater_tuning_is_named_so_in_the_journal() {
    let machine = Machine::new();
    let stop = Stop::new().unwrap();
    let mut script = Script::of(&machine.kernel);
    let shaper = shaper();
    let watcher = shaper.watcher().part("shaping");
    let run = watcher.run(&mut machine.living(), &mut script, &stop, |_| {});
    run.unwrap();
    let pending = machine.living().status().unwrap().pending;
    assert!(!pending.is_empty() && pending.iter().all(|pending| pending.part == "shaping"));
}

#[test]
fn whoever_asks_to_stop_beforehand_sees_nothing_done() {
    let machine = Machine::new();
    let stop = Stop::new().unwrap();
    stop.request();
    let mut script = Script::of(&machine.kernel);
    let run = shaper()
        .watcher()
        .run(&mut machine.living(), &mut script, &stop, |event| {
            panic!("{event}")
        });
    run.unwrap();
    assert!(machine.store.is_empty());
}

#[test]
fn why_it_cannot_be_shaped_is_said_once() {
    let machine = Machine::new();
    let wrong = shaper().permanent_address("52:54:00:00:00:01".parse().unwrap());
    let said = machine.watch(&wrong, |script| {
        script
            .at(seconds(5), |kernel| kernel.set_carrier("wan", false))
            .at(seconds(9), |kernel| kernel.set_carrier("wan", true))
    });
    assert_eq!(
        said,
        [format!(
            "left as it is: {}",
            Yielded::NotApplicable(
                "wan has no permanent address, but the card 52:54:00:00:00:01 was requested"
                    .to_owned()
            )
        )]
    );
}

/// Another process is faster: it sets a root between the check of a device and the lock under which
/// the device is shaped.
#[derive(Debug)]
struct Quicker {
    store: Box<dyn Store>,
    kernel: Kernel,
    armed: Arc<AtomicBool>,
}

impl Store for Quicker {
    fn path(&self, place: JournalLocation, owner: &str) -> String {
        self.store.path(place, owner)
    }
    fn read(&self, place: JournalLocation, owner: &str) -> Result<Option<Vec<u8>>, JournalError> {
        self.store.read(place, owner)
    }
    fn owners(&self, place: JournalLocation) -> Result<Vec<String>, JournalError> {
        self.store.owners(place)
    }
    fn write_at(
        &mut self,
        place: JournalLocation,
        owner: &str,
        offset: u64,
        bytes: &[u8],
        sync: bool,
    ) -> Result<(), JournalError> {
        self.store.write_at(place, owner, offset, bytes, sync)
    }
    fn replace(
        &mut self,
        place: JournalLocation,
        owner: &str,
        bytes: &[u8],
    ) -> Result<(), JournalError> {
        self.store.replace(place, owner, bytes)
    }
    fn remove(&mut self, place: JournalLocation, owner: &str) -> Result<(), JournalError> {
        self.store.remove(place, owner)
    }
    fn lock(&mut self, note: &str) -> Result<(), JournalError> {
        if self.armed.swap(false, Ordering::SeqCst) {
            replace_root(&self.kernel, "pfifo");
        }
        self.store.lock(note)
    }
    fn unlock(&mut self) {
        self.store.unlock();
    }
    fn holder(&self) -> Option<String> {
        self.store.holder()
    }
}

#[test]
fn what_somebody_sets_after_the_look_is_left_too() {
    let machine = Machine::new();
    let armed = Arc::new(AtomicBool::new(false));
    let store = Quicker {
        store: Box::new(machine.store.of(&CrashPoint::lives())),
        kernel: machine.kernel.clone(),
        armed: armed.clone(),
    };
    let host = Host::new(machine.memory.host(&CrashPoint::lives()))
        .with_backend(Netlink::over(machine.kernel.clone()));
    let session = Session::new(host, "router", store, "boot").unwrap();
    let mut session = session.with(hosttune_qos::knobs);
    let arm = armed.clone();
    let mut script = Script::of(&machine.kernel).at(seconds(5), move |kernel| {
        delete_root(kernel);
        arm.store(true, Ordering::SeqCst);
    });
    let mut said = Vec::new();
    let stop = Stop::new().unwrap();
    let run = shaper()
        .watcher()
        .run(&mut session, &mut script, &stop, |event| {
            said.push(event.to_string());
        });
    run.unwrap();
    assert!(!armed.load(Ordering::SeqCst), "{said:#?}");
    assert_eq!(count(&said, "applied"), 1, "{said:#?}");
    assert!(said.last().unwrap().contains("pfifo 77:"), "{said:#?}");
    assert!(machine.kernel.snapshot()["root wan"].starts_with("pfifo 77:"));
}
