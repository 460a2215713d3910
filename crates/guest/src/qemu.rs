//! The guest as arguments of `qemu-system-x86_64`.

use crate::guest::Guest;

/// The arguments: machine, processors, memory, lent devices, shared memory. Disks, network,
/// firmware and screen are not among them.
#[must_use]
pub fn arguments(guest: &Guest) -> Vec<String> {
    let cores = guest.cores();
    let mut arguments: Vec<String> = Vec::new();
    let mut add = |option: &str, value: String| {
        arguments.push(option.to_owned());
        arguments.push(value);
    };
    add("-name", guest.name().to_string());
    match guest.pages() {
        None => add("-machine", "q35".to_owned()),
        Some(pages) => {
            let node = pages
                .node
                .map(|node| format!(",host-nodes={node},policy=bind"));
            add(
                "-object",
                format!(
                    "memory-backend-memfd,id=ram,size={}M,hugetlb=on,hugetlbsize={}K,prealloc=on{}",
                    guest.mebibytes(),
                    pages.size,
                    node.unwrap_or_default()
                ),
            );
            add("-machine", "q35,memory-backend=ram".to_owned());
        }
    }
    add("-accel", "kvm".to_owned());
    add(
        "-cpu",
        "host,hv_relaxed,hv_vapic,hv_spinlocks=0x1fff".to_owned(),
    );
    add("-smp", format!("{cores},sockets=1,cores={cores},threads=1"));
    add("-m", format!("{}M", guest.mebibytes()));
    for (number, card) in (1..).zip(guest.cards()) {
        let port = format!("pcie-root-port,id=lent{number},chassis={number},bus=pcie.0");
        add("-device", port);
        for placed in card {
            let multifunction = match placed.is_multifunction {
                true => ",multifunction=on",
                false => "",
            };
            let (host, function) = (placed.host, placed.function);
            add(
                "-device",
                format!(
                    "vfio-pci,host={host},bus=lent{number},addr=00.{function:x}{multifunction}"
                ),
            );
        }
    }
    if let Some(memory) = guest.shared() {
        let (name, path, size) = (memory.name(), memory.path(), memory.mebibytes());
        add(
            "-object",
            format!("memory-backend-file,id={name},mem-path={path},size={size}M,share=on"),
        );
        add("-device", format!("ivshmem-plain,memdev={name},bus=pcie.0"));
    }
    arguments
}

/// The same as a command line for a shell, an option with its value on each line.
///
/// No argument needs quoting: names and addresses have only characters that a shell leaves alone.
#[must_use]
pub fn command_line(guest: &Guest) -> String {
    let mut text = "qemu-system-x86_64".to_owned();
    for pair in arguments(guest).chunks(2) {
        text.push_str(" \\\n    ");
        text.push_str(&pair.join(" "));
    }
    text.push('\n');
    text
}
