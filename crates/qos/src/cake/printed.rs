//! Formatting the options of CAKE, both as `tc` input and as `tc` prints them.

use std::fmt::{self, Write};

use super::{Bandwidth, Cake, Direction, Framing, MarkMask, MemoryLimit, MinimumPacket};

impl Cake {
    /// These options as `tc qdisc show` prints them, with the same rounding. `tc` accepts this text
    /// only if the bandwidth is limited.
    pub fn shown(&self) -> String {
        let mut text = String::from("bandwidth ");
        match self.bandwidth {
            Bandwidth::Unlimited => text += "unlimited ",
            Bandwidth::Limited(rate) => text += &format!("{} ", rate.shown()),
        }
        for (word, there) in [
            ("autorate-ingress", self.autorate_ingress),
            (self.diffserv.keyword(), true),
            (self.flows.keyword(), true),
            (if self.nat { "nat" } else { "nonat" }, true),
            (if self.wash { "wash" } else { "nowash" }, true),
            ("ingress", self.direction == Direction::Ingress),
            (self.ack_filter.keyword(), true),
            (
                if self.split_gso {
                    "split-gso"
                } else {
                    "no-split-gso"
                },
                true,
            ),
        ] {
            if there {
                text += word;
                text.push(' ');
            }
        }
        text += &format!("rtt {} ", self.rtt.shown());
        if self.raw {
            text += "raw ";
        }
        if !(self.raw && self.framing == Framing::Whole) {
            text += &format!("{} ", self.framing);
        }
        text += &format!("overhead {} ", self.overhead);
        if self.mpu != MinimumPacket::NONE {
            text += &format!("mpu {} ", self.mpu);
        }
        if self.memlimit != MemoryLimit::AUTOMATIC {
            text += &format!("memlimit {} ", self.memlimit.shown());
        }
        if self.fwmark != MarkMask::NONE {
            text += &format!("fwmark {} ", self.fwmark);
        }
        text
    }
}

impl fmt::Display for Cake {
    /// All options, or with `{:#}` only those that differ from the default. Both parse back to the
    /// same value, here and in `tc`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = !formatter.alternate();
        let default = Self::default();
        let mut text = String::new();
        let mut say = |needed: bool, words: &dyn fmt::Display| {
            if needed {
                // Writing to a string cannot fail.
                let _ = write!(text, " {words}");
            }
        };
        match self.bandwidth {
            Bandwidth::Unlimited => say(all, &"unlimited"),
            Bandwidth::Limited(rate) => say(true, &format_args!("bandwidth {rate}")),
        }
        say(self.autorate_ingress, &"autorate-ingress");
        say(all || self.diffserv != default.diffserv, &self.diffserv);
        say(all || self.flows != default.flows, &self.flows);
        say(all || self.nat, if self.nat { &"nat" } else { &"nonat" });
        say(
            all || self.wash,
            if self.wash { &"wash" } else { &"nowash" },
        );
        say(all || self.direction != default.direction, &self.direction);
        say(
            all || self.ack_filter != default.ack_filter,
            &self.ack_filter,
        );
        say(
            all || !self.split_gso,
            if self.split_gso {
                &"split-gso"
            } else {
                &"no-split-gso"
            },
        );
        say(
            all || self.rtt != default.rtt,
            &format_args!("rtt {}", self.rtt),
        );
        // This must come before the words that it would undo.
        let plain = self.overhead == default.overhead;
        say(self.raw && (all || !plain), &"raw");
        say(all || self.framing != default.framing, &self.framing);
        say(
            all || !self.raw || !plain,
            &format_args!("overhead {}", self.overhead),
        );
        say(self.mpu != default.mpu, &format_args!("mpu {}", self.mpu));
        say(
            self.memlimit != default.memlimit,
            &format_args!("memlimit {}", self.memlimit),
        );
        say(
            self.fwmark != default.fwmark,
            &format_args!("fwmark {}", self.fwmark),
        );
        formatter.write_str(text.trim_start())
    }
}
