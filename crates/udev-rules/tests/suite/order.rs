//! Which files udev reads, and in which order.

use hosttune_core::Host;
use hosttune_core::host::FileContent;
use hosttune_core::testing::{CrashPoint, Memory};
use hosttune_udev_rules::RuleFiles;

fn file(memory: Memory, path: &str, text: &str) -> Memory {
    memory.content(path, FileContent::new(text))
}

fn read(memory: &Memory) -> RuleFiles {
    RuleFiles::read(&Host::new(memory.host(&CrashPoint::default()))).unwrap()
}

fn paths(files: &RuleFiles) -> Vec<(&str, Option<&str>)> {
    let files = files.files().iter();
    files
        .map(|file| (file.path.as_str(), file.masked_by.as_deref()))
        .collect()
}

#[test]
fn files_are_merged_by_name_and_the_highest_masks() {
    let mut memory = Memory::new();
    for path in [
        "/usr/lib/udev/rules.d/60-a.rules",
        "/usr/lib/udev/rules.d/50-b.rules",
        "/usr/local/lib/udev/rules.d/60-a.rules",
        "/run/udev/rules.d/70-c.rules",
        "/etc/udev/rules.d/60-a.rules",
        "/etc/udev/rules.d/9-last.rules",
        "/etc/udev/rules.d/60-a.rules.dpkg-old",
        "/etc/udev/rules.d/.60-hidden.rules",
    ] {
        memory = file(memory, path, "# x\n");
    }
    memory = memory.directory("/etc/udev/rules.d/61-directory.rules");
    assert_eq!(
        paths(&read(&memory)),
        [
            ("/usr/lib/udev/rules.d/50-b.rules", None),
            (
                "/usr/lib/udev/rules.d/60-a.rules",
                Some("/etc/udev/rules.d/60-a.rules")
            ),
            (
                "/usr/local/lib/udev/rules.d/60-a.rules",
                Some("/etc/udev/rules.d/60-a.rules")
            ),
            ("/etc/udev/rules.d/60-a.rules", None),
            ("/run/udev/rules.d/70-c.rules", None),
            // In the order of bytes, not of numbers.
            ("/etc/udev/rules.d/9-last.rules", None),
        ]
    );
}

#[test]
fn a_link_to_nothing_masks_and_lib_counts_once() {
    let rule = "ATTR{queue/scheduler}=\"bfq\"\n";
    let memory = file(Memory::new(), "/usr/lib/udev/rules.d/60-a.rules", rule);
    let memory = file(memory, "/usr/lib/udev/rules.d/60-b.rules", rule);
    let memory = file(memory, "/usr/lib/udev/rules.d/60-c.rules", rule);
    let memory = memory
        .link("/etc/udev/rules.d/60-a.rules", "/dev/null")
        .link("/etc/udev/rules.d/60-b.rules", "../../../dev/null")
        .link("/lib", "usr/lib");
    let memory = file(memory, "/run/udev/rules.d/60-c.rules", "");
    let files = read(&memory);
    assert_eq!(files.files().len(), 6);
    assert_eq!(files.read_by_udev().count(), 3);
    for file in files.read_by_udev() {
        assert_eq!(file.document.lines().len(), 0, "{}", file.path);
    }
}

#[test]
fn lib_is_a_directory_of_its_own_where_it_is_no_link() {
    let memory = file(Memory::new(), "/lib/udev/rules.d/60-a.rules", "# low\n");
    let memory = file(memory, "/usr/lib/udev/rules.d/60-a.rules", "# high\n");
    assert_eq!(
        paths(&read(&memory)),
        [
            (
                "/lib/udev/rules.d/60-a.rules",
                Some("/usr/lib/udev/rules.d/60-a.rules")
            ),
            ("/usr/lib/udev/rules.d/60-a.rules", None),
        ]
    );
}

#[test]
fn a_machine_without_rules_has_none() {
    assert_eq!(read(&Memory::new()), RuleFiles::default());
}

#[test]
fn what_cannot_be_read_is_an_error_and_names_the_file() {
    let memory = file(Memory::new(), "/etc/udev/rules.d/60-a.rules", "# x\n");
    let memory = memory.mode("/etc/udev/rules.d/60-a.rules", 0o200);
    let error = RuleFiles::read(&Host::new(memory.host(&CrashPoint::default()))).unwrap_err();
    assert!(
        error.to_string().contains("/etc/udev/rules.d/60-a.rules"),
        "{error}"
    );
}
