//! What the counters of an active shaper say about its health.

use hosttune_core::{Error, HostError, Planner};

use crate::netlink::{TrafficControl, View};
use crate::qdisc::Qdisc;
use crate::redirect::Redirect;
use crate::root_qdisc::{is_like, standing_at_root};
use crate::shaper::Shaper;

impl Shaper {
    /// Adds the symptoms in the counters to the plan as notes. Only qdiscs that are already as
    /// requested are looked at: the counters of any other say nothing about this shaper.
    ///
    /// Drops that are part of normal operation are not noted: nobody reads a note that is always
    /// there.
    pub(crate) fn note_health(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        let sides: [(&str, Option<&Qdisc>); 2] = [
            (&self.device, self.egress.as_ref()),
            (&self.ifb, self.ingress.as_ref()),
        ];
        let backend = View::of(at.host())?;
        if self.ingress.is_some()
            && backend
                .link(&self.ifb)
                .map_err(HostError::from)?
                .is_none_or(|ifb| !ifb.is_up())
            && self.redirects(backend)?
        {
            let (device, ifb) = (&self.device, &self.ifb);
            at.note(format!(
                "all packets received on {device} are lost: they are redirected to {ifb}, which is down or gone; apply again, or revert"
            ));
        }
        let mut listed = None;
        for (device, wanted) in sides {
            let options = wanted
                .and_then(Qdisc::cake_options)
                .and_then(|seen| seen.cake().ok());
            let (Some(wanted), Some(options)) = (wanted, options) else {
                continue;
            };
            let Some(link) = backend.link(device).map_err(HostError::from)? else {
                continue;
            };
            let all = match &listed {
                Some(all) => all,
                None => listed.insert(backend.qdiscs().map_err(HostError::from)?),
            };
            let root = standing_at_root(all, link.index).filter(|root| is_like(root, wanted));
            let (Some(root), Some(frame)) = (root, link.longest_frame()) else {
                continue;
            };
            let each = all.iter().filter(|one| {
                one.link == link.index && (one.parent >> 16 == root.handle >> 16 || *one == root)
            });
            for symptom in each
                .filter_map(TrafficControl::cake_statistics)
                .flat_map(|statistics| statistics.symptoms(&options, frame))
                .filter(|symptom| !symptom.is_ordinary())
            {
                at.note(format!("{device}: {symptom}"));
            }
        }
        Ok(())
    }

    /// Whether one of our redirects takes the received packets, wherever it leads.
    fn redirects(&self, backend: View<'_>) -> Result<bool, Error> {
        let link = backend.link(&self.device).map_err(HostError::from)?;
        let Some(link) = link else { return Ok(false) };
        let counted = Redirect::new(&self.device, &self.ifb).counted(backend, &link)?;
        Ok(counted.is_some())
    }
}
