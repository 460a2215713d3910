//! Links: created, looked up, described, brought up and down, deleted.

use std::collections::BTreeMap;

use super::filters::Classifier;
use super::qdiscs::{Hook, Root};
use super::{Answered, State, refuse};
use crate::bytes::Bytes;
use crate::netlink::*;

#[derive(Debug, Clone)]
pub(super) struct Device {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) address: Vec<u8>,
    /// The permanent address of the hardware.
    pub(super) permanent: Option<Vec<u8>>,
    pub(super) up: bool,
    pub(super) carrier: bool,
    pub(super) alias: Option<Vec<u8>>,
    /// The link that this one is on top of, and the one that it is a port of.
    pub(super) lower: Option<u32>,
    pub(super) master: Option<u32>,
    pub(super) queues: u32,
    pub(super) no_queue: bool,
    pub(super) root: Root,
    pub(super) hook: Hook,
    pub(super) classifiers: Vec<Classifier>,
}

fn number(fixed: &[u8], at: usize) -> u32 {
    let word = fixed.get(at..at + 4).and_then(|word| word.try_into().ok());
    word.map_or(0, u32::from_ne_bytes)
}

impl Device {
    /// Replaces the root; its filters go with it.
    pub(super) fn replace_root(&mut self, root: Root) {
        if let Root::Explicit(old) = std::mem::replace(&mut self.root, root) {
            let handle = Some(old.handle);
            self.classifiers.retain(|one| !one.is_at(handle));
        }
    }

    fn notice(&self, subject: Subject) -> Notice {
        Notice {
            subject,
            index: self.index,
            name: matches!(subject, Subject::Link | Subject::LinkGone).then(|| self.name.clone()),
        }
    }

    pub(super) fn shown(&self) -> Message {
        let mut flags = if self.up { IFF_UP } else { 0 };
        if self.up && self.carrier {
            flags |= IFF_LOWER_UP;
        }
        // `ARPHRD_ETHER`.
        let mut payload = [&[0; 2][..], &1_u16.to_ne_bytes()].concat();
        for word in [self.index, flags, 0] {
            payload.extend(word.to_ne_bytes());
        }
        let mut attributes = Attributes::new()
            .with_text(IFLA_IFNAME, &self.name)
            .with(IFLA_ADDRESS, &self.address)
            .with(IFLA_MTU, &1500_u32.to_ne_bytes())
            .with(IFLA_NUM_TX_QUEUES, &self.queues.to_ne_bytes());
        for (number, other) in [(IFLA_LINK, self.lower), (IFLA_MASTER, self.master)] {
            if let Some(index) = other {
                attributes = attributes.with(number, &index.to_ne_bytes());
            }
        }
        if let Some(permanent) = &self.permanent {
            attributes = attributes.with(IFLA_PERM_ADDRESS, permanent);
        }
        if let Some(alias) = &self.alias {
            attributes = attributes.with_text(IFLA_IFALIAS, &String::from_utf8_lossy(alias));
        }
        if !self.kind.is_empty() {
            let info = Attributes::new().with_text(IFLA_INFO_KIND, &self.kind);
            attributes = attributes.with_nested(IFLA_LINKINFO, &info);
        }
        payload.extend(attributes.into_bytes());
        Message {
            number: RTM_NEWLINK,
            payload,
        }
    }
}

impl State {
    pub(super) fn add(&mut self, name: &str, kind: &str, queues: u32, no_queue: bool) -> usize {
        let index = self.next_index;
        self.next_index += 1;
        self.links.push(Device {
            index,
            name: name.to_owned(),
            kind: kind.to_owned(),
            address: [&[0x06, 0, 0, 0][..], &[(index >> 8) as u8, index as u8]].concat(),
            permanent: None,
            up: false,
            carrier: true,
            alias: None,
            lower: None,
            master: None,
            queues,
            no_queue,
            root: Root::Noop,
            hook: Hook::default(),
            classifiers: Vec::new(),
        });
        self.links.len() - 1
    }

    pub(super) fn place(&self, index: u32) -> Answered<usize> {
        match self.links.iter().position(|link| link.index == index) {
            Some(place) => Ok(place),
            None => refuse(ENODEV, ""),
        }
    }

    pub(super) fn named(&mut self, name: &str) -> &mut Device {
        let found = self.links.iter_mut().find(|link| link.name == name);
        found.unwrap_or_else(|| panic!("there is no link {name}"))
    }

    pub(super) fn name_of(&self, index: u32) -> String {
        self.place(index)
            .map_or_else(|_| format!("#{index}"), |at| self.links[at].name.clone())
    }

    pub(super) fn look_for_link(&self, request: &Request) -> Answered<Message> {
        let name = find(&request.attributes, IFLA_IFNAME).map(|name| name.text());
        let index = number(&request.header, 4);
        // An index takes precedence over a name.
        let Some(link) = self.links.iter().find(|link| match index {
            0 => Some(&link.name) == name.as_ref(),
            index => link.index == index,
        }) else {
            return refuse(ENODEV, "");
        };
        Ok(link.shown())
    }

    /// The notification of a change that a message makes.
    pub(super) fn told_of(&self, request: &Request) -> Option<Notice> {
        let subject = match request.number {
            RTM_NEWLINK | RTM_SETLINK => Subject::Link,
            RTM_DELLINK => Subject::LinkGone,
            _ => Subject::Traffic,
        };
        let name = find(&request.attributes, IFLA_IFNAME).map(|name| name.text());
        let index = number(&request.header, 4);
        let link = self
            .links
            .iter()
            .find(|link| link.index == index || Some(&link.name) == name.as_ref())?;
        Some(link.notice(subject))
    }

    pub(super) fn tell(&mut self, subject: Subject, place: usize) {
        let notice = self.links[place].notice(subject);
        self.told.push(notice);
    }

    pub(super) fn new_link(&mut self, request: &Request) -> Answered<()> {
        let name = find(&request.attributes, IFLA_IFNAME)
            .map(|name| name.text())
            .unwrap_or_default();
        if name.len() > LONGEST_NAME {
            return Err(Acknowledgement {
                errno: ERANGE,
                text: Some("Attribute failed policy validation".to_owned()),
                offset: Some(NLMSG_HEADER + request.header.len()),
                missing: None,
            });
        }
        if self.links.iter().any(|link| link.name == name) {
            return if request.flags & NLM_F_EXCL != 0 {
                refuse(EEXIST, "")
            } else {
                refuse(EOPNOTSUPP, "")
            };
        }
        if request.flags & NLM_F_CREATE == 0 {
            return refuse(ENODEV, "");
        }
        let kind = find(&request.attributes, IFLA_LINKINFO)
            .and_then(|info| Some(find(info.value, IFLA_INFO_KIND)?.text()))
            .unwrap_or_default();
        if !self.kinds.contains(&kind) {
            return refuse(EOPNOTSUPP, "Unknown device type");
        }
        // The kernel ignores an alias in the creating message.
        let place = self.add(&name, &kind, 1, false);
        if let Some(address) = find(&request.attributes, IFLA_ADDRESS) {
            self.links[place].address = address.value.to_vec();
        }
        self.flags(place, &request.header);
        Ok(())
    }

    pub(super) fn set_link(&mut self, request: &Request) -> Answered<()> {
        let place = self.place(number(&request.header, 4))?;
        if let Some(alias) = find(&request.attributes, IFLA_IFALIAS) {
            self.links[place].alias = (!alias.value.is_empty()).then(|| alias.value.to_vec());
        }
        self.flags(place, &request.header);
        Ok(())
    }

    fn flags(&mut self, place: usize, fixed: &[u8]) {
        if number(fixed, 12) & IFF_UP != 0 {
            self.links[place].up = number(fixed, 8) & IFF_UP != 0;
            self.activate(place);
        }
    }

    /// A link that is up and has no root gets the present default qdisc.
    pub(super) fn activate(&mut self, place: usize) {
        let default = self.default_qdisc.clone();
        let link = &mut self.links[place];
        if link.up && matches!(link.root, Root::Noop) {
            link.root = Root::Default(if link.no_queue {
                "noqueue".to_owned()
            } else if link.queues > 1 {
                "mq".to_owned()
            } else {
                default
            });
        }
    }

    pub(super) fn delete_link(&mut self, request: &Request) -> Answered<()> {
        let place = self.place(number(&request.header, 4))?;
        if self.links[place].kind.is_empty() {
            return refuse(EOPNOTSUPP, "");
        }
        self.lose(place);
        Ok(())
    }

    /// Removes a link with everything on it, also the links on top of it. Its ports stay.
    pub(super) fn lose(&mut self, place: usize) {
        let gone = self.links.remove(place);
        while let Some(upper) = self
            .links
            .iter()
            .position(|link| link.lower == Some(gone.index))
        {
            self.lose(upper);
        }
        for link in &mut self.links {
            link.master = link.master.filter(|master| *master != gone.index);
        }
        // Packets that are redirected to it are lost from now on.
        for link in &mut self.links {
            for classifier in &mut link.classifiers {
                classifier.lose(gone.index);
            }
        }
    }

    pub(super) fn draw(&self, device: &Device, snapshot: &mut BTreeMap<String, String>) {
        let name = &device.name;
        let alias = device.alias.as_deref().map(String::from_utf8_lossy);
        let shown = format!(
            "{} {} {} {alias:?}",
            device.kind,
            Bytes::from(device.address.clone()),
            if device.up { "up" } else { "down" },
        );
        snapshot.insert(format!("link {name}"), shown);
        let root = match &device.root {
            Root::Noop => "noop".to_owned(),
            Root::Default(kind) => format!("default {kind}"),
            Root::Explicit(queue) => queue.drawn(),
        };
        // The root and its children share one line, because replacing the root replaces them too.
        snapshot.insert(format!("root {name}"), root);
        if let Some(kind) = &device.hook.kind {
            snapshot.insert(format!("hook {name}"), kind.clone());
        }
        for classifier in &device.classifiers {
            classifier.draw(self, name, snapshot);
        }
    }
}
