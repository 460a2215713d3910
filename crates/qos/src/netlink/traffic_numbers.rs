//! Constants of `linux/pkt_sched.h`, `linux/pkt_cls.h` and `linux/gen_stats.h`, under their names there.
#![expect(missing_docs, reason = "the kernel's headers document them")]

pub const TCA_STATS_RATE_EST: u16 = 2;
pub const TCA_STATS_RATE_EST64: u16 = 5;

pub const TCA_ACT_STATS: u16 = 4;

pub const TC_H_ROOT: u32 = 0xffff_ffff;
pub const TC_H_INGRESS: u32 = 0xffff_fff1;
/// The handle of an ingress hook.
pub const INGRESS_HANDLE: u32 = 0xffff_0000;
/// The parent of ingress filters, for both kinds of hook.
pub const INGRESS_FILTERS: u32 = 0xffff_fff2;
/// The parent of the egress filters of `clsact`.
pub const EGRESS_FILTERS: u32 = 0xffff_fff3;
