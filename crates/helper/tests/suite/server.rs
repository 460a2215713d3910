//! A client that passes descriptors, and one that never reads.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use hosttune_helper::{Installed, Server};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

/// Longer than anything takes here on a busy machine.
const LIMIT: Duration = Duration::from_secs(300);

/// A helper in a thread of this process, without any installed host.
fn serving() -> (tempfile::TempDir, std::path::PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("run.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let installed = Installed::new(place.path().join("none"));
    let mut server = Server::new(listener, installed, Vec::new(), std::io::sink()).unwrap();
    // It ends with this process.
    std::thread::spawn(move || server.run());
    (place, path)
}

fn answer(stream: &mut UnixStream) -> String {
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let mut back = String::new();
    stream.read_to_string(&mut back).unwrap();
    back
}

#[test]
fn descriptors_that_are_passed_are_closed() {
    let (_place, path) = serving();
    let (reader, writer) = std::io::pipe().unwrap();
    let mut stream = UnixStream::connect(&path).unwrap();
    let fds = [writer.as_fd()];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut passed = SendAncillaryBuffer::new(&mut space);
    assert!(passed.push(SendAncillaryMessage::ScmRights(&fds)));
    let line = b"{\"version\":1,\"host\":\"gaming\"}\n";
    let data = [std::io::IoSlice::new(line)];
    sendmsg(&stream, &data, &mut passed, SendFlags::empty()).unwrap();
    let back = answer(&mut stream);
    assert!(back.contains("\"unknown-host\""), "{back}");
    drop(writer);
    // The end of the pipe: nobody else has the descriptor, although the helper goes on.
    let mut reader = reader;
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
    assert!(UnixStream::connect(&path).is_ok());
}

#[test]
fn a_request_in_pieces_is_one_request() {
    let (_place, path) = serving();
    let mut stream = UnixStream::connect(&path).unwrap();
    for piece in [&b"{\"version\":1,"[..], b"\"host\":", b"\"gaming\"}", b"\n"] {
        stream.write_all(piece).unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
    // On a slow machine the pieces may take longer than the helper waits.
    let back = answer(&mut stream);
    assert!(
        back.contains("\"unknown-host\"") || back.contains("no request has arrived"),
        "{back}"
    );
}
