//! The tuning that keeps settings in a file: the laws, and what it says.

mod laws;
mod loaded;
mod said;

use hosttune_core::host::FileContent;
use hosttune_core::testing::{Machine, Memory};

pub(crate) const SHIPPED: &str = "/usr/share/pipewire/pipewire.conf";
pub(crate) const FILE: &str = "/etc/pipewire/pipewire.conf.d/92-gaming-latency.conf";
pub(crate) const PULSE: &str = "/etc/pipewire/pipewire-pulse.conf.d/92-gaming-latency.conf";

/// A host that has PipeWire 1.4.2.
pub(crate) fn host() -> Memory {
    host_with("1.4.2")
}

pub(crate) fn host_with(version: &str) -> Memory {
    let main = format!(
        "# Daemon config file for PipeWire version \"{version}\" #\n\
         context.properties = {{\n  core.daemon = true\n}}\n\
         context.properties.rules = [\n  {{ matches = [ {{ cpu.vm.name = !null }} ]\n    \
         actions = {{ update-props = {{\n      default.clock.min-quantum = 1024\n    }} }} }}\n]\n"
    );
    let pulse = "context.properties = { }\npulse.properties = { }\n";
    ["/etc", "/root", "/usr/share/pipewire"]
        .iter()
        .fold(Memory::new(), |memory, directory| {
            memory.directory(directory)
        })
        .content(SHIPPED, FileContent::new(main))
        .content(
            "/usr/share/pipewire/pipewire-pulse.conf",
            FileContent::new(pulse),
        )
}

pub(crate) fn machine(memory: Memory) -> Machine {
    Machine::new(memory, hosttune_pipewire::knobs)
}
