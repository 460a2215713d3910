//! What the configuration of the boot loader gives a parameter, for those who would add another one.

use hosttune_core::{Host, HostError};

use super::detection::{BootLoader, Candidate, Detection, detect};
use super::entries::KERNEL_INSTALL;
use super::entry_identity;
use super::grub;
use super::occurrence::LineIn;
use crate::command_line::{KernelCommandLine, RUNNING_LINE, same_name};

/// A parameter with a value in a file that the boot loader or its generator reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configured {
    /// The file.
    pub file: String,
    /// The value as it is written there.
    pub value: String,
}

/// Every value of a parameter in the configuration of the boot loader, whether or not it was booted yet:
/// for GRUB in `/etc/default/grub` and `/etc/default/grub.d`, for other loaders in `/etc/kernel/cmdline`
/// and in the entries with the root of the running system. Without the file of GRUB with our `name`.
///
/// GRUB's files are shell and are searched as text, so a value in a condition is found as well. What this
/// user may not read is left out.
///
/// # Errors
/// Any other error from the host.
pub fn configured(host: &Host, parameter: &str, name: &str) -> Result<Vec<Configured>, HostError> {
    let Detection::Found(Candidate { loader, .. }) = detect(host)? else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    if loader == BootLoader::Grub {
        let own = grub::file(name);
        for (file, text) in grub::file_texts(host)? {
            if file != own {
                found.extend(in_shell(&text, parameter).map(|value| Configured {
                    file: file.clone(),
                    value: value.to_owned(),
                }));
            }
        }
    }
    let mut lines = Vec::new();
    if loader == BootLoader::KernelInstall
        && let Some(text) = entry_identity::text(host, KERNEL_INSTALL)?
    {
        lines.push((KERNEL_INSTALL.to_owned(), LineIn::WholeFile.line(&text)));
    }
    let running = match entry_identity::readable(host.read(RUNNING_LINE))? {
        Some(bytes) => KernelCommandLine::parse(bytes),
        None => KernelCommandLine::default(),
    };
    let kind = match loader {
        BootLoader::Limine => LineIn::Limine {
            entry: String::new(),
        },
        _ => LineIn::Entry,
    };
    for entry in entry_identity::all(host, &kind)? {
        let line = entry.line.line(&entry.text);
        if value(&line, "root") == value(&running, "root") {
            lines.push((entry.file, line));
        }
    }
    for (file, line) in lines {
        found.extend(value(&line, parameter).map(|value| Configured { file, value }));
    }
    Ok(found)
}

fn value(line: &KernelCommandLine, name: &str) -> Option<String> {
    let value = line.last(name)?.value()?.into_owned();
    Some(value)
}

/// The values in lines of a shell script that are no comments.
fn in_shell<'t>(text: &'t str, parameter: &'t str) -> impl Iterator<Item = &'t str> {
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    let words = lines.flat_map(|line| line.split([' ', '\t', '"', '\'']));
    words.filter_map(move |word| {
        let (mut name, mut value) = word.split_once('=')?;
        // A variable that is assigned without quotes.
        if name.starts_with("GRUB_")
            && let Some(inner) = value.split_once('=')
        {
            (name, value) = inner;
        }
        same_name(name.as_bytes(), parameter.as_bytes()).then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_in_quotes_and_not_in_comments() {
        let text = "# GRUB_CMDLINE_LINUX=\"vfio-pci.ids=1:1\"\n\
                    GRUB_CMDLINE_LINUX=\"quiet vfio_pci.ids=8086:1533\"\n\
                    GRUB_CMDLINE_LINUX_DEFAULT=vfio-pci.ids=8086:1534,8086:1535 # x\n\
                    GRUB_CMDLINE_LINUX_DEFAULT='vfio-pci.idsx=2 my.vfio-pci.ids=3'\n";
        let found: Vec<&str> = in_shell(text, "vfio-pci.ids").collect();
        assert_eq!(found, ["8086:1533", "8086:1534,8086:1535"]);
    }
}
