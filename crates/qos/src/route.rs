//! The device of the default route.

use hosttune_core::{Host, HostError, HostErrorKind};

const IPV4: &str = "/proc/net/route";
const IPV6: &str = "/proc/net/ipv6_route";

/// `RTF_UP` and `RTF_REJECT` of `linux/route.h`: the route is usable, or rejects packets.
const UP: u32 = 0x1;
const REJECT: u32 = 0x200;

/// The device of the default route with the lowest metric in the main table. IPv6 is used only
/// where IPv4 has no default route. `None` where there is no default route.
///
/// The routes are read from `/proc/net`, so that a captured tree gives the same answer as the
/// machine. Routes of other tables, which policy rules select, are not considered: whoever has
/// those knows the device and names it.
///
/// # Errors
/// If the files exist and cannot be read.
pub fn default_device(host: &Host) -> Result<Option<String>, HostError> {
    let table = |path| match host.read_text(path) {
        Ok(text) => Ok(text),
        Err(error) if *error.kind() == HostErrorKind::Missing => Ok(String::new()),
        Err(error) => Err(error),
    };
    if let Some(device) = in_ipv4(&table(IPV4)?) {
        return Ok(Some(device));
    }
    Ok(in_ipv6(&table(IPV6)?))
}

/// Parses `/proc/net/route`: `Iface Destination Gateway Flags RefCnt Use Metric Mask …`, with
/// addresses and flags in hexadecimal and the metric in decimal.
fn in_ipv4(table: &str) -> Option<String> {
    least_metric(table.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [device, destination, _, flags, _, _, metric, mask, ..] = fields[..] else {
            return None;
        };
        let flags = u32::from_str_radix(flags, 16).ok()?;
        (is_zero(destination) && is_zero(mask) && leads_out(flags))
            .then_some((metric.parse().ok()?, device))
    }))
}

/// Parses `/proc/net/ipv6_route`: destination, its prefix length, source, its prefix length, next
/// hop, metric, two counts, flags, device; all numbers are hexadecimal.
fn in_ipv6(table: &str) -> Option<String> {
    least_metric(table.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [
            destination,
            length,
            source,
            source_length,
            _,
            metric,
            _,
            _,
            flags,
            device,
        ] = fields[..]
        else {
            return None;
        };
        let any = [destination, length, source, source_length];
        let flags = u32::from_str_radix(flags, 16).ok()?;
        (any.into_iter().all(is_zero) && leads_out(flags))
            .then_some((u32::from_str_radix(metric, 16).ok()?, device))
    }))
}

/// Of two routes with the same metric the kernel uses the first one.
fn least_metric<'a>(routes: impl Iterator<Item = (u32, &'a str)>) -> Option<String> {
    let (_, device) = routes.min_by_key(|(metric, _)| *metric)?;
    // A route that rejects packets can be listed without a device.
    (device != "*" && device != "lo").then(|| device.to_owned())
}

fn is_zero(number: &str) -> bool {
    !number.is_empty() && number.bytes().all(|byte| byte == b'0')
}

fn leads_out(flags: u32) -> bool {
    flags & UP != 0 && flags & REJECT == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `cat /proc/net/route` with two default routes, Linux 6.12.
    const TWO: &str = "\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
wlan0\t00000000\t0102A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0
eth0\t00000000\t0102A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0
eth0\t0002A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0
";

    /// `cat /proc/net/ipv6_route` on the same machine, shortened.
    const SIX: &str = "\
fe800000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe80000000000000021122fffe334455 00000400 00000001 00000000 00000003     eth1
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo
";

    #[test]
    fn the_least_metric_wins() {
        assert_eq!(in_ipv4(TWO).as_deref(), Some("eth0"));
        assert_eq!(in_ipv6(SIX).as_deref(), Some("eth1"));
    }

    #[test]
    fn what_is_no_default_route_is_none() {
        assert_eq!(in_ipv4(""), None);
        let without = TWO.replace("00000000\t0102A8C0", "0A000000\t0102A8C0");
        assert_eq!(in_ipv4(&without), None);
        // `ip route add unreachable default`: the route is up, rejects packets, and has no device.
        let refusing = "*\t00000000\t00000000\t0201\t0\t0\t0\t00000000\t0\t0\t0\n";
        assert_eq!(in_ipv4(refusing), None);
        // An empty IPv6 table still has the route that rejects packets.
        assert_eq!(in_ipv6(SIX.lines().last().unwrap_or_default()), None);
        // A default route for one source only.
        let from_one = SIX.replace(
            " 00000000000000000000000000000000 00 fe80",
            " 20010db8000000000000000000000000 20 fe80",
        );
        assert_eq!(in_ipv6(&from_one), None);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read(text in "[ -~\t\n]{0,300}") {
            let _ = (in_ipv4(&text), in_ipv6(&text));
        }
    }
}
