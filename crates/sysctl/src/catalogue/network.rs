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

/// ip-sysctl has anchors for its parts only, not for each variable.
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
/// SOCK_MIN_RCVBUF and SOCK_MIN_SNDBUF (include/net/sock.h): one and two of the smallest packet
/// buffers with their bookkeeping.
const RECEIVE_BUFFER: ValueType = integer(2304, INT_MAX, Unit::Bytes);
const SEND_BUFFER: ValueType = integer(4608, INT_MAX, Unit::Bytes);

const CONNTRACK_MODULE: Need = Need::ModuleForKey {
    module: "nf_conntrack",
};
const BRIDGE_MODULE: Need = Need::ModuleForKey {
    module: "br_netfilter",
};

/// `dev_disable_lro` in net/core/dev.c: nothing turns it on again.
const NO_LRO: &str = "it turns large receive offload off on the interfaces that forward, and a revert does not turn it on again";
const NO_LEARNT_ROUTES: &str = "it removes the default routes that were learnt from router advertisements, of every interface but those with accept_ra = 2, and turns large receive offload off, and a revert restores neither: until the next advertisement IPv6 may be without a way out";
const NO_IPV6: &str = "it removes the IPv6 addresses and routes, which ends every IPv6 connection; a revert brings back link-local addresses only";
const NEW_ADDRESS: &str =
    "it makes the interface a new link-local address, which a revert does not take away";
/// `addrconf_init_auto_addrs` in net/ipv6/addrconf.c; 1 makes none.
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
    initial_only("net.core.default_qdisc", ValueType::Word, core_doc!("default-qdisc"), "Queueing discipline that a new network device gets; devices that exist keep theirs.")
        .needs(Need::ModuleForValue { prefix: "sch_", offered: None, built_in: &["pfifo_fast", "pfifo", "bfifo", "noqueue", "mq"] })
        .since(3, 12),
    initial_only("net.core.netdev_max_backlog", PACKETS, core_doc!("netdev-max-backlog"), "Packets that one CPU queues on receipt before it drops."),
    initial_only("net.core.netdev_budget", PACKETS, core_doc!("netdev-budget"), "Packets taken in one polling cycle over all interfaces."),
    initial_only("net.core.netdev_budget_usecs", MICROSECONDS, core_doc!("netdev-budget-usecs"), "Time that one polling cycle may take.").since(4, 12),
    initial_only("net.core.busy_poll", MICROSECONDS, core_doc!("busy-poll"), "Time that poll and select wait busily for packets; 0 is off. Costs power.").since(3, 11),
    initial_only("net.core.busy_read", MICROSECONDS, core_doc!("busy-read"), "Time that a socket read waits busily for packets; 0 is off. Costs power.").since(3, 11),
    initial_only("net.core.dev_weight", integer(1, INT_MAX, Unit::Packets), core_doc!("dev-weight"), "Packets that one device may hand over in one interrupt."),
    initial_only("net.core.rps_sock_flow_entries", integer(0, 1 << 29, Unit::Count), "https://docs.kernel.org/networking/scaling.html#rfs-configuration", "Flows that receive flow steering keeps track of.")
        .adjusts("Rounded up to a power of two."),
    initial_only("net.core.bpf_jit_enable", mode(2), core_doc!("bpf-jit-enable"), "Whether BPF programs are compiled: 0 no, 1 yes, 2 with traces in the log.")
        .security("2 shows compiled code and its addresses in the kernel log."),
    initial_only("net.core.bpf_jit_harden", mode(2), core_doc!("bpf-jit-harden"), "Hardening of compiled BPF programs: 0 off, 1 for unprivileged users, 2 for all.")
        .security("0 leaves compiled BPF programs open to spraying attacks; hardening costs their speed."),
    shown_elsewhere("net.core.rmem_max", RECEIVE_BUFFER, core_doc!("rmem-max"), "Greatest receive buffer that a socket may ask for."),
    shown_elsewhere("net.core.wmem_max", SEND_BUFFER, core_doc!("wmem-max"), "Greatest send buffer that a socket may ask for."),
    shown_elsewhere("net.core.rmem_default", RECEIVE_BUFFER, core_doc!("rmem-default"), "Receive buffer of a new socket that is not TCP."),
    shown_elsewhere("net.core.wmem_default", SEND_BUFFER, core_doc!("wmem-default"), "Send buffer of a new socket that is not TCP."),
    each("net.core.somaxconn", COUNT, TCP, "Greatest queue of accepted connections that listen(2) may ask for."),
    CatalogueEntry::new("net.core.optmem_max", BYTES, Scope::PerNetworkNamespaceOnNewerKernels, core_doc!("optmem-max"), "Greatest ancillary buffer of a socket; also bounds pinned pages of zero-copy sending."),
    each("net.unix.max_dgram_qlen", COUNT, core_doc!("proc-sys-net-unix-parameters-for-unix-domain-sockets"), "Datagrams queued at a Unix socket."),
    // TCP
    each("net.ipv4.tcp_congestion_control", ValueType::Word, TCP, "Congestion control of new connections.")
        .needs(Need::ModuleForValue { prefix: "tcp_", offered: Some("net.ipv4.tcp_available_congestion_control"), built_in: &["reno"] })
        .resets(&["net.ipv4.tcp_allowed_congestion_control"]),
    shown_elsewhere("net.ipv4.tcp_allowed_congestion_control", ValueType::WordSet, TCP, "Congestion controls that unprivileged processes may choose.")
        .needs(Need::ModuleForValue { prefix: "tcp_", offered: Some("net.ipv4.tcp_available_congestion_control"), built_in: &["reno"] }),
    each("net.ipv4.tcp_max_syn_backlog", COUNT, TCP, "Half-open connections remembered per listening socket."),
    each("net.ipv4.tcp_rmem", vector(3, 1, INT_MAX, Unit::Bytes), TCP, "TCP receive buffer: least, initial, greatest."),
    each("net.ipv4.tcp_wmem", vector(3, 1, INT_MAX, Unit::Bytes), TCP, "TCP send buffer: least, initial, greatest."),
    initial_only("net.ipv4.tcp_mem", vector(3, 0, LONG_MAX, Unit::Pages), TCP, "Memory of all TCP sockets: no pressure, pressure, limit."),
    each("net.ipv4.tcp_mtu_probing", mode(2), TCP, "Probing for the path MTU: 0 off, 1 after a black hole was found, 2 always.").since(2, 6),
    each("net.ipv4.tcp_fastopen", integer(0, 0x607, Unit::Mask), TCP, "TCP Fast Open: bit 0 as client, bit 1 as server."),
    each("net.ipv4.tcp_slow_start_after_idle", SWITCH, TCP, "Whether the congestion window falls back after an idle time."),
    each("net.ipv4.tcp_notsent_lowat", integer(0, UINT_MAX, Unit::Bytes), TCP, "Unsent bytes below which a socket is writable again.").since(3, 12),
    each("net.ipv4.tcp_tw_reuse", mode(2), TCP, "Reuse of TIME-WAIT sockets for new connections: 0 off, 1 on, 2 on loopback only."),
    each("net.ipv4.tcp_fin_timeout", SECONDS, TCP, "Time that an orphaned connection stays in FIN-WAIT-2."),
    each("net.ipv4.tcp_keepalive_time", SECONDS, TCP, "Idle time before the first keepalive probe."),
    each("net.ipv4.tcp_keepalive_intvl", SECONDS, TCP, "Time between keepalive probes."),
    each("net.ipv4.tcp_keepalive_probes", BYTE, TCP, "Unanswered keepalive probes before a connection is given up."),
    each("net.ipv4.tcp_timestamps", mode(2), TCP, "TCP timestamps: 0 off, 1 with a random offset per connection, 2 without.")
        .security("2 lets others read the time since boot."),
    each("net.ipv4.tcp_sack", SWITCH, TCP, "Selective acknowledgements."),
    each("net.ipv4.tcp_dsack", SWITCH, TCP, "Duplicate selective acknowledgements."),
    each("net.ipv4.tcp_ecn", mode(5), TCP, "Explicit congestion notification: 0 off, 1 asked for, 2 when asked; 3 to 5 on kernels with accurate ECN."),
    each("net.ipv4.tcp_ecn_fallback", SWITCH, TCP, "Whether a connection that failed with ECN is tried without.").since(4, 2),
    each("net.ipv4.tcp_window_scaling", SWITCH, TCP, "Windows beyond 64 KiB."),
    each("net.ipv4.tcp_syncookies", mode(2), TCP, "SYN cookies: 0 off, 1 when the queue overflows, 2 always.")
        .security("0 lets a flood of SYN packets stop new connections."),
    each("net.ipv4.tcp_max_tw_buckets", COUNT, TCP, "TIME-WAIT sockets held at once."),
    initial_only("net.ipv4.tcp_max_orphans", COUNT, TCP, "Connections without a process held at once."),
    each("net.ipv4.tcp_syn_retries", integer(1, 127, Unit::Count), TCP, "Times that an initial SYN is sent again."),
    each("net.ipv4.tcp_synack_retries", BYTE, TCP, "Times that a SYN-ACK is sent again."),
    each("net.ipv4.tcp_retries1", BYTE, TCP, "Retransmissions before the network layer is told."),
    each("net.ipv4.tcp_retries2", BYTE, TCP, "Retransmissions before a live connection is given up."),
    each("net.ipv4.tcp_orphan_retries", BYTE, TCP, "Retransmissions before a connection closed by us is given up."),
    each("net.ipv4.tcp_autocorking", SWITCH, TCP, "Whether small writes are joined while a packet is still queued.").since(3, 14),
    each("net.ipv4.tcp_no_metrics_save", SWITCH, TCP, "Whether connection metrics are forgotten at the end of a connection."),
    each("net.ipv4.tcp_rfc1337", SWITCH, TCP, "Whether TIME-WAIT sockets drop RST segments."),
    each("net.ipv4.tcp_abort_on_overflow", SWITCH, TCP, "Whether a full accept queue resets the connection."),
    each("net.ipv4.tcp_limit_output_bytes", BYTES, TCP, "Bytes of one socket in the queues below TCP.").since(3, 6),
    each("net.ipv4.tcp_moderate_rcvbuf", SWITCH, TCP, "Whether the receive buffer grows by itself."),
    each("net.ipv4.tcp_adv_win_scale", integer(-31, 31, Unit::Count), TCP, "Share of the receive buffer kept for overhead; without effect since Linux 6.6."),
    each("net.ipv4.tcp_early_retrans", mode(4), TCP, "Tail loss probes: 0 off, 3 and 4 on."),
    each("net.ipv4.tcp_recovery", integer(0, 7, Unit::Mask), TCP, "Features of RACK loss detection.").since(4, 4),
    each("net.ipv4.tcp_base_mss", integer(48, 65_535, Unit::Bytes), TCP, "Segment size at which MTU probing begins."),
    each("net.ipv4.tcp_min_snd_mss", integer(48, 65_535, Unit::Bytes), TCP, "Least segment size used for sending."),
    // UDP
    initial_only("net.ipv4.udp_mem", vector(3, 0, LONG_MAX, Unit::Pages), UDP, "Memory of all UDP sockets: no pressure, pressure, limit."),
    each("net.ipv4.udp_rmem_min", integer(1, INT_MAX, Unit::Bytes), UDP, "Receive buffer that a UDP socket keeps under pressure."),
    each("net.ipv4.udp_wmem_min", integer(1, INT_MAX, Unit::Bytes), UDP, "Unused by the kernel, kept for compatibility."),
    // IPv4
    each("net.ipv4.ip_local_port_range", vector(2, 1, 65_535, Unit::Port), IP, "Ports given to outgoing connections: first, last. The first lies above ip_unprivileged_port_start."),
    each("net.ipv4.ip_local_reserved_ports", ValueType::RangeList, IP, "Ports never given to outgoing connections."),
    each("net.ipv4.ip_unprivileged_port_start", integer(0, 65_535, Unit::Port), IP, "First port that needs no privilege. Below the first of ip_local_port_range.")
        .security("A lower number lets any user serve ports that clients trust."),
    each("net.ipv4.ip_forward", SWITCH, GENERAL, "Whether IPv4 packets are forwarded, on every interface.")
        .resets(&["net.ipv4.conf.*.forwarding", "net.ipv4.conf.all.accept_redirects"])
        .side_effects(FORWARDS, NO_LRO)
        .security("1 makes the machine a router; it also turns off accepting redirects."),
    each("net.ipv4.ip_default_ttl", integer(1, 255, Unit::Count), GENERAL, "Hops that a packet of ours may take."),
    each("net.ipv4.ip_nonlocal_bind", SWITCH, IP, "Whether a socket may bind an address that is not ours."),
    each("net.ipv4.ip_no_pmtu_disc", mode(3), GENERAL, "Path MTU discovery: 0 on, 1 to 3 off in increasing measure."),
    each("net.ipv4.ip_early_demux", SWITCH, IP, "Whether the socket is looked up before the route."),
    each("net.ipv4.icmp_echo_ignore_all", SWITCH, IP, "Whether pings are left unanswered."),
    each("net.ipv4.icmp_echo_ignore_broadcasts", SWITCH, IP, "Whether pings to broadcast addresses are left unanswered.")
        .security("0 lets the machine be used to amplify floods."),
    each("net.ipv4.icmp_ignore_bogus_error_responses", SWITCH, IP, "Whether bogus ICMP errors are kept out of the log."),
    each("net.ipv4.route.flush", integer(-1, INT_MAX, Unit::Seconds), GENERAL, "Writing flushes the routing cache.").access(Access::WriteOnly),
    initial_only("net.ipv4.neigh.default.gc_thresh1", COUNT, GENERAL, "Neighbours below which none is collected."),
    initial_only("net.ipv4.neigh.default.gc_thresh2", COUNT, GENERAL, "Neighbours above which collecting becomes eager."),
    initial_only("net.ipv4.neigh.default.gc_thresh3", COUNT, GENERAL, "Neighbours held at most."),
    // Per interface, IPv4. An entry for `all` must stand before the one for `*`.
    each("net.ipv4.conf.*.forwarding", SWITCH, IP, "Whether packets that came in here are forwarded.")
        .side_effects(FORWARDS, NO_LRO)
        .security("1 makes the machine a router on this interface."),
    each("net.ipv4.conf.*.rp_filter", mode(2), IP, "Check of source addresses: 0 off, 1 strict, 2 loose. The greater of this and `all` counts.")
        .security("0 accepts packets with forged source addresses."),
    each("net.ipv4.conf.*.accept_redirects", SWITCH, IP, "Whether ICMP redirects are obeyed.")
        .security("1 lets others on the link change our routes."),
    each("net.ipv4.conf.*.secure_redirects", SWITCH, IP, "Whether redirects count only from known gateways."),
    each("net.ipv4.conf.*.send_redirects", SWITCH, IP, "Whether a router sends ICMP redirects."),
    each("net.ipv4.conf.*.accept_source_route", SWITCH, IP, "Whether packets with a source route are accepted.")
        .security("1 lets a sender choose the way around filters."),
    each("net.ipv4.conf.*.log_martians", SWITCH, IP, "Whether packets with impossible addresses are logged."),
    each("net.ipv4.conf.*.arp_ignore", mode(8), IP, "Which ARP requests are left unanswered."),
    each("net.ipv4.conf.*.arp_announce", mode(2), IP, "Which source address ARP requests carry."),
    each("net.ipv4.conf.*.arp_filter", SWITCH, IP, "Whether ARP is answered only on the interface that routes back."),
    each("net.ipv4.conf.*.proxy_arp", SWITCH, IP, "Whether ARP is answered for hosts behind us."),
    each("net.ipv4.conf.*.promote_secondaries", SWITCH, IP, "Whether a secondary address moves up when the primary goes."),
    each("net.ipv4.conf.*.route_localnet", SWITCH, IP, "Whether 127.0.0.0/8 is routed.")
        .security("1 lets others on the link reach services bound to loopback."),
    // IPv6
    each("net.ipv6.bindv6only", SWITCH, IPV6, "Whether IPv6 sockets take IPv6 only."),
    initial_only("net.ipv6.neigh.default.gc_thresh1", COUNT, GENERAL, "IPv6 neighbours below which none is collected."),
    initial_only("net.ipv6.neigh.default.gc_thresh2", COUNT, GENERAL, "IPv6 neighbours above which collecting becomes eager."),
    initial_only("net.ipv6.neigh.default.gc_thresh3", COUNT, GENERAL, "IPv6 neighbours held at most."),
    each("net.ipv6.conf.all.disable_ipv6", SWITCH, IPV6, "Whether IPv6 is off, on every interface.")
        .resets(&["net.ipv6.conf.*.disable_ipv6"])
        .side_effects(FORWARDS, NO_IPV6)
        .caution("1 removes every IPv6 address and route; writing 0 brings back link-local ones only."),
    each("net.ipv6.conf.all.forwarding", mode(2), IPV6, "Whether IPv6 packets are forwarded, on every interface.")
        .resets(&["net.ipv6.conf.*.forwarding"])
        .side_effects(FORWARDS6, NO_LEARNT_ROUTES)
        .caution("Turning it on removes default routes learnt from router advertisements.")
        .security("1 makes the machine a router."),
    each("net.ipv6.conf.*.disable_ipv6", SWITCH, IPV6, "Whether IPv6 is off here.")
        .side_effects(FORWARDS, NO_IPV6)
        .caution("1 removes the IPv6 addresses and routes of the interface; writing 0 brings back link-local ones only."),
    each("net.ipv6.conf.*.forwarding", mode(2), IPV6, "Whether packets that came in here are forwarded.")
        .side_effects(FORWARDS6, NO_LEARNT_ROUTES)
        .security("1 makes the machine a router on this interface."),
    each("net.ipv6.conf.*.mtu", integer(1280, INT_MAX, Unit::Bytes), IPV6, "Largest IPv6 packet sent here; at most the MTU of the interface."),
    each("net.ipv6.conf.all.addr_gen_mode", mode(3), IPV6, "How link-local addresses are made, on every interface: as of one of them.").since(4, 11)
        .resets(&["net.ipv6.conf.*.addr_gen_mode"])
        .side_effects(MAKE_ADDRESSES, NEW_ADDRESS),
    each("net.ipv6.conf.*.addr_gen_mode", mode(3), IPV6, "How link-local addresses are made: 0 from the hardware address, 1 not at all, 2 from the secret, 3 from a secret made at random.").since(4, 11)
        .side_effects(MAKE_ADDRESSES, NEW_ADDRESS),
    each("net.ipv6.conf.*.accept_ra", mode(2), IPV6, "Router advertisements: 0 ignored, 1 obeyed unless forwarding, 2 always obeyed.")
        .security("Where obeyed, others on the link can change our routes."),
    each("net.ipv6.conf.*.accept_redirects", SWITCH, IPV6, "Whether ICMPv6 redirects are obeyed.")
        .security("1 lets others on the link change our routes."),
    each("net.ipv6.conf.*.accept_source_route", integer(-1, INT_MAX, Unit::Mode), IPV6, "Routing headers: below 0 refused, otherwise type 2 accepted.")
        .security("Accepted routing headers let a sender choose the way around filters."),
    each("net.ipv6.conf.*.autoconf", SWITCH, IPV6, "Whether addresses are made from advertised prefixes."),
    each("net.ipv6.conf.*.use_tempaddr", integer(-1, 2, Unit::Mode), IPV6, "Temporary addresses: below 1 off, 1 made, 2 made and preferred.")
        .security("Without them the address identifies the machine in every network."),
    // Netfilter and bridges
    shown_elsewhere("net.netfilter.nf_conntrack_max", COUNT, CONNTRACK, "Connections tracked at once.").needs(CONNTRACK_MODULE),
    shown_elsewhere("net.netfilter.nf_conntrack_buckets", integer(1, INT_MAX, Unit::Count), CONNTRACK, "Size of the table of tracked connections.").needs(CONNTRACK_MODULE)
        .adjusts("Rounded up to what fills whole pages."),
    each("net.netfilter.nf_conntrack_tcp_timeout_established", SECONDS, CONNTRACK, "Time that an idle TCP connection stays tracked.").needs(CONNTRACK_MODULE),
    each("net.netfilter.nf_conntrack_tcp_timeout_time_wait", SECONDS, CONNTRACK, "Time that a closed TCP connection stays tracked.").needs(CONNTRACK_MODULE),
    each("net.bridge.bridge-nf-call-iptables", SWITCH, BRIDGE, "Whether bridged IPv4 packets pass iptables.").needs(BRIDGE_MODULE),
    each("net.bridge.bridge-nf-call-ip6tables", SWITCH, BRIDGE, "Whether bridged IPv6 packets pass ip6tables.").needs(BRIDGE_MODULE),
];
