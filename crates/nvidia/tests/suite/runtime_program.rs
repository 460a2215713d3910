//! The program `hosttune-nvml` and its protocol, without NVML.

use hosttune_core::testing::Memory;
use hosttune_nvidia::runtime::testing::{FakeGpu, MemoryLibrary, with_gpus};
use hosttune_nvidia::runtime::{
    Call, GpuAddress, LibraryError, ManagementLibrary, ManagementProgram, PowerMizerMode,
};
use serde_json::{Value, json};

fn gpu() -> GpuAddress {
    "0000:01:00.0".parse().unwrap()
}

/// The calls as `hosttune-nvml` gets them: they must stay readable for a host program of an earlier version.
#[test]
fn calls_are_json_and_are_answered_in_json() {
    let gpu = FakeGpu {
        address: "0000:01:00.0",
        device: 0x2684,
        status: "active",
        uuid: "GPU-1",
        persistence_mode: true,
        is_open: false,
    };
    let mut library = MemoryLibrary::new(with_gpus(Memory::new(), 595, &[gpu]));
    let range = json!({ "lowest": 300, "highest": 900 });
    for (call, is_change, answer) in [
        (json!({ "call": "uuid" }), false, json!("GPU-1")),
        (json!({ "call": "persistence-mode" }), false, json!(true)),
        (
            json!({ "call": "set-persistence-mode", "on": true }),
            true,
            Value::Null,
        ),
        (
            json!({ "call": "set-power-limit", "milliwatts": 200_000 }),
            true,
            Value::Null,
        ),
        (
            json!({ "call": "power-limits" }),
            false,
            json!({ "set": 200_000, "lowest": 150_000, "highest": 400_000 }),
        ),
        (
            json!({ "call": "lock-clock", "clock": "graphics", "range": range }),
            true,
            Value::Null,
        ),
        (
            json!({ "call": "current-clock", "clock": "graphics" }),
            false,
            json!(900),
        ),
        (
            json!({ "call": "unlock-clock", "clock": "graphics" }),
            true,
            Value::Null,
        ),
        (
            json!({ "call": "set-clock-offset", "clock": "memory", "performance-state": 2, "megahertz": -50 }),
            true,
            Value::Null,
        ),
        (
            json!({ "call": "set-power-mizer-mode", "mode": "maximum-performance" }),
            true,
            Value::Null,
        ),
        (
            json!({ "call": "power-mizer" }),
            false,
            json!({ "set": "maximum-performance", "offered": ["adaptive", "maximum-performance", "auto"] }),
        ),
    ] {
        let mut call = call;
        call["gpu"] = "0000:01:00.0".into();
        let parsed: Call = serde_json::from_value(call.clone()).unwrap();
        assert_eq!(serde_json::to_value(&parsed).unwrap(), call);
        assert_eq!(parsed.is_change(), is_change, "{call}");
        assert_eq!(parsed.make(&mut library), Ok(answer), "{call}");
    }
    let offsets: Call =
        serde_json::from_value(json!({ "call": "clock-offsets", "gpu": "0000:01:00.0" })).unwrap();
    assert_eq!(offsets.make(&mut library).unwrap()[3]["megahertz"], -50);
    for text in [
        "..",
        "0000:01:00.0/..",
        "0000:01:00.00",
        "0000:0G:00.0",
        "-h",
    ] {
        let call = json!({ "call": "uuid", "gpu": text });
        assert!(serde_json::from_value::<Call>(call).is_err(), "{text}");
    }
}

#[test]
fn a_program_that_is_missing_fails_or_says_something_else_is_told() {
    let missing = ManagementProgram::at(&["/not/there"]);
    assert_eq!(missing.uuid(&gpu()), Err(LibraryError::NoProgram));
    let mut failing = ManagementProgram::at(&["/not/there", "/bin/false", "/usr/bin/false"]);
    let error = failing.set_power_mizer_mode(&gpu(), PowerMizerMode::Auto);
    let error = error.unwrap_err().to_string();
    assert!(error.contains("failed with exit code 1"), "{error}");
    let other = ManagementProgram::at(&["/bin/echo", "/usr/bin/echo"]);
    let error = other.power_limits(&gpu()).unwrap_err().to_string();
    assert!(error.contains("has answered no JSON"), "{error}");
}

/// What a host program understands of the errors that an `hosttune-nvml` prints.
#[test]
fn errors_are_json() {
    for (error, text) in [
        (
            LibraryError::NotSupported,
            json!({ "Err": { "error": "not-supported" } }),
        ),
        (
            LibraryError::NotLoaded("x".into()),
            json!({ "Err": { "error": "not-loaded", "detail": "x" } }),
        ),
    ] {
        let answer: Result<Value, LibraryError> = Err(error);
        assert_eq!(serde_json::to_value(&answer).unwrap(), text);
        let parsed: Result<Value, LibraryError> = serde_json::from_value(text).unwrap();
        assert_eq!(parsed, answer);
    }
}
