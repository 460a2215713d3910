//! The knob for a driver of virtual consoles: fbcon, which draws the text console on a framebuffer.

use std::fmt;

use hosttune_core::host::RootKind;
use hosttune_core::{
    Host, HostError, HostErrorKind, Knob, Operation, Unsupported, UnsupportedKind, attribute,
};
use serde::{Deserialize, Serialize};

const DIRECTORY: &str = "/sys/class/vtconsole";

/// A driver of virtual consoles (`/sys/class/vtconsole`, since Linux 2.6.16), by its name.
///
/// The numbers of the directories depend on the order in which drivers registered: `vtcon1` is often
/// fbcon, and sometimes missing while `vtcon0` is. So the driver is known by `name` alone, in which the
/// kernel adds `(M)` for one that is a module of its own and `(S)` for one of the system.
///
/// While fbcon is bound it holds the module of the framebuffer's driver. When the last framebuffer
/// vanishes, fbcon vanishes from the list, and it binds itself when a framebuffer appears again.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConsoleDriver(String);

/// Whether a console driver draws the consoles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ConsoleBinding {
    /// It draws some or all consoles.
    Bound,
    /// It draws none.
    Unbound,
    /// The kernel has no such driver now.
    Missing,
}

impl ConsoleDriver {
    /// fbcon, which the kernel names `frame buffer device`.
    #[must_use]
    pub fn framebuffer() -> Self {
        Self("frame buffer device".to_owned())
    }

    /// Its directory; `None` if the kernel has no such driver now.
    fn directory(&self, host: &Host) -> Result<Option<String>, HostError> {
        for entry in host.list_if_there(DIRECTORY)? {
            let directory = format!("{DIRECTORY}/{entry}");
            let name = attribute::read(host, format!("{directory}/name"))?.unwrap_or_default();
            let plain = name.strip_prefix("(M) ").or(name.strip_prefix("(S) "));
            if plain.unwrap_or(&name) == self.0 {
                return Ok(Some(directory));
            }
        }
        Ok(None)
    }

    fn missing(&self) -> Unsupported {
        Unsupported::new(
            UnsupportedKind::Missing,
            format!("there is no console driver '{}'", self.0),
        )
        .hint(format!("grep . {DIRECTORY}/*/name lists them"))
    }
}

impl fmt::Display for ConsoleDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "console driver '{}'", self.0)
    }
}

impl Knob for ConsoleDriver {
    const NAME: &'static str = "console-driver";
    type State = ConsoleBinding;

    fn read(&self, host: &Host) -> Result<ConsoleBinding, HostError> {
        let Some(directory) = self.directory(host)? else {
            return Ok(ConsoleBinding::Missing);
        };
        let file = format!("{directory}/bind");
        match attribute::read(host, &file)?.as_deref() {
            Some("1") => Ok(ConsoleBinding::Bound),
            Some("0") => Ok(ConsoleBinding::Unbound),
            None => Ok(ConsoleBinding::Missing),
            Some(other) => Err(HostError::malformed(
                file,
                format!("'{}' is neither 0 nor 1", other.escape_debug()),
            )),
        }
    }

    fn set(&self, host: &mut Host, to: &ConsoleBinding) -> Result<(), HostError> {
        let directory = self.directory(host)?.ok_or_else(|| {
            HostError::not_applicable(Operation::Write, DIRECTORY, self.missing())
        })?;
        let value = match to {
            ConsoleBinding::Bound => "1\n",
            ConsoleBinding::Unbound => "0\n",
            ConsoleBinding::Missing => {
                return Err(attribute::no_value(
                    directory,
                    "a console driver is removed by the kernel alone",
                ));
            }
        };
        host.write_value(format!("{directory}/bind"), value.as_bytes())
            .map_err(|error| match error.kind() {
                HostErrorKind::Gone => error.detail("no other console driver can take over"),
                _ => error,
            })
    }

    fn unsupported(
        &self,
        host: &Host,
        _: &ConsoleBinding,
    ) -> Result<Option<Unsupported>, HostError> {
        if host.root_kind() != RootKind::Live {
            return Ok(Some(
                Unsupported::new(
                    UnsupportedKind::NotRunning,
                    "consoles are drawn by a running kernel, and this is a tree of files",
                )
                .hint("run it on the running system"),
            ));
        }
        Ok(match self.read(host)? {
            ConsoleBinding::Missing => Some(self.missing()),
            ConsoleBinding::Bound | ConsoleBinding::Unbound => None,
        })
    }

    fn is_gone(&self, seen: &ConsoleBinding) -> bool {
        *seen == ConsoleBinding::Missing
    }

    /// A driver without a framebuffer of its own leaves the host without a text console.
    fn revert_note(&self, host: &Host, from: &ConsoleBinding) -> Option<String> {
        let now = self.read(host).ok()?;
        (*from == ConsoleBinding::Bound && now == ConsoleBinding::Missing).then(|| {
            format!(
                "{self} is not back: no driver has made a framebuffer, so there is no text console before one does or before the next boot"
            )
        })
    }

    fn show(&self, state: &ConsoleBinding) -> String {
        match state {
            ConsoleBinding::Bound => "bound",
            ConsoleBinding::Unbound => "unbound",
            ConsoleBinding::Missing => "missing",
        }
        .to_owned()
    }
}
