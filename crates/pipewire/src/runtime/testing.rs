//! A fake daemon, with the user's service manager that starts it.
//!
//! [`MemoryDaemon`] behaves as `src/pipewire/settings.c` and `impl-metadata.c` do: the metadata
//! keeps whatever is written, a value without a type keeps the type of its key, an equal value is
//! not looked at again, numbers are read as `atoi(3)` does, a list of rates without the rate of that
//! moment is replaced by the default list, removing the allowed rates ends the daemon, and emptying
//! the metadata changes nothing that is in force. Everything is lost when the daemon ends.

mod client;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hosttune_core::testing::{CrashPoint, Snapshot};

use super::key::rates;
use super::pipewire::Value;
pub use client::MemoryClient;

/// What a daemon goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
struct InForce {
    rate: u32,
    rates: Vec<u32>,
    quantum: u32,
    min: u32,
    max: u32,
    force_quantum: u32,
    force_rate: u32,
}

/// A device that plays.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Playing {
    name: String,
    /// What the program that plays asks for, in frames at the rate.
    asks: Option<u32>,
    /// A quantum that the device keeps, whatever the settings are.
    keeps: Option<u32>,
}

#[derive(Debug, Clone)]
struct Instance {
    cookie: u32,
    metadata: BTreeMap<String, Value>,
    in_force: InForce,
}

#[derive(Debug, Clone)]
struct State {
    version: &'static str,
    /// The configured properties that are not the defaults.
    configuration: BTreeMap<&'static str, &'static str>,
    running: Option<Instance>,
    starts: u32,
    playing: Vec<Playing>,
    is_writable: bool,
    shows_settings: bool,
}

/// A daemon in memory. Clones share it; [`fork`](Self::fork) copies it.
#[derive(Debug, Clone)]
pub struct MemoryDaemon(Arc<Mutex<State>>);

impl MemoryDaemon {
    /// A daemon that runs, with the default configuration of a version.
    #[must_use]
    pub fn new(version: &'static str) -> Self {
        let daemon = Self(Arc::new(Mutex::new(State {
            version,
            configuration: BTreeMap::new(),
            running: None,
            starts: 0,
            playing: Vec::new(),
            is_writable: true,
            shows_settings: true,
        })));
        daemon.restart();
        daemon
    }

    /// The same with a configured property, such as `settings.check-quantum`, after a restart.
    #[must_use]
    pub fn configured(self, property: &'static str, value: &'static str) -> Self {
        self.state().configuration.insert(property, value);
        self.restart();
        self
    }

    /// The same, where this program may only read the settings, as in a sandbox.
    #[must_use]
    pub fn read_only(self) -> Self {
        self.state().is_writable = false;
        self
    }

    /// The same, where this program is not shown the settings.
    #[must_use]
    pub fn hiding_settings(self) -> Self {
        self.state().shows_settings = false;
        self
    }

    /// Has a device play for a program that asks for a number of frames.
    #[must_use]
    pub fn playing(self, device: &str, asks: Option<u32>) -> Self {
        self.state().playing.push(Playing {
            name: device.to_owned(),
            asks,
            keeps: None,
        });
        self
    }

    /// Has a device play that keeps its own quantum, as one in the profile pro-audio.
    #[must_use]
    pub fn keeping(self, device: &str, quantum: u32) -> Self {
        self.state().playing.push(Playing {
            name: device.to_owned(),
            asks: None,
            keeps: Some(quantum),
        });
        self
    }

    /// Returns an independent copy.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self(Arc::new(Mutex::new(self.state().clone())))
    }

    /// Ends the daemon, and starts another with the configuration.
    pub fn restart(&self) {
        let mut state = self.state();
        state.starts += 1;
        let cookie = 0x1000_0000 + state.starts;
        let instance = Instance::new(cookie, &state);
        state.running = Some(instance);
    }

    /// Ends the daemon.
    pub fn end(&self) {
        self.state().running = None;
    }

    /// Whether the daemon runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.state().running.is_some()
    }

    /// Sets a value as another program does, or removes the key.
    pub fn set_by_another(&self, key: &str, kind: Option<&str>, value: Option<&str>) {
        self.state().set(key, kind, value);
    }

    /// Empties the metadata, as `pw-metadata -d` without a key does.
    pub fn emptied_by_another(&self) {
        if let Some(running) = &mut self.state().running {
            running.metadata.clear();
        }
    }

    /// The daemon as a process of this program sees it.
    #[must_use]
    pub fn for_process(&self, crash_point: &CrashPoint) -> MemoryClient {
        MemoryClient::new(self.clone(), crash_point.clone())
    }

    /// The complete visible state, and what the daemon goes by.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let state = self.state();
        let Some(running) = &state.running else {
            return Snapshot::from([("daemon".to_owned(), "not running".to_owned())]);
        };
        let mut snapshot: Snapshot = running
            .metadata
            .iter()
            .map(|(key, value)| (key.clone(), format!("{value:?}")))
            .collect();
        snapshot.insert("daemon".to_owned(), format!("{:x}", running.cookie));
        // Each value by itself, so that another program's change of one is told from ours of another.
        let InForce {
            rate,
            rates,
            quantum,
            min,
            max,
            force_quantum,
            force_rate,
        } = &running.in_force;
        for (name, value) in [
            ("rate", rate),
            ("quantum", quantum),
            ("min", min),
            ("max", max),
            ("force-quantum", force_quantum),
            ("force-rate", force_rate),
        ] {
            snapshot.insert(format!("in force: {name}"), value.to_string());
        }
        snapshot.insert("in force: rates".to_owned(), format!("{rates:?}"));
        snapshot
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a number as `atoi(3)` does.
fn atoi(text: Option<&str>) -> u32 {
    let text = text.unwrap_or_default().trim_start();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = digits.bytes().take_while(u8::is_ascii_digit).count();
    let number: i32 = digits.get(..end).unwrap_or_default().parse().unwrap_or(0);
    (if negative { -number } else { number }).cast_unsigned()
}

impl State {
    fn property(&self, name: &str) -> Option<&'static str> {
        let defaults = [
            ("default.clock.rate", "48000"),
            ("default.clock.allowed-rates", "[ 48000 ]"),
            ("default.clock.quantum", "1024"),
            ("default.clock.min-quantum", "32"),
            ("default.clock.max-quantum", "2048"),
            ("default.clock.quantum-limit", "8192"),
            ("default.clock.quantum-floor", "4"),
            ("clock.power-of-two-quantum", "true"),
            ("settings.check-quantum", "false"),
            ("settings.check-rate", "false"),
        ];
        let default = defaults.iter().find(|(known, _)| *known == name);
        let configured = self.configuration.get(name).copied();
        configured.or_else(|| default.map(|(_, value)| *value))
    }

    fn number(&self, name: &str) -> u32 {
        atoi(self.property(name))
    }

    fn configured_rates(&self) -> Vec<u32> {
        let list = self.property("default.clock.allowed-rates").and_then(rates);
        list.unwrap_or_default()
    }

    fn set(&mut self, key: &str, kind: Option<&str>, value: Option<&str>) {
        let Some(mut running) = self.running.take() else {
            return;
        };
        let known = running.metadata.get(key).cloned();
        let Some(text) = value else {
            if known.is_some() && key == "clock.allowed-rates" {
                // The daemon reads the length of a text that is not there.
                return;
            }
            running.metadata.remove(key);
            if known.is_some() {
                self.put_in_force(&mut running.in_force, key, None);
            }
            self.running = Some(running);
            return;
        };
        let kept = known.as_ref().and_then(|known| known.kind.clone());
        let new = Value {
            text: Some(text.to_owned()),
            kind: kind.map(str::to_owned).or(kept),
        };
        if known.as_ref() != Some(&new) {
            running.metadata.insert(key.to_owned(), new);
            self.put_in_force(&mut running.in_force, key, Some(text));
        }
        self.running = Some(running);
    }

    fn put_in_force(&self, in_force: &mut InForce, key: &str, value: Option<&str>) {
        let number = atoi(value);
        let or_configured = |name: &str| match number {
            0 => self.number(name),
            number => number,
        };
        match key {
            "clock.rate" => in_force.rate = or_configured("default.clock.rate"),
            "clock.quantum" => in_force.quantum = or_configured("default.clock.quantum"),
            "clock.min-quantum" => in_force.min = or_configured("default.clock.min-quantum"),
            "clock.max-quantum" => in_force.max = or_configured("default.clock.max-quantum"),
            "clock.allowed-rates" => {
                let list = value.and_then(rates).unwrap_or_default();
                in_force.rates = if list.contains(&in_force.rate) {
                    list
                } else {
                    self.configured_rates()
                };
            }
            "clock.force-rate" => {
                let checks = self.property("settings.check-rate") == Some("true");
                if number == 0 || !checks || in_force.rates.contains(&number) {
                    in_force.force_rate = number;
                }
            }
            "clock.force-quantum" => {
                let checks = self.property("settings.check-quantum") == Some("true");
                if number == 0 || !checks || (in_force.min..=in_force.max).contains(&number) {
                    in_force.force_quantum = number;
                }
            }
            _ => {}
        }
    }

    fn quantum(&self, in_force: &InForce, playing: &Playing, hertz: u32) -> u64 {
        if let Some(keeps) = playing.keeps.filter(|_| in_force.force_quantum == 0) {
            return keeps.into();
        }
        let (floor, limit) = (
            u64::from(self.number("default.clock.quantum-floor")),
            u64::from(self.number("default.clock.quantum-limit")),
        );
        if in_force.force_quantum != 0 {
            return u64::from(in_force.force_quantum).max(floor).min(limit);
        }
        let scaled = |frames: u32| u64::from(frames) * u64::from(hertz) / u64::from(in_force.rate);
        let asked = playing
            .asks
            .map_or_else(|| scaled(in_force.quantum), u64::from);
        let used = asked.max(scaled(in_force.min)).min(scaled(in_force.max));
        let used = used.max(floor).min(limit);
        used.checked_ilog2().map_or(used, |exponent| 1 << exponent)
    }
}

impl Instance {
    fn new(cookie: u32, state: &State) -> Self {
        let number = |name: &str| state.number(name);
        let in_force = InForce {
            rate: number("default.clock.rate"),
            rates: state.configured_rates(),
            quantum: number("default.clock.quantum"),
            min: number("default.clock.min-quantum"),
            max: number("default.clock.max-quantum"),
            force_quantum: 0,
            force_rate: 0,
        };
        let list: Vec<String> = in_force.rates.iter().map(u32::to_string).collect();
        let shown = [
            ("log.level", "2".to_owned()),
            ("clock.rate", in_force.rate.to_string()),
            ("clock.allowed-rates", format!("[ {} ]", list.join(", "))),
            ("clock.quantum", in_force.quantum.to_string()),
            ("clock.min-quantum", in_force.min.to_string()),
            ("clock.max-quantum", in_force.max.to_string()),
            ("clock.force-quantum", "0".to_owned()),
            ("clock.force-rate", "0".to_owned()),
        ];
        let value = |text| Value {
            text: Some(text),
            kind: Some(String::new()),
        };
        Self {
            cookie,
            metadata: shown
                .into_iter()
                .map(|(key, text)| (key.to_owned(), value(text)))
                .collect(),
            in_force,
        }
    }
}
