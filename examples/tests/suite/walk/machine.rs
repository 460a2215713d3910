//! The machine of a walk: the values that are looked at, and other programs that change them.

use std::collections::BTreeMap;
use std::path::Path;

use hosttune::blockdev::{Attribute, Rule, Rules};
use hosttune::cpu::{Governor, Processors};
use hosttune::journal::DirectoryStore;
use hosttune::modules::Modules;
use hosttune::sysctl::{SysctlSet, Wanted};
use hosttune::testing::{CrashPoint, CrashingStore};
use hosttune::{Host, LinuxHost, Session, Tuning};
use hosttune_test_machine::{Snapshot, Subtree, ask, tell, wait_until};

use super::act::{BYTES, GOVERNORS, KEYS, OWNERS, REQUESTS, SCHEDULERS, Stranger, Want};

/// What the kernel shows, by a name for each value. A value that is hidden or gone is absent.
pub(super) type Shown = BTreeMap<&'static str, String>;

pub(super) const POLICIES: [&str; 2] = ["policy0", "policy1"];
pub(super) const PAIR: &str = "vm.dirty_ratio";
pub(super) const SCHEDULER: &str = "scheduler";
pub(super) const REQUESTS_OF_DISK: &str = "nr_requests";

const SECOND: &str = "/sys/devices/system/cpu/cpu1/online";

fn read(path: impl AsRef<Path>) -> Option<String> {
    Some(std::fs::read_to_string(path).ok()?.trim_end().to_owned())
}

/// Writes as other programs do; a value that the kernel refuses is left out.
fn write(path: impl AsRef<Path>, value: &str) {
    let _ = std::fs::write(path, value);
}

fn path(key: &str) -> String {
    format!("/proc/sys/{}", key.replace('.', "/"))
}

fn governor(policy: &str) -> String {
    format!("/sys/devices/system/cpu/cpufreq/{policy}/scaling_governor")
}

/// The test machine with a disk that can be removed.
#[derive(Debug)]
pub(super) struct Machine {
    came: Shown,
}

impl Machine {
    pub(super) fn new() -> Self {
        // What `gaming` has the kernel load by itself stays loaded.
        tell("modprobe -a tcp_bbr sch_fq; modprobe scsi_debug dev_size_mb=8");
        let machine = Self { came: Shown::new() };
        machine.plug();
        Self {
            came: machine.shown(),
        }
    }

    /// The name of the disk that can be removed, if it is there.
    pub(super) fn disk(&self) -> Option<String> {
        let disks = std::fs::read_dir("/sys/block").unwrap();
        let mut names =
            disks.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        names.find(|name| {
            read(format!("/sys/block/{name}/device/model"))
                .is_some_and(|model| model.trim() == "scsi_debug")
        })
    }

    fn queue(&self, file: &str) -> Option<String> {
        Some(format!("/sys/block/{}/queue/{file}", self.disk()?))
    }

    pub(super) fn shown(&self) -> Shown {
        let mut shown = Shown::new();
        for (key, _) in &KEYS[..BYTES - 1] {
            shown.insert(key, read(path(key)).unwrap());
        }
        let [relative, absolute] =
            [KEYS[BYTES - 1].0, KEYS[BYTES].0].map(|key| read(path(key)).unwrap());
        let pair = if absolute == "0" {
            relative
        } else {
            format!("{absolute} (dirty_bytes)")
        };
        shown.insert(PAIR, pair);
        for policy in POLICIES {
            shown.extend(
                read(governor(policy))
                    .filter(|name| name != "<unsupported>")
                    .map(|name| (policy, name)),
            );
        }
        let schedulers = self.queue("scheduler").and_then(read);
        let active = schedulers.and_then(|all| Some(all.split(['[', ']']).nth(1)?.to_owned()));
        shown.extend(active.map(|active| (SCHEDULER, active)));
        let requests = self.queue("nr_requests").and_then(read);
        shown.extend(requests.map(|requests| (REQUESTS_OF_DISK, format!("{requests} requests"))));
        shown
    }

    /// A process of an owner, which may die.
    pub(super) fn process(&self, owner: usize, crash_point: &CrashPoint) -> Session {
        let linux = LinuxHost::live().unwrap();
        let store = CrashingStore::new(DirectoryStore::system(&linux).unwrap(), crash_point);
        let host = Host::new(linux)
            .with_backend(Modules::live())
            .gated(crash_point.clone());
        let boot = read("/proc/sys/kernel/random/boot_id").unwrap();
        let session = Session::new(host, OWNERS[owner], store, &boot).unwrap();
        let session = session
            .with(hosttune::sysctl::knobs)
            .with(hosttune::cpu::knobs);
        session.with(hosttune::blockdev::knobs)
    }

    pub(super) fn tuning(want: &Want) -> Vec<Box<dyn Tuning>> {
        let mut all: Vec<Box<dyn Tuning>> = Vec::new();
        let wanted = want
            .keys
            .iter()
            .map(|(key, value)| Wanted::new(KEYS[*key].0, KEYS[*key].1[*value]));
        all.push(Box::new(SysctlSet::new(wanted)));
        if let Some(governor) = want.governor {
            all.push(Box::new(
                Processors::new().governor(Governor::from(GOVERNORS[governor])),
            ));
        }
        if want.scheduler.is_some() || want.requests.is_some() {
            let mut rule = Rule::new("debug").model("scsi_debug".parse().unwrap());
            if let Some(scheduler) = want.scheduler {
                rule = rule.scheduler(SCHEDULERS[scheduler].parse().unwrap());
            }
            if let Some(requests) = want.requests {
                rule = rule.queue(
                    Attribute::NrRequests,
                    REQUESTS[requests].parse::<u64>().unwrap(),
                );
            }
            all.push(Box::new(Rules::new([rule])));
        }
        all
    }

    pub(super) fn stranger(&self, act: &Stranger) {
        match act {
            Stranger::Key(key, value) => write(path(KEYS[*key].0), KEYS[*key].1[*value]),
            Stranger::Governor(policy, value) => {
                write(governor(POLICIES[*policy]), GOVERNORS[*value]);
            }
            Stranger::Scheduler(scheduler) => {
                if let Some(path) = self.queue("scheduler") {
                    write(path, SCHEDULERS[*scheduler]);
                }
            }
            Stranger::Requests(requests) => {
                if let Some(path) = self.queue("nr_requests") {
                    write(path, REQUESTS[*requests]);
                }
            }
            Stranger::Offline => write(SECOND, "0"),
            Stranger::Online => write(SECOND, "1"),
            Stranger::Unplug => self.unplug(),
            Stranger::Plug => self.plug(),
            Stranger::UnloadUnused => {
                let _ =
                    ask("modprobe -qra kyber-iosched bfq cpufreq_conservative cpufreq_powersave");
            }
            Stranger::ReloadDriver => {
                let _ = ask("modprobe -r acpi-cpufreq; modprobe acpi-cpufreq");
            }
        }
    }

    fn unplug(&self) {
        if let Some(disk) = self.disk() {
            write(format!("/sys/block/{disk}/device/delete"), "1");
            wait_until("the disk is gone", || self.disk().is_none());
        }
    }

    /// Finds the disk again, which has lost all that was set.
    fn plug(&self) {
        if self.disk().is_none() {
            let said = tell("grep -l scsi_debug /sys/class/scsi_host/host*/proc_name");
            let host = said.split('/').nth(4).unwrap();
            write(format!("/sys/class/scsi_host/{host}/scan"), "- - -");
        }
        // sysfs shows a queue before it accepts a value.
        wait_until("the disk accepts values", || {
            let (Some(path), Some(active)) =
                (self.queue("scheduler"), self.shown().remove(SCHEDULER))
            else {
                return false;
            };
            std::fs::write(path, active).is_ok()
        });
    }

    /// Everything that a walk can change, when no other program has acted.
    pub(super) fn snapshot() -> Snapshot {
        Snapshot::of(&[
            Subtree::Sysctls,
            Subtree::BlockDevices,
            Subtree::Processors,
            Subtree::Modules,
        ])
    }

    /// Brings the machine back to its beginning, whatever a walk left. `kept` has the journals before they were cut.
    pub(super) fn as_it_came(&self, kept: &BTreeMap<usize, Vec<u8>>) {
        write(SECOND, "1");
        for (owner, bytes) in kept {
            write(
                format!("/run/hosttune/{}.journal", OWNERS[*owner]),
                &String::from_utf8_lossy(bytes),
            );
        }
        for owner in 0..OWNERS.len() {
            let _ = self
                .process(owner, &CrashPoint::lives())
                .force(true)
                .revert();
        }
        tell("rm -rf /run/hosttune/*");
        for key in [KEYS[0].0, KEYS[1].0, KEYS[2].0, PAIR] {
            if self.shown()[key] != self.came[key] {
                write(path(key), &self.came[key]);
            }
        }
        for policy in POLICIES {
            write(governor(policy), &self.came[policy]);
        }
        // It comes back with the values that it had at first.
        let now = self.shown();
        if [SCHEDULER, REQUESTS_OF_DISK]
            .iter()
            .any(|name| now.get(name) != self.came.get(name))
        {
            self.unplug();
        }
        self.plug();
        let _ = ask("modprobe -qra kyber-iosched bfq cpufreq_conservative cpufreq_powersave");
        let now = self.shown();
        assert_eq!(
            now, self.came,
            "the machine does not come back to its beginning"
        );
    }
}
