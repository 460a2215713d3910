//! CAKE's options compared with the real `tc` on stock kernels: what `tc` accepts is accepted, what
//! it sets is set, and what it shows is read.
//!
//! `tc` has one device and this program another. For each list of words, `tc` creates a new qdisc
//! on its device, and the attributes made from the same words create one on the other. Then both
//! are read from the kernel and compared byte for byte.

mod kernel;
mod tc;
mod words;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use hosttune_qos::cake::{Bandwidth, Problem, Statistics, Symptom};
use hosttune_qos::{Cake, QuantityError, Seen, differences};
use hosttune_test_machine::inside_every_kernel;

use kernel::{Devices, Kernel};
use tc::Tc;

inside_every_kernel!(
    what_tc_sets_is_what_its_words_mean_here,
    what_tc_refuses_is_refused_and_what_is_refused_beyond_that_is_known,
    whatever_it_was_before_all_of_it_is_set,
    counters_of_a_new_qdisc_are_read_whole,
    the_longest_packet_is_measured_before_it_is_cut,
);

/// `tc` has the first, this program the second.
const DEVICES: [&str; 2] = ["tcs0", "ours0"];

/// Number of lists of words that are compared.
const LISTS: usize = 400;

fn what_tc_sets_is_what_its_words_mean_here() {
    let devices = Devices::new(DEVICES);
    let mut kernel = Kernel::reached();
    let mut tc = Tc::started();
    let started = Instant::now();
    let mut exact = 0;
    for text in words::lists(LISTS) {
        let cake: Cake = text
            .parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"));
        let line = tc.made(DEVICES[0], &text);
        kernel.make(devices.number(1), &cake.to_attributes());
        let options = kernel
            .options(devices.number(0))
            .unwrap_or_else(|| panic!("none: {text}"));
        let ours = kernel.options(devices.number(1));
        assert_eq!(ours.as_ref(), Some(&options), "set otherwise: {text}");

        let (seen, unknown) =
            Cake::from_attributes(&options).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(seen, cake, "{text}");
        assert_eq!(unknown, [], "{text}");
        assert_eq!(differences(&cake, &Seen::read(&options)), [], "{text}");

        // Some values are rounded when `tc` shows them. The others are exact.
        assert!(
            line.ends_with(&cake.shown()),
            "{text}\nis shown as {line}\nand not as {}",
            cake.shown()
        );
        let shown = Cake::from_shown(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
        let unrounded = Cake {
            bandwidth: cake.bandwidth,
            rtt: cake.rtt,
            memlimit: cake.memlimit,
            ..shown.clone()
        };
        assert_eq!(unrounded, cake, "{text}");
        exact += usize::from(shown == cake);

        // `tc` makes the same qdisc from what is printed here.
        for printed in [cake.to_string(), format!("{cake:#}")] {
            assert_eq!(printed.parse(), Ok(cake.clone()));
            tc.made(DEVICES[0], &printed);
            assert_eq!(
                kernel.options(devices.number(0)).as_ref(),
                Some(&options),
                "{printed}"
            );
        }
    }
    assert!(exact > LISTS / 2, "only {exact} were shown exactly");
    println!(
        "{LISTS} lists, thrice each, {exact} of them shown exactly: {:.1} s",
        started.elapsed().as_secs_f64()
    );
}

/// Whether this is a known reason to refuse something that `tc` accepts.
/// `words::REFUSED_HERE_ALONE` has an example of each.
fn is_known(problem: &Problem) -> bool {
    matches!(
        problem,
        Problem::Bytes(_)
            | Problem::Quantity(
                QuantityError::BitsOrBytes { .. }
                    | QuantityError::TooLittle { .. }
                    | QuantityError::TooMuch { .. }
                    | QuantityError::Negative
            )
    )
}

fn what_tc_refuses_is_refused_and_what_is_refused_beyond_that_is_known() {
    let devices = Devices::new(DEVICES);
    let mut kernel = Kernel::reached();
    let started = Instant::now();
    let (mut taken, mut refused, mut known) = (0, 0, 0);
    let mut tc = Tc::started();
    for text in words::REFUSED_HERE_ALONE {
        tc.made(DEVICES[0], text);
        assert!(text.parse::<Cake>().is_err(), "{text}");
    }
    for text in words::mixed(LISTS) {
        let ours = text.parse::<Cake>();
        let options = match &ours {
            // These make `tc` itself exit, wherever they are in the list.
            Err(error)
                if matches!(
                    error.problem,
                    Problem::NoValue { .. } | Problem::SecondPreset { .. }
                ) =>
            {
                assert!(!tc::takes_alone(DEVICES[0], &text), "{text}");
                None
            }
            _ => {
                tc.try_to_make(DEVICES[0], &text);
                kernel.options(devices.number(0))
            }
        };
        match (ours, options) {
            (Ok(cake), Some(options)) => {
                assert_eq!(
                    Cake::from_attributes(&options).map(|(cake, _)| cake),
                    Ok(cake),
                    "{text}"
                );
                taken += 1;
            }
            (Err(_), None) => refused += 1,
            (Err(error), Some(_)) if is_known(&error.problem) || words::is_known(&text) => {
                known += 1;
            }
            (Err(error), Some(_)) => panic!("tc takes {text}, and here it is {error}"),
            (Ok(cake), None) => panic!("tc refuses {text}, and here it is {cake}"),
        }
    }
    assert!(
        taken > 50 && refused > 50 && known > 10,
        "{taken}, {refused}, {known}"
    );
    println!(
        "{taken} taken by both, {refused} refused by both, {known} refused here alone: {:.1} s",
        started.elapsed().as_secs_f64()
    );
}

/// The kernel merges options on a change, and `tc` could not unset these.
fn whatever_it_was_before_all_of_it_is_set() {
    let devices = Devices::new(DEVICES);
    let mut kernel = Kernel::reached();
    let device = devices.number(1);
    for text in words::lists(60) {
        let cake: Cake = text.parse().unwrap();
        kernel.change(device, &cake.to_attributes());
        let options = kernel.options(device).unwrap();
        assert_eq!(differences(&cake, &Seen::read(&options)), [], "{text}");
    }
    let full: Cake = "memlimit 1mb mpu 64 fwmark 0xff ethernet nat wash ingress"
        .parse()
        .unwrap();
    kernel.change(device, &full.to_attributes());
    kernel.change(device, &Cake::default().to_attributes());
    let options = kernel.options(device).unwrap();
    assert_eq!(Cake::from_attributes(&options).unwrap().0, Cake::default());

    // Values that only another program can set are reported, and not mistaken for others.
    for (number, value) in [
        (3_u16, 99_u32),
        (4, 77),
        (6, 70_000),
        (8, 1),
        (14, 300),
        (16, 9),
    ] {
        let mut attribute = vec![8, 0];
        attribute.extend(number.to_ne_bytes());
        attribute.extend(value.to_ne_bytes());
        kernel.change(device, &attribute);
        let seen = Seen::read(&kernel.options(device).unwrap());
        assert!(seen.cake().is_err(), "{number} is {value}");
        let found = differences(&Cake::default(), &seen);
        assert!(
            found.iter().any(|one| one.option.number() == number),
            "{number} is {value}: {found:?}"
        );
        if number == 6 {
            assert_eq!(seen.value(hosttune_qos::CakeOption::Overhead), Some(4464));
        }
        kernel.change(device, &Cake::default().to_attributes());
    }
}

fn counters_of_a_new_qdisc_are_read_whole() {
    let devices = Devices::new(DEVICES);
    let mut kernel = Kernel::reached();
    for (words, tins) in [
        ("besteffort", 1),
        ("diffserv3", 3),
        ("diffserv4", 4),
        ("diffserv8", 8),
        ("precedence", 8),
    ] {
        let cake: Cake = format!("bandwidth 8mbit memlimit 2mb {words}")
            .parse()
            .unwrap();
        assert!(matches!(cake.bandwidth, Bandwidth::Limited(_)));
        kernel.make(devices.number(1), &cake.to_attributes());
        let statistics = Statistics::read(&kernel.counters(devices.number(1)).unwrap());
        assert_eq!(statistics.tins.len(), tins);
        assert_eq!(statistics.counters.memory_limit_bytes, Some(2 << 20));
        assert_eq!(
            statistics.counters.capacity_estimate_bytes_per_second,
            Some(1_000_000)
        );
        assert_eq!(statistics.counters.unknown, []);
        let fastest = statistics
            .tins
            .iter()
            .filter_map(|tin| tin.threshold_bytes_per_second)
            .max();
        assert_eq!(fastest, Some(1_000_000));
        for tin in &statistics.tins {
            let json = serde_json::to_value(tin).unwrap();
            let untold: Vec<_> = json
                .as_object()
                .unwrap()
                .iter()
                .filter(|(_, value)| value.is_null())
                .collect();
            assert!(untold.is_empty() && tin.unknown.is_empty(), "{json}");
        }
        assert_eq!(statistics.symptoms(&cake, 1514), []);
    }
}

/// The loopback device with the MTU of a card. It leaves splitting packets to whatever comes after
/// it.
struct Loopback;

impl Loopback {
    const NUMBER: u32 = 1;
    const FRAME: u32 = 1500 + 14;

    fn set(mtu: &str) {
        kernel::ip(&["link", "set", "lo", "mtu", mtu]);
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        tc::deleted("lo");
        Self::set("65536");
    }
}

/// If it were measured afterwards, the counters would show whether packets are split.
fn the_longest_packet_is_measured_before_it_is_cut() {
    const BYTES: usize = 1 << 20;
    let _restored = Loopback;
    Loopback::set("1500");
    let mut kernel = Kernel::reached();
    for (words, cut) in [("besteffort", true), ("besteffort no-split-gso", false)] {
        let cake: Cake = words.parse().unwrap();
        kernel.make(Loopback::NUMBER, &cake.to_attributes());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let sender = std::thread::spawn(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(&vec![0; BYTES]).unwrap();
        });
        let mut received = Vec::new();
        listener
            .accept()
            .unwrap()
            .0
            .read_to_end(&mut received)
            .unwrap();
        sender.join().unwrap();
        assert_eq!(received.len(), BYTES);

        let statistics = Statistics::read(&kernel.counters(Loopback::NUMBER).unwrap());
        let tin = &statistics.tins[0];
        assert!(
            tin.longest_packet_bytes > Some(Loopback::FRAME),
            "{words}: {tin:?}"
        );
        let packets = usize::try_from(tin.sent_packets.unwrap()).unwrap();
        assert_eq!(packets > BYTES / 1500, cut, "{words}: {tin:?}");
        let symptoms = statistics.symptoms(&cake, Loopback::FRAME);
        assert_eq!(
            symptoms
                .iter()
                .any(|one| matches!(one, Symptom::PacketsNotCut { .. })),
            !cut,
            "{words}: {symptoms:?}"
        );
        println!(
            "{words}: {packets} packets, the longest of {:?} bytes",
            tin.longest_packet_bytes
        );
    }
}
