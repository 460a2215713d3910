//! Device paths below `/sys/devices`, which show the buses that a device is attached to.
//!
//! The links in `/sys/block` and `/sys/class/net` contain that path, so a single readlink gives the
//! transport and the address without opening anything along the path.

use hosttune_pci::Address;

/// The components of a device's path, from the root of the device tree.
#[derive(Debug)]
pub(crate) struct DevicePath<'a>(Vec<&'a str>);

impl<'a> DevicePath<'a> {
    /// Parses a link target such as `../devices/pci0000:00/0000:00:02.0/virtio1/block/vda`.
    pub(crate) fn new(target: &'a str) -> Self {
        let names = target.split('/');
        let names = names.skip_while(|name| *name != "devices").skip(1);
        Self(names.filter(|name| !name.is_empty()).collect())
    }

    /// Whether the device is virtual, without hardware behind it.
    pub(crate) fn is_virtual(&self) -> bool {
        self.0.first() == Some(&"virtual")
    }

    /// Whether any component is this word followed by a number: `usb1`, `ata2`.
    pub(crate) fn has_numbered(&self, word: &str) -> bool {
        self.0.iter().any(|name| is_numbered(name, word))
    }

    /// Returns the address on the nearest bus: a USB interface (`1-1:1.0`), or else a PCI function
    /// (`0000:03:00.0`).
    pub(crate) fn bus_address(&self) -> Option<&'a str> {
        let last = |is: fn(&str) -> bool| self.0.iter().rev().find(|name| is(name)).copied();
        let usb = self.has_numbered("usb").then(|| last(is_usb_interface));
        usb.flatten().or_else(|| last(is_pci_address))
    }
}

fn is_numbered(name: &str, word: &str) -> bool {
    name.strip_prefix(word)
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
}

fn is_pci_address(name: &str) -> bool {
    name.parse::<Address>().is_ok()
}

/// Matches `1-1:1.0`, and `1-1.4.2:1.0` behind hubs.
fn is_usb_interface(name: &str) -> bool {
    let plain = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'.')
    };
    let parts = name.split_once(':').zip(name.split_once('-'));
    parts.is_some_and(|((port, interface), (bus, _))| {
        plain(bus) && plain(interface) && port.split('-').all(plain)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_bus_gives_the_address() {
        for (path, address) in [
            (
                "../../devices/pci0000:00/0000:00:10.4/0000:03:00.0/virtio6/net/eth1",
                Some("0000:03:00.0"),
            ),
            (
                "../../devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1.4/1-1.4:1.0/net/eth2",
                Some("1-1.4:1.0"),
            ),
            (
                "../../devices/pci0000:00/10000:e0:06.0/10000:e1:00.0/nvme/nvme0/nvme0n1",
                Some("10000:e1:00.0"),
            ),
            (
                "../../devices/platform/soc/fe300000.ethernet/net/end0",
                None,
            ),
            ("../../devices/virtual/net/lo", None),
            ("", None),
        ] {
            assert_eq!(DevicePath::new(path).bus_address(), address, "{path}");
        }
    }

    #[test]
    fn only_whole_names_count() {
        let path = DevicePath::new("../devices/pci0000:00/0000:00:1f.2/ata1/host1/block/sdb");
        assert!(path.has_numbered("ata") && path.has_numbered("host"));
        assert!(!path.has_numbered("at") && !path.has_numbered("block") && !path.is_virtual());
        assert!(DevicePath::new("../devices/virtual/net/lo").is_virtual());
        assert!(!DevicePath::new("virtual/net/lo").is_virtual());
    }
}
