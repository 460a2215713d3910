//! A device `wan` whose other end is in a network namespace of its own, and packets both ways.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use crate::namespace::{enter, tell};

/// So long is waited for a packet that is to arrive, as a watchdog only.
const WATCHDOG: Duration = Duration::from_secs(60);

/// So long is waited for a packet that may well be lost: each that is takes that long.
const PATIENCE: Duration = Duration::from_secs(1);

const HERE: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 1);
const THERE: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 2);
const HERE_LINK: &str = "02:00:00:00:07:01";
const THERE_LINK: &str = "02:00:00:00:07:02";

/// So many packets are sent each way.
pub(crate) const SENT: usize = 10;

/// `tc`'s mark of what is waited for: expedited forwarding.
pub(crate) const EXPEDITED: u8 = 0xb8;

type Job = Box<dyn FnOnce() + Send>;

/// Both ends of the link; the other one goes when this is dropped, and `wan` with it.
pub(crate) struct Traffic {
    jobs: Sender<Job>,
    here: UdpSocket,
    there: UdpSocket,
}

impl Traffic {
    /// In a new network namespace from here on. No packet goes anywhere that the test does not send.
    pub(crate) fn begin() -> Self {
        enter();
        let (jobs, to_do) = channel::<Job>();
        let (ready, is_ready) = channel();
        std::thread::spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            ready.send(nix::unistd::gettid()).unwrap();
            to_do.into_iter().for_each(|job| job());
        });
        let other = is_ready.recv().unwrap();
        let quiet = "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6";
        tell(quiet);
        run(&jobs, move || tell(quiet));
        tell(&format!(
            "ip link add wan address {HERE_LINK} numtxqueues 4 numrxqueues 4 type veth \
             peer name peer address {THERE_LINK} netns {other}"
        ));
        let there = run(&jobs, || {
            tell(&format!(
                "ip addr add {THERE}/24 dev peer && ip link set peer up"
            ));
            socket(THERE)
        });
        tell(&format!(
            "ip addr add {HERE}/24 dev wan && ip link set wan up"
        ));
        let traffic = Self {
            jobs,
            here: socket(HERE),
            there,
        };
        traffic
            .here
            .connect(traffic.there.local_addr().unwrap())
            .unwrap();
        traffic
            .there
            .connect(traffic.here.local_addr().unwrap())
            .unwrap();
        traffic.introduce();
        traffic.all_arrive("at the beginning");
        traffic
    }

    /// The ends know each other's address, so that nothing is sent to find it out.
    fn introduce(&self) {
        tell(&format!(
            "ip neigh replace {THERE} lladdr {THERE_LINK} nud permanent dev wan
             until ip link show wan | grep -q 'state UP'; do sleep 0.05; done"
        ));
        self.tell_other(&format!(
            "ip neigh replace {HERE} lladdr {HERE_LINK} nud permanent dev peer"
        ));
    }

    /// Takes the carrier away from `wan`, and whatever it is sent.
    pub(crate) fn pull_out(&self) {
        self.tell_other("ip link set peer down");
        tell("until ip link show wan | grep -q NO-CARRIER; do sleep 0.05; done; sleep 0.1");
    }

    /// Gives it back.
    pub(crate) fn plug_in(&self) {
        self.tell_other("ip link set peer up");
        self.introduce();
    }

    /// Runs a script on the other side.
    pub(crate) fn tell_other(&self, script: &str) -> String {
        let script = script.to_owned();
        run(&self.jobs, move || tell(&script))
    }

    /// How many arrive of those that are sent from here, and of those that are sent from there.
    pub(crate) fn arrive(&self) -> (usize, usize) {
        (sent(&self.here, &self.there), sent(&self.there, &self.here))
    }

    /// Sends packets both ways.
    ///
    /// # Panics
    /// Where one is lost.
    #[track_caller]
    pub(crate) fn all_arrive(&self, when: impl std::fmt::Display) {
        for socket in [&self.here, &self.there] {
            socket.set_read_timeout(Some(WATCHDOG)).unwrap();
        }
        assert_eq!(self.arrive(), (SENT, SENT), "{when}: packets are lost");
        for socket in [&self.here, &self.there] {
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
        }
    }

    /// Sends so many of so many bytes from here, and waits for none.
    pub(crate) fn burst(&self, packets: usize, length: usize) {
        for _ in 0..packets {
            self.here.send(&vec![0; length]).unwrap();
        }
    }

    /// The sockets of both ends, to mark what they send.
    pub(crate) fn mark(&self, service: u8) {
        for socket in [&self.here, &self.there] {
            rustix::net::sockopt::set_ip_tos(socket, service).unwrap();
        }
    }
}

fn run<T: Send + 'static>(jobs: &Sender<Job>, job: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, is_done) = channel();
    let job: Job = Box::new(move || done.send(job()).unwrap());
    jobs.send(job).unwrap();
    is_done.recv().unwrap()
}

fn socket(address: Ipv4Addr) -> UdpSocket {
    let socket = UdpSocket::bind((address, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// The first one that is lost ends it: the others would each be waited for.
fn sent(from: &UdpSocket, to: &UdpSocket) -> usize {
    let mut received = [0; 64];
    (0..SENT)
        .take_while(|number| {
            let packet = [u8::try_from(*number).unwrap(); 32];
            from.send(&packet).is_ok()
                && loop {
                    match to.recv(&mut received) {
                        // One that was late in a count before.
                        Ok(length) if received[..length] != packet => {}
                        received => break received.is_ok(),
                    }
                }
        })
        .count()
}
