//! Filters, and the one that redirects all received packets to another device.

use hosttune_netlink::numbers::*;
use hosttune_netlink::{Request, attributes, find, u32_at};
use netlink_packet_core::DefaultNla;
use netlink_packet_route::tc::{
    TcAction, TcActionAttribute, TcActionMirrorOption, TcActionType, TcAttribute,
    TcFilterMatchAllOption, TcFilterU32Option, TcMirror, TcMirrorActionType, TcOption, TcU32Key,
    TcU32Selector, TcU32SelectorFlags,
};

use super::emitted::{bytes, text, traffic_header, traffic_request, value};
use super::traffic_numbers::*;
use super::{Link, TrafficControl};

/// Our priority. It comes after those that the kernel chooses, of which the first is 49152.
pub const PRIORITY: u16 = 49374;

/// `ETH_P_ALL` in network byte order, as in filters: every packet.
const EVERY_PROTOCOL: u16 = 3_u16.to_be();

const TCA_CHAIN: u16 = 11;
const TCA_MATCHALL_ACT: u16 = 2;
const TCA_MATCHALL_FLAGS: u16 = 3;
const TCA_U32_FLAGS: u16 = 11;
const TCA_CLS_FLAGS_SKIP_SW: u32 = 1 << 1;
const TCA_CLS_FLAGS_IN_HW: u32 = 1 << 2;
/// The prefix of the cookie of every filter of ours.
pub(crate) const COOKIE: &[u8] = b"hosttune";
const TCA_U32_LINK: u16 = 3;
const TCA_U32_SEL: u16 = 5;
const TCA_U32_POLICE: u16 = 6;
const TCA_U32_ACT: u16 = 7;
const TCA_U32_INDEV: u16 = 8;
const TCA_U32_MARK: u16 = 10;
/// Attributes of a u32 filter that link to another table, act outside of the actions, or add a
/// condition to its keys.
const BESIDE_THE_KEYS: [u16; 4] = [TCA_U32_LINK, TCA_U32_POLICE, TCA_U32_INDEV, TCA_U32_MARK];
/// `TC_U32_TERMINAL`: without it, a matching filter continues with the next one.
const TERMINAL: u8 = 1;
/// The first hash table of a priority, which the kernel creates by itself and looks up every packet
/// in. Other tables have lower numbers, and only filters link to them.
const FIRST_ROOT_TABLE: u32 = 0x800;
const TCA_ACT_KIND: u16 = 1;
const TCA_ACT_OPTIONS: u16 = 2;
const TCA_ACT_COOKIE: u16 = 6;
const TCA_MIRRED_PARMS: u16 = 2;
/// The second verdict of `gact`, which a share of the packets gets.
const TCA_GACT_PROB: u16 = 3;
const TCA_EGRESS_REDIR: u32 = 1;
const TC_ACT_PIPE: u32 = 3;
/// `TC_ACT_JUMP` in the upper four bits: jump to another of the actions.
const TC_ACT_JUMP: u32 = 1;
/// `continue` in `tc`.
const TC_ACT_UNSPEC: u32 = u32::MAX;
/// The offset of the verdict in `tc_gen`.
const ANSWER: usize = 8;
/// The offset in `struct tc_mirred` of what it does, followed by the device.
const EACTION: usize = 20;
const IFINDEX: usize = 24;

/// A filter as the kernel shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// The index of its link.
    pub link: u32,
    /// The handle, unique within its priority.
    pub handle: u32,
    /// The parent that it is attached to.
    pub parent: u32,
    /// The priority. Filters with a lower number are tried first.
    pub priority: u16,
    /// The protocol of the packets that it looks at, in network byte order.
    pub protocol: u16,
    /// The chain. Packets start in chain 0 and reach another one only through an action.
    pub chain: u32,
    /// The classifier.
    pub kind: String,
    /// The options, as received.
    pub options: Vec<u8>,
}

/// A `mirred` action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirred {
    /// The index of the target device. Zero if that device is gone.
    pub device: u32,
    /// Whether the packet itself is sent there (redirect) and not a copy of it (mirror).
    pub redirects: bool,
    /// The cookie that identifies its owner.
    pub cookie: Vec<u8>,
}

impl Filter {
    pub(super) fn list(index: u32, parent: u32) -> Request {
        TrafficControl::list(RTM_GETTFILTER, index, parent, "list the filters", "")
    }

    pub(super) fn of(shown: TrafficControl) -> Self {
        let options = shown.options().unwrap_or_default().to_vec();
        let chain = find(&shown.attributes, TCA_CHAIN).and_then(|chain| chain.u32());
        let (priority, protocol) = (shown.info >> 16, shown.info & 0xffff);
        Self {
            link: shown.link,
            handle: shown.handle,
            parent: shown.parent,
            priority: u16::try_from(priority).unwrap_or_default(),
            protocol: u16::try_from(protocol).unwrap_or_default(),
            chain: chain.unwrap_or_default(),
            kind: shown.kind,
            options,
        }
    }

    /// The first action of the filter, if it is `mirred`.
    pub fn mirred(&self) -> Option<Mirred> {
        match self.actions() {
            Ok(actions) => mirred(actions?),
            // Other classifiers use different attributes; none of our filters is among them.
            Err(()) => attributes(&self.options).find_map(|attribute| mirred(attribute.value)),
        }
    }

    /// The first action, for the classifiers that our filters use.
    pub(super) fn first_action(&self) -> Option<&[u8]> {
        let actions = self.actions().ok()??;
        Some(attributes(actions).next()?.value)
    }

    /// `Err` for a classifier whose attribute for actions is unknown.
    pub(super) fn actions(&self) -> Result<Option<&[u8]>, ()> {
        let number = match self.kind.as_str() {
            "matchall" => TCA_MATCHALL_ACT,
            "u32" => TCA_U32_ACT,
            _ => return Err(()),
        };
        Ok(find(&self.options, number).map(|actions| actions.value))
    }

    /// Whether it is not a filter, but a hash table or head that the kernel shows along with filters.
    pub(crate) fn is_of_a_table(&self) -> bool {
        self.handle == 0 || self.kind == "u32" && self.handle & 0xfff == 0
    }

    /// Whether the filter is ours, wherever it leads.
    pub(crate) fn is_ours(&self) -> bool {
        self.mirred()
            .is_some_and(|mirred| mirred.cookie.starts_with(COOKIE))
    }

    /// Whether the device's hardware executes it, in addition to the kernel or instead of it.
    pub fn is_in_hardware(&self) -> bool {
        let flags = match self.kind.as_str() {
            "matchall" => TCA_MATCHALL_FLAGS,
            "u32" => TCA_U32_FLAGS,
            _ => return false,
        };
        find(&self.options, flags)
            .and_then(|flags| flags.u32())
            .is_some_and(|flags| flags & TCA_CLS_FLAGS_IN_HW != 0)
    }

    /// Whether it matches every packet: of any protocol and without a condition.
    pub(crate) fn is_for_everything(&self) -> bool {
        self.protocol == EVERY_PROTOCOL
            && match self.kind.as_str() {
                "matchall" => true,
                "u32" => self.is_u32_for_everything(),
                _ => false,
            }
    }

    /// Whether it is in a table that every packet reaches and has one key that every packet matches.
    ///
    /// `struct tc_u32_sel`: flags, a shift, the number of keys; from offset 16 the keys, each of them
    /// a mask, a value, an offset and the mask of a further offset.
    fn is_u32_for_everything(&self) -> bool {
        let selector = find(&self.options, TCA_U32_SEL).map(|selector| selector.value);
        let Some([flags, _, 1, ..]) = selector else {
            return false;
        };
        let key = selector.unwrap_or_default();
        let is_zero = |at| u32_at(key, at) == Some(0);
        flags & TERMINAL != 0
            && is_zero(16)
            && is_zero(24)
            && is_zero(28)
            && self.handle >> 20 >= FIRST_ROOT_TABLE
            && BESIDE_THE_KEYS
                .iter()
                .all(|number| find(&self.options, *number).is_none())
    }

    /// Which packets never reach the filters after this one.
    ///
    /// Any verdict of a matching filter ends the lookup, except `continue`.
    pub(crate) fn keeps(&self) -> Keeps {
        let skips_software = || {
            let flags = match self.kind.as_str() {
                "matchall" => TCA_MATCHALL_FLAGS,
                _ => TCA_U32_FLAGS,
            };
            let flags = find(&self.options, flags).and_then(|flags| flags.u32());
            flags.is_some_and(|flags| flags & TCA_CLS_FLAGS_SKIP_SW != 0)
        };
        let verdict = self.actions().map(|actions| actions.map(verdict));
        match verdict {
            Ok(Some(Some(TC_ACT_UNSPEC))) => Keeps::Nothing,
            Ok(None | Some(Some(_))) if self.is_for_everything() && !skips_software() => {
                Keeps::Everything
            }
            _ => Keeps::Unknown,
        }
    }

    /// Redirects everything received on `from` to `to`, with the classifier `matchall`.
    pub fn redirect_with_matchall(from: &Link, to: &Link, cookie: &[u8]) -> Request {
        let action = TcFilterMatchAllOption::Action(actions(to.index, cookie));
        let options = vec![TcOption::MatchAll(action)];
        redirect(from, &to.name, "matchall", 1, options)
    }

    /// The same with the classifier `u32`. With handle zero the kernel adds another one each time,
    /// whatever the flags: check first whether it exists.
    pub fn redirect_with_u32(from: &Link, to: &Link, cookie: &[u8]) -> Request {
        let mut selector = TcU32Selector::default();
        selector.flags = TcU32SelectorFlags::Terminal;
        // A single key with a mask of zero.
        selector.nkeys = 1;
        selector.keys = vec![TcU32Key::default()];
        let options = [
            TcFilterU32Option::Selector(selector),
            TcFilterU32Option::Action(actions(to.index, cookie)),
        ];
        let options = options.map(TcOption::U32).to_vec();
        redirect(from, &to.name, "u32", 0, options)
    }

    /// Deletes this filter, and no other of its priority.
    pub fn delete(&self, link: &Link) -> Request {
        let info = u32::from(self.priority) << 16 | u32::from(self.protocol);
        traffic_request(
            RTM_DELTFILTER,
            0,
            &traffic_header(self.link, self.handle, self.parent, info),
            &[TcAttribute::Kind(text(&self.kind))],
            "delete the filter",
            &link.name,
        )
    }
}

fn redirect(from: &Link, to: &str, kind: &str, handle: u32, options: Vec<TcOption>) -> Request {
    let info = u32::from(PRIORITY) << 16 | u32::from(EVERY_PROTOCOL);
    traffic_request(
        RTM_NEWTFILTER,
        NLM_F_CREATE | NLM_F_EXCL,
        &traffic_header(from.index, handle, INGRESS_FILTERS, info),
        &[
            TcAttribute::Kind(kind.to_owned()),
            TcAttribute::Options(options),
        ],
        &format!("redirect received packets to {to}"),
        &from.name,
    )
}

/// A single action that sends the packet itself out through that device.
fn actions(device: u32, cookie: &[u8]) -> Vec<TcAction> {
    let mut redirect = TcMirror::default();
    redirect.generic.action = TcActionType::Stolen;
    redirect.eaction = TcMirrorActionType::EgressRedir;
    redirect.ifindex = device;
    let parameters = bytes(&TcActionMirrorOption::Parms(redirect));
    let mut action = TcAction::default();
    action.attributes = vec![
        TcActionAttribute::Kind("mirred".to_owned()),
        // Not `TcActionAttribute::Options`, which sets the flag of nested attributes: the kernel
        // shows actions without it.
        TcActionAttribute::Other(DefaultNla::new(TCA_ACT_OPTIONS, parameters)),
        TcActionAttribute::Cookie(value(cookie)),
    ];
    vec![action]
}

/// Which packets a filter keeps from the filters after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeps {
    /// None: its verdict is `continue`.
    Nothing,
    /// All packets.
    Everything,
    /// Some, none or all: its condition or its action is not understood here.
    Unknown,
}

/// The verdict of these actions (`TC_ACT_…`). `None` if one of them is not understood.
fn verdict(actions: &[u8]) -> Option<u32> {
    let mut answer = None;
    for action in attributes(actions) {
        let kind = find(action.value, TCA_ACT_KIND)?.text();
        if kind != "mirred" && kind != "gact" {
            return None;
        }
        // Both kinds have their parameters in attribute 2, which begins with `tc_gen`.
        let options = find(action.value, TCA_ACT_OPTIONS)?.value;
        let said = u32_at(find(options, TCA_MIRRED_PARMS)?.value, ANSWER)?;
        let is_random = kind == "gact" && find(options, TCA_GACT_PROB).is_some();
        if is_random || said >> 28 == TC_ACT_JUMP {
            return None;
        }
        answer = Some(said);
        if said != TC_ACT_PIPE {
            break;
        }
    }
    answer
}

fn mirred(actions: &[u8]) -> Option<Mirred> {
    mirred_action(attributes(actions).next()?.value)
}

pub(super) fn mirred_action(action: &[u8]) -> Option<Mirred> {
    if find(action, TCA_ACT_KIND)?.text() != "mirred" {
        return None;
    }
    let options = find(action, TCA_ACT_OPTIONS)?.value;
    let parameters = find(options, TCA_MIRRED_PARMS)?.value;
    Some(Mirred {
        device: u32_at(parameters, IFINDEX)?,
        redirects: u32_at(parameters, EACTION)? == TCA_EGRESS_REDIR,
        cookie: find(action, TCA_ACT_COOKIE).map_or_else(Vec::new, |cookie| cookie.value.to_vec()),
    })
}

#[cfg(test)]
mod tests {
    use hosttune_netlink::Attributes;

    use super::*;

    const TC_ACT_STOLEN: u32 = 4;

    fn filter(kind: &str, options: Attributes) -> Filter {
        Filter {
            link: 3,
            handle: 1,
            parent: INGRESS_FILTERS,
            priority: PRIORITY,
            protocol: EVERY_PROTOCOL,
            chain: 0,
            kind: kind.to_owned(),
            options: options.into_bytes(),
        }
    }

    fn acting(answers: &[(&str, u32)]) -> Attributes {
        let mut all = Attributes::new();
        for (number, (kind, answer)) in (1..).zip(answers) {
            let mut parameters = vec![0; 28];
            parameters[ANSWER..ANSWER + 4].copy_from_slice(&answer.to_ne_bytes());
            let options = Attributes::new().with(TCA_MIRRED_PARMS, &parameters);
            let action = Attributes::new()
                .with_text(TCA_ACT_KIND, kind)
                .with_nested(TCA_ACT_OPTIONS, &options);
            all = all.with_nested(number, &action);
        }
        Attributes::new().with_nested(TCA_MATCHALL_ACT, &all)
    }

    #[test]
    fn what_a_filter_keeps_is_told_by_what_its_actions_answer() {
        const OK: u32 = 0;
        const SHOT: u32 = 2;
        let keeps = |answers: &[(&str, u32)]| filter("matchall", acting(answers)).keeps();
        for last in [OK, SHOT, TC_ACT_STOLEN, TC_ACT_PIPE] {
            assert_eq!(keeps(&[("gact", last)]), Keeps::Everything, "{last}");
            let mirror = [("mirred", TC_ACT_PIPE), ("gact", last)];
            assert_eq!(keeps(&mirror), Keeps::Everything, "{last}");
        }
        let going_on = [("mirred", TC_ACT_PIPE), ("gact", TC_ACT_UNSPEC)];
        assert_eq!(keeps(&going_on), Keeps::Nothing);
        // Without an action it only matches.
        let without = filter("matchall", Attributes::new());
        assert_eq!(without.keeps(), Keeps::Everything);
        assert_eq!(keeps(&[("police", OK)]), Keeps::Unknown);
        let skip_sw = Attributes::new().with(TCA_MATCHALL_FLAGS, &2_u32.to_ne_bytes());
        assert_eq!(filter("matchall", skip_sw).keeps(), Keeps::Unknown);
        assert_eq!(filter("flower", Attributes::new()).keeps(), Keeps::Unknown);
        let of_ip = Filter {
            protocol: 8,
            ..filter("matchall", Attributes::new())
        };
        assert_eq!(of_ip.keeps(), Keeps::Unknown);
    }

    #[test]
    fn an_answer_that_is_not_the_same_for_every_packet_is_not_known() {
        const SHOT: u32 = 2;
        const JUMP_TWO: u32 = 1 << 28 | 2;
        const GOTO_CHAIN: u32 = 2 << 28 | 7;
        let keeps = |answers: &[(&str, u32)]| filter("matchall", acting(answers)).keeps();
        let jump = [("gact", JUMP_TWO), ("gact", SHOT), ("gact", TC_ACT_UNSPEC)];
        assert_eq!(keeps(&jump), Keeps::Unknown);
        // Packets do not return from another chain.
        assert_eq!(keeps(&[("gact", GOTO_CHAIN)]), Keeps::Everything);
        // `action drop random determ continue 2`.
        let mut parameters = [0; 20];
        parameters[ANSWER..ANSWER + 4].copy_from_slice(&SHOT.to_ne_bytes());
        let random = Attributes::new()
            .with(TCA_MIRRED_PARMS, &parameters)
            .with(TCA_GACT_PROB, &[2, 0, 2, 0, 0xff, 0xff, 0xff, 0xff]);
        let action = Attributes::new()
            .with_text(TCA_ACT_KIND, "gact")
            .with_nested(TCA_ACT_OPTIONS, &random);
        let actions = Attributes::new().with_nested(1, &action);
        let options = Attributes::new().with_nested(TCA_MATCHALL_ACT, &actions);
        assert_eq!(filter("matchall", options).keeps(), Keeps::Unknown);
    }

    /// A u32 selector with these keys, each a mask and an offset.
    fn selector(flags: u8, keys: &[(u32, u32)]) -> Attributes {
        let mut selector = vec![flags, 0, u8::try_from(keys.len()).unwrap()];
        selector.resize(16, 0);
        for (mask, offset) in keys {
            for word in [*mask, 0, *offset, 0] {
                selector.extend(word.to_ne_bytes());
            }
        }
        Attributes::new().with(TCA_U32_SEL, &selector)
    }

    #[test]
    fn a_u32_filter_takes_every_packet_only_without_any_condition() {
        const EVERY: (u32, u32) = (0, 0);
        let filter = |options| Filter {
            handle: 0x8000_0800,
            ..filter("u32", options)
        };
        let every = || selector(TERMINAL, &[EVERY]);
        assert_eq!(filter(every()).keeps(), Keeps::Everything);
        // `match u32 0 0 match ip dst 1.2.3.4/32`, in either order.
        for keys in [[EVERY, (!0, 16)], [(!0, 16), EVERY]] {
            let options = selector(TERMINAL, &keys);
            assert_eq!(filter(options).keeps(), Keeps::Unknown, "{keys:?}");
        }
        // `match u32 0 0 at 1000`: a shorter packet has no data there.
        assert_eq!(
            filter(selector(TERMINAL, &[(0, 1000)])).keeps(),
            Keeps::Unknown
        );
        // A filter without an action and a class is skipped.
        assert_eq!(filter(selector(0, &[EVERY])).keeps(), Keeps::Unknown);
        // `link 1:`, an old police, `indev eth1`, `match mark 1 0xff`.
        for number in BESIDE_THE_KEYS {
            let options = every().with(number, &[0; 12]);
            assert_eq!(filter(options).keeps(), Keeps::Unknown, "{number}");
        }
        // In the table `1:`, and in the root table of a second priority.
        for (handle, keeps) in [
            (0x0010_0800, Keeps::Unknown),
            (0x8010_0800, Keeps::Everything),
        ] {
            let in_table = Filter {
                handle,
                ..filter(every())
            };
            assert_eq!(in_table.keeps(), keeps, "{handle:x}");
        }
        let ours = Filter::redirect_with_u32(&link(3, "w0"), &link(4, "ifb0"), COOKIE);
        let options = find(&ours.attributes, TCA_OPTIONS).unwrap();
        let ours = Filter {
            options: options.value.to_vec(),
            ..filter(Attributes::new())
        };
        assert!(ours.is_for_everything());
    }

    fn link(index: u32, name: &str) -> Link {
        Link {
            name: name.to_owned(),
            index,
            flags: 0,
            address: Vec::new(),
            kind: String::new(),
            alias: None,
            hardware: 1,
            mtu: None,
            transmit_queues: None,
            lower: None,
            master: None,
            permanent_address: None,
            bus: None,
            bus_address: None,
        }
    }

    /// The flags as `tc -d filter show` prints them: `in_hw`, `not_in_hw`, `skip_sw in_hw`.
    #[test]
    fn what_the_hardware_has_taken_over_is_told_by_its_flags() {
        const SKIP_SW: u32 = 2;
        const IN_HW: u32 = 4;
        const NOT_IN_HW: u32 = 8;
        let matchall = |flags: u32| {
            let flags = Attributes::new().with(TCA_MATCHALL_FLAGS, &flags.to_ne_bytes());
            filter("matchall", flags)
        };
        assert!(matchall(IN_HW).is_in_hardware());
        assert!(matchall(SKIP_SW | IN_HW).is_in_hardware());
        assert!(!matchall(NOT_IN_HW).is_in_hardware());
        assert!(!filter("matchall", Attributes::new()).is_in_hardware());
        let flags = IN_HW.to_ne_bytes();
        let of_u32 = |number| filter("u32", Attributes::new().with(number, &flags));
        assert!(of_u32(TCA_U32_FLAGS).is_in_hardware());
        assert!(!of_u32(TCA_MATCHALL_FLAGS).is_in_hardware());
        assert!(!filter("bpf", Attributes::new().with(3, &flags)).is_in_hardware());
    }
}
