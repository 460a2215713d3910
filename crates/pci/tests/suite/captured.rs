//! The PCI devices of the machine that runs the tests, if it has any.

use hosttune_core::{Host, LinuxHost};
use hosttune_pci::{Address, Devices};

/// Whatever the machine has is read without an error, and under the address that sysfs shows.
#[test]
fn every_device_of_this_machine_is_read() {
    let host = Host::new(LinuxHost::live().unwrap());
    let devices = Devices::read(&host).unwrap();
    let names = host.list("/sys/bus/pci/devices").unwrap_or_default();
    let shown: Vec<Address> = names.iter().map(|name| name.parse().unwrap()).collect();
    let read: Vec<Address> = devices.iter().map(|device| device.address).collect();
    assert_eq!(read.len(), shown.len());
    for address in shown {
        let device = devices.get(address).unwrap();
        assert!(device.identity().contains(device.slot.as_str()));
        assert_eq!(devices.find(&address.to_string()), Ok(address));
    }
}
