//! Variables beneath `/proc/sys/net`.

use super::{
    Access, CatalogueEntry, INT_MAX, JIFFIES_SECONDS, LONG_MAX, Need, SWITCH, Scope, UINT_MAX,
    integer, mode, vector,
};
use crate::value::{Unit, ValueType};

macro_rules! core_doc {
    ($anchor:literal) => {
        concat!(
            "https://docs.kernel.org/admin-guide/sysctl/net.html#",
            $anchor
        )
    };
}

/// ip-sysctl has anchors for its sections only, not for each variable.
const IP: &str = "https://docs.kernel.org/networking/ip-sysctl.html#ip-variables";
const TCP: &str = "https://docs.kernel.org/networking/ip-sysctl.html#tcp-variables";
const UDP: &str = "https://docs.kernel.org/networking/ip-sysctl.html#udp-variables";
const GENERAL: &str =
    "https://docs.kernel.org/networking/ip-sysctl.html#proc-sys-net-ipv4-variables";
const IPV6: &str = "https://docs.kernel.org/networking/ip-sysctl.html#proc-sys-net-ipv6-variables";
const CONNTRACK: &str = "https://docs.kernel.org/networking/nf_conntrack-sysctl.html";
const BRIDGE: &str =
    "https://docs.kernel.org/networking/ip-sysctl.html#proc-sys-net-bridge-variables";

const PACKETS: ValueType = integer(0, INT_MAX, Unit::Packets);
const COUNT: ValueType = integer(0, INT_MAX, Unit::Count);
const BYTES: ValueType = integer(0, INT_MAX, Unit::Bytes);
const MICROSECONDS: ValueType = integer(0, INT_MAX, Unit::Microseconds);
const SECONDS: ValueType = integer(0, JIFFIES_SECONDS, Unit::Seconds);
const BYTE: ValueType = integer(0, 255, Unit::Count);
/// `SOCK_MIN_RCVBUF` and `SOCK_MIN_SNDBUF` (include/net/sock.h): one and two of the smallest packet
/// buffers including their metadata.
const RECEIVE_BUFFER: ValueType = integer(2304, INT_MAX, Unit::Bytes);
const SEND_BUFFER: ValueType = integer(4608, INT_MAX, Unit::Bytes);

const CONNTRACK_MODULE: Need = Need::ModuleForKey {
    module: "nf_conntrack",
};
const BRIDGE_MODULE: Need = Need::ModuleForKey {
    module: "br_netfilter",
};

/// `dev_disable_lro` in net/core/dev.c; the kernel never enables it again.
const NO_LRO: &str = "it disables large receive offload on the interfaces that forward, and a revert does not enable it again";
const NO_LEARNT_ROUTES: &str = "it removes the default routes that were learned from router advertisements, except on interfaces with accept_ra = 2, and disables large receive offload; a revert restores neither, so IPv6 may have no default route until the next advertisement";
const NO_IPV6: &str = "it removes the IPv6 addresses and routes, which ends every IPv6 connection; a revert restores link-local addresses only";
const NEW_ADDRESS: &str =
    "it adds a link-local address to the interface, which a revert does not remove";
/// `addrconf_init_auto_addrs` in net/ipv6/addrconf.c; mode 1 generates no address.
const MAKE_ADDRESSES: Option<&[i128]> = Some(&[0, 2, 3]);
const FORWARDS: Option<&[i128]> = Some(&[1]);
const FORWARDS6: Option<&[i128]> = Some(&[1, 2]);

const fn initial_only(
    key: &'static str,
    value_type: ValueType,
    documentation: &'static str,
    meaning: &'static str,
) -> CatalogueEntry {
    let scope = Scope::InitialNetworkNamespaceOnly;
    CatalogueEntry::new(key, value_type, scope, documentation, meaning)
}

const fn shown_elsewhere(
    key: &'static str,
    value_type: ValueType,
    documentation: &'static str,
    meaning: &'static str,
) -> CatalogueEntry {
    let scope = Scope::ReadOnlyOutsideInitialNetworkNamespace;
    CatalogueEntry::new(key, value_type, scope, documentation, meaning)
}

const fn each(
    key: &'static str,
    value_type: ValueType,
    documentation: &'static str,
    meaning: &'static str,
) -> CatalogueEntry {
    let scope = Scope::PerNetworkNamespace;
    CatalogueEntry::new(key, value_type, scope, documentation, meaning)
}

pub(super) const ENTRIES: &[CatalogueEntry] = &[
    // net.core
    initial_only("net.core.default_qdisc", ValueType::Word, core_doc!("default-qdisc"), "Default qdisc of new network devices; existing devices keep theirs.")
        .needs(Need::ModuleForValue { prefix: "sch_", offered: None, built_in: &["pfifo_fast", "pfifo", "bfifo", "noqueue", "mq"] })
        .since(3, 12),
    initial_only("net.core.netdev_max_backlog", PACKETS, core_doc!("netdev-max-backlog"), "Received packets that one CPU queues before it drops packets."),
    initial_only("net.core.netdev_budget", PACKETS, core_doc!("netdev-budget"), "Packets processed in one NAPI polling cycle over all interfaces."),
    initial_only("net.core.netdev_budget_usecs", MICROSECONDS, core_doc!("netdev-budget-usecs"), "Maximum duration of one NAPI polling cycle.").since(4, 12),
    initial_only("net.core.busy_poll", MICROSECONDS, core_doc!("busy-poll"), "Time that poll(2) and select(2) busy-wait for packets; 0 disables it. Increases power consumption.").since(3, 11),
    initial_only("net.core.busy_read", MICROSECONDS, core_doc!("busy-read"), "Time that a socket read busy-waits for packets; 0 disables it. Increases power consumption.").since(3, 11),
    initial_only("net.core.dev_weight", integer(1, INT_MAX, Unit::Packets), core_doc!("dev-weight"), "Packets that one device may process in one NAPI interrupt."),
    initial_only("net.core.rps_sock_flow_entries", integer(0, 1 << 29, Unit::Count), "https://docs.kernel.org/networking/scaling.html#rfs-configuration", "Number of flows that receive flow steering tracks.")
        .adjusts("Rounded up to a power of two."),
    initial_only("net.core.bpf_jit_enable", mode(2), core_doc!("bpf-jit-enable"), "BPF JIT compiler: 0 off, 1 on, 2 on with traces in the kernel log.")
        .security("2 writes compiled code and its addresses to the kernel log."),
    initial_only("net.core.bpf_jit_harden", mode(2), core_doc!("bpf-jit-harden"), "Hardening of compiled BPF programs: 0 off, 1 for unprivileged users, 2 for all.")
        .security("0 leaves compiled BPF programs open to JIT spraying; hardening makes them slower."),
    shown_elsewhere("net.core.rmem_max", RECEIVE_BUFFER, core_doc!("rmem-max"), "Maximum receive buffer that a socket may request."),
    shown_elsewhere("net.core.wmem_max", SEND_BUFFER, core_doc!("wmem-max"), "Maximum send buffer that a socket may request."),
    shown_elsewhere("net.core.rmem_default", RECEIVE_BUFFER, core_doc!("rmem-default"), "Default receive buffer of sockets other than TCP."),
    shown_elsewhere("net.core.wmem_default", SEND_BUFFER, core_doc!("wmem-default"), "Default send buffer of sockets other than TCP."),
    each("net.core.somaxconn", COUNT, TCP, "Maximum backlog of established connections that listen(2) may request."),
    CatalogueEntry::new("net.core.optmem_max", BYTES, Scope::PerNetworkNamespaceOnNewerKernels, core_doc!("optmem-max"), "Maximum ancillary buffer of a socket; also limits the pages pinned for zero-copy sending."),
    each("net.unix.max_dgram_qlen", COUNT, core_doc!("proc-sys-net-unix-parameters-for-unix-domain-sockets"), "Maximum number of datagrams queued on a Unix socket."),
    // TCP
    each("net.ipv4.tcp_congestion_control", ValueType::Word, TCP, "Congestion control algorithm of new connections.")
        .needs(Need::ModuleForValue { prefix: "tcp_", offered: Some("net.ipv4.tcp_available_congestion_control"), built_in: &["reno"] })
        .resets(&["net.ipv4.tcp_allowed_congestion_control"]),
    shown_elsewhere("net.ipv4.tcp_allowed_congestion_control", ValueType::WordSet, TCP, "Congestion control algorithms that unprivileged processes may select.")
        .needs(Need::ModuleForValue { prefix: "tcp_", offered: Some("net.ipv4.tcp_available_congestion_control"), built_in: &["reno"] }),
    each("net.ipv4.tcp_max_syn_backlog", COUNT, TCP, "Maximum number of half-open connections per listening socket."),
    each("net.ipv4.tcp_rmem", vector(3, 1, INT_MAX, Unit::Bytes), TCP, "TCP receive buffer: minimum, default, maximum."),
    each("net.ipv4.tcp_wmem", vector(3, 1, INT_MAX, Unit::Bytes), TCP, "TCP send buffer: minimum, default, maximum."),
    initial_only("net.ipv4.tcp_mem", vector(3, 0, LONG_MAX, Unit::Pages), TCP, "Memory of all TCP sockets: low threshold, pressure threshold, limit."),
    each("net.ipv4.tcp_mtu_probing", mode(2), TCP, "Path MTU probing: 0 off, 1 after an ICMP black hole was detected, 2 always.").since(2, 6),
    each("net.ipv4.tcp_fastopen", integer(0, 0x607, Unit::Mask), TCP, "TCP Fast Open: bit 0 for clients, bit 1 for servers."),
    each("net.ipv4.tcp_slow_start_after_idle", SWITCH, TCP, "Whether the congestion window is reset after an idle period."),
    each("net.ipv4.tcp_notsent_lowat", integer(0, UINT_MAX, Unit::Bytes), TCP, "Amount of unsent data below which a socket becomes writable again.").since(3, 12),
    each("net.ipv4.tcp_tw_reuse", mode(2), TCP, "Reuse of TIME-WAIT sockets for new connections: 0 off, 1 on, 2 on loopback only."),
    each("net.ipv4.tcp_fin_timeout", SECONDS, TCP, "Time for which an orphaned connection stays in FIN-WAIT-2."),
    each("net.ipv4.tcp_keepalive_time", SECONDS, TCP, "Idle time before the first keepalive probe is sent."),
    each("net.ipv4.tcp_keepalive_intvl", SECONDS, TCP, "Interval between keepalive probes."),
    each("net.ipv4.tcp_keepalive_probes", BYTE, TCP, "Unanswered keepalive probes before a connection is dropped."),
    each("net.ipv4.tcp_timestamps", mode(2), TCP, "TCP timestamps: 0 off, 1 with a random offset per connection, 2 without.")
        .security("2 lets remote hosts determine the uptime."),
    each("net.ipv4.tcp_sack", SWITCH, TCP, "Selective acknowledgements."),
    each("net.ipv4.tcp_dsack", SWITCH, TCP, "Duplicate selective acknowledgements."),
    each("net.ipv4.tcp_ecn", mode(5), TCP, "Explicit congestion notification: 0 off, 1 requested and accepted, 2 accepted only; 3 to 5 on kernels with accurate ECN."),
    each("net.ipv4.tcp_ecn_fallback", SWITCH, TCP, "Whether a connection that fails with ECN is retried without it.").since(4, 2),
    each("net.ipv4.tcp_window_scaling", SWITCH, TCP, "Window scaling, which allows windows larger than 64 KiB."),
    each("net.ipv4.tcp_syncookies", mode(2), TCP, "SYN cookies: 0 off, 1 when the SYN backlog overflows, 2 always.")
        .security("0 lets a SYN flood block new connections."),
    each("net.ipv4.tcp_max_tw_buckets", COUNT, TCP, "Maximum number of TIME-WAIT sockets."),
    initial_only("net.ipv4.tcp_max_orphans", COUNT, TCP, "Maximum number of orphaned connections (not attached to any process)."),
    each("net.ipv4.tcp_syn_retries", integer(1, 127, Unit::Count), TCP, "How many times an initial SYN is retransmitted."),
    each("net.ipv4.tcp_synack_retries", BYTE, TCP, "How many times a SYN-ACK is retransmitted."),
    each("net.ipv4.tcp_retries1", BYTE, TCP, "Retransmissions before TCP reports the problem to the network layer."),
    each("net.ipv4.tcp_retries2", BYTE, TCP, "Retransmissions before an established connection is dropped."),
    each("net.ipv4.tcp_orphan_retries", BYTE, TCP, "Retransmissions before a locally closed connection is dropped."),
    each("net.ipv4.tcp_autocorking", SWITCH, TCP, "Whether small writes are coalesced while a packet is still queued.").since(3, 14),
    each("net.ipv4.tcp_no_metrics_save", SWITCH, TCP, "Whether the metrics of a connection are discarded when it closes."),
    each("net.ipv4.tcp_rfc1337", SWITCH, TCP, "Whether TIME-WAIT sockets drop RST segments."),
    each("net.ipv4.tcp_abort_on_overflow", SWITCH, TCP, "Whether a full accept queue resets the connection."),
    each("net.ipv4.tcp_limit_output_bytes", BYTES, TCP, "Maximum amount of data of one socket in the queues below TCP.").since(3, 6),
    each("net.ipv4.tcp_moderate_rcvbuf", SWITCH, TCP, "Whether the receive buffer is tuned automatically."),
    each("net.ipv4.tcp_adv_win_scale", integer(-31, 31, Unit::Count), TCP, "Share of the receive buffer reserved for overhead; no effect since Linux 6.6."),
    each("net.ipv4.tcp_early_retrans", mode(4), TCP, "Tail loss probes: 0 off, 3 and 4 on."),
    each("net.ipv4.tcp_recovery", integer(0, 7, Unit::Mask), TCP, "Features of RACK loss detection to enable.").since(4, 4),
    each("net.ipv4.tcp_base_mss", integer(48, 65_535, Unit::Bytes), TCP, "Segment size at which MTU probing starts."),
    each("net.ipv4.tcp_min_snd_mss", integer(48, 65_535, Unit::Bytes), TCP, "Minimum segment size for sending."),
    // UDP
    initial_only("net.ipv4.udp_mem", vector(3, 0, LONG_MAX, Unit::Pages), UDP, "Memory of all UDP sockets: low threshold, pressure threshold, limit."),
    each("net.ipv4.udp_rmem_min", integer(1, INT_MAX, Unit::Bytes), UDP, "Receive buffer that a UDP socket may use even under memory pressure."),
    each("net.ipv4.udp_wmem_min", integer(1, INT_MAX, Unit::Bytes), UDP, "Not used by the kernel; kept for compatibility."),
    // IPv4
    each("net.ipv4.ip_local_port_range", vector(2, 1, 65_535, Unit::Port), IP, "Local ports of outgoing connections: first, last. The first must be above ip_unprivileged_port_start."),
    each("net.ipv4.ip_local_reserved_ports", ValueType::RangeList, IP, "Ports excluded from automatic assignment to outgoing connections."),
    each("net.ipv4.ip_unprivileged_port_start", integer(0, 65_535, Unit::Port), IP, "First port that can be bound without privileges. Must be below the first port of ip_local_port_range.")
        .security("A lower value lets any user bind ports that clients trust."),
    each("net.ipv4.ip_forward", SWITCH, GENERAL, "Whether IPv4 packets are forwarded on all interfaces.")
        .resets(&["net.ipv4.conf.*.forwarding", "net.ipv4.conf.all.accept_redirects"])
        .side_effects(FORWARDS, NO_LRO)
        .security("1 makes the machine a router; it also disables accepting redirects."),
    each("net.ipv4.ip_default_ttl", integer(1, 255, Unit::Count), GENERAL, "Initial TTL of outgoing packets."),
    each("net.ipv4.ip_nonlocal_bind", SWITCH, IP, "Whether a socket may bind to an address that is not local."),
    each("net.ipv4.ip_no_pmtu_disc", mode(3), GENERAL, "Path MTU discovery: 0 on, 1 to 3 increasingly off."),
    each("net.ipv4.ip_early_demux", SWITCH, IP, "Whether the socket of a received packet is looked up before its route."),
    each("net.ipv4.icmp_echo_ignore_all", SWITCH, IP, "Whether ICMP echo requests are ignored."),
    each("net.ipv4.icmp_echo_ignore_broadcasts", SWITCH, IP, "Whether ICMP echo requests to broadcast addresses are ignored.")
        .security("0 lets the machine be used as an amplifier for floods."),
    each("net.ipv4.icmp_ignore_bogus_error_responses", SWITCH, IP, "Whether bogus ICMP errors are not logged."),
    each("net.ipv4.route.flush", integer(-1, INT_MAX, Unit::Seconds), GENERAL, "Writing flushes the routing cache.").access(Access::WriteOnly),
    initial_only("net.ipv4.neigh.default.gc_thresh1", COUNT, GENERAL, "Number of neighbour entries below which none is garbage-collected."),
    initial_only("net.ipv4.neigh.default.gc_thresh2", COUNT, GENERAL, "Number of neighbour entries above which garbage collection becomes aggressive."),
    initial_only("net.ipv4.neigh.default.gc_thresh3", COUNT, GENERAL, "Maximum number of neighbour entries."),
    // Per interface, IPv4. An entry for `all` must come before the one for `*`.
    each("net.ipv4.conf.*.forwarding", SWITCH, IP, "Whether packets received on this interface are forwarded.")
        .side_effects(FORWARDS, NO_LRO)
        .security("1 makes the machine a router on this interface."),
    each("net.ipv4.conf.*.rp_filter", mode(2), IP, "Source address validation: 0 off, 1 strict, 2 loose. The larger of this and `all` applies.")
        .security("0 accepts packets with forged source addresses."),
    each("net.ipv4.conf.*.accept_redirects", SWITCH, IP, "Whether ICMP redirects are accepted.")
        .security("1 lets other hosts on the link change the routes of this machine."),
    each("net.ipv4.conf.*.secure_redirects", SWITCH, IP, "Whether redirects are accepted only from known gateways."),
    each("net.ipv4.conf.*.send_redirects", SWITCH, IP, "Whether a router sends ICMP redirects."),
    each("net.ipv4.conf.*.accept_source_route", SWITCH, IP, "Whether packets with a source route are accepted.")
        .security("1 lets a sender choose a route that bypasses filters."),
    each("net.ipv4.conf.*.log_martians", SWITCH, IP, "Whether packets with impossible addresses are logged."),
    each("net.ipv4.conf.*.arp_ignore", mode(8), IP, "Which ARP requests are not answered."),
    each("net.ipv4.conf.*.arp_announce", mode(2), IP, "Which source address ARP requests use."),
    each("net.ipv4.conf.*.arp_filter", SWITCH, IP, "Whether ARP requests are answered only on the interface that routes to the sender."),
    each("net.ipv4.conf.*.proxy_arp", SWITCH, IP, "Whether ARP requests are answered on behalf of hosts on other interfaces."),
    each("net.ipv4.conf.*.promote_secondaries", SWITCH, IP, "Whether a secondary address is promoted when the primary address is removed."),
    each("net.ipv4.conf.*.route_localnet", SWITCH, IP, "Whether 127.0.0.0/8 may be routed.")
        .security("1 lets other hosts on the link reach services bound to loopback."),
    // IPv6
    each("net.ipv6.bindv6only", SWITCH, IPV6, "Whether IPv6 sockets accept IPv6 only."),
    initial_only("net.ipv6.neigh.default.gc_thresh1", COUNT, GENERAL, "Number of IPv6 neighbour entries below which none is garbage-collected."),
    initial_only("net.ipv6.neigh.default.gc_thresh2", COUNT, GENERAL, "Number of IPv6 neighbour entries above which garbage collection becomes aggressive."),
    initial_only("net.ipv6.neigh.default.gc_thresh3", COUNT, GENERAL, "Maximum number of IPv6 neighbour entries."),
    each("net.ipv6.conf.all.disable_ipv6", SWITCH, IPV6, "Whether IPv6 is disabled on all interfaces.")
        .resets(&["net.ipv6.conf.*.disable_ipv6"])
        .side_effects(FORWARDS, NO_IPV6)
        .caution("1 removes all IPv6 addresses and routes; writing 0 restores link-local ones only."),
    each("net.ipv6.conf.all.forwarding", mode(2), IPV6, "Whether IPv6 packets are forwarded on all interfaces.")
        .resets(&["net.ipv6.conf.*.forwarding"])
        .side_effects(FORWARDS6, NO_LEARNT_ROUTES)
        .caution("Enabling it removes default routes learned from router advertisements.")
        .security("1 makes the machine a router."),
    each("net.ipv6.conf.*.disable_ipv6", SWITCH, IPV6, "Whether IPv6 is disabled on this interface.")
        .side_effects(FORWARDS, NO_IPV6)
        .caution("1 removes the IPv6 addresses and routes of the interface; writing 0 restores link-local ones only."),
    each("net.ipv6.conf.*.forwarding", mode(2), IPV6, "Whether packets received on this interface are forwarded.")
        .side_effects(FORWARDS6, NO_LEARNT_ROUTES)
        .security("1 makes the machine a router on this interface."),
    each("net.ipv6.conf.*.mtu", integer(1280, INT_MAX, Unit::Bytes), IPV6, "Largest IPv6 packet sent on this interface; at most the MTU of the interface."),
    each("net.ipv6.conf.all.addr_gen_mode", mode(3), IPV6, "How link-local addresses are generated on all interfaces; the modes are those of a single interface.").since(4, 11)
        .resets(&["net.ipv6.conf.*.addr_gen_mode"])
        .side_effects(MAKE_ADDRESSES, NEW_ADDRESS),
    each("net.ipv6.conf.*.addr_gen_mode", mode(3), IPV6, "How link-local addresses are generated: 0 from the hardware address, 1 not at all, 2 from the stable secret, 3 from a random secret.").since(4, 11)
        .side_effects(MAKE_ADDRESSES, NEW_ADDRESS),
    each("net.ipv6.conf.*.accept_ra", mode(2), IPV6, "Router advertisements: 0 ignored, 1 accepted unless forwarding, 2 always accepted.")
        .security("If accepted, other hosts on the link can change the routes of this machine."),
    each("net.ipv6.conf.*.accept_redirects", SWITCH, IPV6, "Whether ICMPv6 redirects are accepted.")
        .security("1 lets other hosts on the link change the routes of this machine."),
    each("net.ipv6.conf.*.accept_source_route", integer(-1, INT_MAX, Unit::Mode), IPV6, "Routing headers: below 0 rejected, otherwise only type 2 accepted.")
        .security("Accepted routing headers let a sender choose a route that bypasses filters."),
    each("net.ipv6.conf.*.autoconf", SWITCH, IPV6, "Whether addresses are configured from advertised prefixes."),
    each("net.ipv6.conf.*.use_tempaddr", integer(-1, 2, Unit::Mode), IPV6, "Temporary addresses: below 1 off, 1 generated, 2 generated and preferred.")
        .security("Without them, the address identifies the machine in every network."),
    // Netfilter and bridges
    shown_elsewhere("net.netfilter.nf_conntrack_max", COUNT, CONNTRACK, "Maximum number of tracked connections.").needs(CONNTRACK_MODULE),
    shown_elsewhere("net.netfilter.nf_conntrack_buckets", integer(1, INT_MAX, Unit::Count), CONNTRACK, "Number of buckets in the hash table of tracked connections.").needs(CONNTRACK_MODULE)
        .adjusts("Rounded up so that the table fills whole pages."),
    each("net.netfilter.nf_conntrack_tcp_timeout_established", SECONDS, CONNTRACK, "Time for which an idle established TCP connection stays tracked.").needs(CONNTRACK_MODULE),
    each("net.netfilter.nf_conntrack_tcp_timeout_time_wait", SECONDS, CONNTRACK, "Time for which a TCP connection in TIME-WAIT stays tracked.").needs(CONNTRACK_MODULE),
    each("net.bridge.bridge-nf-call-iptables", SWITCH, BRIDGE, "Whether bridged IPv4 packets pass through iptables.").needs(BRIDGE_MODULE),
    each("net.bridge.bridge-nf-call-ip6tables", SWITCH, BRIDGE, "Whether bridged IPv6 packets pass through ip6tables.").needs(BRIDGE_MODULE),
];
