//! The backend that loads and unloads modules.

use std::fmt;

use hosttune_core::HostError;

use crate::modprobe::Modprobe;

/// Something that loads modules: modprobe and the running kernel, or a fake of them.
pub trait ModuleLoader: fmt::Debug + Send {
    /// Loads a module after its dependencies. A module that is already loaded stays unchanged.
    ///
    /// It is not an error if the administrator's configuration prevents the module from being
    /// loaded; the caller has to check whether it is loaded afterwards.
    ///
    /// # Errors
    /// When the module cannot be loaded.
    fn load(&mut self, module: &str, parameters: &[String]) -> Result<(), HostError>;

    /// Unloads a module. Nothing happens if it is not loaded.
    ///
    /// # Errors
    /// `Busy` if it is in use, and any other error of the kernel. The module then stays loaded.
    fn unload(&mut self, module: &str) -> Result<(), HostError>;

    /// The network interfaces of these types in all network namespaces, each as text for a message.
    ///
    /// # Errors
    /// When not all of them can be listed.
    fn links(&self, kinds: &[String]) -> Result<Vec<String>, HostError>;

    /// Waits until nothing loads modules any more that an earlier program has started and left at
    /// work when it was killed. What is read before that is not yet what that program has done.
    ///
    /// # Errors
    /// `Busy` if it does not end.
    fn wait_for_loads(&self) -> Result<(), HostError> {
        Ok(())
    }
}

/// The backend of a host that loads and unloads modules.
///
/// Without it this crate loads and unloads nothing.
#[derive(Debug)]
pub struct Modules(Box<dyn ModuleLoader>);

impl Modules {
    /// A backend that uses modprobe and the running kernel.
    ///
    /// modprobe is started as the kernel starts it, without the environment of this process. It
    /// applies the administrator's `modprobe.d` and handles compressed modules. A module that is
    /// blacklisted there is not loaded, just as the kernel would not load it automatically.
    #[must_use]
    pub fn live() -> Self {
        Self::over(Modprobe::default())
    }

    /// A backend that uses any other loader.
    #[must_use]
    pub fn over(loader: impl ModuleLoader + 'static) -> Self {
        Self(Box::new(loader))
    }

    /// See [`ModuleLoader::load`].
    ///
    /// # Errors
    /// The same.
    pub fn load(&mut self, module: &str, parameters: &[String]) -> Result<(), HostError> {
        self.0.load(module, parameters)
    }

    /// See [`ModuleLoader::unload`].
    ///
    /// # Errors
    /// The same.
    pub fn unload(&mut self, module: &str) -> Result<(), HostError> {
        self.0.unload(module)
    }

    /// See [`ModuleLoader::links`].
    ///
    /// # Errors
    /// The same.
    pub fn links(&self, kinds: &[String]) -> Result<Vec<String>, HostError> {
        self.0.links(kinds)
    }

    /// See [`ModuleLoader::wait_for_loads`].
    ///
    /// # Errors
    /// The same.
    pub fn wait_for_loads(&self) -> Result<(), HostError> {
        self.0.wait_for_loads()
    }
}
