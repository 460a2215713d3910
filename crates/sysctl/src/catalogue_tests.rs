//! The catalogue is consistent and agrees with the running kernel.

use super::*;
use crate::value::Value;
use std::collections::BTreeSet;

fn key(text: &str) -> Key {
    text.parse().unwrap()
}

fn found(text: &str) -> &'static CatalogueEntry {
    find(&key(text)).unwrap_or_else(|| panic!("{text} is not in the catalogue"))
}

#[test]
fn every_entry_has_a_key_of_its_own_and_is_found_by_it() {
    let mut seen = BTreeSet::new();
    for entry in entries() {
        assert!(seen.insert(entry.key), "{} is there twice", entry.key);
        let one = key(&entry.key.replace('*', "eth0/100"));
        assert_eq!(one.canonical(), one, "{} is an alias", entry.key);
        let found = find(&one).unwrap();
        assert_eq!(found.key, entry.key, "{} is hidden by another", entry.key);
    }
}

#[test]
fn every_reference_to_another_key_is_well_formed_and_pairs_name_each_other() {
    for entry in entries() {
        for text in entry.resets {
            assert!(text.parse::<KeyPattern>().is_ok(), "{text}");
        }
        if let Some(partner) = entry.excludes {
            assert_eq!(found(partner).excludes, Some(entry.key));
        }
        let documented = entry
            .documentation
            .is_none_or(|link| link.starts_with("https://"));
        assert!(documented, "{}", entry.key);
        assert!(entry.meaning.ends_with('.'), "{}", entry.key);
    }
}

#[test]
fn every_range_holds_something() {
    for entry in entries() {
        if let ValueType::Integer(range) | ValueType::Vector { element: range, .. } =
            entry.value_type
        {
            assert!(range.minimum <= range.maximum, "{}", entry.key);
        }
    }
}

#[test]
fn an_interface_with_a_dot_is_found_by_the_wildcard() {
    assert_eq!(
        found("net.ipv4.conf.eth0/100.rp_filter").key,
        "net.ipv4.conf.*.rp_filter"
    );
    assert!(find(&key("net.ipv4.conf.eth0.100.rp_filter")).is_none());
}

#[test]
fn an_alias_is_found_as_the_variable_that_it_is() {
    assert_eq!(
        found("net.ipv4.conf.all.forwarding").key,
        "net.ipv4.ip_forward"
    );
    assert_eq!(
        found("net.nf_conntrack_max").key,
        "net.netfilter.nf_conntrack_max"
    );
}

#[test]
fn an_unknown_key_is_raw() {
    assert_eq!(value_type(&key("kernel.nosuch")), ValueType::Raw);
}

#[test]
fn dirty_bytes_can_neither_be_zero_nor_one_page() {
    for text in ["0", "4096"] {
        assert!(Value::parse_wanted(&found("vm.dirty_bytes").value_type, text).is_err());
    }
    assert!(Value::parse_wanted(&found("vm.dirty_bytes").value_type, "8192").is_ok());
}

#[test]
fn the_exclusive_pairs_are_known() {
    for (one, other) in [
        ("vm.dirty_bytes", "vm.dirty_ratio"),
        ("vm.dirty_background_bytes", "vm.dirty_background_ratio"),
        ("vm.overcommit_kbytes", "vm.overcommit_ratio"),
    ] {
        assert_eq!(found(one).excludes, Some(other));
    }
}

#[test]
fn the_values_without_a_way_back_are_known() {
    for (text, closed, open) in [
        ("kernel.yama.ptrace_scope", 3, 2),
        ("kernel.modules_disabled", 1, 0),
        ("kernel.kexec_load_disabled", 1, 0),
        ("kernel.unprivileged_bpf_disabled", 1, 2),
    ] {
        assert!(found(text).is_one_way(closed), "{text}");
        assert!(!found(text).is_one_way(open), "{text}");
    }
}

#[test]
fn write_only_keys_are_known() {
    for text in [
        "vm.drop_caches",
        "vm.compact_memory",
        "net.ipv4.route.flush",
    ] {
        assert_eq!(found(text).access, Access::WriteOnly);
    }
}

#[test]
fn the_module_of_a_value_is_named_unless_every_kernel_has_it() {
    let congestion = found("net.ipv4.tcp_congestion_control").needs.unwrap();
    assert_eq!(congestion.module_for("bbr").as_deref(), Some("tcp_bbr"));
    assert_eq!(congestion.module_for("reno"), None);
    let discipline = found("net.core.default_qdisc").needs.unwrap();
    assert_eq!(
        discipline.module_for("fq_codel").as_deref(),
        Some("sch_fq_codel")
    );
    assert_eq!(discipline.module_for("pfifo_fast"), None);
}

#[test]
fn what_forwarding_changes_along_is_known() {
    let changed = |text: &str, other: &str| {
        resets(&key(text))
            .iter()
            .any(|pattern| pattern.matches(&key(other)))
    };
    assert!(changed(
        "net.ipv4.ip_forward",
        "net.ipv4.conf.eth0.forwarding"
    ));
    assert!(changed(
        "net.ipv4.ip_forward",
        "net.ipv4.conf.default.forwarding"
    ));
    assert!(changed(
        "net.ipv4.conf.all.forwarding",
        "net.ipv4.conf.all.accept_redirects"
    ));
    assert!(changed(
        "net.ipv6.conf.all.forwarding",
        "net.ipv6.conf.default.forwarding"
    ));
    assert!(changed(
        "net.ipv6.conf.all.disable_ipv6",
        "net.ipv6.conf.lo.disable_ipv6"
    ));
    assert!(!changed(
        "net.ipv6.conf.eth0.forwarding",
        "net.ipv6.conf.lo.forwarding"
    ));
}

#[test]
fn the_default_of_ipv4_interfaces_is_copied_to_those_that_have_none_of_their_own() {
    let changed = |text: &str, other: &str| {
        resets(&key(text))
            .iter()
            .any(|pattern| pattern.matches(&key(other)))
    };
    assert!(changed(
        "net.ipv4.conf.default.rp_filter",
        "net.ipv4.conf.lo.rp_filter"
    ));
    assert!(!changed(
        "net.ipv4.conf.default.forwarding",
        "net.ipv4.conf.lo.forwarding"
    ));
    assert!(!changed(
        "net.ipv6.conf.default.accept_ra",
        "net.ipv6.conf.lo.accept_ra"
    ));
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the question is whether the running kernel agrees, and it is only read"
)]
fn the_running_kernel_agrees_with_every_entry_that_it_has() {
    use std::os::unix::fs::MetadataExt;
    let mut wrong = Vec::new();
    let mut compared = 0;
    for entry in entries() {
        let path = key(&entry.key.replace('*', "lo")).path();
        let Ok(metadata) = std::fs::metadata(&path) else {
            continue;
        };
        compared += 1;
        let owner = metadata.mode() & 0o600;
        // In a container the test may itself run outside the initial network namespace.
        let shown = entry.scope == Scope::ReadOnlyOutsideInitialNetworkNamespace;
        let agrees = match entry.access {
            Access::ReadWrite if shown && owner == 0o400 => true,
            Access::WriteOnly => owner == 0o200,
            Access::ReadWrite | Access::OneWay { .. } => owner == 0o600,
            Access::ReadWriteWhereSupported => owner & 0o400 != 0,
        };
        if !agrees {
            wrong.push(format!(
                "{path} has mode {owner:o}, the entry says {:?}",
                entry.access
            ));
        }
        if entry.access == Access::WriteOnly {
            continue;
        }
        // Some keys are readable only for root, which is not a disagreement.
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                if let Err(error) = Value::try_parse_seen(&entry.value_type, &text) {
                    wrong.push(format!("{path}: {error}"));
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {}
            Err(error) => wrong.push(format!("{path}: {error}")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(
        compared > 0,
        "no key of the catalogue exists here: is /proc mounted?"
    );
}
