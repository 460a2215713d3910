//! A machine with one of each kernel behaviour that a tuning has to cope with.

use std::fmt;
use std::time::Duration;

use hosttune_core::file::{ConfigFile, FileState};
use hosttune_core::host::FileContent;
use hosttune_core::testing::{Behaviour, Machine, Memory};
use hosttune_core::{AnyKnob, Error, Host, HostError, Knob, Planner, Registry, Tuning};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

const EINVAL: i32 = 22;

fn value(host: &Host, path: &str) -> Result<String, HostError> {
    Ok(host.read_text(path)?.trim_end().to_owned())
}

fn set(host: &mut Host, path: &str, to: &str) -> Result<(), HostError> {
    host.write_value(path, format!("{to}\n").as_bytes())
}

/// A plain value. The kernel rounds `round*` down to a multiple of four without an error.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Dial(pub(crate) String);

impl fmt::Display for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Knob for Dial {
    const NAME: &'static str = "dial";
    type State = String;
    fn read(&self, host: &Host) -> Result<String, HostError> {
        value(host, &format!("/sys/dial/{}", self.0))
    }
    fn set(&self, host: &mut Host, to: &String) -> Result<(), HostError> {
        set(host, &format!("/sys/dial/{}", self.0), to)
    }
    fn satisfies(&self, seen: &String, wanted: &String) -> bool {
        let rounded = |text: &String| text.parse::<i64>().map(|n| n - n.rem_euclid(4)).ok();
        seen == wanted
            || (self.0.starts_with("round")
                && Some(seen.clone()) == rounded(wanted).map(|n| n.to_string()))
    }
}

/// Three numbers; a refused write sets those before the invalid one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Vector;

impl fmt::Display for Vector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("vector")
    }
}

impl Knob for Vector {
    const NAME: &'static str = "vector";
    type State = Vec<String>;
    fn read(&self, host: &Host) -> Result<Vec<String>, HostError> {
        let text = value(host, "/sys/vector")?;
        Ok(text.split_whitespace().map(str::to_owned).collect())
    }
    fn set(&self, host: &mut Host, to: &Vec<String>) -> Result<(), HostError> {
        set(host, "/sys/vector", &to.join(" "))
    }
    fn is_partial_write(&self, seen: &Vec<String>, from: &Vec<String>, to: &Vec<String>) -> bool {
        seen.len() == to.len()
            && (0..seen.len()).all(|i| Some(&seen[i]) == from.get(i) || seen[i] == to[i])
    }
}

/// A disk's scheduler; a change resets the queue's depth and weight.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Scheduler(pub(crate) u8);

impl fmt::Display for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "disk {} scheduler", self.0)
    }
}

impl Knob for Scheduler {
    const NAME: &'static str = "scheduler";
    type State = String;
    fn read(&self, host: &Host) -> Result<String, HostError> {
        value(host, &format!("/sys/disk{}/scheduler", self.0))
    }
    fn set(&self, host: &mut Host, to: &String) -> Result<(), HostError> {
        set(host, &format!("/sys/disk{}/scheduler", self.0), to)
    }
    fn side_effects(&self, _: &Host, _: &String) -> Result<Vec<AnyKnob>, HostError> {
        Ok(vec![
            AnyKnob::of(&Queue(self.0, "depth".into())),
            AnyKnob::of(&Queue(self.0, "weight".into())),
        ])
    }
}

/// An attribute of a disk's queue.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Queue(pub(crate) u8, pub(crate) String);

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "disk {} {}", self.0, self.1)
    }
}

impl Knob for Queue {
    const NAME: &'static str = "queue";
    type State = String;
    fn read(&self, host: &Host) -> Result<String, HostError> {
        value(host, &format!("/sys/disk{}/{}", self.0, self.1))
    }
    fn set(&self, host: &mut Host, to: &String) -> Result<(), HostError> {
        set(host, &format!("/sys/disk{}/{}", self.0, self.1), to)
    }
}

/// The driver of a device, `null` for none. It binds with a delay.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Driver;

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("driver")
    }
}

impl Knob for Driver {
    const NAME: &'static str = "driver";
    const SETTLE: Duration = Duration::from_millis(20);
    type State = Option<String>;
    fn read(&self, host: &Host) -> Result<Option<String>, HostError> {
        Ok(Some(value(host, "/sys/device/driver")?).filter(|driver| driver != "none"))
    }
    fn set(&self, host: &mut Host, to: &Option<String>) -> Result<(), HostError> {
        set(host, "/sys/device/driver", to.as_deref().unwrap_or("none"))
    }
}

/// The only driver that may bind the device; empty for any.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Override;

impl fmt::Display for Override {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("override")
    }
}

impl Knob for Override {
    const NAME: &'static str = "override";
    type State = String;
    fn read(&self, host: &Host) -> Result<String, HostError> {
        value(host, "/sys/device/override")
    }
    fn set(&self, host: &mut Host, to: &String) -> Result<(), HostError> {
        set(host, "/sys/device/override", to)
    }
}

pub(crate) fn knobs(registry: &mut Registry) {
    registry.add::<Dial>();
    registry.add::<Vector>();
    registry.add::<Scheduler>();
    registry.add::<Queue>();
    registry.add::<Driver>();
    registry.add::<Override>();
}

fn scheduler(disk: u8) -> Behaviour {
    Behaviour::new(move |tree, path, value| {
        let depth = match value {
            "none" => "1023",
            "mq" => "64",
            "bfq" => "256",
            _ => return Err(EINVAL),
        };
        // Writing the active scheduler again changes nothing, as in the kernel.
        if tree.get(path).as_deref() != Some(value) {
            tree.set(path, value);
            tree.set(format!("/sys/disk{disk}/depth"), depth);
            tree.set(format!("/sys/disk{disk}/weight"), "100");
        }
        Ok(())
    })
}

fn driver() -> Behaviour {
    Behaviour::new(|tree, path, value| {
        let only = tree.get("/sys/device/override").unwrap_or_default();
        if value == "none" {
            tree.set(path, "none");
            return Ok(());
        }
        if tree.get(path).as_deref() != Some("none") {
            return Err(16); // EBUSY: bound already
        }
        if !(only == value || only.is_empty() && value == "nic") {
            return Err(EINVAL);
        }
        let bind = Behaviour::takes_all();
        tree.later(Duration::from_millis(3), path, value, bind);
        Ok(())
    })
}

/// The machine as it boots.
pub(crate) fn machine() -> Machine {
    Machine::new(memory(), knobs)
}

pub(crate) fn memory() -> Memory {
    let mut memory = Memory::new()
        .file(
            "/proc/sys/kernel/osrelease",
            "6.12.0",
            Behaviour::takes_all(),
        )
        .file("/sys/vector", "10\t20\t30", Behaviour::vector())
        .file("/sys/device/driver", "nic", driver())
        .file("/sys/device/override", "", Behaviour::takes_all())
        .directory("/etc")
        .content("/etc/b", FileContent::new("what was there\n"));
    for dial in ["a", "b", "c"] {
        memory = memory.file(format!("/sys/dial/{dial}"), "0", Behaviour::integer(0..=9));
    }
    memory = memory.file("/sys/dial/round", "8", Behaviour::rounds_down_to(4));
    for disk in 0..2 {
        memory = memory
            .file(format!("/sys/disk{disk}/scheduler"), "mq", scheduler(disk))
            .file(
                format!("/sys/disk{disk}/depth"),
                "77",
                Behaviour::integer(4..=4096),
            )
            .file(
                format!("/sys/disk{disk}/weight"),
                "33",
                Behaviour::integer(1..=1000),
            );
    }
    memory
}

/// One request to that machine.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Want {
    Dial(&'static str, u8),
    Vector([u8; 3]),
    Scheduler(u8, &'static str),
    Queue(u8, &'static str, u8),
    Passthrough,
    File(&'static str, Option<u8>),
    /// An intermediate step to the second value, then the third as the requested one, in one apply.
    Excursion(&'static str, u8, u8),
}

impl Want {
    /// Two requests of one apply must not have the same knob.
    fn knob(&self) -> String {
        match self {
            Self::Dial(name, _) | Self::Excursion(name, ..) => format!("dial {name}"),
            Self::Vector(_) => "vector".into(),
            Self::Scheduler(disk, _) => format!("scheduler {disk}"),
            Self::Queue(disk, name, _) => format!("queue {disk} {name}"),
            Self::Passthrough => "driver".into(),
            Self::File(name, _) => format!("file {name}"),
        }
    }

    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        match self {
            Self::Dial(name, to) => {
                at.want(&Dial((*name).into()), &to.to_string())
                    .why("a dial");
            }
            Self::Excursion(name, by, to) => {
                let dial = Dial((*name).into());
                if at.now(&dial)? != to.to_string() {
                    at.intermediate(&dial, &by.to_string()).why("on the way");
                }
                at.want(&dial, &to.to_string()).why("the end");
            }
            Self::Vector(to) => {
                at.want(&Vector, &to.iter().map(ToString::to_string).collect());
            }
            Self::Scheduler(disk, to) => {
                at.want(&Scheduler(*disk), &(*to).to_owned());
            }
            Self::Queue(disk, name, to) => {
                at.want(
                    &Queue(*disk, (*name).into()),
                    &(u32::from(*to) + 4).to_string(),
                );
            }
            Self::Passthrough => {
                let vfio = Some("vfio".to_owned());
                if at.now(&Driver)? != vfio {
                    at.intermediate(&Driver, &None)
                        .why("a bound device cannot be bound");
                    at.intermediate(&Override, &"vfio".to_owned())
                        .why("no other driver may take it");
                }
                at.want(&Driver, &vfio).why("the guest's device");
            }
            Self::File(name, to) => {
                let file = ConfigFile::new(format!("/etc/{name}"))?;
                let to = to.map_or(FileState::Absent, |line| {
                    FileState::Present(FileContent::new(format!("line {line}\n")))
                });
                at.want(&file, &to);
            }
        }
        Ok(())
    }
}

/// Requests for one apply, at most one for each knob.
#[derive(Debug, Clone)]
pub(crate) struct Wants(pub(crate) Vec<Want>);

impl Tuning for Wants {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        self.0.iter().try_for_each(|want| want.declare(at))
    }
}

fn want() -> impl Strategy<Value = Want> {
    let dial = || prop::sample::select(vec!["a", "b", "c"]);
    prop_oneof![
        (dial(), 0..10_u8).prop_map(|(name, to)| Want::Dial(name, to)),
        (0..20_u8).prop_map(|to| Want::Dial("round", to)),
        (dial(), 0..10_u8, 0..10_u8).prop_map(|(name, by, to)| Want::Excursion(name, by, to)),
        prop::array::uniform3(0..40_u8).prop_map(Want::Vector),
        (0..2_u8, prop::sample::select(vec!["none", "mq", "bfq"]))
            .prop_map(|(disk, to)| Want::Scheduler(disk, to)),
        (
            0..2_u8,
            prop::sample::select(vec!["depth", "weight"]),
            0..4_u8
        )
            .prop_map(|(disk, name, to)| Want::Queue(disk, name, to)),
        Just(Want::Passthrough),
        (
            prop::sample::select(vec!["a", "b"]),
            prop::option::of(0..3_u8)
        )
            .prop_map(|(name, to)| Want::File(name, to)),
    ]
}

pub(crate) fn wants() -> impl Strategy<Value = Wants> {
    prop::collection::vec(want(), 0..7).prop_map(|wants| {
        let mut kept: Vec<Want> = Vec::new();
        for want in wants {
            if kept.iter().all(|other| other.knob() != want.knob()) {
                kept.push(want);
            }
        }
        Wants(kept)
    })
}
