//! Devices of a stock kernel with an Intel IOMMU: really bound to vfio-pci, opened, and handed back.
//!
//! The tests have a machine of their own for each kernel, because a network interface that comes
//! back has another number, which the shared machine would report as left behind.

use std::collections::BTreeMap;
use std::time::Duration;

use hosttune_blockdev::{Rule, Rules, Transport};
use hosttune_core::testing::{CrashPoint, Memory, MemoryStore, Moment};
use hosttune_core::{
    Error, Host, LinuxHost, NotReverted, NotRevertedReason, Planner, Selection, Session, Tuning,
};
use hosttune_modules::Modules;
use hosttune_pci::testing::{Bus, Function};
use hosttune_pci::{Address, Device, Devices};
use hosttune_qos::{Cake, Netlink, Rate, Shaper};
use hosttune_test_machine::inside::{self, for_tests, is_inside, test_name};
use hosttune_test_machine::{Kernel, Stream, ask, is_one_in, tell, wait_until, with_stock_kernels};
use hosttune_vfio::{Assessment, Consent, Lend, Selector};

with_stock_kernels!(devices_are_lent_and_come_back);

fn devices_are_lent_and_come_back(kernel: Kernel) {
    if is_inside() {
        the_fake_answers_as_the_kernel();
        a_network_card_is_lent_and_comes_back();
        a_display_and_its_audio_survive_a_kill_at_every_write();
        own_settings_are_there_again_after_a_loan();
        an_unbind_that_hangs_is_stuck_until_it_returns();
        return;
    }
    let reason = "an interface that comes back has another number";
    let mut machine = for_tests(kernel, reason).boot().unwrap();
    let command = inside::command(&test_name(), kernel);
    // Its output has the lines of a test program of its own: printed, it would be counted as one.
    let mut show = |_: Stream, _: &[u8]| {};
    let output = machine.shell(&command, Duration::from_secs(1_200), &mut show);
    let output = output.unwrap();
    let said = output.text() + &output.error_text();
    assert_eq!(output.code, 0, "{said}");
    assert!(output.text().contains("an unbind that hangs: done"));
}

fn host() -> Host {
    Host::new(LinuxHost::live().unwrap())
}

fn process(store: &MemoryStore, crash_point: &CrashPoint) -> Session {
    let host = host()
        .with_backend(Modules::live())
        .gated(crash_point.clone());
    let session = Session::new(host, "vfio-test", store.of(crash_point), "boot").unwrap();
    session.with(hosttune_vfio::knobs)
}

/// What a lend changes of every device, and the loaded modules of VFIO.
fn bindings() -> BTreeMap<String, String> {
    let mut seen = BTreeMap::new();
    for device in &Devices::read(&host()).unwrap() {
        let address = device.address;
        let link = std::fs::read_link(address.file("driver")).unwrap_or_default();
        seen.insert(format!("{address} driver"), link.display().to_string());
        for name in [
            "driver_override",
            "power/control",
            "d3cold_allowed",
            "reset_method",
            "enable",
        ] {
            let value = std::fs::read_to_string(address.file(name)).unwrap_or_default();
            seen.insert(format!("{address} {name}"), value);
        }
    }
    let modules = std::fs::read_to_string("/proc/modules").unwrap();
    let names = modules.lines().filter_map(|line| line.split(' ').next());
    let vfio = names.filter(|name| name.starts_with("vfio"));
    seen.insert("modules".to_owned(), vfio.collect::<Vec<_>>().join(" "));
    seen
}

#[track_caller]
fn is_still(before: &BTreeMap<String, String>, when: &str) {
    let now = bindings();
    let changed: Vec<_> = before
        .iter()
        .filter(|(key, value)| now.get(*key) != Some(value))
        .map(|(key, value)| format!("{key}: was {value:?}, is {:?}", now.get(key)))
        .collect();
    assert!(
        changed.is_empty() && now.len() == before.len(),
        "{when}: {changed:#?}"
    );
}

/// vfio_virqfd is a module of its own before Linux 6.2, and modprobe leaves it.
fn unload_modules() {
    for module in ["vfio_pci", "vfio_iommu_type1", "vfio_virqfd"] {
        let _ = ask(&format!("modprobe -rq {module}"));
    }
}

fn with_driver(name: &str) -> Device {
    let devices = Devices::read(&host()).unwrap();
    let found = devices
        .iter()
        .find(|device| device.driver.as_deref() == Some(name));
    found
        .unwrap_or_else(|| panic!("no device has the driver {name}"))
        .clone()
}

fn selector(device: &Device) -> Selector {
    Selector::at(device.address, device.ids)
}

fn interface(address: Address) -> Option<String> {
    host().list(address.file("net")).ok()?.first().cloned()
}

/// The errors of the kernel for the same writes as on the fake, in the same order.
fn the_fake_answers_as_the_kernel() {
    println!("the fake");
    let before = bindings();
    let real = with_driver("e1000");
    let (address, ids) = (real.address.to_string(), real.ids.to_string());
    tell("modprobe vfio-pci");
    let function = Function::new(&address, &ids, "020000").group(1);
    let fake = Bus::new(Memory::new())
        .with_driver("e1000", &[&ids])
        .with_driver("vfio-pci", &[])
        .with(function);
    let of_device = |name: &str| format!("/sys/bus/pci/devices/{address}/{name}");
    let of_driver = |name: &str| format!("/sys/bus/pci/drivers/{name}");
    let probe = "/sys/bus/pci/drivers_probe".to_owned();
    let long = "x".repeat(4095);
    let nowhere = "0000:ff:1f.7";
    for (number, (file, value)) in [
        (of_device("driver_override"), long.as_str()),
        (of_driver("vfio-pci/unbind"), &address),
        (of_driver("vfio-pci/bind"), &address),
        (of_driver("e1000/bind"), &address),
        (of_device("driver_override"), "vfio-pci\n"),
        (of_driver("e1000/bind"), &address),
        (of_driver("vfio-pci/bind"), &address),
        (probe.clone(), &address),
        (of_driver("e1000/unbind"), nowhere),
        (of_driver("e1000/unbind"), &address),
        (of_driver("e1000/unbind"), &address),
        (of_driver("e1000/bind"), &address),
        (probe.clone(), nowhere),
        (probe.clone(), &address),
        (of_driver("vfio-pci/bind"), &address),
        (of_driver("vfio-pci/unbind"), &address),
        (of_driver("vfio-pci/bind"), &format!("{address}\n")),
        (of_device("driver_override"), "\n"),
        (of_driver("vfio-pci/unbind"), &address),
        (of_device("driver_override"), "none\n"),
        (probe.clone(), &address),
        (of_driver("e1000/bind"), &address),
        (of_device("driver_override"), "\n"),
        (of_driver("e1000/bind"), &address),
    ]
    .into_iter()
    .enumerate()
    {
        let of_kernel = std::fs::write(&file, value).map_err(|error| error.raw_os_error().unwrap());
        assert_eq!(
            fake.write(&file, value),
            of_kernel,
            "write {number}: {value:?} to {file}"
        );
        let shown = |host: &Host| {
            let at = real.address;
            let driver = hosttune_pci::driver(host, at).unwrap();
            let only = hosttune_pci::driver_override(host, at).unwrap();
            (
                driver,
                only,
                host.read_text(at.file("power/control")).unwrap(),
            )
        };
        let fake = Host::new(fake.host(&CrashPoint::lives()));
        assert_eq!(
            shown(&fake),
            shown(&host()),
            "write {number}: {value:?} to {file}"
        );
    }
    unload_modules();
    is_still(&before, "the fake compared");
    println!("the fake: done");
}

/// The interface works again, and while the group is open nothing is taken away.
fn a_network_card_is_lent_and_comes_back() {
    println!("a network card");
    let nic = with_driver("e1000e");
    let name = interface(nic.address).unwrap();
    let carrier = |name: &str| {
        std::fs::read_to_string(format!("/sys/class/net/{name}/carrier")).unwrap_or_default()
    };
    tell(&format!("ip link set {name} up"));
    wait_until("the link is up", || carrier(&name) == "1\n");
    let before = bindings();
    let lend = Lend::new([selector(&nic)]);
    let store = MemoryStore::new();
    let mut session = process(&store, &CrashPoint::lives());
    let refused = lend.apply(&mut session).unwrap_err();
    assert!(matches!(refused, Error::NotApplicable(_)), "{refused:?}");
    assert!(
        refused
            .to_string()
            .contains(&format!("its interface {name} is up")),
        "{refused}"
    );
    is_still(&before, "refused");

    let lend = lend.consent(Consent::NetworkConfiguration);
    let _ = lend.apply(&mut session).unwrap();
    assert!(lend.verify(&session).unwrap().is_as_wanted());
    assert!(lend.plan(&session).unwrap().is_empty());
    assert_eq!(interface(nic.address), None);
    let node = format!("/dev/vfio/{}", nic.group.unwrap());
    // The kernel makes the file; without udev it is there all the same, by devtmpfs.
    let open = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&node)
        .unwrap();
    let reverted = session.revert().unwrap();
    let said: Vec<String> = reverted
        .not_reverted
        .iter()
        .map(ToString::to_string)
        .collect();
    assert!(said.iter().any(|line| line.contains(&node)), "{said:?}");
    drop(open);
    let reverted = process(&store, &CrashPoint::lives()).revert().unwrap();
    assert!(reverted.not_reverted.is_empty(), "{reverted:#?}");
    assert!(store.is_empty());
    is_still(&before, "handed back");
    let again = interface(nic.address).unwrap();
    tell(&format!("ip link set {again} up"));
    wait_until("the link is up again", || carrier(&again) == "1\n");
    tell(&format!("ip link set {again} down"));
    println!("a network card: done");
}

/// The framebuffers, and each console driver with whether it draws consoles, by name: its number is
/// free to change.
fn console() -> String {
    let mut shown = vec![ask("cat /proc/fb").1];
    for entry in host().list("/sys/class/vtconsole").unwrap() {
        let read = |file: &str| {
            let path = format!("/sys/class/vtconsole/{entry}/{file}");
            std::fs::read_to_string(path).unwrap_or_default()
        };
        shown.push(format!("{}: {}", read("name").trim(), read("bind").trim()));
    }
    shown.sort();
    shown.join("\n")
}

/// CAKE on an interface and the scheduler of a disk: they end with the drivers, and a return sets them
/// again, on the interface that has another number and on the disk that appears a moment later.
fn own_settings_are_there_again_after_a_loan() {
    println!("own settings");
    let (nic, nvme) = (with_driver("e1000e"), with_driver("nvme"));
    let name = interface(nic.address).unwrap();
    let disk = disk_at(nvme.address).unwrap();
    let file = format!("/sys/block/{disk}/queue/scheduler");
    tell("modprobe -a vfio-pci vfio_iommu_type1");
    let before = bindings();
    let scheduler = || std::fs::read_to_string(&file).unwrap_or_default();
    let original = scheduler();
    let another = ["none", "mq-deadline"]
        .into_iter()
        .find(|another| !original.contains(&format!("[{another}]")));
    let qos = Shaper::new(&name).egress(Cake::default().bandwidth(Rate::mbit(38)));
    let disks = Rules::new([Rule::new("disk")
        .transport(Transport::Nvme)
        .scheduler(another.unwrap().parse().unwrap())]);
    let settings = Parts(vec![("qos", Box::new(qos)), ("disks", Box::new(disks))]);
    let lend = Lend::new([selector(&nic), selector(&nvme)]).consent(Consent::NetworkConfiguration);
    let loan = Parts(vec![("guest", Box::new(lend))]);
    let store = MemoryStore::new();
    let program = |crash_point: &CrashPoint| {
        process(&store, crash_point)
            .with(hosttune_qos::knobs)
            .with(hosttune_blockdev::knobs)
            .with_backend(Netlink::open().unwrap())
    };
    let session = || program(&CrashPoint::lives());
    let _ = settings.apply(&mut session()).unwrap();
    let set = scheduler();
    assert_ne!(set, original);
    let hand_back = |crash_point: &CrashPoint| {
        let mut session = program(crash_point);
        session.only(Selection::only(["guest"])).revert()
    };
    let is_set = |when: &str| {
        assert_eq!(scheduler(), set, "{when}");
        let report = settings.verify(&session()).unwrap();
        assert!(report.is_as_wanted(), "{when}: {report}");
        assert!(settings.plan(&session()).unwrap().is_empty(), "{when}");
        is_still(&before, when);
    };
    let _ = loan.apply(&mut session()).unwrap();
    assert_eq!(interface(nic.address), None);
    assert_eq!(disk_at(nvme.address), None);
    let reverted = hand_back(&CrashPoint::lives()).unwrap();
    assert!(reverted.not_reverted.is_empty(), "{reverted:#?}");
    assert_eq!(reverted.notes, Vec::<String>::new());
    is_set("handed back");
    let mut kills = 0;
    for returning in [false, true] {
        for write in 1.. {
            let when = format!("write {write}, returning {returning}");
            if !is_one_in(13, write) {
                continue;
            }
            let crash_point = CrashPoint::dies_at(write, Moment::After);
            if returning {
                let _ = loan.apply(&mut session()).unwrap();
                let _ = hand_back(&crash_point);
            } else {
                let _ = loan.apply(&mut program(&crash_point));
            }
            let reverted = hand_back(&CrashPoint::lives()).unwrap();
            assert!(reverted.not_reverted.is_empty(), "{when}: {reverted:#?}");
            is_set(&when);
            if !crash_point.is_dead() {
                break;
            }
            kills += 1;
        }
    }
    // All at once, while the devices are lent.
    let _ = loan.apply(&mut session()).unwrap();
    let reverted = session().revert().unwrap();
    assert!(reverted.not_reverted.is_empty(), "{reverted:#?}");
    assert_eq!(scheduler(), original);
    assert!(store.is_empty());
    is_still(&before, "reverted");
    unload_modules();
    println!("own settings: killed {kills} times, done");
}

/// Tunings as the named parts of a profile.
struct Parts(Vec<(&'static str, Box<dyn Tuning>)>);

impl Tuning for Parts {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        for (name, tuning) in &self.0 {
            at.part(name, tuning);
        }
        Ok(())
    }
}

/// The disk of an NVMe controller.
fn disk_at(address: Address) -> Option<String> {
    let names = host().list("/sys/class/block").unwrap();
    let is_below = |name: &&String| {
        let link = std::fs::read_link(format!("/sys/class/block/{name}")).unwrap_or_default();
        link.to_string_lossy().contains(&format!("/{address}/"))
    };
    names.iter().find(is_below).cloned()
}

/// A crash after one write leaves the same state as a crash before the next one.
fn a_display_and_its_audio_survive_a_kill_at_every_write() {
    let audio = with_driver("snd_hda_intel");
    let devices = Devices::read(&host()).unwrap();
    let display = devices
        .in_slot_of(audio.address)
        .find(|device| device.class.is_display());
    let display = display.unwrap();
    let lend = Lend::new([selector(display)]);
    let assessment = Assessment::of(&host(), &lend).unwrap();
    println!("{:#?}", assessment.notes);
    assert_eq!(assessment.lent.len(), 2);
    assert!(
        assessment
            .refusals
            .iter()
            .all(|refusal| matches!(refusal.consent, Some(Consent::OnlyGpu | Consent::Console))),
        "{assessment:#?}"
    );
    assert!(!assessment.refusals.is_empty(), "it is the only display");
    let lend = lend
        .consent(Consent::OnlyGpu)
        .consent(Consent::Console)
        .keep_powered();
    // The modules are loaded and unloaded in the other test; here that would take most of the time.
    tell("modprobe -a vfio-pci vfio_iommu_type1");
    let before = bindings();
    let console = console();
    // Without it, nothing below would show that the console is detached and comes back.
    assert!(
        console.contains("frame buffer device: 1"),
        "fbcon draws no console here: {console}"
    );
    println!("the console:\n{console}");
    assert!(
        assessment
            .refusals
            .iter()
            .any(|refusal| refusal.consent == Some(Consent::Console)),
        "{assessment:#?}"
    );
    let store = MemoryStore::new();
    let mut session = process(&store, &CrashPoint::lives());
    let plan = lend.plan(&session).unwrap();
    let detached = "console driver 'frame buffer device'";
    assert!(
        plan.steps.iter().any(|step| step.knob.text == detached),
        "{plan:#?}"
    );
    let _ = lend.apply(&mut session).unwrap();
    let lent = self::console();
    assert!(!lent.contains("frame buffer device: 1"), "{lent}");
    assert!(lent.contains("dummy device: 1"), "{lent}");
    let reverted = session.revert().unwrap();
    assert!(reverted.notes.is_empty(), "{reverted:#?}");
    let mut kills = 0;
    for reverting in [false, true] {
        for write in 0.. {
            let when = format!("write {write}, reverting {reverting}");
            let store = MemoryStore::new();
            if !is_one_in(4, write) {
                continue;
            }
            let crash_point = CrashPoint::dies_at(write, Moment::After);
            if reverting {
                let _ = lend
                    .apply(&mut process(&store, &CrashPoint::lives()))
                    .unwrap();
                let _ = process(&store, &crash_point).revert();
            } else {
                let _ = lend.apply(&mut process(&store, &crash_point));
            }
            let reverted = process(&store, &CrashPoint::lives()).revert().unwrap();
            assert!(
                reverted.not_reverted.is_empty(),
                "{when}: {:#?}",
                reverted.not_reverted
            );
            is_still(&before, &when);
            assert_eq!(self::console(), console, "{when}: the console");
            assert!(store.is_empty(), "{when}: a journal is left");
            if !crash_point.is_dead() {
                assert!(write > 8, "{when}: only so many writes?");
                break;
            }
            kills += 1;
        }
    }
    unload_modules();
    println!("killed {kills} times");
    println!("a display and its audio: done");
}

/// A sound server that does not close its control node, as one that is stopped: snd_hda_intel waits
/// for it in the kernel.
fn an_unbind_that_hangs_is_stuck_until_it_returns() {
    println!("an unbind that hangs");
    let audio = with_driver("snd_hda_intel");
    let devices = Devices::read(&host()).unwrap();
    let display = devices
        .in_slot_of(audio.address)
        .find(|device| device.class.is_display());
    let lend = Lend::new([selector(display.unwrap())])
        .consent(Consent::OnlyGpu)
        .consent(Consent::Console);
    tell("modprobe -a vfio-pci vfio_iommu_type1");
    let before = bindings();
    // Its name is that of a server that closes the node when a card goes away, so it is no reason to
    // refuse.
    let server = "/tmp/wireplumber";
    std::fs::copy("/usr/bin/sleep", server).unwrap();
    let node = std::fs::File::open("/dev/snd/controlC0").unwrap();
    let mut server = std::process::Command::new(server)
        .arg("infinity")
        .stdin(node)
        .spawn()
        .unwrap();

    let store = MemoryStore::new();
    // The child has to start and to reach its write within this time.
    let limit = Duration::from_secs(10);
    let impatient = Host::new(LinuxHost::live().unwrap().write_limit(limit));
    let session = Session::new(
        impatient.with_backend(Modules::live()),
        "vfio-test",
        store.of(&CrashPoint::lives()),
        "boot",
    );
    let mut session = session.unwrap().with(hosttune_vfio::knobs);
    let error = lend.apply(&mut session).unwrap_err();
    let is_stuck = |left: &NotReverted| matches!(left.reason, NotRevertedReason::Stuck(_));
    match &error {
        Error::RollbackIncomplete { left, .. } => assert!(left.iter().any(is_stuck), "{error}"),
        other => panic!("{other}"),
    }
    println!("said: {error}");
    drop(session);

    // Another process sees it too, and none of these waits.
    let mut session = process(&store, &CrashPoint::lives());
    let seen = Devices::read(&host()).unwrap();
    assert!(seen.get(audio.address).unwrap().is_stuck);
    let refused = Assessment::of(&host(), &lend).unwrap().refusals;
    let refused: Vec<String> = refused.iter().map(ToString::to_string).collect();
    assert!(
        refused.iter().any(|line| line.contains("is stuck")),
        "{refused:?}"
    );
    let pending = session.status().unwrap().pending;
    assert!(
        pending.iter().any(|pending| pending.absent.is_some()),
        "{pending:#?}"
    );
    let reverted = session.revert().unwrap();
    assert!(reverted.not_reverted.iter().any(is_stuck), "{reverted:#?}");

    server.kill().unwrap();
    server.wait().unwrap();
    std::fs::remove_file("/tmp/wireplumber").unwrap();
    wait_until("the driver returns", || {
        !hosttune_pci::is_stuck(&host(), audio.address).unwrap()
    });
    let reverted = process(&store, &CrashPoint::lives()).revert().unwrap();
    assert!(reverted.not_reverted.is_empty(), "{reverted:#?}");
    assert!(store.is_empty());
    is_still(&before, "returned");
    unload_modules();
    println!("an unbind that hangs: done");
}
