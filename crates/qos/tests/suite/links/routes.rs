//! A device that was chosen by the default route, which then moves to another one.

use std::cell::RefCell;
use std::time::Duration;

use hosttune_core::Stop;
use hosttune_core::testing::Behaviour;
use hosttune_qos::WatchEvent;
use hosttune_qos::testing::Script;

use super::{Machine, shaper};

const ROUTES: &str = "/proc/net/route";

fn leads_out_of(device: &str) -> String {
    let fields = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n";
    match device {
        "" => fields.to_owned(),
        device => format!("{fields}{device}\t00000000\t0102A8C0\t0003\t0\t0\t0\t00000000\n"),
    }
}

/// The events of a watch of `w0` while the route moves to one device after another.
fn watch(machine: &Machine, follows: bool, devices: &'static [&'static str]) -> Vec<String> {
    let mut script = Script::of(&machine.kernel);
    for (at, device) in (5..).zip(devices) {
        let memory = machine.memory.clone();
        script = script.at(Duration::from_secs(at), move |kernel| {
            memory.write(ROUTES, &leads_out_of(device)).unwrap();
            kernel.change_route();
        });
    }
    watch_with(machine, follows, script)
}

fn watch_with(machine: &Machine, follows: bool, mut script: Script) -> Vec<String> {
    let said = RefCell::new(Vec::new());
    let say = |event: WatchEvent| said.borrow_mut().push(event.to_string());
    let shaper = shaper("w0");
    let mut watcher = shaper.watcher();
    if follows {
        watcher = watcher.follows_route();
    }
    let stop = Stop::new().unwrap();
    watcher
        .run(&mut machine.session(), &mut script, &stop, say)
        .unwrap();
    said.into_inner()
}

fn machine(device: &str) -> Machine {
    let mut machine = Machine::new();
    let routes = leads_out_of(device);
    machine.memory = machine.memory.file(ROUTES, &routes, Behaviour::takes_all());
    machine
}

fn moved(said: &[String]) -> bool {
    said.iter()
        .any(|said| said.starts_with("the default route now uses x0"))
}

#[test]
fn a_watch_that_follows_the_default_route_says_that_it_has_moved_and_ends() {
    let machine = machine("w0");
    let said = watch(&machine, true, &["x0", "w0"]);
    assert!(moved(&said), "{said:#?}");
    assert!(said[0].starts_with("applied"), "{said:#?}");
    assert!(
        said.last().unwrap().contains("x0"),
        "it ends there: {said:#?}"
    );
    assert!(machine.is_shaped("w0", "ifb0"));
    // The next device gets an IFB of its own.
    let next = shaper("w0").for_device("x0");
    let mut script = Script::of(&machine.kernel);
    let stop = Stop::new().unwrap();
    next.watcher()
        .run(&mut machine.session(), &mut script, &stop, |_| {})
        .unwrap();
    assert!(machine.is_shaped("x0", "ifb-x0"));
    assert_eq!(machine.session().revert().unwrap().not_reverted, []);
}

#[test]
fn without_a_default_route_the_device_stays_the_one_that_it_was() {
    let machine = machine("w0");
    let said = watch(&machine, true, &["", "w0"]);
    assert!(!moved(&said), "{said:#?}");
}

#[test]
fn a_device_that_was_named_is_watched_wherever_the_route_leads() {
    let machine = machine("w0");
    let said = watch(&machine, false, &["x0"]);
    assert!(!moved(&said), "{said:#?}");
}

#[test]
fn a_route_that_moved_before_anybody_listened_is_noticed() {
    let machine = machine("x0");
    let said = watch(&machine, true, &[]);
    assert_eq!(said.len(), 1, "{said:#?}");
    assert!(moved(&said));
}

/// IPv4 sends no notification of routes that disappear with a link. Only the link's own arrives,
/// before the routes are gone.
#[test]
fn a_route_that_goes_with_its_link_is_noticed_once_that_has_settled() {
    type Doing = fn(&hosttune_qos::testing::Kernel);
    let ends: [Doing; 2] = [
        |kernel| kernel.pull_out("w0"),
        |kernel| kernel.set_carrier("w0", false),
    ];
    for ends in ends {
        let machine = machine("w0");
        let memory = machine.memory.clone();
        let script = Script::of(&machine.kernel)
            .at(Duration::from_secs(5), ends)
            .at(Duration::from_millis(5100), move |_| {
                memory.write(ROUTES, &leads_out_of("x0")).unwrap();
            });
        let said = watch_with(&machine, true, script);
        assert!(moved(&said), "{said:#?}");
        assert!(said.last().unwrap().contains("x0"), "{said:#?}");
    }
}

#[test]
fn a_route_that_changes_and_leads_out_of_the_same_device_is_no_move() {
    let machine = machine("w0");
    let said = watch(&machine, true, &["w0", "w0"]);
    assert!(!moved(&said), "{said:#?}");
}

#[test]
fn a_watch_of_the_default_route_waits_for_one_and_goes_from_device_to_device() {
    let machine = machine("");
    let before = machine.kernel.snapshot();
    let mut script = Script::of(&machine.kernel);
    // The second move comes without a notification of the route.
    for (at, device) in [(5, "w0"), (15, "x0"), (25, "w0")] {
        let memory = machine.memory.clone();
        script = script.at(Duration::from_secs(at), move |kernel| {
            memory.write(ROUTES, &leads_out_of(device)).unwrap();
            match at {
                15 => kernel.set_carrier("w0", false),
                _ => kernel.change_route(),
            }
        });
    }
    let said = RefCell::new(Vec::new());
    let stop = Stop::new().unwrap();
    let shaper = shaper("");
    let watched = shaper.watcher().run_on_default_route(
        &mut machine.session(),
        &mut script,
        &stop,
        |device, event| {
            let mut said = said.borrow_mut();
            said.push(format!("{device} {}", event.word()));
        },
    );
    watched.unwrap();
    let mut said = said.into_inner();
    said.retain(|said| !said.ends_with("as-wanted"));
    assert_eq!(
        said,
        ["w0 applied", "w0 moved", "x0 applied", "x0 moved"],
        "the first device is as wanted when the route comes back"
    );
    assert!(machine.is_shaped("w0", "ifb0") && machine.is_shaped("x0", "ifb-x0"));
    assert_eq!(machine.session().revert().unwrap().not_reverted, []);
    assert_eq!(machine.kernel.snapshot(), before);
}

#[test]
fn a_watch_of_the_default_route_ends_while_it_waits() {
    let machine = machine("");
    let mut script = Script::of(&machine.kernel);
    let stop = Stop::new().unwrap();
    let shaper = shaper("");
    let mut session = machine.session();
    let watcher = shaper.watcher();
    let ended = watcher.run_on_default_route(&mut session, &mut script, &stop, |device, event| {
        panic!("{device}: {event}");
    });
    ended.unwrap();
}
