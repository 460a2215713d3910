//! What real daemons have sent: see `tests/captures/README.md`.

use hosttune_pipewire::protocol::{CoreInfo, Event, Frame, Global, NodeInfo, ObjectKind};

/// The captures, with the version of the daemon.
pub(super) const CAPTURES: [(&str, &[u8]); 2] = [
    ("0.3.65", include_bytes!("../../captures/0.3.65.bin")),
    ("1.4.2", include_bytes!("../../captures/1.4.2.bin")),
];

/// The messages of a capture.
pub(super) fn frames(mut bytes: &[u8]) -> Vec<Frame> {
    let word = |bytes: &[u8], at: usize| {
        let bytes = bytes[at..at + 4].try_into().unwrap();
        u32::from_ne_bytes(bytes)
    };
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let size = usize::try_from(word(bytes, 4) & 0xff_ffff).unwrap();
        frames.push(Frame {
            object: word(bytes, 0),
            opcode: u8::try_from(word(bytes, 4) >> 24).unwrap(),
            body: bytes[16..16 + size].to_vec(),
        });
        bytes = &bytes[16 + size..];
    }
    frames
}

fn kind(object: u32) -> ObjectKind {
    [
        ObjectKind::Core,
        ObjectKind::Client,
        ObjectKind::Registry,
        ObjectKind::Metadata,
        ObjectKind::Node,
        ObjectKind::Profiler,
    ][usize::try_from(object).unwrap()]
}

fn events(capture: &[u8]) -> Vec<Event> {
    frames(capture)
        .iter()
        .map(|frame| {
            let kind = kind(frame.object);
            Event::decode(kind, frame.object, frame.opcode, &frame.body).unwrap()
        })
        .collect()
}

#[test]
fn a_daemon_says_what_it_is_and_what_it_has_loaded() {
    for (version, capture) in CAPTURES {
        let cores: Vec<CoreInfo> = events(capture)
            .into_iter()
            .filter_map(|event| match event {
                Event::Core(core) => Some(core),
                _ => None,
            })
            .collect();
        let [core] = cores.as_slice() else {
            panic!("{version}: {cores:?}")
        };
        assert_eq!(core.version, version);
        assert_eq!(core.name, "pipewire-0");
        assert_eq!(core.user, "root");
        assert_ne!(core.cookie, 0);
        assert_eq!(core.property("default.clock.quantum"), Some("1024"));
        assert_eq!(core.property("default.clock.rate"), Some("48000"));
        let floor = core.property("default.clock.quantum-floor");
        assert_eq!(floor.is_some(), version != "0.3.65", "{floor:?}");
    }
}

#[test]
fn the_registry_shows_the_settings_the_profiler_and_the_sink() {
    for (version, capture) in CAPTURES {
        let globals: Vec<Global> = events(capture)
            .into_iter()
            .filter_map(|event| match event {
                Event::Global(global) => Some(global),
                _ => None,
            })
            .collect();
        let find = |kind: ObjectKind, property: &str, value: &str| {
            let mut found = globals.iter().filter(|global| {
                global.interface == kind.interface() && global.property(property) == Some(value)
            });
            found
                .next()
                .cloned()
                .unwrap_or_else(|| panic!("{version}: no {value}"))
        };
        let settings = find(ObjectKind::Metadata, "metadata.name", "settings");
        assert!(settings.is_writable());
        let sink = find(ObjectKind::Node, "node.name", "test-sink");
        assert_eq!(sink.property("media.class"), Some("Audio/Sink"));
        let profilers = globals
            .iter()
            .filter(|global| global.interface == ObjectKind::Profiler.interface());
        assert_eq!(profilers.count(), 1);
    }
}

#[test]
fn the_settings_are_sent_with_an_empty_type_and_again_when_they_change() {
    for (version, capture) in CAPTURES {
        let shown: Vec<(String, Option<String>, String)> = events(capture)
            .into_iter()
            .filter_map(|event| match event {
                Event::Property {
                    subject: 0,
                    key: Some(key),
                    kind,
                    value: Some(value),
                } => Some((key, kind, String::from_utf8(value).unwrap())),
                _ => None,
            })
            .collect();
        let empty = Some(String::new());
        let first: Vec<&str> = shown[..8].iter().map(|(key, _, _)| key.as_str()).collect();
        let keys = [
            "log.level",
            "clock.rate",
            "clock.allowed-rates",
            "clock.quantum",
            "clock.min-quantum",
            "clock.max-quantum",
            "clock.force-quantum",
            "clock.force-rate",
        ];
        assert_eq!(first, keys, "{version}");
        assert!(shown.iter().all(|(_, kind, _)| *kind == empty), "{shown:?}");
        let force = |value: &str| {
            (
                "clock.force-quantum".to_owned(),
                empty.clone(),
                value.to_owned(),
            )
        };
        assert_eq!(shown[8..], [force("64"), force("0")], "{version}");
    }
}

#[test]
fn the_profiler_shows_the_quantum_of_the_driver_that_runs() {
    for (version, capture) in CAPTURES {
        let mut messages = 0;
        for event in events(capture) {
            let Event::Profile(cycles) = event else {
                continue;
            };
            messages += 1;
            let [cycle] = cycles.as_slice() else {
                panic!("{version}: {cycles:?}")
            };
            assert_eq!(cycle.name, "test-sink");
            assert_eq!((cycle.duration, cycle.hertz()), (64, 48_000));
            assert_eq!(cycle.period(), Some(1333));
        }
        assert!(messages > 2, "{version}: {messages}");
    }
}

#[test]
fn a_node_shows_its_state_and_properties() {
    for (version, capture) in CAPTURES {
        let nodes: Vec<NodeInfo> = events(capture)
            .into_iter()
            .filter_map(|event| match event {
                Event::Node(node) => Some(node),
                _ => None,
            })
            .collect();
        let first = nodes.first().unwrap();
        assert_eq!(first.property("node.name"), Some("test-sink"), "{version}");
        assert_eq!(
            first.property("factory.name"),
            Some("support.null-audio-sink")
        );
        assert_eq!(first.state, 3, "{version}: it runs");
    }
}

#[test]
fn an_object_that_does_not_exist_is_refused() {
    for (version, capture) in CAPTURES {
        let errors: Vec<Event> = events(capture)
            .into_iter()
            .filter(|event| matches!(event, Event::Error { .. }))
            .collect();
        let [Event::Error { errno, message, .. }] = errors.as_slice() else {
            panic!("{version}: {errors:?}")
        };
        assert_eq!(*errno, 2, "{version}: {message}");
        assert!(message.contains("99999"), "{message}");
    }
}
