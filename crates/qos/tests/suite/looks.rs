//! What a plan requests from the kernel, and when it repeats a request.

use std::sync::{Arc, Mutex};

use hosttune_core::testing::{CrashPoint, Memory, MemoryStore};
use hosttune_core::{Host, Session, Tuning};
use hosttune_qos::netlink::{Message, NetlinkError, Request, Rtnetlink};
use hosttune_qos::testing::Kernel;
use hosttune_qos::{Netlink, Qdisc, Shaper};

/// The fake kernel with a record of the read requests.
#[derive(Debug, Clone)]
struct Asked {
    kernel: Kernel,
    questions: Arc<Mutex<Vec<Request>>>,
}

impl Asked {
    fn take(&self) -> Vec<Request> {
        std::mem::take(&mut self.questions.lock().unwrap())
    }
}

impl Rtnetlink for Asked {
    fn dump(&self, request: &Request) -> Result<Vec<Message>, NetlinkError> {
        self.questions.lock().unwrap().push(request.clone());
        self.kernel.dump(request)
    }

    fn get(&self, request: &Request) -> Result<Message, NetlinkError> {
        self.questions.lock().unwrap().push(request.clone());
        self.kernel.get(request)
    }

    fn change(&mut self, request: &Request) -> Result<(), NetlinkError> {
        self.kernel.change(request)
    }
}

fn once_each(questions: &[Request]) {
    for (place, question) in questions.iter().enumerate() {
        assert!(
            !questions[..place].contains(question),
            "again: {question:?}"
        );
    }
}

#[test]
fn a_plan_and_a_report_ask_each_question_once_and_every_look_asks_anew() {
    let asked = Asked {
        kernel: Kernel::new().link("wan", "veth", 1),
        questions: Arc::default(),
    };
    let host = Host::new(Memory::new().directory("/run").host(&CrashPoint::lives()))
        .with_backend(Netlink::over(asked.clone()));
    let store = MemoryStore::new();
    let mut session = Session::new(host, "looks", store.of(&CrashPoint::lives()), "boot")
        .unwrap()
        .with(hosttune_qos::knobs);
    let bucket = Qdisc::tbf(1_000_000, 20_000, 100_000);
    let shaper = Shaper::new("wan")
        .through("ifb7")
        .egress(bucket.clone())
        .ingress(bucket);

    let _ = shaper.plan(&session).unwrap();
    let planned = asked.take();
    assert!(!planned.is_empty());
    once_each(&planned);
    let _ = shaper.plan(&session).unwrap();
    assert_eq!(
        asked.take(),
        planned,
        "a later plan sees what is there by then"
    );

    let _ = shaper.apply(&mut session).unwrap();
    let applied = asked.take();
    // Changes are read back, so the same requests are sent before and after them.
    assert!(applied.len() > planned.len());
    assert!(shaper.verify(&session).unwrap().is_as_wanted());
    once_each(&asked.take());

    // Another process deletes the root between two reads.
    let mut other = Netlink::over(asked.kernel.clone());
    let wan = other.link("wan").unwrap().unwrap();
    let roots = other.qdiscs().unwrap();
    let root = roots.iter().find(|one| one.link == wan.index).unwrap();
    let delete = hosttune_qos::netlink::TrafficControl::delete(&wan, root.parent, root.handle);
    other.change(&delete).unwrap();
    assert!(!shaper.verify(&session).unwrap().is_as_wanted());
}
