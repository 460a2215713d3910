//! Lists of words for CAKE, the same in each run.

use std::fmt::Write;

/// Pseudo-random numbers (splitmix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((bits ^ bits >> 31) % u64::try_from(end).unwrap()).unwrap()
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    /// A number of up to this many digits, every length equally likely.
    fn number(&mut self, digits: u32) -> usize {
        let digits = 1 + self.below(digits as usize);
        self.below(10_usize.pow(u32::try_from(digits).unwrap()))
    }
}

const ALONE: &[&str] = &[
    "unlimited",
    "autorate-ingress",
    "besteffort",
    "precedence",
    "diffserv8",
    "diffserv4",
    "diffserv",
    "diffserv3",
    "nowash",
    "wash",
    "split-gso",
    "no-split-gso",
    "flowblind",
    "srchost",
    "dsthost",
    "hosts",
    "flows",
    "dual-srchost",
    "dual-dsthost",
    "triple-isolate",
    "nat",
    "nonat",
    "ptm",
    "atm",
    "noatm",
    "raw",
    "conservative",
    "ipoa-vcmux",
    "ipoa-llcsnap",
    "bridged-vcmux",
    "bridged-llcsnap",
    "pppoa-vcmux",
    "pppoa-llc",
    "pppoe-vcmux",
    "pppoe-llcsnap",
    "pppoe-ptm",
    "bridged-ptm",
    "via-ethernet",
    "ethernet",
    "ether-vlan",
    "docsis",
    "ingress",
    "egress",
    "no-ack-filter",
    "ack-filter",
    "ack-filter-aggressive",
];

const PRESETS: &[&str] = &[
    "datacentre",
    "lan",
    "metro",
    "regional",
    "internet",
    "oceanic",
    "satellite",
    "interplanetary",
];

const RATE_UNITS: &[&str] = &[
    "", "bit", "kbit", "mbit", "gbit", "Kibit", "Mibit", "gibit", "KBIT", "Mbit", "bps", "KiBps",
    "MiBps",
];

/// Lists that both accept. In none of them do the overheads add up to more than `tc` allows.
pub(crate) fn lists(count: usize) -> Vec<String> {
    let mut chance = Chance(20_260_101);
    let mut lists: Vec<String> = ALONE
        .iter()
        .chain(PRESETS)
        .map(|word| (*word).to_owned())
        .collect();
    lists.extend(TRAPS.iter().map(|text| (*text).to_owned()));
    while lists.len() < count {
        let mut text = String::new();
        let mut preset = false;
        for _ in 0..=chance.below(9) {
            if chance.below(12) == 0 && !preset {
                preset = true;
                let _ = write!(text, " {}", chance.one(PRESETS));
            } else if chance.below(5) < 2 {
                let _ = write!(text, " {}", valued(&mut chance));
            } else {
                let _ = write!(text, " {}", chance.one(ALONE));
            }
        }
        // Sums above the limit are not tested here.
        if text.parse::<hosttune_qos::Cake>().is_ok() {
            lists.push(text.trim().to_owned());
        }
    }
    lists.truncate(count);
    lists
}

fn valued(chance: &mut Chance) -> String {
    match chance.below(6) {
        0 => {
            let unit = chance.one(RATE_UNITS);
            match chance.below(3) {
                0 => format!(
                    "bandwidth {}.{}{unit}",
                    1 + chance.number(4),
                    chance.number(6)
                ),
                1 => format!("bandwidth {}{unit}", 8 + chance.number(4)),
                _ => format!("bandwidth {}{unit}", 8 + chance.number(7)),
            }
        }
        1 => {
            let unit = chance.one(&["", "us", "ms", "s", "usecs", "MSEC", "sec"]);
            match chance.below(2) {
                0 => format!("rtt {}.{}{unit}", 1 + chance.number(3), chance.number(5)),
                _ => format!("rtt {}{unit}", 1 + chance.number(3)),
            }
        }
        2 => {
            let number = i64::try_from(chance.below(321)).unwrap() - 64;
            format!("overhead {number}")
        }
        3 => format!("mpu {}", chance.below(257)),
        4 => {
            let unit = chance.one(&["", "b", "k", "kb", "mb", "MB", "m", "kbit", "mbit"]);
            match chance.below(2) {
                0 => format!("memlimit {}.{}{unit}", chance.number(3), chance.number(4)),
                _ => format!("memlimit {}{unit}", chance.number(3)),
            }
        }
        _ => {
            let number = u32::try_from(chance.number(9)).unwrap();
            match chance.below(3) {
                0 => format!("fwmark {number}"),
                1 => format!("fwmark 0{number:o}"),
                _ => format!("fwmark {number:#x}"),
            }
        }
    }
}

/// Lists that some implementation has got wrong.
const TRAPS: &[&str] = &[
    "overhead 22 ethernet",
    "ethernet overhead 22",
    "overhead 18 docsis",
    "ethernet overhead 40",
    "ethernet raw",
    "raw ethernet",
    "raw overhead 10 ptm",
    "atm raw",
    "atm docsis",
    "atm ethernet",
    "overhead 256 ethernet overhead 7",
    "overhead -64",
    "overhead -0",
    "overhead +5",
    "rtt 200",
    "rtt 19",
    "rtt 4294967295",
    "rtt 1e+03s",
    "rtt 999.96ms",
    "satellite rtt 5ms",
    "rtt 5ms satellite",
    "bandwidth 100bps",
    "bandwidth 1e3kbit",
    "bandwidth 8",
    "bandwidth 15",
    "bandwidth .5mbit",
    "bandwidth 72057tbit",
    "bandwidth 1tibit",
    "bandwidth 5mbit unlimited",
    "unlimited autorate-ingress",
    "bandwidth 5mbit autorate-ingress",
    "autorate-ingress bandwidth 5mbit",
    "memlimit 0",
    "memlimit 32mb memlimit 0",
    "memlimit 4294967295",
    "memlimit 4000000000",
    "memlimit 33555432",
    "mpu 0",
    "mpu 256",
    "ethernet mpu 0",
    "fwmark 0",
    "fwmark 010",
    "fwmark 0xffffffff",
    "diffserv8 besteffort",
    "",
];

/// Words that are invalid, some for both, some only for `tc`, some only here.
const ODD: &[&str] = &[
    "bandwidth 100mbps",
    "bandwidth 5KBps",
    "bandwidth 1gbps",
    "bandwidth 1tbps",
    "bandwidth 0",
    "bandwidth 7bit",
    "bandwidth 0mbit",
    "bandwidth 1e30",
    "bandwidth 0x10mbit",
    "bandwidth inf",
    "bandwidth -5mbit",
    "bandwidth 10%",
    "bandwidth 10mb",
    "bandwidth 10m",
    "bandwidth mbit",
    "bandwidth unlimited",
    "bandwidth 1e",
    "rtt 0",
    "rtt -1ms",
    "rtt 1m",
    "rtt 5 ms",
    "rtt 5000s",
    "rtt ms",
    "rtt 0x10",
    "rtt nan",
    "overhead 257",
    "overhead -65",
    "overhead 1.5",
    "overhead 0x10",
    "overhead abc",
    "overhead 4294967296",
    "mpu 257",
    "mpu -1",
    "mpu 64b",
    "mpu 4294967296",
    "memlimit 4gb",
    "memlimit -1",
    "memlimit 1kib",
    "memlimit 4294967296",
    "memlimit inf",
    "memlimit 0x10",
    "fwmark 08",
    "fwmark -1",
    "fwmark 0x",
    "fwmark 0x100000000",
    "fwmark f",
    "fwmark +-1",
    "DIFFSERV4",
    "Nat",
    "ack_filter",
    "help",
    "difserv4",
    "ether",
    "nat,",
    "vlan",
    "dual-src",
    "lan lan",
    "lan metro",
    "bandwidth",
    "rtt",
    "overhead",
    "mpu",
    "memlimit",
    "fwmark",
    "overhead 250 docsis",
    "overhead 250 docsis overhead 3",
    "qdisc",
    "target 5ms",
    "ethernet ethernet ethernet ethernet ethernet ethernet ethernet",
];

/// Lists with odd words in them.
pub(crate) fn mixed(count: usize) -> Vec<String> {
    let mut chance = Chance(7);
    let mut lists: Vec<String> = ODD.iter().map(|words| (*words).to_owned()).collect();
    while lists.len() < count {
        let mut words = Vec::new();
        for _ in 0..=chance.below(4) {
            words.push(match chance.below(8) {
                0 => chance.one(ODD).to_owned(),
                1 => chance.one(PRESETS).to_owned(),
                2 | 3 => valued(&mut chance),
                _ => chance.one(ALONE).to_owned(),
            });
        }
        lists.push(words.join(" "));
    }
    lists
}

/// Numbers that C's functions accept and nobody means.
pub(crate) fn is_known(text: &str) -> bool {
    ["0x10", " inf", " nan", "4294967296"]
        .iter()
        .any(|number| text.contains(number))
}

/// What `tc` accepts, although its effect differs from its meaning, and what is therefore refused
/// here.
pub(crate) const REFUSED_HERE_ALONE: &[&str] = &[
    // Eight times what most people mean by it.
    "bandwidth 100mbps",
    "bandwidth 5KBps",
    // No limit at all, for which the word is `unlimited`.
    "bandwidth 0",
    "bandwidth 7bit",
    // The result depends on how the processor converts them to an integer.
    "bandwidth 1e30",
    "bandwidth inf",
    "bandwidth nan",
    "rtt -1ms",
    "rtt 5000s",
    "rtt inf",
    // Truncated to 32 bits, and therefore zero.
    "overhead 4294967296",
    "mpu 4294967296",
    // Nobody writes these numbers in hexadecimal.
    "bandwidth 0x10mbit",
    "rtt 0x10",
    "memlimit 0x10",
    // Sets the target to 1 µs, but not the round-trip time.
    "rtt 0",
    // The overheads of link-layer keywords can add up to more than the maximum.
    "overhead 250 docsis",
    "ethernet ethernet ethernet ethernet ethernet ethernet ethernet",
];
