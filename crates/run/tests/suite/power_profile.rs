//! Holds of a power profile, over a real message bus with a fake of the daemon.

use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use hosttune_run::power_profile::fake::{FakeDaemon, PrivateBus};
use hosttune_run::power_profile::{Hold, HoldError, Released, holder};

/// Longer than anything takes here on a busy machine.
fn later() -> Instant {
    Instant::now() + Duration::from_secs(300)
}

struct Place {
    _bus: PrivateBus,
    socket: PathBuf,
    _directory: tempfile::TempDir,
}

/// A bus, or `None` and a line if there is no program for one.
fn bus(test: &str) -> Option<Place> {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("bus");
    let Some(bus) = PrivateBus::start(&socket).unwrap() else {
        eprintln!("not run: {test}: dbus-daemon is not installed");
        return None;
    };
    Some(Place {
        _bus: bus,
        socket,
        _directory: directory,
    })
}

#[track_caller]
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let limit = later();
    while !is_so() {
        assert!(Instant::now() < limit, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_profile_is_held_until_it_is_released_or_its_holder_ends() {
    let Some(place) = bus("a_profile_is_held_until_it_is_released_or_its_holder_ends") else {
        return;
    };
    let take = |profile: &str| Hold::take(&place.socket, profile, "a test", later());
    // Nobody has the name, and nobody is started for it.
    assert_eq!(holder(&place.socket, later()).unwrap(), None);
    assert!(take("performance").unwrap().is_none());
    for (is_old, name) in [
        (false, "org.freedesktop.UPower.PowerProfiles"),
        (true, "net.hadess.PowerProfiles"),
    ] {
        let daemon = FakeDaemon::start(&place.socket, is_old).unwrap();
        assert_eq!(holder(&place.socket, later()).unwrap(), Some(name));
        let hold = take("performance").unwrap().unwrap();
        assert_eq!((hold.daemon(), hold.profile()), (name, "performance"));
        assert_eq!(hold.active(), Some("performance"));
        let held = daemon.profiles();
        let hold_there = ["performance", "a test", "hosttune"].map(str::to_owned);
        assert_eq!(held.holds.values().collect::<Vec<_>>(), [&hold_there]);
        // A second one of the same process is another one.
        let second = take("performance").unwrap().unwrap();
        assert_eq!(hold.release(later()).unwrap(), Released::Now);
        assert_eq!(daemon.profiles().active(), "performance");
        // As a killed process ends.
        drop(second);
        until("the hold ends with its connection", || {
            daemon.profiles().holds.is_empty()
        });
        assert_eq!(daemon.profiles().active(), "balanced");
        drop(daemon);
        until("the name is free again", || {
            holder(&place.socket, later()).unwrap().is_none()
        });
    }
}

#[test]
fn what_others_do_with_profiles_is_told() {
    let Some(place) = bus("what_others_do_with_profiles_is_told") else {
        return;
    };
    let daemon = FakeDaemon::start(&place.socket, false).unwrap();
    let take = |profile: &str| Hold::take(&place.socket, profile, "a test", later());
    // Another program saves power, which wins.
    let saver = take("power-saver").unwrap().unwrap();
    let hold = take("performance").unwrap().unwrap();
    assert_eq!(hold.active(), Some("power-saver"));
    assert_eq!(saver.release(later()).unwrap(), Released::Now);
    assert_eq!(daemon.profiles().active(), "performance");
    // A user chooses a profile, which ends all holds. It is not taken again.
    daemon.choose("balanced");
    match hold.release(later()).unwrap() {
        Released::EndedBefore(why) => assert!(why.contains("No hold with cookie"), "{why}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(daemon.profiles().active(), "balanced");
    // A machine without the profile.
    daemon.only(&["power-saver", "balanced"]);
    match take("performance").unwrap_err() {
        HoldError::Refused { why, .. } => assert!(why.contains("not available"), "{why}"),
        other => panic!("{other:?}"),
    }
    // The daemon ends before the command.
    daemon.only(&["performance"]);
    let hold = take("performance").unwrap().unwrap();
    drop(daemon);
    match hold.release(later()).unwrap() {
        Released::EndedBefore(why) => assert!(why.contains("has ended"), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_socket_that_is_no_bus_costs_its_deadline() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("bus");
    let take = |milliseconds| {
        let until = Instant::now() + Duration::from_millis(milliseconds);
        Hold::take(&socket, "performance", "a test", until)
    };
    assert!(take(10).unwrap().is_none(), "there is no socket");
    let listener = UnixListener::bind(&socket).unwrap();
    // It accepts nothing and says nothing.
    assert!(matches!(take(10), Err(HoldError::Bus(_))));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            use std::io::Write;
            for answer in [
                &b"REJECTED\r\n"[..],
                &[b'x'; 8192],
                b"OK 1\r\n\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
            ] {
                // The first connection is that of the try above.
                let (mut stream, _) = listener.accept().unwrap();
                let _ = stream.write_all(answer);
                let _ = stream.shutdown(std::net::Shutdown::Write);
            }
        });
        for _ in 0..2 {
            assert!(matches!(take(300_000), Err(HoldError::Bus(_))));
        }
    });
    drop(listener);
    assert!(take(10).unwrap().is_none(), "nobody listens");
}
