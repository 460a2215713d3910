//! The processors that the guest has for itself while it is lent its devices.

use hosttune::cpu::kept_free::{Cores, KeptFree, ProcessorList};
use hosttune::{Error, Host, Planner, Tuning, Unsupported};

/// A list of processors from the command line.
pub(crate) fn list(text: &str) -> Result<ProcessorList, String> {
    let list: ProcessorList = text.parse().map_err(|error| format!("{error}"))?;
    match list.is_empty() {
        true => Err("name processors, such as 8-15".to_owned()),
        false => Ok(list),
    }
}

/// A control group by its path below the mount, from the command line.
pub(crate) fn control_group(text: &str) -> Result<String, String> {
    let is_plain = |part: &str| {
        !matches!(part, "" | "." | "..") && !part.contains(|letter: char| letter.is_control())
    };
    match text.split('/').all(is_plain) {
        true => Ok(text.to_owned()),
        false => Err("write a path below /sys/fs/cgroup, such as machine.slice".to_owned()),
    }
}

/// Which processors the guest has for itself.
pub(crate) struct Processors {
    /// How many cores the guest has.
    pub(crate) cores: usize,
    /// The processors; those of chosen cores if there is no list.
    pub(crate) list: Option<ProcessorList>,
    /// The control group that it runs in.
    pub(crate) group: String,
}

impl Processors {
    /// The processors for each core of the guest, or why the host has not enough of them.
    pub(crate) fn shared(
        &self,
        host: &Host,
        node: Option<u32>,
    ) -> Result<Result<Vec<ProcessorList>, Box<Unsupported>>, Error> {
        let cores = Cores::read(host)?;
        Ok(match &self.list {
            Some(list) => cores.share(list, self.cores),
            None => cores
                .choose(self.cores, node)
                .map(|chosen| chosen.into_iter().map(|core| core.processors).collect()),
        })
    }

    /// Keeps them free of other tasks and of interrupts.
    pub(crate) fn declare(&self, at: &mut Planner<'_>, node: Option<u32>) -> Result<(), Error> {
        let parts = match self.shared(at.host(), node)? {
            Ok(parts) => parts,
            Err(unsupported) => {
                at.skip("processors of the guest", *unsupported)
                    .required()
                    .why("no other task is scheduled on them");
                return Ok(());
            }
        };
        let chosen: ProcessorList = parts.iter().flat_map(ProcessorList::iter).collect();
        let kept = self.list.clone().unwrap_or(chosen);
        at.note(format!(
            "processors {kept} are for what runs in /{0} alone: libvirt starts its guests below machine.slice; QEMU without libvirt is started there with systemd-run --scope --slice=NAME",
            self.group
        ));
        KeptFree::new(kept).partition(&*self.group).declare(at)
    }
}
