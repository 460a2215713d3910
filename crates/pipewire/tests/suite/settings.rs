//! What is refused before anything is written.

use hosttune_pipewire::{ClockSettings, Frames, Period, PulseSettings, SampleRate, Version};

const TRIXIE: Option<Version> = Some(Version::new(1, 4, 2));

fn refused(settings: &ClockSettings, version: Option<Version>) -> String {
    settings
        .check(version)
        .expect_err("it is refused")
        .to_string()
}

#[test]
fn numbers_that_pipewire_would_misread_are_refused_with_the_range() {
    let message = |text: &str| text.parse::<Frames>().expect_err("no number").to_string();
    assert_eq!(
        message("0x40"),
        "'0x40' is not a number of frames: use decimal digits, 1 to 65536; PipeWire would silently read 0"
    );
    assert!(message("512.7").ends_with("PipeWire would silently read 512"));
    assert!(message("-1").ends_with("PipeWire would silently read 4294967295"));
    for text in [
        "",
        " 64",
        "64 ",
        "+64",
        "064",
        "0",
        "65537",
        "99999999999",
        "64;",
        "\u{666}",
    ] {
        assert!(text.parse::<Frames>().is_err(), "{text:?}");
    }
    assert_eq!("64".parse(), Ok(Frames(64)));
    assert_eq!("65536".parse(), Ok(Frames(65536)));
    assert_eq!("48000".parse(), Ok(SampleRate(48000)));
    let message = "48k"
        .parse::<SampleRate>()
        .expect_err("no number")
        .to_string();
    assert!(
        message.contains("hertz") && message.contains("5512 to 768000"),
        "{message}"
    );
}

#[test]
fn contradicting_limits_are_refused() {
    let settings = ClockSettings {
        min_quantum: Some(Frames(128)),
        max_quantum: Some(Frames(64)),
        ..ClockSettings::default()
    };
    assert_eq!(
        refused(&settings, TRIXIE),
        "default.clock.min-quantum = 128 is above default.clock.max-quantum = 64: PipeWire would silently use 64 for both"
    );
    let settings = ClockSettings {
        quantum: Some(Frames(16)),
        min_quantum: Some(Frames(32)),
        ..ClockSettings::default()
    };
    assert!(
        refused(&settings, None)
            .contains("default.clock.min-quantum = 32 is above default.clock.quantum = 16")
    );
    let settings = ClockSettings {
        quantum_floor: Some(Frames(128)),
        quantum_limit: Some(Frames(64)),
        ..ClockSettings::default()
    };
    assert!(settings.check(TRIXIE).is_err());
    assert_eq!(
        ClockSettings::fixed(SampleRate(48000), Frames(64)).check(TRIXIE),
        Ok(())
    );
}

#[test]
fn numbers_out_of_range_are_refused() {
    let quantum = |quantum| ClockSettings {
        quantum: Some(Frames(quantum)),
        ..ClockSettings::default()
    };
    assert_eq!(
        refused(&quantum(0), TRIXIE),
        "default.clock.quantum = 0 is out of range: use 1 to 65536 frames"
    );
    assert!(quantum(65537).check(TRIXIE).is_err());
    // Up to 1.0.3 the smallest quantum is 4.
    assert!(quantum(2).check(TRIXIE).is_ok());
    assert_eq!(
        refused(&quantum(2), Some(Version::new(1, 0, 3))),
        "default.clock.quantum = 2 is out of range: use 4 to 65536 frames"
    );
    let floor = ClockSettings {
        quantum_floor: Some(Frames(16)),
        ..ClockSettings::default()
    };
    assert_eq!(
        refused(&floor, Some(Version::new(0, 3, 65))),
        "PipeWire 0.3.65 ignores default.clock.quantum-floor, which exists from 1.0.4: leave it out"
    );
    let pulse = PulseSettings {
        min_req: Some(Period {
            quantum: Frames(64),
            rate: SampleRate(0),
        }),
        ..PulseSettings::default()
    };
    let message = pulse.check().expect_err("a rate of 0").to_string();
    assert_eq!(
        message,
        "pulse.min.req = 0 is out of range: use 5512 to 768000 hertz"
    );
}

#[test]
fn a_rate_must_be_among_the_allowed_ones() {
    let settings = |rate: u32, allowed: &[u32]| ClockSettings {
        rate: Some(SampleRate(rate)),
        allowed_rates: Some(allowed.iter().copied().map(SampleRate).collect()),
        ..ClockSettings::default()
    };
    assert_eq!(settings(48000, &[44100, 48000]).check(TRIXIE), Ok(()));
    assert_eq!(
        refused(&settings(96000, &[44100, 48000]), TRIXIE),
        "default.clock.rate = 96000 is not in default.clock.allowed-rates = [ 44100 48000 ]: PipeWire would silently replace the list; add the rate to it"
    );
    assert!(refused(&settings(48000, &[]), TRIXIE).contains("use 1 to 32"));
    let many: Vec<u32> = (0..33).map(|number| 48000 + number).collect();
    assert!(refused(&settings(48000, &many), TRIXIE).contains("has 33 rates"));
}

#[test]
fn settings_are_data_and_text() {
    let settings = ClockSettings {
        allowed_rates: Some(vec![SampleRate(44100), SampleRate(48000)]),
        power_of_two: Some(false),
        ..ClockSettings::fixed(SampleRate(48000), Frames(64))
    };
    assert_eq!(
        settings.to_string(),
        "default.clock.rate = 48000, default.clock.allowed-rates = [ 44100, 48000 ], \
         default.clock.quantum = 64, default.clock.min-quantum = 64, default.clock.max-quantum = 64, \
         clock.power-of-two-quantum = false"
    );
    let json = serde_json::to_string(&settings).unwrap();
    assert_eq!(
        serde_json::from_str::<ClockSettings>(&json).unwrap(),
        settings
    );
    assert!(serde_json::from_str::<ClockSettings>(r#"{"quantun": 64}"#).is_err());
    assert!(serde_json::from_str::<ClockSettings>(r#"{"quantum": -1}"#).is_err());
    assert!(serde_json::from_str::<ClockSettings>(r#"{"quantum": 512.7}"#).is_err());
    assert_eq!(SampleRate(44056).to_string(), "44.056 kHz");
    assert_eq!(Frames(1).to_string(), "1 frame");
}
