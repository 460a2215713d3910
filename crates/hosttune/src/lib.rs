//! Host tuning for Linux with exact revert: all crates in one place.
//!
//! This crate is for programs that tune a whole host. A program that needs only one subsystem depends
//! on that crate alone.
//!
//! ```
//! use hosttune::sysctl::{self, SysctlSet, Wanted};
//! use hosttune::{Session, Tuning};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let tree = tempfile::tempdir()?;
//! # let tree = tree.path();
//! # let swappiness = tree.join("proc/sys/vm/swappiness");
//! # std::fs::create_dir_all(tree.join("proc/sys/vm"))?;
//! # std::fs::create_dir(tree.join("run"))?;
//! # std::fs::write(&swappiness, "60\n")?;
//! let wanted = SysctlSet::new([Wanted::new("vm.swappiness", 100).why("zram is swap here")]);
//!
//! // A captured tree; `Session::live("gaming")` is the running system.
//! let mut session = Session::at(tree, "gaming")?.with(sysctl::knobs);
//!
//! let plan = wanted.plan(&session)?; // needs no root and changes nothing
//! assert_eq!((&*plan.steps[0].from_text, &*plan.steps[0].to_text), ("60", "100"));
//!
//! println!("{}", wanted.apply(&mut session)?); // all of it or nothing, journalled before it is written
//! assert!(wanted.verify(&session)?.is_as_wanted());
//! assert_eq!(std::fs::read_to_string(&swappiness)?, "100\n");
//!
//! println!("{}", wanted.revert(&mut session)?); // also from another process, and after a kill -9
//! assert_eq!(std::fs::read_to_string(&swappiness)?, "60\n");
//! # Ok(())
//! # }
//! ```
//!
//! # Terms
//! * **Knob**: the smallest part of a host that can be read, set and reverted ([`Knob`]), such as one
//!   sysctl or one config file. Absence is a state, not an error.
//! * **Tuning**: a desired state, as data ([`Tuning`]). It declares requests that may depend on what
//!   the host shows, and provides the four verbs *plan, apply, verify, revert*.
//! * **Request**: one knob, the value wanted for it, and the reason ([`Request`], [`Why`]).
//! * **Plan**: ordered steps as data ([`Plan`]). Printing it is a dry run; storing it allows a review.
//! * **Report**: the same requests compared with the host ([`Report`]).
//! * **Session**: host, owner, kinds of knob, journal and lock together ([`Session`]).
//! * **Journal**: the record of every change, written before the change is made. **Owner**: the program
//!   whose journal it is.
//!
//! # Modules
//! * The root of this crate re-exports [`hosttune_core`]: host, knobs, plans, sessions, errors.
//! * [`blockdev`]: disks matched by their properties, their I/O schedulers and queues.
//! * [`boot`]: parameters of the kernel command line, kept in the boot loader's configuration, or tried once.
//! * [`cpu`]: governors, preferences, frequency limits and boost, per policy.
//! * [`facts`]: the host's hardware, kernel and distribution.
//! * [`guest`]: the guest's side of lent devices: libvirt XML, QEMU arguments, shared memory.
//! * [`initramfs`]: initramfs images: which modules and options are inside, and where the image of a kernel is.
//! * [`kernel_command_line`]: the kernel command line as text.
//! * [`latency`]: latency under load, measured between two hosts.
//! * [`memory`]: swap on zram, transparent hugepages, hugepages.
//! * [`modules`]: kernel modules, loaded and unloaded, and their options.
//! * [`netlink`]: rtnetlink as bytes: requests, dumps, errors, notifications.
//! * [`nvidia`]: parameters of the NVIDIA driver, which driver is right for a card, and a running GPU's limits and clocks.
//! * [`pci`]: PCI devices, their topology and IOMMU groups.
//! * [`pipewire`]: PipeWire's quantum and rate, in its configuration and in the running daemon.
//! * [`qos`]: CAKE as the root qdisc of a device and, through an IFB, for its ingress.
//! * [`service`]: services of systemd that are stopped for a time.
//! * [`spa_json`]: PipeWire's configuration language.
//! * [`sysctl`]: keys and values, `sysctl.d` files, sets of variables.
//! * [`udev_rules`]: udev rules, parsed, evaluated and written.
//! * [`vfio`]: devices lent to a virtual machine.
//! * [`cli`] (feature `cli`): the command line that every host binary shares.

pub use hosttune_blockdev as blockdev;
pub use hosttune_boot as boot;
#[cfg(feature = "cli")]
pub use hosttune_cli as cli;
pub use hosttune_core::*;
pub use hosttune_cpu as cpu;
pub use hosttune_facts as facts;
pub use hosttune_guest as guest;
pub use hosttune_initramfs as initramfs;
pub use hosttune_kernel_command_line as kernel_command_line;
pub use hosttune_latency as latency;
pub use hosttune_memory::{self as memory, BesideZram};
pub use hosttune_modules as modules;
pub use hosttune_netlink as netlink;
pub use hosttune_nvidia as nvidia;
pub use hosttune_pci as pci;
pub use hosttune_pipewire as pipewire;
pub use hosttune_qos as qos;
pub use hosttune_service as service;
pub use hosttune_spa_json as spa_json;
pub use hosttune_sysctl as sysctl;
pub use hosttune_udev_rules as udev_rules;
pub use hosttune_vfio as vfio;

/// Compiles the example program of the README.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
