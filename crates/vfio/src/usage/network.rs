//! Network interfaces of a device.

use std::collections::BTreeSet;
use std::fmt;

use hosttune_core::{Host, HostError};
use hosttune_pci::Address;

use super::nodes::{directories, is_absent};

/// A network interface of a device that is in use.
///
/// An interface in another network namespace has no name here: see
/// [`has_hidden_interface`](crate::DeviceUse::has_hidden_interface).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct InterfaceUse {
    /// Its name.
    pub name: String,
    /// The interfaces on top of it: bridges, bonds, VLANs.
    pub above: Vec<String>,
    /// Whether a default route leads through it or an interface on top of it.
    pub has_default_route: bool,
}

impl fmt::Display for InterfaceUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if !self.above.is_empty() {
            write!(f, " (below {})", self.above.join(", "))?;
        }
        Ok(())
    }
}

const IFF_UP: u32 = 1;
/// `RTF_UP`, and `RTF_REJECT` of IPv6 routes that lead nowhere.
const ROUTE_IS_UP: u32 = 1;
const ROUTE_REJECTS: u32 = 0x200;

/// The interfaces of a device that are up.
pub(crate) fn interface_uses(
    host: &Host,
    address: Address,
) -> Result<Vec<InterfaceUse>, HostError> {
    let names = interfaces(host, address)?;
    let mut uses = Vec::new();
    let mut routed = None;
    for name in names {
        if !is_up(host, &name)? {
            continue;
        }
        let above = all_above(host, &name)?;
        let routed = match &mut routed {
            Some(routed) => routed,
            none => none.insert(default_routes(host)?),
        };
        let has_default_route = above
            .iter()
            .chain([&name])
            .any(|name| routed.contains(name));
        uses.push(InterfaceUse {
            name,
            above,
            has_default_route,
        });
    }
    Ok(uses)
}

/// The names of the interfaces of a device, whether they are up or not.
fn interfaces(host: &Host, address: Address) -> Result<Vec<String>, HostError> {
    let mut names: Vec<String> = Vec::new();
    for directory in directories(host, address)? {
        let mut parts = directory.rsplit('/');
        if let (Some(name), Some("net")) = (parts.next(), parts.next()) {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// Whether a device has interfaces and all of them are in other network namespaces, such as one of a
/// container. The kernel shows the directory of a class while anything is in it, and entries of this class
/// only in their own namespace.
pub(crate) fn has_hidden_interface(host: &Host, address: Address) -> Result<bool, HostError> {
    for directory in directories(host, address)? {
        if directory.ends_with("/net") && host.list_if_there(&directory)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The names of the interfaces of a device and of those that vanish with them, such as VLANs.
pub(crate) fn interface_names(
    host: &Host,
    address: Address,
) -> Result<BTreeSet<String>, HostError> {
    let mut found = BTreeSet::new();
    for name in interfaces(host, address)? {
        for upper in all_above(host, &name)? {
            // A bridge or a bond stays without it.
            if host.exists(format!("/proc/net/vlan/{upper}"))? {
                found.insert(upper);
            }
        }
        found.insert(name);
    }
    Ok(found)
}

fn text(host: &Host, path: &str) -> Result<String, HostError> {
    match host.read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if is_absent(&error) => Ok(String::new()),
        Err(error) => Err(error),
    }
}

fn is_up(host: &Host, name: &str) -> Result<bool, HostError> {
    let flags = text(host, &format!("/sys/class/net/{name}/flags"))?;
    let flags = flags.trim().trim_start_matches("0x");
    // Flags that cannot be understood count as up, which refuses.
    Ok(u32::from_str_radix(flags, 16).map_or(!flags.is_empty(), |flags| flags & IFF_UP != 0))
}

/// The interfaces on top of one, also indirectly, sorted.
fn all_above(host: &Host, name: &str) -> Result<Vec<String>, HostError> {
    let mut found: BTreeSet<String> = BTreeSet::new();
    let mut left = vec![name.to_owned()];
    while let Some(name) = left.pop() {
        let names = match host.list(format!("/sys/class/net/{name}")) {
            Ok(names) => names,
            Err(error) if is_absent(&error) => continue,
            Err(error) => return Err(error),
        };
        for upper in names.iter().filter_map(|name| name.strip_prefix("upper_")) {
            if found.insert(upper.to_owned()) {
                left.push(upper.to_owned());
            }
        }
    }
    Ok(found.into_iter().collect())
}

/// The interfaces that have a default route in any table that `/proc/net` shows.
fn default_routes(host: &Host) -> Result<BTreeSet<String>, HostError> {
    let mut names = parse_ipv4(&text(host, "/proc/net/route")?);
    names.extend(parse_ipv6(&text(host, "/proc/net/ipv6_route")?));
    Ok(names)
}

/// `Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT`, all numbers but the
/// counters in hexadecimal.
fn parse_ipv4(table: &str) -> BTreeSet<String> {
    let route = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let flags = u32::from_str_radix(words.get(3)?, 16).ok()?;
        let is_default = words[1] == "00000000" && *words.get(7)? == "00000000";
        (is_default && flags & ROUTE_IS_UP != 0).then(|| words[0].to_owned())
    };
    table.lines().skip(1).filter_map(route).collect()
}

/// Destination, its length, source, its length, next hop, metric, reference count, use, flags,
/// interface.
fn parse_ipv6(table: &str) -> BTreeSet<String> {
    let route = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let flags = u32::from_str_radix(words.get(8)?, 16).ok()?;
        let is_default = words[1] == "00" && words[0].bytes().all(|byte| byte == b'0');
        let leads = flags & ROUTE_IS_UP != 0 && flags & ROUTE_REJECTS == 0;
        (is_default && leads).then(|| words.get(9).map(|name| (*name).to_owned()))?
    };
    table.lines().filter_map(route).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_route_is_one_to_everywhere_that_is_up() {
        // Debian 12, `cat /proc/net/route` with one address by DHCP.
        let table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                     eth0\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                     eth1\t0000A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
                     eth2\t00000000\t0100A8C0\t0002\t0\t0\t0\t00000000\t0\t0\t0\nrubbish\n";
        assert_eq!(parse_ipv4(table), ["eth0".to_owned()].into());
        let zeros = "0".repeat(32);
        let table = format!(
            "{zeros} 00 {zeros} 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003 eth0\n\
             {zeros} 00 {zeros} 00 {zeros} ffffffff 00000001 00000000 00200200 lo\n\
             fe800000000000000000000000000000 40 {zeros} 00 {zeros} 00000100 00000001 00000000 00000001 eth1\n"
        );
        assert_eq!(parse_ipv6(&table), ["eth0".to_owned()].into());
        assert!(parse_ipv4("").is_empty() && parse_ipv6("\n\n").is_empty());
    }
}
