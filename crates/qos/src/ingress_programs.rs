//! Programs at `tcx` (Linux 6.6), which run before every filter and which netlink does not show.
//!
//! Which programs are attached is asked with `bpf(2)`. Whether one of them ends the chain, so that
//! packets never reach the redirect, is in its code; the counters tell: packets arrive at the device
//! and none reaches the redirect.

use std::fmt;
use std::time::{Duration, Instant};

use hosttune_core::{Host, HostError};

use crate::netlink::{Netlink, View};
use crate::path_report::Verdict;
use crate::redirect::Redirect;
use crate::shaper::Shaper;

/// How long packets are waited for that would tell whether a program lets them through.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// How often the counters are read meanwhile.
const INTERVAL: Duration = Duration::from_millis(50);

/// A program that is attached to a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngressProgram {
    /// Identifier of the program, as `bpftool prog` shows it.
    pub id: u32,
    /// Name of the program, at most 15 bytes; empty where it has none.
    pub name: String,
}

impl fmt::Display for IngressProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.id;
        match self.name.as_str() {
            "" => write!(f, "id {id}"),
            name => write!(f, "{name} (id {id})"),
        }
    }
}

/// The programs at the `tcx` ingress of devices.
pub trait IngressPrograms: fmt::Debug + Send {
    /// The programs at this device in the order in which they run: none on a kernel without `tcx`;
    /// `None` where the process may not ask (`CAP_NET_ADMIN` and `CAP_SYS_ADMIN`).
    fn at(&self, device: &str) -> Option<Vec<IngressProgram>>;
}

/// Cannot tell anything.
#[derive(Debug)]
pub(crate) struct Unknown;

impl IngressPrograms for Unknown {
    fn at(&self, _: &str) -> Option<Vec<IngressProgram>> {
        None
    }
}

/// Asks the running kernel, in the network namespace of the calling thread.
#[cfg(feature = "bpf")]
#[derive(Debug)]
pub(crate) struct KernelPrograms;

#[cfg(feature = "bpf")]
impl IngressPrograms for KernelPrograms {
    fn at(&self, device: &str) -> Option<Vec<IngressProgram>> {
        use aya::programs::tc::{SchedClassifier, TcAttachType};
        use rustix::io::Errno;

        match SchedClassifier::query_tcx(device, TcAttachType::Ingress) {
            Ok((_, programs)) => Some(
                programs
                    .iter()
                    .map(|program| IngressProgram {
                        id: program.id(),
                        name: String::from_utf8_lossy(program.name()).into_owned(),
                    })
                    .collect(),
            ),
            // An unknown attach type (before 6.6), a kernel without tcx, and one without bpf(2).
            Err(error) => match errno(&error) {
                Some(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => Some(Vec::new()),
                _ => None,
            },
        }
    }
}

/// The error number of the system call that failed.
#[cfg(feature = "bpf")]
fn errno(error: &(dyn std::error::Error + 'static)) -> Option<rustix::io::Errno> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            return rustix::io::Errno::from_io_error(error);
        }
        cause = error.source();
    }
    None
}

/// What is known of the programs before a redirect.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Before {
    /// There is none, or packets reach the redirect.
    Nothing,
    /// Packets arrive and none reaches the redirect: what takes them.
    TakesAll(String),
    /// What cannot be told, as a note.
    Untold(String),
}

impl Shaper {
    /// Finds out whether programs take the packets before the redirect, where there is one.
    ///
    /// Where there is such a program, this waits up to a second for packets.
    pub(crate) fn programs_before(&self, host: &Host) -> Result<Before, HostError> {
        let (device, view) = (&self.device, View::of(host)?);
        let redirect = match view.link(device)? {
            Some(link) => Redirect::new(device, &self.ifb).counted(view, &link)?,
            None => None,
        };
        let Some((_, redirected)) = redirect else {
            return Ok(Before::Nothing);
        };
        let Some(programs) = host.backend::<Netlink>()?.ingress_programs(device) else {
            return self.without_asking(host, redirected.packets);
        };
        if programs.is_empty() {
            return Ok(Before::Nothing);
        }
        let named: Vec<String> = programs.iter().map(ToString::to_string).collect();
        let who = match named.as_slice() {
            [one] => format!("the BPF program {one} at tcx of {device}"),
            _ => format!(
                "one of the BPF programs {} at tcx of {device}",
                named.join(", ")
            ),
        };
        let earlier = self.path_now(host)?;
        let began = Instant::now();
        let mut last = None;
        // One packet that passes is enough; that none passes is said only after the whole time.
        while began.elapsed() < LONGEST_WAIT {
            std::thread::sleep(INTERVAL);
            last = earlier.until(&self.path_now(host)?).ingress;
            if let Some(Verdict::Flows | Verdict::Waits | Verdict::Lost) = last {
                return Ok(Before::Nothing);
            }
        }
        let unknown =
            format!("{who} runs before the redirect: whether packets still reach it is unknown");
        Ok(match last {
            Some(Verdict::Bypassed) => Before::TakesAll(who),
            Some(Verdict::Idle) => Before::Untold(format!(
                "{unknown}, because none arrived for {} s",
                LONGEST_WAIT.as_secs()
            )),
            Some(other) => Before::Untold(format!("{unknown}: {other}")),
            None => Before::Untold(unknown),
        })
    }

    /// What the counters that a plan has read anyway tell, where the programs cannot be asked for;
    /// `redirected` is what the redirect has taken.
    fn without_asking(&self, host: &Host, redirected: Option<u64>) -> Result<Before, HostError> {
        if redirected != Some(0) {
            return Ok(Before::Nothing);
        }
        let device = &self.device;
        let counted = host.backend::<Netlink>()?.link_statistics(device)?;
        Ok(match counted.and_then(|counted| counted.received_packets) {
            Some(1..) => Before::Untold(format!(
                "no packet has reached the redirect at {device} yet: whether a BPF program at tcx takes them is unknown, because only root may ask"
            )),
            _ => Before::Nothing,
        })
    }
}
