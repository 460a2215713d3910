//! The guest as libvirt's domain XML (formatdomain).

use std::fmt::Write as _;

use crate::guest::{Guest, HugePages};

/// Memory from huge pages. Where they are on one node, the guest's memory must be there too: without
/// `numatune` it would be taken from any node, and the guest would not start.
fn memory_backing(pages: HugePages) -> String {
    let HugePages { size, node } = pages;
    let node = node.map(|node| {
        format!("  <numatune>\n    <memory mode='strict' nodeset='{node}'/>\n  </numatune>\n")
    });
    format!(
        "  <memoryBacking>
    <hugepages>
      <page size='{size}' unit='KiB'/>
    </hugepages>
  </memoryBacking>
{}",
        node.unwrap_or_default()
    )
}

/// Which processors of the host each core runs on.
fn pinning(guest: &Guest) -> String {
    if guest.pins().is_empty() {
        return String::new();
    }
    let mut xml = "  <cputune>\n".to_owned();
    for (core, processors) in guest.pins().iter().enumerate() {
        let _ = writeln!(xml, "    <vcpupin vcpu='{core}' cpuset='{processors}'/>");
    }
    xml.push_str("  </cputune>\n");
    xml
}

/// A whole domain: cores, memory, lent devices, shared memory. Disks, network, TPM and screen are
/// not in it, because the host's side does not decide them.
///
/// The devices have `managed='no'`: libvirt neither unbinds them from their drivers nor binds them
/// again, and refuses to start the guest if they are not lent.
#[must_use]
pub fn domain(guest: &Guest) -> String {
    let (name, cores, memory) = (guest.name(), guest.cores(), guest.mebibytes());
    let pages = guest.pages().map(memory_backing).unwrap_or_default();
    let pinning = pinning(guest);
    let mut xml = format!(
        "\
<!-- The host's side of the guest. Disks, network, TPM and screen are not in it: copy what is
     missing from here into the guest's own definition (virsh edit {name}). The numbers in the
     second <address> of a <hostdev> and of its <controller> must be free there. -->
<domain type='kvm'>
  <name>{name}</name>
  <memory unit='MiB'>{memory}</memory>
{pages}  <vcpu placement='static'>{cores}</vcpu>
{pinning}  <os firmware='efi'>
    <type arch='x86_64' machine='q35'>hvm</type>
  </os>
  <features>
    <acpi/>
    <apic/>
    <hyperv mode='custom'>
      <relaxed state='on'/>
      <vapic state='on'/>
      <spinlocks state='on' retries='8191'/>
    </hyperv>
  </features>
  <cpu mode='host-passthrough' check='none'>
    <topology sockets='1' dies='1' cores='{cores}' threads='1'/>
  </cpu>
  <clock offset='localtime'/>
  <devices>
    <controller type='pci' index='0' model='pcie-root'/>
"
    );
    let cards = guest.cards();
    for port in 1..=cards.len() {
        let _ = writeln!(
            xml,
            "    <controller type='pci' index='{port}' model='pcie-root-port'/>"
        );
    }
    for (port, card) in (1..).zip(&cards) {
        for placed in card {
            let of_host = placed.host;
            let (domain, bus) = (of_host.domain(), of_host.bus());
            let (slot, function) = (of_host.device(), of_host.function());
            let in_guest = placed.function;
            let multifunction = match placed.is_multifunction {
                true => " multifunction='on'",
                false => "",
            };
            let _ = write!(
                xml,
                "    <hostdev mode='subsystem' type='pci' managed='no'>
      <driver name='vfio'/>
      <source>
        <address domain='0x{domain:04x}' bus='0x{bus:02x}' slot='0x{slot:02x}' function='0x{function:x}'/>
      </source>
      <address type='pci' domain='0x0000' bus='0x{port:02x}' slot='0x00' function='0x{in_guest:x}'{multifunction}/>
    </hostdev>
"
            );
        }
    }
    if let Some(memory) = guest.shared() {
        let (name, size) = (memory.name(), memory.mebibytes());
        let _ = write!(
            xml,
            "    <shmem name='{name}'>
      <model type='ivshmem-plain'/>
      <size unit='M'>{size}</size>
    </shmem>
"
        );
    }
    // A balloon cannot take memory back that a device writes to.
    xml.push_str("    <memballoon model='none'/>\n  </devices>\n</domain>\n");
    xml
}
