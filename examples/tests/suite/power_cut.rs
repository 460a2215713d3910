//! A power cut during `gaming apply --persist`, then a boot from the same disk: the journal of the earlier
//! boot is recognised, and every change that reached the disk is reverted.

use std::time::Duration;

use hosttune_test_machine::inside::{self, for_tests, is_inside, test_name};
use hosttune_test_machine::{
    Kernel, Machine, StateDisk, Stop, Traced, is_shared_out_to, with_stock_kernels,
};
use serde_json::Value;

with_stock_kernels!(
    power_is_cut_in_mid_apply,
    what_was_persisted_is_set_at_the_next_boot
);

const GAMING: &str = env!("CARGO_BIN_EXE_gaming");

const PERSIST: &[&str] = &["apply", "--yes", "--persist"];

/// The environment variable that tells this program, inside the machine, before or after which write to halt
/// `gaming`, counted from its start. If empty, the program only counts them.
const STAND_AT: &str = "HOSTTUNE_STAND_AT";

/// At how many points of an apply the power is cut. Each cut takes a boot of the machine, so the two kernels
/// share them out.
const CUTS: usize = 4;

fn power_is_cut_in_mid_apply(kernel: Kernel) {
    if is_inside() {
        return stand_still();
    }
    let disk = StateDisk::make().unwrap();
    let start = || {
        for_tests(kernel, "its power is cut")
            .without_devices()
            .state(&disk)
            .boot()
            .unwrap()
    };

    let mut machine = start();
    let before = On::the(&mut machine);
    let standing = run_self(&mut machine, kernel, "");
    let writes: usize = standing
        .lines()
        .find_map(|line| line.split_once("writes: "))
        .map(|(_, number)| number)
        .unwrap_or_else(|| panic!("{standing}"))
        .parse()
        .unwrap();
    assert!(writes > 60, "only {writes} writes: was it gaming?");
    revert(&mut machine);
    before.is_still(&mut machine, "applied and reverted, for the count");

    let mut interrupted = 0;
    let cuts: Vec<usize> = (1..=CUTS)
        .filter(|cut| is_shared_out_to(kernel, *cut as u64))
        .collect();
    for cut in &cuts {
        let at = writes * cut / (CUTS + 1);
        let command = format!("{} & {}", itself(kernel, &at.to_string()), UNTIL_IT_STANDS);
        let waited = machine.shell(&command, Duration::from_secs(600), &mut |_, _| {});
        assert_eq!(waited.unwrap().code, 0, "{}", machine.console());
        let boot = machine.run(&["cat", BOOT_ID]).unwrap().text();
        machine.cut_power();

        machine = start();
        let when = format!("cut at write {at} of {writes}");
        assert_ne!(machine.run(&["cat", BOOT_ID]).unwrap().text(), boot);
        let plan = gaming(&mut machine, &["plan", "--persist", "--json"]);
        assert_eq!(plan.code, 0, "{when}: {}", plan.error);
        if let Some(open) = plan.json()["provisional"].as_str() {
            assert!(open.contains("earlier boot"), "{when}: {open}");
            println!("{when}: {open}");
            interrupted += 1;
        }
        revert(&mut machine);
        before.is_still(&mut machine, &when);
    }
    // Until the journal is on the disk there is nothing to recognise, but it gets there early.
    assert!(
        interrupted >= cuts.len() / 2,
        "a journal of an earlier boot was recognised only {interrupted} times"
    );
    println!(
        "Linux {kernel}: cut {} times in {writes} writes, {interrupted} times recognised",
        cuts.len()
    );
}

fn what_was_persisted_is_set_at_the_next_boot(kernel: Kernel) {
    let disk = StateDisk::make().unwrap();
    let start = || {
        for_tests(kernel, "its power is cut")
            .without_devices()
            .state(&disk)
            .boot()
            .unwrap()
    };
    let mut machine = start();
    let before = On::the(&mut machine);
    let applied = gaming(&mut machine, PERSIST);
    assert_eq!(applied.code, 0, "{}", applied.error);
    // Only gaming itself has flushed anything to the disk.
    machine.cut_power();

    let mut machine = start();
    let verified = gaming(&mut machine, &["verify", "--persist", "--only", "sysctl"]);
    assert_eq!(
        verified.code, 1,
        "nobody has read the file yet: {}",
        verified.text
    );
    // Distributions run this at every boot.
    let loader = "/usr/lib/systemd/systemd-sysctl";
    let loaded = machine.shell(loader, Duration::from_secs(600), &mut |_, _| {});
    let loaded = loaded.unwrap();
    assert_eq!(loaded.code, 0, "{}", loaded.error_text());
    // Only the setting for zram is not kept, because the zram device does not survive the reboot.
    let verified = gaming(
        &mut machine,
        &["verify", "--persist", "--only", "sysctl", "--json"],
    );
    let report: Value = serde_json::from_str(&verified.text).unwrap();
    let items = report["items"].as_array().unwrap();
    let drifted: Vec<&Value> = items
        .iter()
        .filter(|item| item["state"] == "drifted")
        .map(|item| &item["knob"])
        .collect();
    assert_eq!(drifted, ["vm.swappiness"], "{}", verified.text);
    revert(&mut machine);
    machine.cut_power();

    let mut machine = start();
    before.is_still(&mut machine, "persisted, rebooted, reverted, and rebooted");
}

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

const UNTIL_IT_STANDS: &str = "until [ -e /run/standing ]; do sleep 0.05; done";

/// The state of a machine: the files on its disk and the sysctls of its kernel.
#[derive(Debug)]
struct On {
    files: String,
    sysctls: String,
}

impl On {
    fn the(machine: &mut Machine) -> Self {
        // Without the lock, which names the last process that held it, and its directory, which stays.
        let files = "cd / && find etc/sysctl.d var/lib/hosttune ! -name lock -type f \
            -printf '%p %m %U %G\\n' -exec cat {} ';' 2>/dev/null; true";
        // No counters, and no values that differ between boots.
        let sysctls = "cd /proc/sys && cat vm/swappiness vm/dirty_* vm/compaction_proactiveness \
            kernel/split_lock_mitigate net/core/*mem_max net/core/default_qdisc \
            net/ipv4/tcp_*mem net/ipv4/tcp_congestion_control net/ipv4/tcp_allowed_congestion_control \
            net/ipv4/tcp_fastopen net/ipv4/tcp_mtu_probing vm/max_map_count 2>&1";
        let mut text = |script: &str| {
            let output = machine.shell(script, Duration::from_secs(600), &mut |_, _| {});
            let output = output.unwrap();
            assert_eq!(output.code, 0, "{}", output.error_text());
            output.text()
        };
        let (files, sysctls) = (text(files), text(sysctls));
        assert!(sysctls.lines().count() > 15, "{sysctls}");
        Self { files, sysctls }
    }

    #[track_caller]
    fn is_still(&self, machine: &mut Machine, when: &str) {
        let now = Self::the(machine);
        assert_eq!(now.files, self.files, "{when}: files");
        assert_eq!(now.sysctls, self.sysctls, "{when}: sysctls");
    }
}

/// The outcome of a run of `gaming` in the machine.
#[derive(Debug)]
struct Said {
    code: i32,
    text: String,
    error: String,
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
}

fn gaming(machine: &mut Machine, arguments: &[&str]) -> Said {
    let output = machine.run(&[&[GAMING], arguments].concat()).unwrap();
    Said {
        code: output.code,
        text: output.text(),
        error: output.error_text(),
    }
}

#[track_caller]
fn revert(machine: &mut Machine) {
    let reverted = gaming(machine, &["revert", "--yes"]);
    assert_eq!(reverted.code, 0, "{}{}", reverted.text, reverted.error);
}

/// The command that runs this same test in the machine, where it halts `gaming`.
fn itself(kernel: Kernel, at: &str) -> String {
    format!("{STAND_AT}={at} {}", inside::command(&test_name(), kernel))
}

fn run_self(machine: &mut Machine, kernel: Kernel, at: &str) -> String {
    let command = itself(kernel, at);
    let output = machine.shell(&command, Duration::from_secs(600), &mut |_, _| {});
    let output = output.unwrap();
    assert_eq!(output.code, 0, "{}", output.error_text());
    output.text()
}

/// Inside the machine: lets `gaming` run to the requested stop and halts it there, or counts its stops.
fn stand_still() {
    let at: Option<usize> = std::env::var(STAND_AT).ok().and_then(|at| at.parse().ok());
    let mut traced = Traced::start_at_changes(GAMING, PERSIST).unwrap();
    let mut writes = 0;
    loop {
        if let Stop::Ended(code) = traced.step() {
            assert_eq!(code, 0);
            break;
        }
        if at == Some(writes) {
            std::fs::write("/run/standing", "").unwrap();
            // Until the power is cut.
            std::thread::sleep(Duration::from_secs(3600));
        }
        writes += 1;
    }
    assert_eq!(at, None, "it never came that far: {writes} writes");
    println!("writes: {writes}");
}
