//! A fake of power-profiles-daemon on a bus of its own: a real `dbus-daemon`, and the daemon's methods as far as
//! holds need them.
//!
//! Its behaviour is that of power-profiles-daemon 0.12, asked with `busctl call` on a bus of its own with polkit
//! (`POWER_PROFILE_DAEMON_FAKE_DRIVER=1`), down to the texts of errors: only `performance` and `power-saver` can be
//! held, `power-saver` wins, each cookie is its own, a hold ends with its holder's connection, and all end when a user
//! chooses a profile.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::bus::{Bus, To};
use super::hold::NAMES;
use super::message::{Argument, Kind, Message};

/// Longer than anything takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(300);

/// How often the fake looks whether it is to end.
const AGAIN: Duration = Duration::from_millis(20);

/// A private message bus, ended with this value.
#[derive(Debug)]
pub struct PrivateBus {
    process: Child,
}

impl PrivateBus {
    /// Starts one at a socket; `None` if no `dbus-daemon` is installed.
    ///
    /// # Errors
    /// If it cannot be started, or does not listen.
    #[expect(
        clippy::disallowed_methods,
        reason = "tests start a bus of their own, and change nothing of the machine"
    )]
    pub fn start(socket: &Path) -> io::Result<Option<Self>> {
        let address = format!("unix:path={}", socket.display());
        let started = std::process::Command::new("dbus-daemon")
            .args(["--session", "--nofork", "--nopidfile", "--address"])
            .arg(address)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let process = match started {
            Ok(process) => process,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bus = Self { process };
        let begun = Instant::now();
        while Bus::connect(socket, Instant::now() + LIMIT)?.is_none() {
            if begun.elapsed() > LIMIT || bus.process.try_wait()?.is_some() {
                return Err(io::Error::other("the bus does not listen"));
            }
            std::thread::sleep(AGAIN);
        }
        Ok(Some(bus))
    }
}

impl Drop for PrivateBus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What the fake has: the profile that a user has chosen, and the holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profiles {
    /// The chosen profile.
    pub base: String,
    /// The held profiles by their cookies, with the reason and the application.
    pub holds: BTreeMap<u32, [String; 3]>,
    /// How many holds there have been.
    pub count: u32,
    /// The profiles that the machine has.
    pub available: Vec<String>,
}

impl Profiles {
    /// The profile in effect.
    pub fn active(&self) -> &str {
        let is_held = |profile: &str| self.holds.values().any(|hold| hold[0] == profile);
        ["power-saver", "performance"]
            .into_iter()
            .find(|profile| is_held(profile))
            .unwrap_or(&self.base)
    }
}

/// The daemon on a bus. It ends with this value.
#[derive(Debug)]
pub struct FakeDaemon {
    profiles: Arc<Mutex<Profiles>>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl FakeDaemon {
    /// Starts one, with the profile `balanced` chosen; under the older of the two names only if `is_old`.
    ///
    /// # Errors
    /// If the bus at this socket does not accept it.
    pub fn start(socket: &Path, is_old: bool) -> io::Result<Self> {
        let until = Instant::now() + LIMIT;
        let mut bus = Bus::connect(socket, until)?.ok_or_else(|| io::Error::other("no bus"))?;
        let call = |bus: &mut Bus, member: &str, body: Vec<Argument>| {
            bus.call(To::THE_BUS, member, body, until)
                .map_err(|error| io::Error::other(error.to_string()))
        };
        for daemon in NAMES.iter().skip(usize::from(is_old)) {
            let name = Argument::Text(daemon.name.to_owned());
            call(&mut bus, "RequestName", vec![name, Argument::Number(4)])?;
        }
        // Which connections end.
        let rule = "type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged'";
        call(&mut bus, "AddMatch", vec![Argument::Text(rule.to_owned())])?;
        let profiles = Profiles {
            base: "balanced".to_owned(),
            available: ["power-saver", "balanced", "performance"]
                .map(str::to_owned)
                .to_vec(),
            ..Profiles::default()
        };
        let profiles = Arc::new(Mutex::new(profiles));
        let ends = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (profiles, ends) = (Arc::clone(&profiles), Arc::clone(&ends));
            move || serve(bus, &profiles, &ends)
        });
        Ok(Self {
            profiles,
            ends,
            thread: Some(thread),
        })
    }

    /// What it has now.
    pub fn profiles(&self) -> Profiles {
        self.with(|profiles| profiles.clone())
    }

    /// A user chooses a profile: all holds end.
    pub fn choose(&self, profile: &str) {
        self.with(|profiles| {
            profiles.base = profile.to_owned();
            profiles.holds.clear();
        });
    }

    /// The machine has only these profiles.
    pub fn only(&self, available: &[&str]) {
        self.with(|profiles| {
            profiles.available = available.iter().map(ToString::to_string).collect();
        });
    }

    fn with<T>(&self, change: impl FnOnce(&mut Profiles) -> T) -> T {
        let mut profiles = self.profiles.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut profiles)
    }
}

impl Drop for FakeDaemon {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(mut bus: Bus, profiles: &Mutex<Profiles>, ends: &AtomicBool) {
    // Whose connection a hold is of.
    let mut holders: BTreeMap<u32, String> = BTreeMap::new();
    while !ends.load(Ordering::Acquire) {
        let message = match bus.receive(Instant::now() + AGAIN) {
            Ok(Some(message)) => message,
            Ok(None) => continue,
            Err(_) => return,
        };
        let mut profiles = profiles.lock().unwrap_or_else(PoisonError::into_inner);
        holders.retain(|cookie, _| profiles.holds.contains_key(cookie));
        if message.member == "NameOwnerChanged" {
            if let [Argument::Text(name), _, Argument::Text(new)] = &message.body[..]
                && new.is_empty()
            {
                holders.retain(|cookie, holder| {
                    let stays = holder != name;
                    if !stays {
                        profiles.holds.remove(cookie);
                    }
                    stays
                });
            }
            continue;
        }
        if message.kind != Kind::Call {
            continue;
        }
        let answer = answer(&message, &mut profiles, &mut holders);
        drop(profiles);
        let (kind, error, body) = match answer {
            Ok(body) => (Kind::Return, String::new(), body),
            Err(why) => (
                Kind::Error,
                "org.freedesktop.DBus.Error.InvalidArgs".to_owned(),
                vec![Argument::Text(why)],
            ),
        };
        let mut reply = Message::new(kind);
        (reply.error, reply.body) = (error, body);
        (reply.destination, reply.answers) = (message.sender, message.serial);
        let _ = bus.send_message(reply, Instant::now() + LIMIT);
    }
}

fn answer(
    call: &Message,
    profiles: &mut Profiles,
    holders: &mut BTreeMap<u32, String>,
) -> Result<Vec<Argument>, String> {
    let texts: Vec<&str> = call
        .body
        .iter()
        .filter_map(|argument| match argument {
            Argument::Text(text) => Some(text.as_str()),
            _ => None,
        })
        .collect();
    match (call.member.as_str(), &call.body[..], &texts[..]) {
        ("HoldProfile", _, [profile, reason, application]) => {
            if !["performance", "power-saver"].contains(profile) {
                return Err(
                    "Only profiles 'performance' and 'power-saver' can be a hold profile"
                        .to_owned(),
                );
            }
            if !profiles.available.iter().any(|known| known == profile) {
                return Err(format!(
                    "Cannot hold profile '{profile}' as it is not available"
                ));
            }
            profiles.count += 1;
            let cookie = profiles.count;
            let hold = [profile, reason, application].map(|text| (*text).to_owned());
            profiles.holds.insert(cookie, hold);
            holders.insert(cookie, call.sender.clone());
            Ok(vec![Argument::Number(cookie)])
        }
        ("ReleaseProfile", [Argument::Number(cookie)], _) => {
            holders.remove(cookie);
            match profiles.holds.remove(cookie) {
                Some(_) => Ok(Vec::new()),
                None => Err(format!("No hold with cookie  {cookie}")),
            }
        }
        ("Get", _, [_, "ActiveProfile"]) => {
            let active = Argument::Text(profiles.active().to_owned());
            Ok(vec![Argument::Variant(Box::new(active))])
        }
        _ => Err(format!("No such method or property: {}", call.member)),
    }
}
