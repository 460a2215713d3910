//! Which filters lead to a link.

use hosttune_netlink::attributes;

use super::filters::mirred_action;
use super::{Filter, Netlink, NetlinkError};

impl Netlink {
    /// Whether a filter below this parent of a link sends packets, or copies of them, to the link
    /// with the index `to`.
    ///
    /// # Errors
    /// If the kernel reports an error.
    pub fn has_filter_to(&self, index: u32, parent: u32, to: u32) -> Result<bool, NetlinkError> {
        // All that is listed: filters that several qdiscs share show the number of their block
        // where others show their link.
        let listed = self.traffic(&Filter::list(index, parent))?;
        Ok(listed.into_iter().any(|one| Filter::of(one).leads_to(to)))
    }
}

impl Filter {
    /// Whether any of its actions is `mirred` with this target device.
    pub(crate) fn leads_to(&self, device: u32) -> bool {
        let leads = |actions: &[u8]| {
            let mut all = attributes(actions).filter_map(|action| mirred_action(action.value));
            all.any(|mirred| mirred.device == device)
        };
        match self.actions() {
            Ok(actions) => actions.is_some_and(leads),
            // Which attribute of this classifier has the actions is unknown.
            Err(()) => attributes(&self.options).any(|attribute| leads(attribute.value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use hosttune_netlink::Attributes;

    use super::*;

    /// Kind and target of each action of a `flower` filter, whose actions are in attribute 3.
    fn flower(actions: &[(&str, u32)]) -> Filter {
        let mut all = Attributes::new();
        for (number, (kind, device)) in (1..).zip(actions) {
            let mut parameters = vec![0; 28];
            parameters[24..].copy_from_slice(&device.to_ne_bytes());
            let options = Attributes::new().with(2, &parameters);
            let action = Attributes::new()
                .with_text(1, kind)
                .with_nested(2, &options);
            all = all.with_nested(number, &action);
        }
        let options = Attributes::new().with_text(2, "eth0").with_nested(3, &all);
        Filter {
            link: 2,
            handle: 1,
            parent: 0x1_0000,
            priority: 1,
            protocol: 8,
            chain: 0,
            kind: "flower".to_owned(),
            options: options.into_bytes(),
        }
    }

    #[test]
    fn a_filter_leads_to_the_device_of_any_of_its_actions() {
        let filter = flower(&[("gact", 5), ("mirred", 7), ("mirred", 9)]);
        assert!(filter.leads_to(7) && filter.leads_to(9));
        assert!(!filter.leads_to(5) && !filter.leads_to(0));
        assert!(!flower(&[]).leads_to(7));
    }
}
