//! What each form of a key's text means, and that every key can be written and read back.

use super::*;
use proptest::prelude::*;

fn key(text: &str) -> Key {
    text.parse().unwrap()
}

#[test]
fn a_dotted_and_a_slashed_text_name_one_key() {
    assert_eq!(key("vm.swappiness"), key("vm/swappiness"));
    assert_eq!(key("vm.swappiness").path(), "/proc/sys/vm/swappiness");
    assert_eq!(
        key("vm.swappiness").segments().collect::<Vec<_>>(),
        ["vm", "swappiness"]
    );
}

#[test]
fn an_interface_with_a_dot_is_reached_by_the_slashed_and_by_the_interchanged_form() {
    let expected = "/proc/sys/net/ipv4/conf/q0.100/forwarding";
    assert_eq!(key("net/ipv4/conf/q0.100/forwarding").path(), expected);
    assert_eq!(key("net.ipv4.conf.q0/100.forwarding").path(), expected);
    assert_ne!(key("net.ipv4.conf.q0.100.forwarding").path(), expected);
}

#[test]
fn an_interface_with_a_dot_is_printed_in_systemds_form() {
    assert_eq!(
        key("net/ipv4/conf/q0.100/forwarding").to_string(),
        "net.ipv4.conf.q0/100.forwarding"
    );
}

#[test]
fn a_key_of_one_segment_reads_back() {
    assert_eq!(key("hostname").to_string(), "hostname");
}

#[test]
fn texts_that_name_no_file_beneath_proc_sys_are_refused() {
    let error = |text: &str| text.parse::<Key>().unwrap_err();
    assert_eq!(error(""), KeyError::Empty);
    assert!(matches!(
        error("vm..swappiness"),
        KeyError::EmptySegment { .. }
    ));
    assert!(matches!(error("vm."), KeyError::EmptySegment { .. }));
    assert!(matches!(error(".vm"), KeyError::EmptySegment { .. }));
    assert!(matches!(error("net/ipv4/../x"), KeyError::PathStep { .. }));
    assert!(matches!(error("net/./x"), KeyError::PathStep { .. }));
    assert!(matches!(error("net.ipv4.//.x"), KeyError::PathStep { .. }));
    assert!(matches!(
        error("vm.swap\0"),
        KeyError::Character { offset: 7, .. }
    ));
    assert!(matches!(error("vm.swap\nx"), KeyError::Character { .. }));
    assert!(matches!(
        error("vm.swappiness = 1"),
        KeyError::Character { .. }
    ));
    assert!(matches!(
        error("-vm.swappiness"),
        KeyError::FirstSegment { .. }
    ));
    assert!(matches!(error("vm.*"), KeyError::Pattern { .. }));
}

#[test]
fn an_absolute_path_is_refused_and_the_error_says_what_to_write() {
    let error = "/proc/sys/vm/swappiness".parse::<Key>().unwrap_err();
    assert!(matches!(error, KeyError::Absolute { .. }));
    assert!(error.to_string().contains("leave out `/proc/sys/`"));
}

#[test]
fn segments_that_no_text_could_carry_are_refused() {
    assert_eq!(Key::new::<_, &str>([]), Err(KeyError::Empty));
    assert!(matches!(
        Key::new(["a.b", "c"]),
        Err(KeyError::FirstSegment { .. })
    ));
    assert!(matches!(
        Key::new(["a", "b/c"]),
        Err(KeyError::SlashInSegment { .. })
    ));
    assert!(matches!(Key::new([""]), Err(KeyError::EmptySegment { .. })));
    assert!(matches!(
        Key::new(["", "a"]),
        Err(KeyError::EmptySegment { .. })
    ));
    assert!(matches!(
        Key::new(["a", ".."]),
        Err(KeyError::PathStep { .. })
    ));
}

#[test]
fn two_names_of_one_variable_have_one_canonical_key() {
    assert_eq!(
        key("net.ipv4.conf.all.forwarding").canonical(),
        key("net.ipv4.ip_forward")
    );
    assert_eq!(
        key("net.nf_conntrack_max").canonical(),
        key("net.netfilter.nf_conntrack_max")
    );
    assert_eq!(
        key("net.ipv4.conf.all.forwarding").names(),
        [
            key("net.ipv4.ip_forward"),
            key("net.ipv4.conf.all.forwarding")
        ]
    );
    assert_eq!(key("vm.swappiness").names(), [key("vm.swappiness")]);
    // These propagate to each other but are separate variables.
    for own in [
        "net.ipv4.conf.default.forwarding",
        "net.ipv6.conf.all.forwarding",
    ] {
        assert_eq!(key(own).canonical(), key(own));
    }
}

#[test]
fn json_of_a_key_is_its_display_text() {
    let json = serde_json::to_string(&key("net/ipv4/conf/q0.100/forwarding")).unwrap();
    assert_eq!(json, "\"net.ipv4.conf.q0/100.forwarding\"");
    assert_eq!(
        serde_json::from_str::<Key>(&json).unwrap(),
        key("net/ipv4/conf/q0.100/forwarding")
    );
    assert!(serde_json::from_str::<Key>("\"\"").is_err());
}

fn pattern(text: &str) -> KeyPattern {
    text.parse().unwrap()
}

#[test]
fn a_pattern_matches_within_one_segment_only() {
    let forwarding = pattern("net.ipv4.conf.*.forwarding");
    assert!(forwarding.is_glob());
    assert!(forwarding.matches(&key("net.ipv4.conf.eth0/100.forwarding")));
    assert!(!forwarding.matches(&key("net.ipv4.conf.forwarding")));
    assert!(!forwarding.matches(&key("net.ipv4.conf.a.b.forwarding")));
    assert!(!pattern("net.*").matches(&key("net.ipv4.ip_forward")));
}

#[test]
fn a_glob_picks_up_keys_that_a_newer_kernel_adds() {
    let glob = pattern("vm.vfs_cache_press*");
    assert!(glob.matches(&key("vm.vfs_cache_pressure")));
    assert!(glob.matches(&key("vm.vfs_cache_pressure_denom")));
}

/// A small tree; `conf` entries are directories.
fn list(directory: &str) -> Vec<String> {
    let names: &[&str] = match directory {
        "/proc/sys" => &["vm", "net"],
        "/proc/sys/vm" => &[
            "vfs_cache_pressure_denom",
            "vfs_cache_pressure",
            "swappiness",
        ],
        "/proc/sys/net" => &["conf"],
        "/proc/sys/net/conf" => &["lo", "q0.100", "*odd", "all"],
        "/proc/sys/net/conf/lo" | "/proc/sys/net/conf/q0.100" | "/proc/sys/net/conf/*odd" => {
            &["forwarding"]
        }
        _ => &[],
    };
    names.iter().map(ToString::to_string).collect()
}

#[test]
fn a_pattern_expands_into_sorted_listed_keys() {
    let shown = |text: &str| -> Vec<String> {
        pattern(text)
            .expand(list)
            .keys
            .iter()
            .map(ToString::to_string)
            .collect()
    };
    assert_eq!(
        shown("vm.vfs_cache_press*"),
        ["vm.vfs_cache_pressure", "vm.vfs_cache_pressure_denom"]
    );
    assert_eq!(
        shown("net.conf.*.forwarding"),
        ["net.conf.lo.forwarding", "net.conf.q0/100.forwarding"]
    );
    assert_eq!(shown("vm.swappiness"), ["vm.swappiness"]);
    assert!(shown("vm.nosuch").is_empty());
}

#[test]
fn an_expansion_leaves_out_directories_and_reports_what_no_key_can_name() {
    let expansion = pattern("net.*").expand(list);
    assert_eq!(expansion, Expansion::default());
    let expansion = pattern("net.conf.*.forwarding").expand(list);
    assert_eq!(expansion.unnameable, ["/proc/sys/net/conf/*odd/forwarding"]);
}

#[test]
fn systemds_lenient_reading_drops_redundant_separators() {
    let read = |text: &str| KeyPattern::as_systemd_reads(text).map(|pattern| pattern.to_string());
    for text in [
        "/net/ipv4/tcp_sack",
        "net//ipv4/./tcp_sack",
        "net..ipv4.tcp_sack",
        "net.ipv4.tcp_sack.",
    ] {
        assert_eq!(read(text).unwrap(), "net.ipv4.tcp_sack", "{text}");
    }
    // Measured: systemd-sysctl 252 fails with EINVAL here, procps writes.
    assert!(matches!(
        read("net/ipv4/../ipv4/tcp_sack"),
        Err(KeyError::PathStep { .. })
    ));
    assert_eq!(read("/"), Err(KeyError::Empty));
    // Both loaders look for /proc/sys/proc/sys/…
    assert_eq!(
        read("/proc/sys/vm/swappiness").unwrap(),
        "proc.sys.vm.swappiness"
    );
}

proptest! {
    #[test]
    fn every_key_reads_back_from_its_text(
        first in "[a-z_][a-z0-9_-]{0,6}",
        rest in prop::collection::vec("[a-zA-Z0-9_.:@+-]{1,8}", 0..5),
    ) {
        let segments: Vec<String> = std::iter::once(first).chain(rest).collect();
        prop_assume!(segments.iter().all(|segment| segment != "." && segment != ".."));
        let built = Key::new(&segments).unwrap();
        prop_assert_eq!(&built.to_string().parse::<Key>().unwrap(), &built);
        prop_assert_eq!(built.segments().collect::<Vec<_>>(), segments);
    }

    #[test]
    fn any_text_that_is_a_key_reads_back_and_stays_beneath_proc_sys(text in "[a-c./\\\\ =\n#-]{0,12}") {
        if let Ok(parsed) = text.parse::<Key>() {
            prop_assert_eq!(&parsed.to_string().parse::<Key>().unwrap(), &parsed);
            prop_assert!(parsed.segments().all(|segment| !segment.is_empty() && segment != ".."));
        }
    }

    #[test]
    fn any_text_that_is_a_pattern_reads_back(text in "\\PC{0,20}") {
        if let Ok(parsed) = text.parse::<KeyPattern>() {
            prop_assert_eq!(parsed.to_string().parse::<KeyPattern>().unwrap(), parsed);
        }
        if let Ok(parsed) = KeyPattern::as_systemd_reads(&text) {
            prop_assert_eq!(parsed.to_string().parse::<KeyPattern>().unwrap(), parsed);
        }
    }
}
