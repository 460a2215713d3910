//! The sizes of the shared memory of Looking Glass.

use hosttune_guest::{LookingGlass, Resolution, Version};

const SDR: Version = Version::B7 { hdr: false };
const HDR: Version = Version::B7 { hdr: true };

fn size(resolution: &str, version: Version) -> u64 {
    let resolution: Resolution = resolution.parse().unwrap();
    LookingGlass::new(resolution, version).mebibytes()
}

/// The tables in the documentation of Looking Glass for B7 and for the indirect display driver.
#[test]
fn the_sizes_are_those_of_the_documentation() {
    for (resolution, sdr, hdr, idd) in [
        ("1920x1080", 32, 64, 32),
        ("2560x1080", 32, 64, 64),
        ("2560x1440", 64, 128, 64),
        ("3440x1440", 64, 128, 64),
        ("3840x1600", 64, 128, 128),
        ("3840x2160", 128, 256, 128),
        ("5120x1440", 128, 128, 128),
        ("5120x2160", 128, 256, 256),
        ("5120x2880", 128, 256, 256),
        ("7680x4320", 512, 1024, 512),
    ] {
        assert_eq!(size(resolution, SDR), sdr, "{resolution} B7");
        assert_eq!(size(resolution, HDR), hdr, "{resolution} B7 with HDR");
        assert_eq!(size(resolution, Version::Idd), idd, "{resolution} driver");
    }
}

/// A size that is a power of two already is not doubled: 1408x2048 in B7 needs 22 + 10 MiB.
#[test]
fn an_exact_power_of_two_stays() {
    assert_eq!(size("1408x2048", SDR), 32);
    assert_eq!(size("1409x2048", SDR), 64);
}

#[test]
fn what_is_no_resolution_is_refused_with_an_example() {
    for text in [
        "",
        "x",
        "3840",
        "3840x",
        "x2160",
        "0x2160",
        "3840x0",
        "3840X2160",
        "3840x2160x1",
        "-1x2",
        "+3840x2160",
        " 3840x2160",
        "16385x1",
        "99999999999x2",
        "3840×2160",
    ] {
        let error = text.parse::<Resolution>().unwrap_err().to_string();
        assert!(error.contains("3840x2160"), "{text:?}: {error}");
    }
    let error = "\u{1b}[31m".parse::<Resolution>().unwrap_err().to_string();
    assert!(!error.contains('\u{1b}'), "{error}");
}
