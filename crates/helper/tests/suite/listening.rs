//! The socket: who can connect, and what is replaced.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use hosttune_helper::client::{Connection, Unavailable};
use hosttune_helper::{ListenError, listen};

fn mode(path: &std::path::Path) -> u32 {
    std::fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn only_the_owner_and_the_group_can_connect() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("made/run.sock");
    let own = rustix::process::getegid().as_raw();
    let listening = listen(&path, Some(own)).unwrap();
    assert_eq!(mode(&path), 0o660);
    assert_eq!(mode(&place.path().join("made")), 0o711);
    assert_eq!(std::fs::metadata(&path).unwrap().gid(), own);
    assert!(UnixStream::connect(&path).is_ok());
    // A second helper does not take the socket from the first.
    assert!(matches!(listen(&path, None), Err(ListenError::Taken(_))));
    drop(listening);
    // One that was killed has left it.
    assert!(listen(&path, None).is_ok());
}

#[test]
fn what_is_no_socket_is_not_replaced() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("run.sock");
    std::fs::write(&path, "kept").unwrap();
    assert!(matches!(
        listen(&path, None),
        Err(ListenError::NotASocket(_))
    ));
    assert_eq!(std::fs::read(&path).unwrap(), b"kept");
    std::fs::remove_file(&path).unwrap();
    symlink("elsewhere", &path).unwrap();
    assert!(matches!(
        listen(&path, None),
        Err(ListenError::NotASocket(_))
    ));
}

#[test]
fn a_directory_that_others_can_write_to_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("open");
    std::fs::create_dir(&directory).unwrap();
    for mode in [0o777, 0o775, 0o1777] {
        std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(mode)).unwrap();
        let refused = listen(&directory.join("run.sock"), None);
        assert!(
            matches!(refused, Err(ListenError::Directory(_))),
            "{mode:o}"
        );
    }
    symlink(place.path(), place.path().join("link")).unwrap();
    let refused = listen(&place.path().join("link/run.sock"), None);
    assert!(matches!(refused, Err(ListenError::Directory(_))));
}

/// The client does not block in connect(2), whatever the other side does.
#[test]
fn a_full_backlog_costs_the_deadline_and_not_more() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("run.sock");
    let listener = UnixListener::bind(&path).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let mut waiting = Vec::new();
    let refused = loop {
        match Connection::open(&path, Instant::now() + Duration::from_millis(100)) {
            Ok(connection) => waiting.push(connection),
            Err(error) => break error,
        }
        assert!(waiting.len() < 1000, "the backlog has no end");
    };
    assert!(matches!(refused, Unavailable::Late(_)), "{refused:?}");
    drop(listener);
    let nobody = Connection::open(&path, Instant::now());
    assert!(
        matches!(nobody, Err(Unavailable::NobodyListens(_))),
        "{nobody:?}"
    );
}
