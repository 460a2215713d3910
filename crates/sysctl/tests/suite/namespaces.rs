//! The scope of each network variable and the side effects of changing one, on the running kernel in a new
//! network namespace. Nothing outside of that namespace is written.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use hosttune_sysctl::catalogue::{self, Access, Scope};
use hosttune_sysctl::{Key, Value, ValueType};

/// Runs a script in a new network namespace. If none can be created, it prints that and returns `None`.
fn in_new_namespace(script: &str, arguments: &[String]) -> Option<String> {
    let output = Command::new("unshare")
        .args(["-n", "sh", "-c", script, "sh"])
        .args(arguments)
        .output();
    match output {
        Ok(output) if output.status.success() => {
            Some(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Ok(output) => {
            eprintln!(
                "NOT RUN: no network namespace can be made here: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            None
        }
        Err(error) => {
            eprintln!("NOT RUN: unshare cannot be started: {error}");
            None
        }
    }
}

#[test]
fn every_network_variable_is_where_its_scope_says() {
    let paths: Vec<(String, Scope)> = catalogue::entries()
        .filter(|entry| entry.key.starts_with("net."))
        .map(|entry| {
            (
                entry.key.replace('*', "lo").parse::<Key>().unwrap().path(),
                entry.scope,
            )
        })
        .filter(|(path, _)| Path::new(path).exists())
        .collect();
    let arguments: Vec<String> = paths.iter().map(|(path, _)| path.clone()).collect();
    let script = r#"for path; do test -e "$path" && stat -c '%a %n' "$path"; done; true"#;
    let Some(output) = in_new_namespace(script, &arguments) else {
        return;
    };
    let modes: BTreeMap<&str, u32> = output
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(mode, path)| (path, u32::from_str_radix(mode, 8).unwrap()))
        .collect();
    let mut wrong = Vec::new();
    for (path, scope) in &paths {
        let writable = modes.get(path.as_str()).map(|mode| mode & 0o200 != 0);
        let seen = match writable {
            // Linux 6.1 hides there what later kernels show read-only.
            None if path.starts_with("/proc/sys/net/core/")
                && *scope == Scope::ReadOnlyOutsideInitialNetworkNamespace =>
            {
                *scope
            }
            None | Some(true) if *scope == Scope::PerNetworkNamespaceOnNewerKernels => *scope,
            None => Scope::InitialNetworkNamespaceOnly,
            Some(false) => Scope::ReadOnlyOutsideInitialNetworkNamespace,
            Some(true) => Scope::PerNetworkNamespace,
        };
        if seen != *scope {
            wrong.push(format!("{path}: {seen:?} here, {scope:?} in the catalogue"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(!paths.is_empty());
}

/// Prints every readable variable under net and a line `=`, sets one, and prints them again.
const CHANGE: &str = r#"
show() { find /proc/sys/net -type f -perm -0400 -exec grep -H . {} + 2>/dev/null; true; }
show; echo =; echo "$2" > "$1"; show
"#;

#[test]
fn nothing_changes_along_that_the_catalogue_does_not_know_of() {
    for (text, value) in [
        ("net.ipv4.ip_forward", "1"),
        ("net.ipv4.conf.default.forwarding", "1"),
        ("net.ipv4.conf.default.rp_filter", "2"),
        ("net.ipv4.conf.default.arp_announce", "1"),
        ("net.ipv4.conf.all.rp_filter", "1"),
        ("net.ipv4.conf.lo.forwarding", "1"),
        ("net.ipv6.conf.all.forwarding", "1"),
        ("net.ipv6.conf.default.forwarding", "1"),
        ("net.ipv6.conf.all.disable_ipv6", "1"),
        ("net.ipv6.conf.default.disable_ipv6", "1"),
        ("net.ipv6.conf.all.accept_ra", "0"),
        ("net.ipv6.conf.all.use_tempaddr", "2"),
        ("net.ipv4.tcp_rmem", "4096 87380 4194304"),
        ("net.ipv4.tcp_sack", "0"),
    ] {
        let key: Key = text.parse().unwrap();
        if !Path::new(&key.path()).exists() {
            eprintln!("NOT RUN for {key}: this kernel does not have it");
            continue;
        }
        let Some(output) = in_new_namespace(CHANGE, &[key.path(), value.to_owned()]) else {
            return;
        };
        let (before, after) = output.split_once("\n=\n").unwrap();
        let before: BTreeMap<&str, &str> = lines(before);
        let changed: Vec<Key> = lines(after)
            .into_iter()
            .filter(|(path, value)| before.get(path) != Some(value))
            .filter_map(|(path, _)| path.strip_prefix("/proc/sys/"))
            .map(|path| path.parse().unwrap())
            .collect();
        let mut known = catalogue::resets(&key);
        known.extend(key.names().into_iter().map(Into::into));
        let unknown: Vec<&Key> = changed
            .iter()
            // The counters and clocks in there change by themselves.
            .filter(|changed| !changed.path().contains("/netfilter/"))
            .filter(|changed| !known.iter().any(|pattern| pattern.matches(changed)))
            .collect();
        assert!(unknown.is_empty(), "{key} also changes {unknown:?}");
        assert!(changed.contains(&key), "{key} was not changed");
    }
}

fn lines(text: &str) -> BTreeMap<&str, &str> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .collect()
}

#[test]
fn a_refused_vector_write_leaves_a_torn_value() {
    let key: Key = "net.ipv4.tcp_rmem".parse().unwrap();
    let ValueType::Vector { arity: 3, .. } = catalogue::value_type(&key) else {
        panic!("tcp_rmem has three fields");
    };
    let script = r#"cat "$1"; echo "5000 88888 banana" > "$1" && echo accepted; cat "$1""#;
    let Some(output) = in_new_namespace(script, &[key.path()]) else {
        return;
    };
    let value_type = catalogue::value_type(&key);
    let shown: Vec<Value> = output
        .lines()
        .map(|line| Value::parse_seen(&value_type, line))
        .collect();
    let [before, after] = &shown[..] else {
        panic!("the write was accepted: {output}");
    };
    let wanted = Value::vector(&[5000, 88_888, 99_999]);
    assert!(
        Value::is_partial_write(after, before, &wanted),
        "{before} became {after}"
    );
}

/// Writes each `VALUE` to the key `$1`, and prints `VALUE|refused`, or `VALUE|` and what the key shows then.
const WRITE_EACH: &str = r#"
key=$1; shift
for value; do
    if printf '%s\n' "$value" 2>/dev/null > "$key"; then
        printf '%s|%s\n' "$value" "$(cat "$key")"
    else
        printf '%s|refused\n' "$value"
    fi
done
"#;

fn written(key: &str, values: &[&str]) -> Option<Vec<(String, String)>> {
    let path = key.parse::<Key>().unwrap().path();
    let arguments: Vec<String> = std::iter::once(path)
        .chain(values.iter().map(ToString::to_string))
        .collect();
    let output = in_new_namespace(WRITE_EACH, &arguments)?;
    let pairs = output.lines().filter_map(|line| line.split_once('|'));
    Some(
        pairs
            .map(|(value, left)| (value.to_owned(), left.to_owned()))
            .collect(),
    )
}

#[test]
fn both_ends_of_every_range_are_accepted_by_the_kernel() {
    let mut wrong = Vec::new();
    for entry in catalogue::entries() {
        let ValueType::Integer(range) = entry.value_type else {
            continue;
        };
        // The range of tcp_ecn is that of newer kernels, ip_unprivileged_port_start must be below the first
        // port of ip_local_port_range, the IPv6 MTU of an interface is at most its link MTU, and a write-only
        // key cannot be compared.
        let left_out = matches!(
            entry.key,
            "net.ipv4.tcp_ecn" | "net.ipv4.ip_unprivileged_port_start" | "net.ipv6.conf.*.mtu"
        ) || entry.access == Access::WriteOnly;
        let key = entry.key.replace('*', "lo");
        let path = key.parse::<Key>().unwrap().path();
        if entry.scope != Scope::PerNetworkNamespace || left_out || !Path::new(&path).exists() {
            continue;
        }
        let ends = [range.minimum.to_string(), range.maximum.to_string()];
        let ends: Vec<&str> = ends.iter().map(String::as_str).collect();
        let Some(results) = written(&key, &ends) else {
            return;
        };
        wrong.extend(
            results
                .into_iter()
                .filter(|(value, left)| value != left)
                .map(|(value, left)| format!("{key}: {value} became {left}")),
        );
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_kernel_takes_in_silence_what_a_wanted_value_is_refused_for() {
    // (key, text, what the key shows then)
    for (key, text, left) in [
        ("net.ipv4.tcp_fin_timeout", "5 6", "5"),
        ("net.ipv4.tcp_fin_timeout", "30 # comment", "30"),
        (
            "net.ipv4.tcp_rmem",
            "4096 87380 99999 7",
            "4096\t87380\t99999",
        ),
    ] {
        let Some(results) = written(key, &[text]) else {
            return;
        };
        assert_eq!(results[0].1, left, "{text} to {key}");
        let value_type = catalogue::value_type(&key.parse().unwrap());
        assert!(Value::parse_wanted(&value_type, text).is_err(), "{text}");
    }
}

#[test]
fn numbers_mean_to_us_what_they_mean_to_the_kernel() {
    let key = "net.ipv4.tcp_keepalive_time";
    let texts = [
        "010", "0x1e", "0X1E", "60", "+5", "08", "0x", "5k", "--1", "1_0",
    ];
    let Some(results) = written(key, &texts) else {
        return;
    };
    let value_type = catalogue::value_type(&key.parse().unwrap());
    for (text, left) in results {
        let wanted = Value::parse_wanted(&value_type, &text);
        match wanted {
            Ok(value) => assert_eq!(left, value.text(), "{text}"),
            Err(error) => assert_eq!(left, "refused", "{text}: {error}"),
        }
    }
}

hosttune_test_machine::inside_stock_kernels!(
    every_network_variable_is_where_its_scope_says,
    nothing_changes_along_that_the_catalogue_does_not_know_of,
    a_refused_vector_write_leaves_a_torn_value,
    both_ends_of_every_range_are_accepted_by_the_kernel,
);
