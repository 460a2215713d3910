//! The backend that runs the programs which generate what a boot loader reads.

use std::fmt;
use std::time::Duration;

use hosttune_core::child::{Child, Ended, NotRun};
use hosttune_core::{HostError, HostErrorKind, Operation, Unsupported, UnsupportedKind};

/// The programs that generate a boot loader's files: those of the system, or a fake of them.
pub trait BootGenerator: fmt::Debug + Send {
    /// The menu of GRUB that the files in `/etc/default` and `/etc/grub.d` yield, as `grub-mkconfig`
    /// prints it and with its syntax checked. `language` is the value of `LANG`, because titles of
    /// entries are translated, and `GRUB_DEFAULT` can be a title.
    ///
    /// # Errors
    /// If it fails, does not end in time, or its output is not what GRUB can read.
    fn menu(&mut self, language: Option<&str>) -> Result<Vec<u8>, HostError>;
}

/// The backend of a host whose generators may be run. Without it this crate runs none.
#[derive(Debug)]
pub struct Generators {
    programs: Box<dyn BootGenerator>,
    failure: Option<String>,
}

impl Generators {
    /// The programs of this system.
    #[must_use]
    pub fn live() -> Self {
        Self::over(Installed)
    }

    /// Any other programs.
    #[must_use]
    pub fn over(programs: impl BootGenerator + 'static) -> Self {
        Self {
            programs: Box::new(programs),
            failure: None,
        }
    }

    /// Why the last menu could not be generated; `None` if it was.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    pub(super) fn menu(&mut self, language: Option<&str>) -> Result<Vec<u8>, HostError> {
        let menu = self.programs.menu(language);
        self.failure = menu.as_ref().err().map(ToString::to_string);
        menu
    }
}

/// The programs of this system.
#[derive(Debug)]
struct Installed;

/// What the messages call the generator.
pub(super) const GENERATOR: &str = "grub-mkconfig";

/// The generator, a shell script; on Fedora and openSUSE it has the second name.
pub(super) const GENERATORS: [&str; 4] = [
    "/usr/sbin/grub-mkconfig",
    "/usr/bin/grub-mkconfig",
    "/usr/sbin/grub2-mkconfig",
    "/usr/bin/grub2-mkconfig",
];

/// The program with which the generator checks the syntax of what it writes to a file.
const CHECKERS: [&str; 2] = ["/usr/bin/grub-script-check", "/usr/bin/grub2-script-check"];

const ENVIRONMENT: [(&str, &str); 2] =
    [("HOME", "/root"), ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")];

/// The search for other systems on all disks takes a minute or two where it is switched on.
const TIME_LIMIT: Duration = Duration::from_secs(600);

impl BootGenerator for Installed {
    /// Without `-o` the generator prints the menu. With it, it would write the file by truncating it and
    /// copying into it, and a kill in between leaves a machine without a menu.
    fn menu(&mut self, language: Option<&str>) -> Result<Vec<u8>, HostError> {
        let child = Child::new(&GENERATORS)
            .environment(ENVIRONMENT)
            .environment(language.map(|language| ("LANG", language)))
            .makes_changes()
            .time_limit(TIME_LIMIT);
        let look = "run grub-mkconfig yourself, which prints the menu and changes nothing, and correct what it reports";
        let menu = ended(&child, GENERATOR, look)?.into_output();
        let check = Child::new(&CHECKERS)
            .environment(ENVIRONMENT)
            .input(menu.clone())
            .time_limit(TIME_LIMIT);
        let look = "see which script in /etc/grub.d prints this: grub-mkconfig | grub-script-check";
        ended(&check, "grub-script-check", look)?;
        Ok(menu)
    }
}

/// A program that succeeded.
fn ended(child: &Child, name: &str, hint: &str) -> Result<Ended, HostError> {
    let failed = |detail: String| {
        HostError::new(Operation::Backend, name, HostErrorKind::Other)
            .detail(detail)
            .with_hint(hint)
    };
    match child.run() {
        Ok(ended) if ended.is_success() => Ok(ended),
        Ok(ended) => Err(failed(ended.failure())),
        Err(NotRun::NotInstalled) => Err(HostError::not_applicable(
            Operation::Backend,
            name,
            Unsupported::new(
                UnsupportedKind::NoBackend,
                format!("{name} is not installed"),
            )
            .hint("install the package grub-common, or grub2-tools"),
        )),
        Err(error) => Err(failed(error.to_string())),
    }
}
