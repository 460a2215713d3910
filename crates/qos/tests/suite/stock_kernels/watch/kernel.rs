//! On stock kernels, with the usual tools.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use hosttune_core::Stop;
use hosttune_core::host::{Change, Gate};
use hosttune_core::testing::{CrashPoint, MemoryStore, Moment};
use hosttune_core::{Host, HostError, LinuxHost, Session, Tuning};
use hosttune_qos::netlink::{KernelMonitor, Monitor, WaitOutcome};
use hosttune_qos::watch::RetryPolicy;
use hosttune_qos::{Cake, Qdisc, Shaper, WatchEvent};
use hosttune_test_machine::inside_stock_kernels;

use crate::namespace::{backend, enter, tell};

/// An emulated kernel may be slow.
const LONG: Duration = Duration::from_secs(300);

/// Counts writes to the kernel.
#[derive(Debug, Clone, Default)]
struct Writes(Arc<AtomicUsize>);

impl Gate for Writes {
    fn before(&mut self, _: &Change<'_>) -> Result<(), HostError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

impl Writes {
    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// A process on this kernel.
fn session(store: &MemoryStore, gate: impl Gate + 'static) -> Session {
    let host = Host::new(LinuxHost::at("/").unwrap())
        .with_backend(backend())
        .gated(gate);
    let session = Session::new(host, "watch-test", store.of(&CrashPoint::lives()), "boot").unwrap();
    session.with(hosttune_qos::knobs)
}

fn add() {
    tell(
        "ip link add wan type veth peer name peer && ip link set peer up && ip link set wan up && ip -6 addr flush dev wan",
    );
}

fn shaper() -> Shaper {
    let shaped = |cake: &str| Qdisc::from(&cake.parse::<Cake>().unwrap());
    Shaper::new("wan")
        .through("ifb7")
        .egress(shaped("bandwidth 6mbit diffserv4 ack-filter"))
        .ingress(shaped("bandwidth 20mbit diffserv4 ingress"))
}

/// What `tc` and `ip` show of `wan` and its IFB, without the index of `wan`.
fn there() -> String {
    tell("tc qdisc show dev wan; tc filter show dev wan ingress; ip link show ifb7 2>&1 || true")
}

fn is_shaped(store: &MemoryStore) -> bool {
    let session = session(store, Writes::default());
    let report = shaper().verify(&session).unwrap();
    report.is_as_wanted() && there().contains("mirred")
}

/// The events of a watch as text.
struct Said {
    said: Receiver<String>,
    all: Vec<String>,
}

impl Said {
    /// Waits for an event that begins like this.
    fn until(&mut self, begins: &str) {
        let started = Instant::now();
        while let Some(left) = LONG.checked_sub(started.elapsed()) {
            let Ok(said) = self.said.recv_timeout(left) else {
                break;
            };
            println!("{:>6} ms {said}", started.elapsed().as_millis());
            self.all.push(said);
            if self.all.last().is_some_and(|last| last.starts_with(begins)) {
                return;
            }
        }
        panic!("'{begins}' is never said: {:#?}", self.all);
    }

    /// Waits until there has been no event for this long.
    fn quiet(&mut self, time: Duration) {
        while let Ok(said) = self.said.recv_timeout(time) {
            self.all.push(said);
        }
    }

    fn count(&self, begins: &str) -> usize {
        let all = self.all.iter();
        all.filter(|said| said.starts_with(begins)).count()
    }
}

/// Watches in a thread of its own, in the namespace of the calling thread, while `act` runs.
fn watched(store: &MemoryStore, writes: &Writes, act: impl FnOnce(&mut Said)) -> Vec<String> {
    let (say, said) = channel();
    let mut said = Said {
        said,
        all: Vec::new(),
    };
    let (hang_up, asks) = std::io::pipe()
        .map(|(reads, writes)| (writes, reads))
        .unwrap();
    let stop = Stop::on(OwnedFd::from(asks)).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut session = session(store, writes.clone());
            let told = shaper().watch(&mut session, &stop, |event: WatchEvent| {
                let _ = say.send(event.to_string());
            });
            told.unwrap();
        });
        act(&mut said);
        // As if the process ended.
        drop(hang_up);
    });
    said.quiet(Duration::from_millis(10));
    said.all
}

fn a_device_that_comes_back_is_shaped_once() {
    enter();
    add();
    let before = there();
    let (store, writes) = (MemoryStore::new(), Writes::default());
    let _ = shaper()
        .apply(&mut session(&store, Writes::default()))
        .unwrap();
    let number = || backend().link("wan").unwrap().unwrap().index;
    let first = number();
    let said = watched(&store, &writes, |said| {
        said.until("as wanted");
        assert_eq!(writes.count(), 0);
        tell("ip link del wan");
        said.until("there is no such device");
        add();
        said.until("applied");
        said.quiet(Duration::from_secs(2));
        assert_eq!(said.count("applied"), 1, "{:#?}", said.all);
        assert_ne!(number(), first);
        assert!(is_shaped(&store));

        // So quickly that it is never seen to be missing.
        tell(
            "ip link del wan; ip link add wan type veth peer name peer; ip link set peer up; ip link set wan up",
        );
        said.until("applied");
        said.quiet(Duration::from_secs(2));
        assert!(is_shaped(&store));
        tell("ip -6 addr flush dev wan");
    });
    assert_eq!(
        said.iter()
            .filter(|said| said.starts_with("applied"))
            .count(),
        2
    );
    let status = session(&store, Writes::default()).status().unwrap();
    assert_eq!(status.pending.len(), 5, "{:#?}", status.pending);
    let reverted = session(&store, Writes::default()).revert().unwrap();
    assert_eq!(reverted.not_reverted, []);
    assert_eq!(there(), before);
    assert!(store.is_empty());
}

fn flaps_and_other_sizes_write_nothing() {
    enter();
    add();
    let (store, writes) = (MemoryStore::new(), Writes::default());
    let _ = shaper()
        .apply(&mut session(&store, Writes::default()))
        .unwrap();
    let (shown, journal) = (there(), store.longest());
    watched(&store, &writes, |said| {
        said.until("as wanted");
        for _ in 0..20 {
            tell("ip link set peer down; ip link set peer up");
        }
        for _ in 0..20 {
            tell("ip link set wan down; ip link set wan up");
        }
        said.until("as wanted");
        tell("ip link set wan mtu 1400");
        said.until("as wanted");
        tell("ip link set wan mtu 1500");
        said.until("as wanted");
        said.quiet(Duration::from_secs(2));
        assert_eq!(said.count("as wanted"), said.all.len(), "{:#?}", said.all);
    });
    assert_eq!(writes.count(), 0);
    assert_eq!(store.longest(), journal);
    assert_eq!(there(), shown);
    assert!(
        session(&store, Writes::default())
            .revert()
            .unwrap()
            .is_complete()
    );
}

fn what_somebody_else_has_set_is_left_and_said_once() {
    enter();
    add();
    let (store, writes) = (MemoryStore::new(), Writes::default());
    watched(&store, &writes, |said| {
        said.until("applied");
        said.quiet(Duration::from_secs(2));
        let applied = writes.count();
        tell("tc qdisc replace dev wan root handle 77: pfifo limit 9");
        said.until(
            "left as it is: another process has set root qdisc of wan: pfifo 77: limit 9p since",
        );
        tell("ip link set wan mtu 1400; tc qdisc change dev wan root handle 77: pfifo limit 10");
        said.quiet(Duration::from_secs(3));
        assert_eq!(said.count("left as it is"), 1, "{:#?}", said.all);
        assert_eq!(writes.count(), applied);
        assert!(there().contains("limit 10p"), "{}", there());
        // A new device is shaped again.
        tell("ip link del wan");
        add();
        said.until("applied");
        assert!(is_shaped(&store));
    });
    assert!(
        session(&store, Writes::default())
            .revert()
            .unwrap()
            .is_complete()
    );
}

/// Another process deletes the root every tenth of a second.
fn whoever_keeps_taking_it_away_is_given_way_to() {
    enter();
    add();
    let (store, writes) = (MemoryStore::new(), Writes::default());
    let said = watched(&store, &writes, |said| {
        said.until("applied");
        tell("touch /tmp/takes-away");
        let mut taking = std::process::Command::new("sh")
            .args([
                "-c",
                "while test -e /tmp/takes-away; do tc qdisc del dev wan root 2>/dev/null; sleep 0.1; done",
            ])
            .spawn()
            .unwrap();
        said.until("left as it is: ");
        let given_up = writes.count();
        said.quiet(Duration::from_secs(3));
        assert_eq!(writes.count(), given_up);
        tell("rm /tmp/takes-away");
        taking.wait().unwrap();
    });
    // If the root is deleted before it is read back, the apply is rolled back.
    let tried = said
        .iter()
        .filter(|said| said.starts_with("applied") || said.starts_with("failed"))
        .count();
    assert_eq!(tried, RetryPolicy::default().times, "{said:#?}");
    let left = said.iter().filter(|said| said.starts_with("left")).count();
    assert_eq!(left, 1, "{said:#?}");
    let reverted = session(&store, Writes::default()).revert().unwrap();
    assert_eq!(reverted.not_reverted, []);
}

/// It loses everything there, and comes back with the same index.
fn a_device_that_was_in_another_namespace_is_shaped_again() {
    enter();
    tell("ip netns add elsewhere");
    add();
    let thread = std::fs::read_link("/proc/thread-self").unwrap();
    let thread = thread.file_name().unwrap().to_str().unwrap().to_owned();
    let (store, writes) = (MemoryStore::new(), Writes::default());
    watched(&store, &writes, |said| {
        said.until("applied");
        tell("ip link set wan netns elsewhere");
        said.until("there is no such device");
        tell(&format!(
            "ip -n elsewhere link set wan netns {thread}; ip link set wan up"
        ));
        said.until("applied");
        assert!(is_shaped(&store));
    });
    let reverted = session(&store, Writes::default()).revert().unwrap();
    assert_eq!(reverted.not_reverted, []);
    assert!(!there().contains("cake"), "{}", there());
    tell("ip netns del elsewhere");
}

/// At every fifth write of a watch during which the device is replaced.
fn killed_while_watching_and_reverted_it_is_as_it_came() {
    enter();
    add();
    let before = there();
    tell("ip link del wan");
    let mut deaths = 0;
    for write in (0..).step_by(5) {
        add();
        let store = MemoryStore::new();
        let crash_point = CrashPoint::dies_at(write, Moment::After);
        let host = Host::new(LinuxHost::at("/").unwrap())
            .with_backend(backend())
            .gated(crash_point.clone());
        let dying = Session::new(host, "watch-test", store.of(&crash_point), "boot").unwrap();
        let mut dying = dying.with(hosttune_qos::knobs);
        let stop = Stop::new().unwrap();
        let mut applied = 0;
        let mut monitor = KernelMonitor::open().unwrap();
        let run = shaper()
            .watcher()
            .run(&mut dying, &mut monitor, &stop, |event| match event {
                WatchEvent::Applied(_) => {
                    applied += 1;
                    if applied == 1 {
                        tell("ip link del wan");
                        add();
                    } else {
                        stop.request();
                    }
                }
                WatchEvent::Failed(_) => stop.request(),
                _ => {}
            });
        run.unwrap();
        let reverted = session(&store, Writes::default()).revert().unwrap();
        assert_eq!(reverted.not_reverted, [], "{write}");
        assert_eq!(there(), before, "{write}");
        assert!(store.is_empty(), "{write}");
        tell("ip link del wan");
        if !crash_point.is_dead() {
            break;
        }
        deaths += 1;
    }
    assert!(deaths >= 4, "{deaths}");
}

/// There are more notifications than a socket has room for.
fn what_was_lost_is_known_to_be_lost() {
    enter();
    add();
    let mut monitor = KernelMonitor::open().unwrap();
    let stop = Stop::new().unwrap();
    tell(
        "for i in $(seq 2000); do echo link set wan alias number-$i; done >/tmp/batch; ip -batch /tmp/batch",
    );
    let noticed = monitor.wait(&stop, Some(LONG)).unwrap();
    assert_eq!(noticed, WaitOutcome::Lost);
    // Later notifications are received again, once the pending ones have been read.
    let drained = (0..5000).any(|_| {
        let until = monitor.now() + Duration::from_millis(200);
        monitor.wait(&stop, Some(until)).unwrap() == WaitOutcome::Nothing
    });
    assert!(drained);
    tell("ip link set wan alias again");
    assert!(matches!(
        monitor.wait(&stop, Some(monitor.now() + LONG)).unwrap(),
        WaitOutcome::Notices(all) if all.iter().any(|one| one.name.as_deref() == Some("wan"))
    ));
    // A wait without a deadline ends on request.
    let asks = stop.clone();
    let waker = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        asks.request();
    });
    assert_eq!(monitor.wait(&stop, None).unwrap(), WaitOutcome::Stopped);
    waker.join().unwrap();
}

/// How much the journal grows, and that the last device is reverted to its own original.
fn after_many_reconnects_the_journal_is_small_and_leads_back() {
    enter();
    add();
    tell("tc qdisc replace dev wan root handle 12: pfifo limit 77");
    let store = MemoryStore::new();
    let _ = shaper()
        .apply(&mut session(&store, Writes::default()))
        .unwrap();
    let once = store.longest();
    for number in 0..20 {
        tell("ip link del wan");
        add();
        let _ = shaper()
            .apply(&mut session(&store, Writes::default()))
            .unwrap();
        let longest = store.longest();
        assert!(longest < 64 * 1024 + 2 * once, "{number}: {longest} bytes");
    }
    let pending = session(&store, Writes::default()).status().unwrap().pending;
    println!(
        "one apply: {once} bytes; 20 reconnects: {} bytes in the end, {} steps owed",
        store.longest(),
        pending.len()
    );
    assert_eq!(pending.len(), 5);
    let reverted = session(&store, Writes::default()).revert().unwrap();
    assert_eq!(reverted.not_reverted, []);
    assert!(there().contains("qdisc noqueue 0: root"), "{}", there());
    assert!(store.is_empty());
}

inside_stock_kernels!(
    a_device_that_comes_back_is_shaped_once,
    a_device_that_was_in_another_namespace_is_shaped_again,
    after_many_reconnects_the_journal_is_small_and_leads_back,
    flaps_and_other_sizes_write_nothing,
    killed_while_watching_and_reverted_it_is_as_it_came,
    what_somebody_else_has_set_is_left_and_said_once,
    what_was_lost_is_known_to_be_lost,
    whoever_keeps_taking_it_away_is_given_way_to,
);
