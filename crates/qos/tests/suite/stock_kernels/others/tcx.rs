//! A BPF program on ingress, which netlink does not show.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use hosttune_core::testing::MemoryStore;
use hosttune_core::{Host, LinuxHost, Session, State, Tuning};
use hosttune_qos::{Cake, Rate, Shaper};
use hosttune_test_machine::inside_stock_kernels;

use crate::namespace::{backend, enter, tell};

/// EINVAL: the kernel does not know this attach type.
const NO_TCX: &str = "no tcx: 22";

struct Program {
    child: Child,
    asks: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Program {
    /// `None` if this kernel has no tcx.
    fn attach(device: &str, verdict: &str) -> Option<Self> {
        let mut child = Command::new("/usr/bin/python3")
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/tests/suite/stock_kernels/others/tcx.py"
            ))
            .args([device, verdict])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let asks = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let mut program = Self {
            child,
            asks,
            answers,
        };
        match program.answer().as_str() {
            "ready" => Some(program),
            other => {
                assert_eq!(other, NO_TCX);
                program.child.wait().unwrap();
                None
            }
        }
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn ask(&mut self, what: &str) -> String {
        writeln!(self.asks.as_mut().unwrap(), "{what}").unwrap();
        self.answer()
    }

    fn count(&mut self) -> u64 {
        self.ask("count").parse().unwrap()
    }

    /// Sends ten frames to `wan` and returns how many the program saw.
    fn sees(&mut self) -> u64 {
        let before = self.count();
        assert_eq!(self.ask("send peer"), "sent");
        std::thread::sleep(std::time::Duration::from_millis(500));
        self.count() - before
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.asks = None;
        let _ = self.child.wait();
    }
}

fn through_the_ifb() -> u64 {
    let shown = tell("tc -s qdisc show dev ifb7");
    let mut words = shown.split_whitespace().skip_while(|word| *word != "bytes");
    words.nth(1).unwrap().parse().unwrap()
}

/// No operation changes it. If it ends the chain, the counters show that and it is named.
fn a_program_at_tcx_is_left_alone() {
    enter();
    tell("ip link add wan type veth peer name peer");
    tell("sysctl -qw net.ipv6.conf.all.disable_ipv6=1; ip link set wan up; ip link set peer up");
    let shaper = Shaper::new("wan")
        .through("ifb7")
        .egress(Cake::default().bandwidth(Rate::mbit(6)))
        .ingress(Cake::default().bandwidth(Rate::mbit(20)));
    let host = Host::new(LinuxHost::at("/").unwrap()).with_backend(backend());
    let session = Session::new(host, "tcx-test", MemoryStore::new(), "boot").unwrap();
    let mut session = session.with(hosttune_qos::knobs);
    for (verdict, arrives) in [("next", true), ("pass", false)] {
        let Some(mut program) = Program::attach("wan", verdict) else {
            let release = tell("uname -r");
            println!("tcx came with Linux 6.6, and this is {release}");
            assert!(release.starts_with("6.1."), "{release}");
            return;
        };
        assert!(program.sees() >= 10);
        let _ = shaper.apply(&mut session).unwrap();
        let before = through_the_ifb();
        assert!(program.sees() >= 10, "{verdict}: shaped");
        let came = through_the_ifb() - before;
        assert_eq!(came >= 10, arrives, "{verdict}: {came} came to the IFB");
        assert!(arrives || came == 0, "{verdict}: {came} came to the IFB");
        // Without packets nothing can be told, and that is said.
        let plan = shaper.plan(&session).unwrap();
        assert!(plan.is_empty(), "{plan:?}");
        let unknown = plan.notes.iter().find(|note| note.contains("is unknown"));
        let unknown = unknown.unwrap_or_else(|| panic!("{:?}", plan.notes));
        assert!(
            unknown.contains("the BPF program counting (id ") && unknown.contains("at tcx of wan"),
            "{unknown}"
        );
        // While they arrive, the counters tell.
        assert_eq!(program.ask("flow peer"), "flows");
        let report = shaper.verify(&session).unwrap();
        assert_eq!(report.is_as_wanted(), arrives, "{verdict}: {report:?}");
        let overridden = report
            .items
            .iter()
            .find_map(|finding| match &finding.state {
                State::Overridden { by } => Some(by.clone()),
                _ => None,
            });
        assert_eq!(overridden.is_none(), arrives, "{verdict}: {overridden:?}");
        assert!(
            overridden
                .is_none_or(|by| by.contains("counting") && by.contains("takes every packet"))
        );
        let plan = shaper.plan(&session).unwrap();
        let told = plan
            .notes
            .iter()
            .any(|note| note.starts_with("not in effect: "));
        assert_eq!(told, !arrives, "{verdict}: {:?}", plan.notes);
        assert_eq!(program.ask("rest"), "rests");
        assert_eq!(program.ask("attached"), "1");
        let reverted = session.revert().unwrap();
        assert_eq!(reverted.not_reverted, []);
        assert_eq!(program.ask("attached"), "1");
        assert!(program.sees() >= 10, "{verdict}: reverted");
    }
}

inside_stock_kernels!(a_program_at_tcx_is_left_alone);
