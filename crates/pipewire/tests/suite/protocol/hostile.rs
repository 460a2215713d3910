//! Daemons that stop, repeat, overflow, or send nonsense, over a pair of sockets.

use std::io::{ErrorKind, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use hosttune_pipewire::protocol::pod::PodWriter;
use hosttune_pipewire::protocol::{Client, Connection, ObjectKind, ProtocolError};
use proptest::prelude::*;
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use crate::cases;

const SOON: Duration = Duration::from_millis(150);
const PATIENT: Duration = Duration::from_secs(5);
/// After this time a descriptor that is open was not closed.
const STILL_OPEN: Duration = Duration::from_secs(60);

fn message(object: u32, opcode: u8, arguments: impl FnOnce(&mut PodWriter)) -> Vec<u8> {
    let mut body = PodWriter::new();
    body.structure(arguments);
    framed(object, opcode, &body.into_bytes())
}

fn framed(object: u32, opcode: u8, body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(body.len()).unwrap();
    let mut bytes = Vec::new();
    for word in [object, u32::from(opcode) << 24 | size, 0, 0] {
        bytes.extend_from_slice(&word.to_ne_bytes());
    }
    bytes.extend_from_slice(body);
    bytes
}

fn done(id: u32, sequence: i32) -> Vec<u8> {
    message(0, 1, |arguments| {
        arguments.id(id).int(sequence);
    })
}

fn info() -> Vec<u8> {
    message(0, 0, |arguments| {
        arguments
            .id(0)
            .id(0xc0ffee)
            .text(Some("user"))
            .text(Some("host"));
        arguments
            .text(Some("1.4.2"))
            .text(Some("pipewire-0"))
            .long(1);
        arguments.properties(&[("default.clock.rate", "48000")]);
    })
}

/// The bytes of a daemon that answers the first sync.
fn greeting() -> Vec<u8> {
    [info(), done(0, 1)].concat()
}

/// A daemon that runs `serve` on its end of the connection.
fn daemon<T: Send + 'static>(
    serve: impl FnOnce(UnixStream) -> T + Send + 'static,
) -> (OwnedFd, JoinHandle<T>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (ours.into(), thread::spawn(move || serve(theirs)))
}

/// A daemon that sends these bytes and then stays.
fn sending(bytes: Vec<u8>) -> (OwnedFd, JoinHandle<Vec<u8>>) {
    daemon(move |mut socket| {
        let _ = socket.write_all(&bytes);
        let mut received = Vec::new();
        let _ = socket.read_to_end(&mut received);
        received
    })
}

#[test]
fn messages_are_put_together_from_any_pieces() {
    let bytes = greeting();
    let (socket, daemon) = daemon(move |mut socket| {
        for byte in bytes {
            socket.write_all(&[byte]).unwrap();
        }
        socket
    });
    let client = Client::over(socket, PATIENT).unwrap();
    assert_eq!(client.core().cookie, 0xc0ffee);
    assert_eq!(client.core().property("default.clock.rate"), Some("48000"));
    daemon.join().unwrap();
}

#[test]
fn a_client_says_hello_and_answers_pings() {
    let ping = message(0, 2, |arguments| {
        arguments.id(0).int(77);
    });
    let (socket, daemon) = sending([info(), ping, done(0, 1)].concat());
    drop(Client::over(socket, PATIENT).unwrap());
    let received = daemon.join().unwrap();
    let hello = message(0, 1, |arguments| {
        arguments.int(3);
    });
    assert_eq!(received[..hello.len()], hello);
    // The number of the message differs: compare what follows the header.
    let pong = message(0, 3, |arguments| {
        arguments.id(0).int(77);
    });
    let answered = received
        .windows(pong.len() - 16)
        .any(|part| part == &pong[16..]);
    assert!(answered);
}

#[test]
fn only_the_answer_to_the_own_sync_counts() {
    let bytes = [done(u32::MAX, 1), done(0, 9), info()].concat();
    let (socket, _daemon) = sending(bytes);
    let error = Client::over(socket, SOON).unwrap_err();
    assert!(matches!(error, ProtocolError::Deadline(_)), "{error}");
}

#[test]
fn a_footer_after_the_arguments_is_ignored() {
    let mut body = PodWriter::new();
    body.structure(|arguments| {
        arguments.id(0).int(1);
    });
    body.structure(|footer| {
        footer.enumerated(0).structure(|inside| {
            inside.long(1);
        });
    });
    let (socket, _daemon) = sending([info(), framed(0, 1, &body.into_bytes())].concat());
    Client::over(socket, PATIENT).unwrap();
}

#[test]
fn a_daemon_that_closes_the_connection_is_told_from_one_that_is_silent() {
    for cut in [0, 1, 15, 16, 40] {
        let bytes = greeting()[..cut].to_vec();
        let (socket, daemon) = daemon(move |mut socket| {
            socket.write_all(&bytes).unwrap();
            // Closing with unread data would be a reset.
            thread::sleep(Duration::from_millis(20));
            let mut request = [0; 4096];
            let _ = socket.read(&mut request);
        });
        let error = Client::over(socket, PATIENT).unwrap_err();
        assert!(error.is_end(), "after {cut} bytes: {error}");
        daemon.join().unwrap();
    }
    let (socket, _daemon) = sending(greeting()[..40].to_vec());
    let began = Instant::now();
    let error = Client::over(socket, SOON).unwrap_err();
    assert!(matches!(error, ProtocolError::Deadline(_)), "{error}");
    assert!(error.to_string().contains("150 ms"), "{error}");
    assert!(began.elapsed() < PATIENT);
}

#[test]
fn a_daemon_that_never_pauses_does_not_hold_the_client_up() {
    let (socket, daemon) = daemon(|mut socket| {
        let bytes = done(0, -1).repeat(1000);
        while socket.write_all(&bytes).is_ok() {}
    });
    let began = Instant::now();
    let error = Client::over(socket, SOON).unwrap_err();
    assert!(matches!(error, ProtocolError::Deadline(_)), "{error}");
    assert!(began.elapsed() < PATIENT);
    daemon.join().unwrap();
}

#[test]
fn a_daemon_that_offers_objects_without_end_is_left() {
    let (socket, daemon) = daemon(|mut socket| {
        for id in 0_u32.. {
            let global = message(2, 0, |arguments| {
                arguments
                    .id(id)
                    .id(0o400)
                    .text(Some("x"))
                    .int(3)
                    .properties(&[]);
            });
            if socket.write_all(&global).is_err() {
                return id;
            }
        }
        u32::MAX
    });
    let error = Client::over(socket, Duration::from_secs(60)).unwrap_err();
    assert!(error.to_string().contains("65536 objects"), "{error}");
    assert!(daemon.join().unwrap() >= 65_536);
}

#[test]
fn a_message_of_another_form_is_an_error_that_names_it() {
    let wrong = message(0, 1, |arguments| {
        arguments.text(Some("not a number"));
    });
    let (socket, _daemon) = sending([info(), wrong].concat());
    let error = Client::over(socket, PATIENT).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("object 0, opcode 1"), "{text}");
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("type 8"), "{source}");
}

#[test]
fn a_refusal_reaches_the_request() {
    let refused = message(0, 3, |arguments| {
        arguments.id(3).int(0).int(-13).text(Some("no permission"));
    });
    let (socket, _daemon) = sending([greeting(), refused, done(0, 2)].concat());
    let mut client = Client::over(socket, PATIENT).unwrap();
    client.bind(33, ObjectKind::Metadata).unwrap();
    let error = client.sync().unwrap_err();
    assert!(
        matches!(&error, ProtocolError::Refused { errno: 13, message } if message == "no permission"),
        "{error}"
    );
}

/// Properties of an object, as a daemon sends them.
fn property(key: Option<&str>, kind: Option<&str>, value: Option<&str>) -> Vec<u8> {
    message(3, 0, |arguments| {
        arguments.id(0).text(key).text(kind).text(value);
    })
}

#[test]
fn metadata_follows_its_events() {
    let first = [
        property(Some("a"), Some(""), Some("1")),
        property(Some("b"), None, Some("2")),
        done(0, 2),
    ];
    let then = [
        property(Some("a"), Some("Spa:Int"), Some("3")),
        property(Some("b"), None, None),
        done(0, 3),
    ];
    let last = [property(None, None, None), done(0, 4)];
    let (socket, _daemon) = sending(
        [vec![greeting()], first.into(), then.into(), last.into()]
            .concat()
            .concat(),
    );
    let mut client = Client::over(socket, PATIENT).unwrap();
    let object = client.bind(33, ObjectKind::Metadata).unwrap();
    assert_eq!(object, 3);
    let shown = |client: &Client| -> Vec<(String, Option<String>, Vec<u8>)> {
        let properties = client.properties(object, 0);
        let one = |(key, property): (String, hosttune_pipewire::protocol::Property)| {
            (key, property.kind, property.value)
        };
        properties.into_iter().map(one).collect()
    };
    let entry = |key: &str, kind: Option<&str>, value: &str| {
        (
            key.to_owned(),
            kind.map(str::to_owned),
            value.as_bytes().to_vec(),
        )
    };
    client.sync().unwrap();
    assert_eq!(
        shown(&client),
        [entry("a", Some(""), "1"), entry("b", None, "2")]
    );
    client.sync().unwrap();
    assert_eq!(shown(&client), [entry("a", Some("Spa:Int"), "3")]);
    client.sync().unwrap();
    assert_eq!(shown(&client), []);
}

#[test]
fn file_descriptors_that_come_with_a_message_are_closed() {
    let (mut pipe, end) = std::io::pipe().unwrap();
    let (socket, daemon) = daemon(move |socket| {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut passed = SendAncillaryBuffer::new(&mut space);
        let ends = [end.as_fd(), end.as_fd(), end.as_fd()];
        assert!(passed.push(SendAncillaryMessage::ScmRights(&ends)));
        let bytes = greeting();
        sendmsg(
            &socket,
            &[IoSlice::new(&bytes)],
            &mut passed,
            SendFlags::empty(),
        )
        .unwrap();
        drop(end);
        socket
    });
    let client = Client::over(socket, PATIENT).unwrap();
    let theirs = daemon.join().unwrap();
    // The client lives, and no writing end is open any more: reading would fail with EAGAIN. A process that
    // another test starts at this moment has copies until it becomes its program.
    fcntl_setfl(&pipe, OFlags::NONBLOCK).unwrap();
    let began = Instant::now();
    let read = loop {
        match pipe.read(&mut [0; 8]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock && began.elapsed() < STILL_OPEN => {
                thread::sleep(Duration::from_millis(10));
            }
            read => break read,
        }
    };
    assert_eq!(read.unwrap(), 0);
    drop((client, theirs));
}

#[test]
fn a_message_that_is_announced_and_not_sent_takes_no_memory() {
    let header = framed(0, 0, &[]);
    let mut announced = header[..4].to_vec();
    announced.extend_from_slice(&0x00ff_ffff_u32.to_ne_bytes());
    announced.extend_from_slice(&[0; 8]);
    let (socket, _daemon) = sending(announced);
    let mut connection = Connection::over(socket);
    let received = connection.receive(Instant::now() + SOON).unwrap();
    assert_eq!(received, None);
    // What is kept is what has arrived.
    assert!(format!("{connection:?}").len() < 1000);
}

proptest! {
    #![proptest_config(cases(100))]

    #[test]
    fn no_stream_makes_a_client_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let (socket, daemon) = daemon(move |mut socket| {
            let _ = socket.write_all(&[greeting(), bytes].concat());
        });
        if let Ok(mut client) = Client::over(socket, SOON) {
            prop_assert!(client.sync().is_err());
        }
        daemon.join().unwrap();
    }
}
