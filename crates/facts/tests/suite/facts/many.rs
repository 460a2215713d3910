//! Many disks and processors.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hosttune_core::host::{Entry, EntryKind, FileContent, Fs, RootKind};
use hosttune_core::{HostError, HostErrorKind, Operation};
use hosttune_facts::Facts;

use super::recorded::Recorded;

/// Files, links and directories, each found in constant time.
#[derive(Debug, Default)]
struct Shelf {
    files: HashMap<PathBuf, String>,
    links: HashMap<PathBuf, PathBuf>,
    directories: HashMap<PathBuf, Vec<String>>,
}

impl Shelf {
    fn of(disks: u32, processors: u32) -> Self {
        let mut shelf = Self::default();
        let mut names = Vec::new();
        for number in 0..disks {
            let name = format!("sd{number:05}");
            let path = format!("/sys/block/{name}");
            let target =
                format!("../devices/pci0000:00/0000:00:17.0/ata{number}/host{number}/block/{name}");
            shelf.links.insert(path.clone().into(), target.into());
            for (file, value) in [
                ("hidden", "0"),
                ("size", "131072"),
                ("removable", "0"),
                ("queue/rotational", "1"),
                ("device/model", "A DISK"),
                ("device/type", "0"),
            ] {
                shelf
                    .files
                    .insert(format!("{path}/{file}").into(), format!("{value}\n"));
            }
            names.push(name);
        }
        shelf.directories.insert("/sys/block".into(), names);
        let cpu = "/sys/devices/system/cpu";
        let last = processors - 1;
        shelf
            .files
            .insert(format!("{cpu}/online").into(), format!("0-{last}\n"));
        let half = processors / 2;
        for number in 0..processors {
            let first = number - number % 2;
            let topology = format!("{cpu}/cpu{number}/topology");
            let package = match number < half {
                true => format!("0-{}\n", half - 1),
                false => format!("{half}-{last}\n"),
            };
            shelf
                .files
                .insert(format!("{topology}/package_cpus_list").into(), package);
            let core = format!("{first}-{}\n", first + 1);
            shelf
                .files
                .insert(format!("{topology}/core_cpus_list").into(), core);
        }
        shelf
    }
}

fn missing(path: &Path) -> HostError {
    HostError::new(
        Operation::Read,
        path.display().to_string(),
        HostErrorKind::Missing,
    )
}

impl Fs for Shelf {
    fn root_kind(&self) -> RootKind {
        RootKind::Captured
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, HostError> {
        let file = self.files.get(path).ok_or_else(|| missing(path))?;
        Ok(file.clone().into_bytes())
    }

    fn list(&self, directory: &Path) -> Result<Vec<String>, HostError> {
        self.directories
            .get(directory)
            .cloned()
            .ok_or_else(|| missing(directory))
    }

    fn entry(&self, path: &Path) -> Result<Option<Entry>, HostError> {
        let link = self.links.get(path).cloned().map(EntryKind::Link);
        Ok(link.map(|kind| Entry { kind, mode: 0o777 }))
    }

    fn file(&self, path: &Path) -> Result<Option<FileContent>, HostError> {
        panic!("{}", path.display());
    }

    fn half_written(&self, path: &Path) -> Result<bool, HostError> {
        panic!("{}", path.display());
    }

    fn write_value(&mut self, path: &Path, _: &[u8]) -> Result<(), HostError> {
        panic!("{}", path.display());
    }

    fn put_file(&mut self, path: &Path, _: &FileContent) -> Result<(), HostError> {
        panic!("{}", path.display());
    }

    fn create_directory(&mut self, path: &Path) -> Result<(), HostError> {
        panic!("{}", path.display());
    }

    fn remove(&mut self, path: &Path) -> Result<(), HostError> {
        panic!("{}", path.display());
    }

    fn pause(&self, _: Duration) {}
}

/// The number of file system accesses that all facts take.
fn looks(disks: u32, processors: u32) -> usize {
    let host = Recorded::over(Shelf::of(disks, processors));
    let seen = host.seen();
    let host = host.into_host();
    let facts = Facts::of(&host);
    let count = seen.lock().unwrap().len();
    println!("{disks} disks, {processors} processors: {count} looks");
    assert_eq!(facts.disks.unwrap().len(), disks as usize);
    let cpu = facts.cpu;
    let counted = (cpu.threads, cpu.cores, cpu.sockets);
    assert_eq!(counted, (Some(processors), Some(processors / 2), Some(2)));
    count
}

#[test]
fn each_disk_and_each_core_costs_the_same() {
    let few = looks(10, 4);
    assert_eq!(looks(100, 4) - few, 90 * 7);
    assert_eq!(looks(10_000, 4) - few, 9_990 * 7);
    // One access for each core, and none for its second thread.
    assert_eq!(looks(10, 1_000) - few, 498);
}
