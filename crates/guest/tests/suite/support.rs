//! The guest that several tests print.

use hosttune_guest::{Guest, LookingGlass, Name, Resolution, SharedMemory, Version};

pub(crate) fn windows() -> Guest {
    let screen = Resolution::new(3840, 2160).unwrap();
    let glass = LookingGlass::new(screen, Version::B7 { hdr: false });
    let devices = [
        "0000:0d:00.1",
        "0000:0d:00.0",
        "10000:e1:00.0",
        "0000:0d:00.0",
    ];
    Guest::new(Name::new("windows11").unwrap(), 8, 16_384)
        .devices(devices.map(|address| address.parse().unwrap()))
        .shared_memory(SharedMemory::looking_glass(glass))
}

/// Whether a program is installed; if not, the test that needs it says so.
pub(crate) fn has(program: &str, test: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|directory| directory.join(program).exists());
    if !found {
        println!("not run: {test}: {program} is not installed");
    }
    found
}
