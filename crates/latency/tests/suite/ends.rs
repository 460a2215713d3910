//! Peers that refuse, misbehave or go away: each gives an error in time and leaves nothing behind.
//! Also what clients can make a responder do.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use hosttune_latency::{LatencyTest, Limits, MeasureError, Measurement, Phase, Responder, Stage};

use hosttune_test_machine::wait_until;

use crate::relay::{Path, Relay};
use crate::{alone, beside_others, go_on};

/// A test as short as possible, in which nothing is graded.
fn brief(server: &impl ToString, bits_per_second: Option<u64>) -> LatencyTest {
    crate::short(server, bits_per_second)
        .phase(Duration::from_millis(300))
        .warm_up(Duration::from_millis(150))
}

/// Names of the threads that belong to a call of [`counted`]. A thread inherits the name of the one
/// that created it, unless it gets another.
const COUNTED: [&str; 2] = ["counted", "responder"];

/// Number of threads of a test and of what it started. The test program has others, for waiting
/// tests.
fn threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| {
        // A thread that has ended meanwhile has no name.
        std::fs::read_to_string(task.unwrap().path().join("comm")).ok()
    });
    names
        .filter(|name| COUNTED.iter().any(|counted| name.starts_with(counted)))
        .count()
}

/// Runs `run` while no other test runs, in a thread whose child threads are counted.
fn counted<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    let _turn = alone();
    thread::scope(|scope| {
        let named = thread::Builder::new().name("counted".to_owned());
        let ran = named.spawn_scoped(scope, || {
            // The kernel takes a moment to remove a joined thread, also one of the previous test.
            wait_until("no thread is left of an earlier test", || threads() == 1);
            let ran = run();
            wait_until("no thread is left", || threads() == 1);
            ran
        });
        ran.unwrap().join().unwrap()
    })
}

/// Runs `run` while no other test runs, and checks that it fails by itself and leaves no thread. It
/// takes at most `seconds` on an idle machine, and may take ten times as long on a busy one.
fn fails_within(
    seconds: u64,
    run: impl FnOnce() -> Result<Measurement, MeasureError> + Send,
) -> MeasureError {
    counted(|| timed(seconds, run))
}

fn timed(seconds: u64, run: impl FnOnce() -> Result<Measurement, MeasureError>) -> MeasureError {
    let begun = Instant::now();
    let error = run().unwrap_err();
    let took = begun.elapsed();
    println!("{error} ({took:?}): {:?}", error.hint());
    assert!(
        took < 10 * Duration::from_secs(seconds),
        "{error}: {took:?}"
    );
    assert!(error.hint().is_some() || matches!(error, MeasureError::Interrupted));
    error
}

/// A server that accepts one connection, reads the hello, sends `answer`, waits for `after`, and
/// closes the connection.
fn answering(answer: &'static [u8], after: Duration) -> (SocketAddr, thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut hello = [0; 32];
        stream.read_exact(&mut hello).unwrap();
        assert_eq!(&hello[..6], b"HTLL\x01\x01");
        stream.write_all(answer).unwrap();
        thread::sleep(after);
    });
    (address, thread)
}

#[test]
fn who_does_not_listen_refuses() {
    let error = fails_within(2, || {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
        brief(&closed.unwrap(), None).run(&mut go_on)
    });
    assert!(matches!(error, MeasureError::Connect { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("--respond"));
}

#[test]
fn a_name_that_leads_nowhere_is_said() {
    // The resolver decides how long a name takes. This one is reserved and never looked up on other
    // hosts.
    for server in [
        "nonexistent.invalid:8585",
        "127.0.0.1",
        "127.0.0.1:many",
        "",
    ] {
        let error = fails_within(60, || brief(&server, None).run(&mut go_on));
        assert!(
            matches!(&error, MeasureError::Resolve { server: said, .. } if said == server),
            "{error:?}"
        );
    }
}

#[test]
fn another_version_is_named() {
    const OTHER: &[u8; 32] = b"HTLL\x09\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let mut other = None;
    let error = fails_within(2, || {
        let (address, thread) = answering(OTHER, Duration::ZERO);
        let ran = brief(&address, None).run(&mut go_on);
        thread.join().unwrap();
        other = Some(address);
        ran
    });
    assert!(
        matches!(error, MeasureError::OtherVersion { theirs: 9, ours: 1, address } if Some(address) == other),
        "{error:?}"
    );
}

#[test]
fn another_program_is_no_responder() {
    for answer in [
        &b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"[..],
        b"220 ready\r\n",
        b"",
    ] {
        let error = fails_within(2, || {
            let (address, thread) = answering(answer, Duration::ZERO);
            let ran = brief(&address, None).run(&mut go_on);
            thread.join().unwrap();
            ran
        });
        assert!(
            matches!(error, MeasureError::NotAResponder { .. }),
            "{error:?}"
        );
    }
}

#[test]
fn silence_is_waited_for_and_no_longer() {
    let error = fails_within(8, || {
        let (address, thread) = answering(b"HTLL", Duration::from_secs(6));
        let ran = brief(&address, None).run(&mut go_on);
        thread.join().unwrap();
        ran
    });
    assert!(matches!(error, MeasureError::NoAnswer { .. }), "{error:?}");
}

#[test]
fn a_path_without_udp_is_no_idle_path() {
    let error = fails_within(9, || {
        let responder = Responder::bind("127.0.0.1:0").unwrap();
        let dead = Path {
            lost_idle: 100,
            ..Path::of(10_000_000)
        };
        let relay = Relay::to(responder.address(), dead);
        brief(&relay.address, None).run(&mut go_on)
    });
    assert!(matches!(error, MeasureError::NoEcho { .. }), "{error:?}");
}

#[test]
fn a_responder_that_goes_away_ends_it() {
    for (at, stage) in [
        (Phase::Idle, Stage::Measuring),
        (Phase::Download, Stage::Draining),
        (Phase::Download, Stage::Measuring),
        (Phase::Upload, Stage::WarmingUp),
        (Phase::Both, Stage::Measuring),
    ] {
        let error = fails_within(20, || {
            let responder = Mutex::new(Some(Responder::bind("127.0.0.1:0").unwrap()));
            let address = responder.lock().unwrap().as_ref().unwrap().address();
            brief(&address, None).run(&mut |progress| {
                if (progress.phase, progress.stage) == (at, stage) {
                    *responder.lock().unwrap() = None;
                }
                ControlFlow::Continue(())
            })
        });
        assert!(
            matches!(error, MeasureError::Gone { phase, .. } if phase == at),
            "{at} {stage:?}: {error:?}"
        );
    }
}

#[test]
fn whoever_runs_it_ends_it() {
    for at in Phase::ALL {
        let error = fails_within(15, || {
            let responder = Responder::bind("127.0.0.1:0").unwrap();
            brief(&responder.address(), None).run(&mut |progress| {
                if progress.phase == at && progress.stage == Stage::Measuring {
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            })
        });
        assert!(matches!(error, MeasureError::Interrupted), "{error:?}");
    }
}

#[test]
fn limits_of_the_responder_are_told() {
    let within = |limits: Limits| {
        fails_within(10, || {
            let responder = Responder::bind_within("127.0.0.1:0", limits).unwrap();
            brief(&responder.address(), None).run(&mut go_on)
        })
    };
    for connections in [0, 3] {
        let error = within(Limits {
            connections_per_client: connections,
            ..Limits::default()
        });
        assert!(
            matches!(error, MeasureError::Busy { .. }),
            "{connections}: {error:?}"
        );
    }
    let error = within(Limits {
        session: Duration::from_secs(2),
        ..Limits::default()
    });
    let MeasureError::TooLong { allowed, .. } = error else {
        panic!("{error:?}")
    };
    assert_eq!(allowed, Duration::from_secs(2));
}

/// A message as the documentation of the format describes it.
fn message(kind: u8, numbers: [u64; 3]) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..5].copy_from_slice(b"HTLL\x01");
    bytes[5] = kind;
    for (place, number) in bytes[8..].chunks_mut(8).zip(numbers) {
        place.copy_from_slice(&number.to_be_bytes());
    }
    bytes
}

fn begun(responder: SocketAddr) -> (TcpStream, u64) {
    let mut control = TcpStream::connect(responder).unwrap();
    control.write_all(&message(1, [0; 3])).unwrap();
    let mut answer = [0; 32];
    control.read_exact(&mut answer).unwrap();
    assert_eq!(&answer[..6], b"HTLL\x01\x02");
    (
        control,
        u64::from_be_bytes(answer[8..16].try_into().unwrap()),
    )
}

/// The answer to one datagram, if there is one.
fn echo(from: &str, responder: SocketAddr, probe: &[u8]) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind(from).unwrap();
    socket.connect(responder).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(150)))
        .unwrap();
    socket.send(probe).unwrap();
    let mut bytes = [0; 2048];
    let length = socket.recv(&mut bytes).ok()?;
    Some(bytes[..length].to_vec())
}

#[test]
fn only_a_sessions_own_probes_are_echoed_and_never_as_more() {
    let _turn = beside_others();
    let responder = Responder::bind("127.0.0.1:0").unwrap();
    let address = responder.address();
    let (control, token) = begun(address);
    assert_ne!(token, 0);
    let probe = message(8, [token, 7, 0]);
    let here = "127.0.0.1:0";
    assert_eq!(
        echo(here, address, &probe),
        Some(message(9, [token, 7, 0]).to_vec())
    );
    let longer = [&probe[..], &[0; 968]].concat();
    let mut other_version = probe;
    other_version[4] = 2;
    for (what, bytes) in [
        ("a longer one", &longer[..]),
        ("a shorter one", &probe[..31]),
        ("nothing", &[]),
        ("an echo", &message(9, [token, 7, 0])),
        ("a wrong token", &message(8, [token ^ 1, 7, 0])),
        ("no token", &message(8, [0, 7, 0])),
        ("another version", &other_version),
    ] {
        assert_eq!(echo(here, address, bytes), None, "{what}");
    }
    // Another client that has seen the token cannot get the packets of this one, or redirect them.
    assert_eq!(echo("127.0.0.2:0", address, &probe), None);
    assert!(echo(here, address, &probe).is_some(), "it is still there");
    drop(control);
    thread::sleep(Duration::from_millis(300));
    assert_eq!(echo(here, address, &probe), None, "the session is over");
}

#[test]
fn data_is_sent_only_within_a_session() {
    let _turn = beside_others();
    let responder = Responder::bind("127.0.0.1:0").unwrap();
    let address = responder.address();
    let (control, token) = begun(address);
    for (kind, token) in [(3, token ^ 1), (3, 0), (4, token ^ 1)] {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(&message(kind, [token, 0, 0])).unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        assert_eq!(all, message(10, [2, 0, 0]), "refused, and no more said");
    }
    let mut download = TcpStream::connect(address).unwrap();
    download.write_all(&message(3, [token, 0, 0])).unwrap();
    let mut data = [0; 100_000];
    download.read_exact(&mut data).unwrap();
    assert_eq!(data[..32], message(5, [0; 3]));
    // When the first connection ends, all others end too.
    drop(control);
    download
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let begun = Instant::now();
    while matches!(download.read(&mut data), Ok(1..)) {}
    assert!(
        begun.elapsed() < Duration::from_secs(40),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn a_session_ends_when_its_time_is_up() {
    let _turn = beside_others();
    let limits = Limits {
        session: Duration::from_millis(600),
        ..Limits::default()
    };
    let responder = Responder::bind_within("127.0.0.1:0", limits).unwrap();
    let (mut control, token) = begun(responder.address());
    let probe = message(8, [token, 1, 0]);
    assert!(echo("127.0.0.1:0", responder.address(), &probe).is_some());
    let begun = Instant::now();
    let mut rest = Vec::new();
    control.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty() && begun.elapsed() < Duration::from_secs(30));
    assert_eq!(echo("127.0.0.1:0", responder.address(), &probe), None);
}

#[test]
fn what_arrives_is_counted_where_it_arrives() {
    let _turn = beside_others();
    let responder = Responder::bind("127.0.0.1:0").unwrap();
    let (mut control, token) = begun(responder.address());
    let mut upload = TcpStream::connect(responder.address()).unwrap();
    upload.write_all(&message(4, [token, 0, 0])).unwrap();
    upload.write_all(&[0; 54_321]).unwrap();
    thread::sleep(Duration::from_millis(300));
    control.write_all(&message(6, [token, 5, 0])).unwrap();
    let mut answer = [0; 32];
    control.read_exact(&mut answer).unwrap();
    assert_eq!(answer[..24], message(7, [5, 54_321, 0])[..24]);
}

#[test]
fn a_responder_ends_at_once_whoever_is_there() {
    counted(ends_at_once);
}

fn ends_at_once() {
    let responder = Responder::bind("127.0.0.1:0").unwrap();
    let address = responder.address();
    let (_control, token) = begun(address);
    let mut download = TcpStream::connect(address).unwrap();
    download.write_all(&message(3, [token, 0, 0])).unwrap();
    let _silent = TcpStream::connect(address).unwrap();
    thread::sleep(Duration::from_millis(100));
    let begun = Instant::now();
    responder.shutdown();
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    thread::sleep(Duration::from_millis(50));
    assert_eq!(threads(), 1);
    assert!(TcpStream::connect(address).is_err());
    // The port is free again.
    let again = Responder::bind(address).unwrap();
    let error = Responder::bind(again.address()).unwrap_err();
    assert!(error.hint().is_some(), "{error:?}");
}
