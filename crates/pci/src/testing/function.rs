//! A function to plug into the fake bus.

use crate::address::Address;
use crate::id::Ids;

/// A function to plug into the fake bus.
#[derive(Debug, Clone)]
pub struct Function {
    pub(super) address: Address,
    pub(super) ids: Ids,
    pub(super) class: String,
    pub(super) subsystem: Option<Ids>,
    /// The functions between it and the root, the one at the root first.
    pub(super) above: Vec<Address>,
    pub(super) group: Option<u32>,
    pub(super) is_bridge: bool,
    pub(super) files: Vec<(String, String)>,
    /// Files that exist while a driver is bound: driver, name, value.
    pub(super) of_driver: Vec<(String, String, String)>,
    /// Links to directories of it that exist while a driver is bound: driver, directory, link.
    pub(super) links: Vec<(String, String, String)>,
}

impl Function {
    /// A function at this address with vendor and device id and class, such as `0000:01:00.0`,
    /// `10de:2684` and `030000`.
    ///
    /// # Panics
    /// If one of the texts is wrong.
    #[must_use]
    pub fn new(address: &str, ids: &str, class: &str) -> Self {
        let address: Result<Address, _> = address.parse();
        let ids: Result<Ids, _> = ids.parse();
        let (Ok(address), Ok(ids)) = (address, ids) else {
            panic!("an address and a pair of ids are needed");
        };
        Self {
            address,
            ids,
            class: format!("0x{class}"),
            subsystem: None,
            above: Vec::new(),
            group: None,
            is_bridge: false,
            files: Vec::new(),
            of_driver: Vec::new(),
            links: Vec::new(),
        }
    }

    /// Puts it below these functions, the one at the root first.
    ///
    /// # Panics
    /// If one of them is not an address.
    #[must_use]
    pub fn below(mut self, above: &[&str]) -> Self {
        for text in above {
            let address: Result<Address, _> = text.parse();
            let Ok(address) = address else {
                panic!("'{text}' is not an address");
            };
            self.above.push(address);
        }
        self
    }

    /// Gives it subsystem ids.
    ///
    /// # Panics
    /// If the text is not a pair of ids.
    #[must_use]
    pub fn subsystem(mut self, ids: &str) -> Self {
        let ids: Result<Ids, _> = ids.parse();
        let Ok(ids) = ids else {
            panic!("not a pair of ids");
        };
        self.subsystem = Some(ids);
        self
    }

    /// Puts it into an IOMMU group.
    #[must_use]
    pub fn group(mut self, number: u32) -> Self {
        self.group = Some(number);
        self
    }

    /// Makes it a bridge.
    #[must_use]
    pub fn bridge(mut self) -> Self {
        self.is_bridge = true;
        self
    }

    /// Adds a file, or replaces one that every function has.
    #[must_use]
    pub fn file(mut self, name: &str, value: &str) -> Self {
        self.files.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a link to a directory of it that exists while this driver is bound: `/sys/class/net/eth0`
    /// to `net/eth0`.
    #[must_use]
    pub fn linked_while_bound(mut self, driver: &str, directory: &str, link: &str) -> Self {
        let link = (driver.to_owned(), directory.to_owned(), link.to_owned());
        self.links.push(link);
        self
    }

    /// Adds a file that exists while this driver is bound, such as `net/eth0/flags`, or with its whole
    /// path one that the driver makes elsewhere. The text
    /// `{instance}` in its value becomes a number that is another one each time a driver is bound, as
    /// the kernel numbers interfaces.
    #[must_use]
    pub fn while_bound(mut self, driver: &str, name: &str, value: &str) -> Self {
        self.of_driver
            .push((driver.to_owned(), name.to_owned(), value.to_owned()));
        self
    }
}
