//! What a virtual machine is given.

use std::collections::BTreeMap;
use std::fmt;

use hosttune_pci::Address;

use crate::shared_memory::SharedMemory;

/// The name of a virtual machine, which libvirt, QEMU and a shell script write as it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Name(String);

/// The error for a text that cannot be the name of a guest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not the name of a guest: write 1 to 64 letters, digits and ._+-, the first one a letter or digit"
)]
pub struct NotAName(String);

impl Name {
    /// A name of 1 to 64 ASCII letters, digits and `._+-`, which begins with a letter or digit.
    ///
    /// # Errors
    /// For any other text. libvirt accepts more, but such a name would need another quoting in
    /// each of the texts.
    pub fn new(text: &str) -> Result<Self, NotAName> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
        let begins = text
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_alphanumeric());
        if begins && text.len() <= 64 && text.bytes().all(plain) {
            Ok(Self(text.to_owned()))
        } else {
            let shown = text.chars().take(64).flat_map(char::escape_debug);
            Err(NotAName(shown.collect()))
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A virtual machine: name, cores, memory, and what of the host it is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    name: Name,
    cores: u32,
    mebibytes: u64,
    devices: Vec<Address>,
    shared_memory: Option<SharedMemory>,
    huge_pages: Option<HugePages>,
    pinned: Vec<String>,
}

impl Guest {
    /// A guest with this number of cores, one thread each, and this memory in MiB.
    #[must_use]
    pub fn new(name: Name, cores: u32, mebibytes: u64) -> Self {
        Self {
            name,
            cores,
            mebibytes,
            devices: Vec::new(),
            shared_memory: None,
            huge_pages: None,
            pinned: Vec::new(),
        }
    }

    /// The PCI functions of the host that it is given. Each counts once.
    #[must_use]
    pub fn devices(mut self, devices: impl IntoIterator<Item = Address>) -> Self {
        self.devices.extend(devices);
        self.devices.sort_unstable();
        self.devices.dedup();
        self
    }

    /// A file of the host's memory that it shares.
    #[must_use]
    pub fn shared_memory(mut self, memory: SharedMemory) -> Self {
        self.shared_memory = Some(memory);
        self
    }

    /// Takes its memory from the host's pool of huge pages.
    #[must_use]
    pub fn huge_pages(mut self, pages: HugePages) -> Self {
        self.huge_pages = Some(pages);
        self
    }

    /// The processors of the host that each of its cores runs on, in the kernel's list format (`8,24`), the
    /// first core first. Cores without such a list run on any processor.
    #[must_use]
    pub fn pinned(mut self, processors: impl IntoIterator<Item = String>) -> Self {
        let cores = usize::try_from(self.cores).unwrap_or(usize::MAX);
        self.pinned = processors.into_iter().take(cores).collect();
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// How many cores it has.
    #[must_use]
    pub fn cores(&self) -> u32 {
        self.cores
    }

    /// Its memory in MiB.
    #[must_use]
    pub fn mebibytes(&self) -> u64 {
        self.mebibytes
    }

    /// The functions that it is given, by address.
    #[must_use]
    pub fn functions(&self) -> &[Address] {
        &self.devices
    }

    /// The memory that it shares.
    #[must_use]
    pub fn shared(&self) -> Option<&SharedMemory> {
        self.shared_memory.as_ref()
    }

    /// The huge pages that it has its memory from.
    #[must_use]
    pub fn pages(&self) -> Option<HugePages> {
        self.huge_pages
    }

    /// The processors of the host that its cores run on, the first core first.
    #[must_use]
    pub fn pins(&self) -> &[String] {
        &self.pinned
    }

    /// The functions by the slot of the host that they are in. Functions of one card are functions
    /// of one card in the guest as well: some drivers look for the rest of their card there.
    pub(crate) fn cards(&self) -> Vec<Vec<Placed>> {
        let mut cards: BTreeMap<(u32, u8, u8), Vec<Address>> = BTreeMap::new();
        for address in &self.devices {
            let slot = (address.domain(), address.bus(), address.device());
            cards.entry(slot).or_default().push(*address);
        }
        let card = |addresses: Vec<Address>| {
            let several = addresses.len() > 1;
            // A card has at most eight functions. The first one must be 0, or the guest does not
            // look for the others.
            let numbered = (0_u8..).zip(addresses);
            numbered
                .map(|(function, host)| Placed {
                    host,
                    function,
                    is_multifunction: several && function == 0,
                })
                .collect()
        };
        cards.into_values().map(card).collect()
    }
}

/// Huge pages of the host, which have to be in a pool before the guest starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HugePages {
    /// The size of a page, in KiB.
    pub size: u64,
    /// The NUMA node that they are on; `None` if any will do.
    pub node: Option<u32>,
}

/// A function of the host with its place in the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) host: Address,
    pub(crate) function: u8,
    /// Whether the guest has to be told that the slot has more functions than this one.
    pub(crate) is_multifunction: bool,
}
