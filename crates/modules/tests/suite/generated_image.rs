//! An initramfs image that is made anew: the laws with a fake of the generator that works, fails and lies.

use hosttune_core::host::FileContent;
use hosttune_core::testing::laws::{self, Death};
use hosttune_core::testing::{CrashPoint, Memory, MemoryStore, Moment, Snapshot, World};
use hosttune_core::{Error, Host, HostError, HostErrorKind, Operation, Session, State, Tuning};
use hosttune_initramfs::{ImageGenerator, ImageGenerators, InitramfsGenerator};
use hosttune_modules::testing::{RELEASE, with_modules};
use hosttune_modules::{ModuleOption, ModuleOptions};
use proptest::prelude::*;

use super::initramfs_copy::{FILE, KVM, OURS, image, inside, path};

/// How the fake behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behaviour {
    Works,
    Fails,
    WritesHalf,
    WritesZeros,
    ReadsNoConfiguration,
    HasNoInit,
    HasNoModules,
    HasFewFiles,
}

/// A generator of the machine with these files: what is in `/etc/modprobe.d`, and a module.
#[derive(Debug)]
struct Fake {
    memory: Memory,
    behaviour: Behaviour,
    free: Option<u64>,
}

/// What every image of the fake has.
const REST: [&str; 6] = [
    "scripts/functions",
    "conf/initramfs.conf",
    "etc/hostname",
    "bin/sh",
    "bin/mount",
    "bin/sleep",
];

fn made(memory: &Memory, behaviour: Behaviour) -> Vec<u8> {
    let text = memory.get(FILE).map(|text| format!("{text}\n"));
    let bytes = memory
        .snapshot()
        .contains_key(FILE)
        .then(|| text.unwrap_or_default());
    let kvm = inside("kvm");
    let programs: Vec<String> = (0..40).map(|number| format!("bin/{number}")).collect();
    let mut files: Vec<(&str, &str)> = Vec::new();
    if behaviour != Behaviour::HasNoInit {
        files.push(("init", "#!/bin/sh\n"));
    }
    if behaviour != Behaviour::HasNoModules {
        files.push((&kvm, ""));
    }
    if behaviour != Behaviour::HasFewFiles {
        files.extend(REST.iter().map(|name| (*name, "x")));
        files.extend(programs.iter().map(|name| (&**name, "x")));
    }
    if let Some(text) = &bytes
        && behaviour != Behaviour::ReadsNoConfiguration
    {
        files.push((OURS, text));
    }
    image(&files)
}

impl ImageGenerator for Fake {
    fn build(
        &mut self,
        generator: InitramfsGenerator,
        release: &str,
    ) -> Result<Vec<u8>, HostError> {
        assert_eq!(
            (generator, release),
            (InitramfsGenerator::InitramfsTools, RELEASE)
        );
        let bytes = made(&self.memory, self.behaviour);
        match self.behaviour {
            Behaviour::Fails => {
                Err(
                    HostError::new(Operation::Backend, "mkinitramfs", HostErrorKind::Other)
                        .detail("failed with exit code 1: no space left"),
                )
            }
            Behaviour::WritesHalf => Ok(bytes[..bytes.len() - 20].to_vec()),
            Behaviour::WritesZeros => Ok(vec![0; bytes.len()]),
            _ => Ok(bytes),
        }
    }

    fn clear(&mut self) -> Result<(), HostError> {
        Ok(())
    }

    fn free_space(&self, directory: &str) -> Option<u64> {
        assert_eq!(directory, "/boot");
        self.free
    }
}

/// A running Debian whose initramfs loads kvm.
#[derive(Debug, Clone)]
struct Debian {
    memory: Memory,
    store: MemoryStore,
    behaviour: Behaviour,
    free: Option<u64>,
}

impl Debian {
    fn new(behaviour: Behaviour) -> Self {
        let put = |memory: Memory, path: &str, text: &str| {
            memory.content(path, FileContent::new(text.as_bytes()))
        };
        let memory = with_modules(Memory::new(), &[KVM], &[]).directory("/etc/initramfs-tools");
        let memory = put(memory, "/proc/cmdline", "root=/dev/vda1\n");
        let memory = put(memory, "/usr/sbin/update-initramfs", "mkinitramfs\n");
        let image = made(&memory, Behaviour::Works);
        Self {
            memory: memory
                .content(path(), FileContent::new(image))
                .mode(path(), 0o600),
            store: MemoryStore::new(),
            behaviour,
            free: Some(1 << 30),
        }
    }

    fn live(&self) -> Session {
        self.session(&CrashPoint::lives()).unwrap()
    }

    fn plan_error(&self) -> String {
        let plan = wanted().plan(&self.live()).unwrap();
        let told: Vec<String> = plan
            .findings
            .iter()
            .map(|finding| format!("{finding:?}"))
            .collect();
        assert!(
            plan.steps.iter().all(|step| step.knob.text != path()),
            "{plan:?}"
        );
        told.join("\n")
    }
}

impl World for Debian {
    fn fork(&self) -> Self {
        Self {
            memory: self.memory.fork(),
            store: self.store.fork(),
            ..*self
        }
    }

    fn session_of(&self, owner: &str, crash_point: &CrashPoint) -> Result<Session, Error> {
        let fake = Fake {
            memory: self.memory.clone(),
            behaviour: self.behaviour,
            free: self.free,
        };
        let host = Host::new(self.memory.host(crash_point))
            .gated(crash_point.clone())
            .with_backend(ImageGenerators::over(fake));
        let session = Session::new(host, owner, self.store.of(crash_point), "boot")?;
        Ok(session.with(hosttune_modules::knobs))
    }

    fn snapshot(&self) -> Snapshot {
        self.memory.snapshot()
    }

    fn store(&self) -> &MemoryStore {
        &self.store
    }
}

fn with_value(value: u8) -> ModuleOptions {
    let option = ModuleOption::new("kvm", "ignore_msrs", value);
    ModuleOptions::new("laws", [option]).rebuild_initramfs(true)
}

fn wanted() -> ModuleOptions {
    with_value(1)
}

#[test]
fn the_image_gets_the_option_and_a_revert_makes_it_without() {
    let host = Debian::new(Behaviour::Works);
    let before = host.snapshot();
    let plan = wanted().plan(&host.live()).unwrap();
    let step = plan.steps.last().unwrap();
    assert_eq!(step.knob.text, path());
    assert_eq!(step.to_text, "image made anew, with zz-hosttune-laws.conf");
    let notes = plan.notes.join("\n");
    assert!(notes.contains("not the same byte for byte"), "{notes}");
    let _ = wanted().apply(&mut host.live()).unwrap();
    assert_ne!(host.snapshot()[&path()], before[&path()]);
    // Also without asking for the image: the copy that is inside counts.
    let plain = wanted().rebuild_initramfs(false);
    for tuning in [wanted(), plain] {
        let report = tuning.verify(&host.live()).unwrap();
        let mut items = report.items.iter();
        let item = items.find(|item| item.name.contains(&path())).unwrap();
        assert_eq!(item.state, State::Matches, "{item:?}");
        assert!(tuning.plan(&host.live()).unwrap().is_empty());
    }
    let reverted = host.live().revert().unwrap();
    assert!(reverted.is_complete(), "{reverted:?}");
    // The fake makes the same bytes of the same configuration, with the mode of before.
    assert_eq!(host.snapshot(), before);
}

/// The exit code is not believed, nor is an image that is not whole taken.
#[test]
fn a_generator_that_fails_or_lies_changes_nothing() {
    for (behaviour, said) in [
        (Behaviour::Fails, "exit code 1: no space left"),
        (Behaviour::WritesHalf, "ends too early"),
        (Behaviour::WritesZeros, "no /init"),
        (Behaviour::ReadsNoConfiguration, "has no copy of"),
        (Behaviour::HasNoInit, "no /init"),
        (Behaviour::HasNoModules, "has no modules for"),
        (Behaviour::HasFewFiles, "entries, and the image in use has"),
    ] {
        let host = Debian::new(behaviour);
        let before = host.snapshot();
        let error = wanted().apply(&mut host.live()).unwrap_err();
        let Error::RolledBack { cause } = &error else {
            panic!("{behaviour:?}: {error:?}");
        };
        let told = format!("{:?}", cause.failure);
        assert!(told.contains(said), "{behaviour:?}: {told}");
        assert_eq!(cause.knob, path());
        assert_eq!(host.snapshot(), before, "{behaviour:?}");
        assert!(host.store.is_empty());
    }
}

#[test]
fn a_generator_that_fails_in_a_revert_leaves_the_image_and_the_journal() {
    let host = Debian::new(Behaviour::Works);
    let before = host.snapshot();
    let _ = wanted().apply(&mut host.live()).unwrap();
    let applied = host.snapshot()[&path()].clone();
    let failing = Debian {
        behaviour: Behaviour::WritesHalf,
        ..host.clone()
    };
    let reverted = failing.live().revert().unwrap();
    assert_eq!(reverted.not_reverted.len(), 1, "{reverted:?}");
    assert_eq!(host.snapshot()[&path()], applied);
    assert!(!host.store.is_empty());
    assert!(host.live().revert().unwrap().is_complete());
    assert_eq!(host.snapshot(), before);
}

/// Another program, or a person, has made it anew after the file was removed.
#[test]
fn an_image_without_the_file_is_reverted_whoever_has_made_it() {
    let host = Debian::new(Behaviour::Works);
    let _ = wanted().apply(&mut host.live()).unwrap();
    let other = image(&[("init", ""), (&inside("kvm"), ""), ("bin/other", "")]);
    let _ = host.memory.clone().content(path(), FileContent::new(other));
    let theirs = host.snapshot()[&path()].clone();
    let broken = Debian {
        behaviour: Behaviour::Fails,
        ..host.clone()
    };
    assert!(broken.live().revert().unwrap().is_complete());
    assert_eq!(host.snapshot()[&path()], theirs);
    assert!(host.store.is_empty());
}

#[test]
fn where_an_image_cannot_be_made_nothing_of_it_is_planned() {
    let host = Debian {
        free: Some(100),
        ..Debian::new(Behaviour::Works)
    };
    assert!(
        host.plan_error().contains("MiB free"),
        "{}",
        host.plan_error()
    );

    let host = Debian::new(Behaviour::Works);
    let text = "update_initramfs=no";
    let conf = "/etc/initramfs-tools/update-initramfs.conf";
    let _ = host.memory.clone().content(conf, FileContent::new(text));
    assert!(
        host.plan_error().contains("forbids"),
        "{}",
        host.plan_error()
    );

    let host = Debian::new(Behaviour::Works);
    let foreign = image(&[("init", ""), (&inside("kvm"), ""), ("usr/lib/dracut/a", "")]);
    let _ = host
        .memory
        .clone()
        .content(path(), FileContent::new(foreign));
    let told = host.plan_error();
    assert!(
        told.contains("another program has built this image"),
        "{told}"
    );
}

fn deaths() -> impl Strategy<Value = Vec<Death>> {
    let moment = prop_oneof![Just(Moment::Before), Just(Moment::After)];
    prop::collection::vec((0..16_u64, moment), 0..4)
}

proptest! {
    #![proptest_config(hosttune_test_machine::cases(16))]
    #[test]
    fn the_laws_hold_for_an_image(deaths in deaths()) {
        let host = Debian::new(Behaviour::Works);
        laws::apply_then_verify(&host, &wanted())?;
        laws::apply_then_plan(&host, &wanted())?;
        laws::plan_writes_nothing(&host, &wanted())?;
        let tunings = [with_value(0), wanted()];
        laws::apply_then_revert(&host, &tunings)?;
        laws::die_anywhere(&host, &tunings, &deaths)?;
    }
}
