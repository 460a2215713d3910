//! The wire: what loads and unloads modules.

use std::fmt;

use hosttune_core::HostError;

use crate::modprobe::Modprobe;

/// Something that loads modules: modprobe and the running kernel, or what stands for them.
pub trait ModuleLoader: fmt::Debug + Send {
    /// Loads a module, and what it needs before it. One that is loaded stays as it is.
    ///
    /// An administrator can have it not loaded, and that is no error: whoever wants to know looks
    /// afterwards.
    ///
    /// # Errors
    /// Where it cannot be loaded.
    fn load(&mut self, module: &str, parameters: &[String]) -> Result<(), HostError>;

    /// Unloads a module. One that is not loaded stays so.
    ///
    /// # Errors
    /// `Busy` where it is used, and whatever else the kernel answers. It is loaded then as before.
    fn unload(&mut self, module: &str) -> Result<(), HostError>;

    /// The links of these kinds, in every network namespace that there is, each in words.
    ///
    /// # Errors
    /// Where not all of them can be seen.
    fn links(&self, kinds: &[String]) -> Result<Vec<String>, HostError>;
}

/// The wire that is plugged into a host.
///
/// Where it is not, nothing is loaded and nothing unloaded by this crate.
#[derive(Debug)]
pub struct Modules(Box<dyn ModuleLoader>);

impl Modules {
    /// modprobe and the running kernel.
    ///
    /// modprobe is started as the kernel starts it, with nothing of this process's environment. It
    /// knows the administrator's `modprobe.d`, and how modules are compressed. A module that is
    /// blacklisted there is not loaded, as the kernel would not load it by itself either.
    #[must_use]
    pub fn live() -> Self {
        Self::over(Modprobe)
    }

    /// Any other.
    #[must_use]
    pub fn over(loader: impl ModuleLoader + 'static) -> Self {
        Self(Box::new(loader))
    }

    /// See [`ModuleLoader::load`].
    ///
    /// # Errors
    /// As there.
    pub fn load(&mut self, module: &str, parameters: &[String]) -> Result<(), HostError> {
        self.0.load(module, parameters)
    }

    /// See [`ModuleLoader::unload`].
    ///
    /// # Errors
    /// As there.
    pub fn unload(&mut self, module: &str) -> Result<(), HostError> {
        self.0.unload(module)
    }

    /// See [`ModuleLoader::links`].
    ///
    /// # Errors
    /// As there.
    pub fn links(&self, kinds: &[String]) -> Result<Vec<String>, HostError> {
        self.0.links(kinds)
    }
}
