use std::collections::BTreeSet;

use hosttune_test_machine::inside_stock_kernels;

use super::*;
use crate::qdisc::Qdisc;

fn modules(shaper: &Shaper) -> Vec<Vec<String>> {
    let names = |group: Vec<Part>| group.into_iter().map(|part| part.module).collect();
    needed(shaper).into_iter().map(names).collect()
}

fn qdisc(kind: &str) -> Qdisc {
    Qdisc::new(kind, Vec::new())
}

#[test]
fn each_way_needs_its_own() {
    let shaper = Shaper::new("wan");
    assert!(needed(&shaper).is_empty());
    let egress = shaper.clone().egress(qdisc("cake_mq"));
    assert_eq!(modules(&egress), [["sch_cake"]]);
    assert!(needed(&shaper.clone().egress(qdisc("pfifo"))).is_empty());
    let both = shaper.egress(qdisc("cake")).ingress(qdisc("cake"));
    let all: Vec<Vec<String>> = modules(&both);
    let wanted: [&[&str]; 5] = [
        &["ifb"],
        &["act_mirred"],
        &["sch_ingress"],
        &["cls_matchall", "cls_u32"],
        &["sch_cake"],
    ];
    assert_eq!(all, wanted);
}

#[test]
fn only_the_ifb_is_told_something() {
    let ifb = Part::new("", "ifb").knob();
    assert_eq!(ifb, ifb_module());
    assert_eq!(ifb.parameters(), ["numifbs=0"]);
    assert!(Part::new("", "sch_cake").knob().parameters().is_empty());
}

/// Each function is in its module, or in the kernel if the module is built in.
#[expect(
    clippy::disallowed_methods,
    reason = "the modules are loaded with modprobe, as users do"
)]
fn the_symbols_are_those_of_their_modules() {
    for (module, _) in SYMBOLS {
        let loaded = std::process::Command::new("modprobe")
            .args([module, "numifbs=0"])
            .status();
        assert!(loaded.unwrap().success(), "{module}");
    }
    let symbols = std::fs::read_to_string("/proc/kallsyms").unwrap();
    let symbols: BTreeSet<(&str, Option<&str>)> = symbols
        .lines()
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace().skip(2);
            Some((words.next()?, words.next()))
        })
        .collect();
    for (module, symbol) in SYMBOLS {
        let own = format!("[{module}]");
        let of: Vec<_> = symbols.iter().filter(|(name, _)| *name == symbol).collect();
        let built_in = std::path::Path::new("/sys/module").join(module).exists();
        let wanted = built_in.then_some(own.as_str());
        assert_eq!(of, [&(symbol, wanted)], "{module}");
    }
    let unload = "modprobe -ra $(sed -n 's/^\\(sch_[a-z_]*\\|cls_matchall\\|cls_u32\\|act_mirred\\|ifb\\) .*/\\1/p' /proc/modules)";
    let unloaded = std::process::Command::new("sh")
        .args(["-c", unload])
        .status();
    assert!(unloaded.unwrap().success());
}

/// Each option is the one that builds its module, in the configurations of the stock kernels.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the configurations of the kernels are files of the host"
)]
fn the_options_are_those_of_their_modules() {
    let machine = std::env::var("HOSTTUNE_MACHINE")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/machine").into());
    let mut read = 0;
    // The package of a later kernel may have it elsewhere, or not at all.
    for kernel in ["linux-6.1", "linux-6.12"] {
        let boot = format!("{machine}/{kernel}/root/boot");
        let files = std::fs::read_dir(&boot).unwrap_or_else(|error| panic!("{boot}: {error}"));
        for file in files.map(|file| file.unwrap().path()) {
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            if !name.starts_with("config-") {
                continue;
            }
            let text = std::fs::read_to_string(&file).unwrap();
            let lines: BTreeSet<&str> = text.lines().collect();
            for (module, _) in SYMBOLS {
                let option = option_of(module);
                let is_set = ["y", "m"]
                    .iter()
                    .any(|value| lines.contains(format!("CONFIG_{option}={value}").as_str()));
                assert!(is_set, "{module}: CONFIG_{option} in {name}");
            }
            read += 1;
        }
    }
    assert_eq!(read, 2);
}

inside_stock_kernels!(the_symbols_are_those_of_their_modules);
