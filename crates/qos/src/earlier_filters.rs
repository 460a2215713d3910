//! Filters that run before the redirect: packets that they take are not shaped.

use hosttune_core::HostError;

use crate::netlink::{Filter, INGRESS_FILTERS, Keeps, PRIORITY, View};
use crate::shaper::Shaper;

/// The filters of other programs that run before the redirect of a device.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Earlier {
    /// The first one that takes every packet, if there is one.
    pub(crate) takes_all: Option<String>,
    /// Those whose effect is unknown.
    pub(crate) unknown: Vec<String>,
}

/// Finds them among all ingress filters of `device`.
pub(crate) fn before_redirect(device: &str, filters: &[Filter]) -> Earlier {
    let mut earlier = Earlier::default();
    let mut before: Vec<&Filter> = filters
        .iter()
        .filter(|filter| filter.priority < PRIORITY && filter.chain == 0)
        .filter(|filter| !filter.is_of_a_table() && !filter.is_ours())
        .collect();
    before.sort_by_key(|filter| filter.priority);
    for filter in before {
        let (kind, priority) = (&filter.kind, filter.priority);
        let named = format!("the filter {kind} of priority {priority} at {device}");
        match filter.keeps() {
            Keeps::Nothing => {}
            Keeps::Everything => {
                earlier.takes_all.get_or_insert(named);
            }
            Keeps::Unknown => {
                if !earlier.unknown.contains(&named) {
                    earlier.unknown.push(named);
                }
            }
        }
    }
    earlier
}

impl Shaper {
    /// The filters that run before the redirect. They are the ones that the plan reads anyway.
    pub(crate) fn earlier_filters(&self, backend: View<'_>) -> Result<Earlier, HostError> {
        let Some(link) = backend.link(&self.device)? else {
            return Ok(Earlier::default());
        };
        let filters = backend.filters(link.index, INGRESS_FILTERS)?;
        Ok(before_redirect(&self.device, &filters))
    }
}
