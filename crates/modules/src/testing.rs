//! A fake of modprobe and of the kernel's module loader, for a machine in memory.
//!
//! [`MemoryModules`] behaves like modprobe and the kernel: it loads dependencies first, passes the
//! options of modprobe.d before those of the caller, ignores unknown parameters and rejects values
//! that it cannot parse, skips modules that modprobe.d blacklists and reports success, runs
//! `install` lines, does not unload modules that are in use, and removes the interfaces of an
//! unloaded module. The loaded modules and the values of their parameters are in `/sys/module` and
//! nowhere else, so a copy of the files is a copy of the machine.

use std::fmt;

use hosttune_core::testing::{Behaviour, CrashPoint, Memory};
use hosttune_core::{Host, HostError};
use rustix::io::Errno;

use crate::list;
use crate::modprobe::{not_unloaded, refused};
use crate::modprobe_d::ModprobeConfiguration;
use crate::module::{canonical, of_loaded};
use crate::modules::ModuleLoader;

/// The kernel release of the machine.
pub const RELEASE: &str = "6.12.0-double";

/// The file of modprobe.d that is read for each load.
pub const LOCAL: &str = "/etc/modprobe.d/local.conf";

/// The rest of the kernel, apart from the module loader.
pub trait Beside: fmt::Debug + Send {
    /// The use count of a module, without the modules that depend on it.
    fn uses(&self, module: &str) -> usize {
        let _ = module;
        0
    }

    /// The interfaces of a type.
    fn links(&self, kind: &str) -> Vec<String> {
        let _ = kind;
        Vec::new()
    }

    /// Called after a module was loaded.
    fn loaded(&mut self, module: &str, parameters: &[String]) {
        let _ = (module, parameters);
    }

    /// Called after a module was unloaded.
    fn unloaded(&mut self, module: &str) {
        let _ = module;
    }
}

/// A kernel that consists of the module loader only.
#[derive(Debug, Clone, Copy)]
pub struct Nothing;

impl Beside for Nothing {}

/// The module loader of a machine in memory.
#[derive(Debug)]
pub struct MemoryModules<B> {
    memory: Memory,
    beside: B,
    reads_all_files: bool,
}

/// A module of a machine in memory.
#[derive(Debug, Clone, Copy)]
pub struct Described {
    /// The name of the module.
    pub name: &'static str,
    /// The dependencies, in reverse order of loading as in `modules.dep`.
    pub needs: &'static [&'static str],
    /// The parameters of the module; each is a number.
    pub parameters: &'static [&'static str],
}

impl Described {
    /// A module without dependencies and parameters.
    #[must_use]
    pub const fn alone(name: &'static str) -> Self {
        Self {
            name,
            needs: &[],
            parameters: &[],
        }
    }
}

fn of_release(file: &str) -> String {
    format!("/lib/modules/{RELEASE}/{file}")
}

/// The machine with a kernel that has these loadable modules, none of them loaded, and these
/// built-in ones.
#[must_use]
pub fn with_modules(memory: Memory, modules: &[Described], built_in: &[&str]) -> Memory {
    let file = |name: &str| format!("kernel/{name}.ko.xz");
    let line = |module: &Described| {
        let needs: Vec<String> = module.needs.iter().map(|name| file(name)).collect();
        format!("{}: {}", file(module.name), needs.join(" "))
    };
    let lines: Vec<String> = modules.iter().map(line).collect();
    let kinds: Vec<String> = modules
        .iter()
        .filter(|module| !module.name.contains('_'))
        .map(|module| format!("alias rtnl-link-{0} {0}", module.name))
        .collect();
    let parts: Vec<String> = built_in
        .iter()
        .map(|name| format!("kernel/{name}.ko"))
        .collect();
    let all = Behaviour::takes_all;
    let mut memory = memory
        .directory("/sys/module")
        .file("/proc/sys/kernel/osrelease", RELEASE, all())
        .file("/proc/sys/kernel/modules_disabled", "0", all())
        .file("/proc/modules", "", all())
        .file(of_release("modules.dep"), &lines.join("\n"), all())
        .file(of_release("modules.builtin"), &parts.join("\n"), all())
        .file(of_release("modules.alias"), &kinds.join("\n"), all());
    for module in modules {
        let known = of_release(&format!("parameters/{}", module.name));
        memory = memory.file(known, &module.parameters.join(" "), all());
    }
    memory
}

impl<B: Beside> MemoryModules<B> {
    /// Creates the loader from the files of a machine and the rest of its kernel.
    pub fn new(memory: Memory, beside: B) -> Self {
        Self {
            memory,
            beside,
            reads_all_files: false,
        }
    }

    fn is_loaded(&self, module: &str) -> bool {
        let state = format!("{}/initstate", of_loaded(module));
        self.memory.get(state).is_some()
    }

    /// The line of a list for a module.
    fn line(&self, list: &str, module: &str) -> Option<String> {
        let text = self.memory.get(of_release(list))?;
        list::line_of(&text, module).map(str::to_owned)
    }

    /// Reads all files of modprobe.d and the kernel command line for each load, and not only the
    /// file [`LOCAL`]. That takes several times as long as the rest of a load.
    #[must_use]
    pub fn reading_all_files(mut self) -> Self {
        self.reads_all_files = true;
        self
    }

    /// The administrator's configuration, as modprobe reads it.
    fn configuration(&self) -> Result<ModprobeConfiguration, HostError> {
        if self.reads_all_files {
            let host = Host::new(self.memory.host(&CrashPoint::lives()));
            return ModprobeConfiguration::read(&host);
        }
        Ok(self
            .memory
            .get(LOCAL)
            .map_or_else(ModprobeConfiguration::default, |text| {
                ModprobeConfiguration::of_file(LOCAL, &text)
            }))
    }

    /// The loaded modules that depend on this one.
    fn holders(&self, module: &str) -> Vec<String> {
        let all = self.memory.get(of_release("modules.dep"));
        let all = all.unwrap_or_default();
        let names = all.lines().filter_map(|line| {
            let (file, needs) = line.split_once(':')?;
            let name = file.rsplit('/').next()?.split('.').next()?.to_owned();
            let file = format!("kernel/{module}.ko.xz");
            needs
                .split_whitespace()
                .any(|needed| needed == file)
                .then_some(name)
        });
        names.filter(|name| self.is_loaded(name)).collect()
    }

    fn insert(
        &mut self,
        configuration: &ModprobeConfiguration,
        module: &str,
        parameters: &[String],
    ) -> Result<(), HostError> {
        if self.is_loaded(module) {
            return Ok(());
        }
        if let Some((_, command)) = configuration.install_command(module) {
            return match command {
                "/bin/true" => Ok(()),
                _ => Err(refused(
                    module,
                    &format!(
                        "modprobe: ERROR: Error running install command '{command}' for module {module}: retcode 1\n\
                         modprobe: ERROR: could not insert '{module}': Invalid argument"
                    ),
                )),
            };
        }
        let known = self.memory.get(of_release(&format!("parameters/{module}")));
        let known = known.unwrap_or_default();
        let configured = configuration.options_of(module).into_iter();
        let mut given: Vec<(String, String)> = configured
            .map(|option| (option.parameter, option.value.unwrap_or_default()))
            .collect();
        given.extend(parameters.iter().map(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            (name.to_owned(), value.to_owned())
        }));
        given.retain(|(name, _)| known.split(' ').any(|one| one == canonical(name)));
        if given.iter().any(|(_, value)| value.parse::<i64>().is_err()) {
            let said = format!("modprobe: ERROR: could not insert '{module}': Invalid argument");
            return Err(refused(module, &said));
        }
        // The kernel shows every parameter, those that were not given with their defaults.
        let defaults = known.split(' ').filter(|name| !name.is_empty());
        let defaults = defaults.map(|name| (name.to_owned(), "0".to_owned()));
        for (name, value) in defaults.chain(given) {
            let shown = format!("{}/parameters/{}", of_loaded(module), canonical(&name));
            self.memory.change(|tree| tree.set(shown, &value));
        }
        let state = format!("{}/initstate", of_loaded(module));
        self.memory.change(|tree| tree.set(state, "live"));
        self.beside.loaded(module, parameters);
        Ok(())
    }
}

impl<B: Beside> ModuleLoader for MemoryModules<B> {
    fn load(&mut self, module: &str, parameters: &[String]) -> Result<(), HostError> {
        if self.line("modules.builtin", module).is_some() || self.is_loaded(module) {
            return Ok(());
        }
        let Some(line) = self.line("modules.dep", module) else {
            let said = format!(
                "modprobe: FATAL: Module {module} not found in directory /lib/modules/{RELEASE}"
            );
            return Err(refused(module, &said));
        };
        let configuration = self.configuration()?;
        if configuration.blacklisted_by(module).is_some() {
            return Ok(());
        }
        if self
            .memory
            .get("/proc/sys/kernel/modules_disabled")
            .as_deref()
            == Some("1")
        {
            let said =
                format!("modprobe: ERROR: could not insert '{module}': Operation not permitted");
            return Err(refused(module, &said));
        }
        let needs = line.split_once(':').map_or("", |(_, needs)| needs);
        for needed in needs.split_whitespace().rev() {
            let name = needed.rsplit('/').next().unwrap_or_default();
            let name = name.split('.').next().unwrap_or_default();
            self.insert(&configuration, &canonical(name), &[])?;
        }
        self.insert(&configuration, module, parameters)
    }

    fn unload(&mut self, module: &str) -> Result<(), HostError> {
        if !self.is_loaded(module) {
            return Ok(());
        }
        if !self.holders(module).is_empty() || self.beside.uses(module) > 0 {
            return Err(not_unloaded(module, Errno::AGAIN));
        }
        let directory = of_loaded(module);
        let parameters = self.memory.get(of_release(&format!("parameters/{module}")));
        self.memory.change(|tree| {
            for name in parameters.as_deref().unwrap_or_default().split(' ') {
                tree.remove(format!("{directory}/parameters/{name}"));
            }
            tree.remove(format!("{directory}/parameters"));
            tree.remove(format!("{directory}/initstate"));
            tree.remove(&directory);
        });
        self.beside.unloaded(module);
        Ok(())
    }

    fn links(&self, kinds: &[String]) -> Result<Vec<String>, HostError> {
        Ok(kinds
            .iter()
            .flat_map(|kind| self.beside.links(kind))
            .collect())
    }
}
