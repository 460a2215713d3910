//! Whether an entry of ours would be the one that the loader starts without a choice: it must never be, because
//! nothing ends that.

use hosttune_core::{Host, HostError, HostErrorKind, Knob};

use super::efi_variable::EfiVariable;
use super::entry_file::{self, is_ours};
use super::environment_block::EnvironmentBlock;
use super::grub_default::{self, Others};
use super::grub_menu::Menu;
use super::mode::{ModePlace, Refusal, refusal};
use super::systemd_menu::{self, ListedEntry};
use super::trial::environment_block;
use super::version_order;
use crate::boot_loader::{ENTRIES, LoaderEntry, counters};

/// Where systemd-boot's own configuration is: on the EFI system partition, in one of these places.
const CONFIGURATIONS: [&str; 3] = [
    "/boot/loader/loader.conf",
    "/efi/loader/loader.conf",
    "/boot/efi/loader/loader.conf",
];

/// The first release of systemd-boot with the order that is known here.
const KNOWN_ORDER: u32 = 250;

/// The name of the file of an entry of ours.
pub(super) fn file_name(place: ModePlace, id: &str) -> String {
    match place {
        ModePlace::Entries(_) => entry_file::for_systemd_boot(id),
        ModePlace::Grub(_) | ModePlace::GrubEntries { .. } => entry_file::for_grub(id),
    }
}

/// Why the entry of ours with this id (`hosttune-…`) would be the default in this place; `None` if it would not.
///
/// # Errors
/// Any error from the host.
pub(super) fn objection(
    host: &Host,
    place: ModePlace,
    id: &str,
) -> Result<Option<Refusal>, HostError> {
    match place {
        ModePlace::Grub(directory) => in_custom(host, directory, id),
        ModePlace::GrubEntries { grub, entries } => in_files(host, grub, entries, id),
        ModePlace::Entries(directory) => in_systemd_boot(host, directory, id),
    }
}

/// The menu that was generated for GRUB.
fn menu(host: &Host, directory: &str) -> Result<Menu, HostError> {
    let bytes = host.read(format!("{directory}/grub.cfg"))?;
    Ok(Menu::parse(&String::from_utf8_lossy(&bytes)))
}

/// The variable `saved_entry`; `None` if it is not set, or GRUB cannot read the block either.
pub(super) fn saved_entry(host: &Host, directory: &str) -> Result<Option<String>, HostError> {
    let bytes = match host.read(environment_block(directory)) {
        Err(error) if *error.kind() == HostErrorKind::Missing => return Ok(None),
        bytes => bytes?,
    };
    let block = EnvironmentBlock::parse(&bytes).ok();
    let saved = block.and_then(|block| block.get("saved_entry"));
    Ok(saved.map(|saved| String::from_utf8_lossy(&saved).into_owned()))
}

fn custom_menu(host: &Host, directory: &str) -> Result<Menu, HostError> {
    match host.read(format!("{directory}/custom.cfg")) {
        Err(error) if *error.kind() == HostErrorKind::Missing => Ok(Menu::parse("")),
        bytes => Ok(Menu::parse(&String::from_utf8_lossy(&bytes?))),
    }
}

/// What is typed to make an entry GRUB's default by its name.
fn hint(directory: &str, name: Option<&str>, menu: &Menu) -> String {
    let grub = match directory.ends_with('2') {
        true => "grub2",
        false => "grub",
    };
    let name = name.unwrap_or("ID-OF-THE-ENTRY");
    let set = format!("{grub}-set-default '{name}'");
    match menu.default.as_deref() {
        Some("${saved_entry}") => format!("name the default entry: {set}"),
        _ => format!(
            "name the default entry: GRUB_DEFAULT=saved in /etc/default/grub, then {grub}-mkconfig -o {directory}/grub.cfg, then {set}"
        ),
    }
}

fn in_custom(host: &Host, directory: &str, id: &str) -> Result<Option<Refusal>, HostError> {
    let menu = menu(host, directory)?;
    let Some(line) = menu.reads_custom else {
        // There is no place for the entry, which is reported as such.
        return Ok(None);
    };
    let mut others = Others::default();
    others.add_menu(&menu, line);
    others.add_custom(&custom_menu(host, directory)?, id);
    let saved = saved_entry(host, directory)?;
    let default = menu.default_value(saved.as_deref());
    let why = grub_default::objection(default, &[id], &others, false);
    Ok(why.map(|why| {
        let named = menu.default_entry(saved.as_deref()).ok();
        let named = named.map(|entry| entry.id.as_deref().unwrap_or(&entry.title));
        refusal(why, hint(directory, named, &menu))
    }))
}

/// The entry files of a directory, without those that cannot be read as text.
fn entry_files(host: &Host, directory: &str) -> Result<Vec<(String, LoaderEntry)>, HostError> {
    let mut found = Vec::new();
    for name in host.list_if_there(directory)? {
        if !name.ends_with(".conf") || name.starts_with('.') {
            continue;
        }
        // A directory or a link to nothing is no entry for a loader either.
        if let Ok(bytes) = host.read(format!("{directory}/{name}")) {
            found.push((name, LoaderEntry::parse(&String::from_utf8_lossy(&bytes))));
        }
    }
    Ok(found)
}

fn in_files(
    host: &Host,
    grub: &str,
    directory: &str,
    id: &str,
) -> Result<Option<Refusal>, HostError> {
    let menu = menu(host, grub)?;
    let ours = entry_file::for_grub(id);
    let ours = ours.trim_end_matches(".conf");
    let line = menu.reads_entries.unwrap_or_default();
    let mut others = Others::default();
    others.add_menu(&menu, line);
    if menu.reads_custom.is_some_and(|custom| custom < line) {
        others.add_custom(&custom_menu(host, grub)?, "");
    }
    let mut named = None;
    for (name, entry) in entry_files(host, directory)? {
        let name = name.trim_end_matches(".conf");
        if name == ours || entry.last("linux").is_none() {
            continue;
        }
        others.names.push(name.to_owned());
        others.names.extend(entry.last("title").map(str::to_owned));
        others.before += usize::from(version_order::grub(name, ours).is_gt());
        let is_newest = named
            .as_deref()
            .is_none_or(|known| version_order::grub(name, known).is_gt());
        if !is_ours(name) && is_newest {
            named = Some(name.to_owned());
        }
    }
    let saved = saved_entry(host, grub)?;
    let default = menu.default_value(saved.as_deref());
    let why = grub_default::objection(default, &[ours], &others, true);
    Ok(why.map(|why| refusal(why, hint(grub, named.as_deref(), &menu))))
}

/// The patterns with which systemd-boot looks for its default before it takes the first entry.
fn patterns(host: &Host, configuration: Option<&str>) -> Result<Vec<String>, HostError> {
    let variable = |name: &str| -> Result<Option<String>, HostError> {
        let variable = EfiVariable {
            name: name.to_owned(),
        };
        let value = variable.read(host)?;
        Ok(value.text())
    };
    let mut found = Vec::new();
    let configured = configuration.and_then(|text| {
        let mut lines = text.lines();
        let value = lines.rfind(|line| line.split_whitespace().next() == Some("default"))?;
        Some(value.trim().trim_start_matches("default").trim().to_owned())
    });
    for pattern in [variable("LoaderEntryDefault")?, configured] {
        match pattern.as_deref() {
            Some("@saved") => found.extend(variable("LoaderEntryLastBooted")?),
            _ => found.extend(pattern),
        }
    }
    Ok(found)
}

/// The release of systemd-boot that started this host; `None` if that is not known.
fn release(host: &Host) -> Result<Option<u32>, HostError> {
    let variable = EfiVariable {
        name: "LoaderInfo".to_owned(),
    };
    let text = variable.read(host)?.text();
    Ok(text.and_then(|text| {
        let release = text.strip_prefix("systemd-boot ")?;
        let end = release.find(|letter: char| !letter.is_ascii_digit());
        release[..end.unwrap_or(release.len())].parse().ok()
    }))
}

fn in_systemd_boot(host: &Host, directory: &str, id: &str) -> Result<Option<Refusal>, HostError> {
    let ours = entry_file::for_systemd_boot(id);
    let mut entries = Vec::new();
    let mut counted = None;
    for place in ENTRIES {
        for (name, entry) in entry_files(host, place)? {
            if place == directory && name == ours {
                continue;
            }
            entries.extend(ListedEntry::of(&name, &entry).map(|mut listed| {
                if listed.tries_left.is_some() {
                    // Boots that fail use up the tries, and then the entry is behind ours.
                    listed.tries_left = Some(0);
                    counted = counters(&name).map(|(name, _)| name);
                }
                listed
            }));
        }
    }
    let normal: Vec<ListedEntry> = entries
        .iter()
        .filter(|entry| !is_ours(&entry.id))
        .cloned()
        .collect();
    let named = systemd_menu::default(&normal, &[]);
    let named = named.map_or_else(|| "NAME.conf".to_owned(), |(entry, _)| entry.id.clone());
    entries.push(ListedEntry {
        id: ours.clone(),
        ..ListedEntry::default()
    });
    let mut configurations = Vec::new();
    for path in CONFIGURATIONS {
        if let Ok(bytes) = host.read(path) {
            configurations.push(Some(String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
    if configurations.is_empty() {
        configurations.push(None);
    }
    let release = release(host)?;
    let hint = format!("name the default entry: bootctl set-default {named}");
    for configuration in configurations {
        let patterns = patterns(host, configuration.as_deref())?;
        let Some((default, is_named)) = systemd_menu::default(&entries, &patterns) else {
            continue;
        };
        if default.id == ours {
            let because = match (is_named, &counted) {
                (true, _) => "a pattern for the default entry fits it".to_owned(),
                (false, Some(counted)) => format!(
                    "boots of {counted} are counted, and when its tries are used up it is sorted last"
                ),
                (false, None) => "it is the first in the order of systemd-boot".to_owned(),
            };
            let why = format!("the new entry would become the default: {because}");
            return Ok(Some(refusal(why, hint)));
        }
        if let Some(release) = release.filter(|release| *release < KNOWN_ORDER && !is_named) {
            let why = format!(
                "the new entry may become the default: systemd-boot {release} sorts entries in another way than {KNOWN_ORDER} and later, and no default is named"
            );
            return Ok(Some(refusal(why, hint)));
        }
    }
    Ok(None)
}
