//! A device `wan` whose other end is in a network namespace of its own, and packets in both
//! directions.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use crate::namespace::{enter, tell};

/// How long to wait for a packet that must arrive. This is only a watchdog.
const WATCHDOG: Duration = Duration::from_secs(60);

/// How long to wait for a packet that may be lost. Each lost one takes this long.
const PATIENCE: Duration = Duration::from_secs(1);

const HERE: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 1);
const THERE: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 2);
const HERE_LINK: &str = "02:00:00:00:07:01";
const THERE_LINK: &str = "02:00:00:00:07:02";

/// Number of packets that are sent in each direction.
pub(crate) const SENT: usize = 10;

/// The type-of-service byte for expedited forwarding.
pub(crate) const EXPEDITED: u8 = 0xb8;

type Job = Box<dyn FnOnce() + Send>;

/// Both ends of the link. On drop the other end is deleted, and `wan` with it.
pub(crate) struct Traffic {
    jobs: Sender<Job>,
    here: UdpSocket,
    there: UdpSocket,
}

impl Traffic {
    /// Moves the calling thread to a new network namespace, in which only the test sends packets.
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

    /// Sets each other's address on both ends, so that no packets are sent to resolve it.
    fn introduce(&self) {
        tell(&format!(
            "ip neigh replace {THERE} lladdr {THERE_LINK} nud permanent dev wan
             until ip link show wan | grep -q 'state UP'; do sleep 0.05; done"
        ));
        self.tell_other(&format!(
            "ip neigh replace {HERE} lladdr {HERE_LINK} nud permanent dev peer"
        ));
    }

    /// Removes the carrier of `wan`. Packets that are sent to it are lost.
    pub(crate) fn pull_out(&self) {
        self.tell_other("ip link set peer down");
        tell("until ip link show wan | grep -q NO-CARRIER; do sleep 0.05; done; sleep 0.1");
    }

    /// Restores the carrier.
    pub(crate) fn plug_in(&self) {
        self.tell_other("ip link set peer up");
        self.introduce();
    }

    /// Runs a script on the other side.
    pub(crate) fn tell_other(&self, script: &str) -> String {
        let script = script.to_owned();
        run(&self.jobs, move || tell(&script))
    }

    /// Sends packets in both directions and returns how many arrive: of those from here, and of those
    /// from the other side.
    pub(crate) fn arrive(&self) -> (usize, usize) {
        (sent(&self.here, &self.there), sent(&self.there, &self.here))
    }

    /// Sends packets in both directions.
    ///
    /// # Panics
    /// If one is lost.
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

    /// Sends this many packets of this length from here, without waiting for any.
    pub(crate) fn burst(&self, packets: usize, length: usize) {
        for _ in 0..packets {
            self.here.send(&vec![0; length]).unwrap();
        }
    }

    /// Sets the type-of-service byte of what both ends send.
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

/// Stops at the first lost packet, because each further one would be waited for.
fn sent(from: &UdpSocket, to: &UdpSocket) -> usize {
    let mut received = [0; 64];
    (0..SENT)
        .take_while(|number| {
            let packet = [u8::try_from(*number).unwrap(); 32];
            from.send(&packet).is_ok()
                && loop {
                    match to.recv(&mut received) {
                        // A late packet of an earlier call.
                        Ok(length) if received[..length] != packet => {}
                        received => break received.is_ok(),
                    }
                }
        })
        .count()
}
