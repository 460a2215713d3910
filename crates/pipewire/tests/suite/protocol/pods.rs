//! PODs: what is written is read again, and no bytes make the reader panic.

use hosttune_pipewire::protocol::pod::{Members, Pod, PodError, PodWriter};
use hosttune_pipewire::protocol::{Event, ObjectKind};
use proptest::prelude::*;

use super::captures::{CAPTURES, frames};
use crate::cases;

const KINDS: [ObjectKind; 6] = [
    ObjectKind::Core,
    ObjectKind::Client,
    ObjectKind::Registry,
    ObjectKind::Metadata,
    ObjectKind::Profiler,
    ObjectKind::Node,
];

fn text() -> impl Strategy<Value = Option<String>> {
    prop::option::of("[^\0]{0,20}")
}

/// Decodes a message in every way that it could be meant.
fn decode_as_all(opcode: u8, body: &[u8]) {
    for kind in KINDS {
        let _ = Event::decode(kind, 7, opcode, body);
    }
}

proptest! {
    #![proptest_config(cases(1_000))]

    #[test]
    fn what_is_written_is_read(
        int in any::<i32>(), id in any::<u32>(), long in any::<i64>(), text in text(),
        (numerator, denominator) in any::<(u32, u32)>(),
        properties in prop::collection::vec(("[a-z.]{1,12}", "[^\0]{0,12}"), 0..5),
    ) {
        let mut writer = PodWriter::new();
        let pairs: Vec<(&str, &str)> =
            properties.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        writer.structure(|members| {
            members.int(int).id(id).long(long).text(text.as_deref());
            members.fraction(numerator, denominator).enumerated(id).properties(&pairs);
        });
        let bytes = writer.into_bytes();
        prop_assert_eq!(bytes.len() % 8, 0);
        let mut members = Members::of(&bytes)?;
        prop_assert_eq!(members.int()?, int);
        prop_assert_eq!(members.id()?, id);
        prop_assert_eq!(members.long()?, long);
        let read = members.text()?;
        prop_assert_eq!(read.as_deref(), text.as_deref());
        prop_assert_eq!(members.fraction()?, (numerator, denominator));
        prop_assert_eq!(members.enumerated()?, id);
        prop_assert_eq!(members.properties(5)?, properties);
        prop_assert!(members.is_empty());
        let end = matches!(members.pod(), Err(PodError::Truncated { .. }));
        prop_assert!(end);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(
        opcode in 0_u8..10, body in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        decode_as_all(opcode, &body);
    }

    #[test]
    fn no_damage_of_a_real_message_makes_the_reader_panic(
        capture in 0..CAPTURES.len(), message in any::<prop::sample::Index>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let frames = frames(CAPTURES[capture].1);
        let frame = &frames[message.index(frames.len())];
        let mut body = frame.body.clone();
        for (at, byte) in damage {
            let at = at.index(body.len());
            body[at] = byte;
        }
        if let Some(cut) = cut {
            body.truncate(cut.index(body.len()));
        }
        decode_as_all(frame.opcode, &body);
    }
}

#[test]
fn a_size_beyond_the_end_is_told_and_nothing_is_allocated_for_it() {
    let mut bytes = u32::MAX.to_ne_bytes().to_vec();
    bytes.extend_from_slice(&14_u32.to_ne_bytes());
    let error = Pod::read(&bytes).unwrap_err();
    assert_eq!(
        error,
        PodError::Truncated {
            needed: 8 + 0xffff_ffff,
            have: 8
        }
    );
    // A property list that claims two billion entries.
    let mut writer = PodWriter::new();
    writer.structure(|members| {
        members.structure(|inside| {
            inside.int(i32::MAX);
        });
    });
    let bytes = writer.into_bytes();
    let error = Members::of(&bytes).unwrap().properties(1024).unwrap_err();
    assert_eq!(error, PodError::Count(i32::MAX));
}

#[test]
fn a_text_ends_at_its_nul_and_needs_one() {
    let mut writer = PodWriter::new();
    writer.structure(|members| {
        members.text(Some("ab\0cd"));
    });
    let bytes = writer.into_bytes();
    assert_eq!(
        Members::of(&bytes).unwrap().text().unwrap().as_deref(),
        Some("ab")
    );
    // The same without a NUL: a String of two bytes.
    let mut bytes = 16_u32.to_ne_bytes().to_vec();
    bytes.extend_from_slice(&14_u32.to_ne_bytes());
    bytes.extend_from_slice(&2_u32.to_ne_bytes());
    bytes.extend_from_slice(&8_u32.to_ne_bytes());
    bytes.extend_from_slice(b"ab\0\0\0\0\0\0");
    assert_eq!(Members::of(&bytes).unwrap().text(), Err(PodError::NoEnd));
}
