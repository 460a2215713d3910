//! Human-readable numbers of bytes.

use std::fmt;

/// Formats bytes in the largest unit that gives a value of at least 1: `23.5 GiB`.
pub(crate) struct Bytes(pub(crate) u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        let Some(power) = self
            .0
            .checked_ilog2()
            .map(|bits| bits / 10)
            .filter(|power| *power > 0)
        else {
            return write!(f, "{} B", self.0);
        };
        // Tenths, rounded down so that the result never exceeds the real size. 128 bits, because ten times
        // the number may not fit into 64.
        let tenths = u128::from(self.0) * 10 / (1_u128 << (10 * power));
        let unit = UNITS[power as usize - 1];
        match (tenths / 10, tenths % 10) {
            (whole, 0) => write!(f, "{whole} {unit}"),
            (whole, tenth) => write!(f, "{whole}.{tenth} {unit}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_leaves_a_whole_number() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (64 << 20, "64 MiB"),
            (25_276_502_016, "23.5 GiB"),
            (u64::MAX, "15.9 EiB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }
}
