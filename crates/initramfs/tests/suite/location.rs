//! Which image a kernel is started with, in the layouts of distributions.

use hosttune_core::Host;
use hosttune_core::host::FileContent;
use hosttune_core::testing::{CrashPoint, Memory};
use hosttune_initramfs::{Evidence, ImageFiles, images_of};

use crate::cpio::{archive, file, with_directories};

const RELEASE: &str = "6.12.0-1-amd64";

fn with(memory: Memory, files: &[(&str, &str)]) -> Memory {
    let add =
        |memory: Memory, (path, text): &(&str, &str)| memory.content(path, FileContent::new(*text));
    files.iter().fold(memory, add)
}

fn booted(line: &str) -> Memory {
    with(
        Memory::new(),
        &[
            ("/proc/sys/kernel/osrelease", &format!("{RELEASE}\n")),
            ("/proc/cmdline", line),
        ],
    )
}

fn host(memory: &Memory) -> Host {
    Host::new(memory.host(&CrashPoint::lives()))
}

fn found(memory: &Memory) -> Vec<ImageFiles> {
    images_of(&host(memory), RELEASE).unwrap()
}

fn paths(memory: &Memory) -> Vec<String> {
    let found = found(memory).into_iter();
    found.map(|image| image.paths.join(" ")).collect()
}

#[test]
fn names_of_distributions() {
    for path in [
        "/boot/initrd.img-6.12.0-1-amd64",
        "/boot/initramfs-6.12.0-1-amd64.img",
        "/boot/initrd-6.12.0-1-amd64",
        "/usr/lib/modules/6.12.0-1-amd64/initramfs.img",
    ] {
        let memory = with(
            booted("root=/dev/vda1"),
            &[(path, ""), ("/boot/initrd.img-6.1.0", "")],
        );
        assert_eq!(paths(&memory), [path]);
        assert_eq!(found(&memory)[0].evidence, Evidence::Name);
    }
    let arch = with(
        booted("root=/dev/vda1"),
        &[
            ("/usr/lib/modules/6.12.0-1-amd64/pkgbase", "linux-cachyos\n"),
            ("/boot/initramfs-linux-cachyos.img", ""),
            ("/boot/initramfs-linux-cachyos-fallback.img", ""),
        ],
    );
    assert_eq!(paths(&arch), ["/boot/initramfs-linux-cachyos.img"]);
    let installed = with(
        booted("root=/dev/vda1"),
        &[
            ("/etc/machine-id", "0123abcd\n"),
            ("/efi/0123abcd/6.12.0-1-amd64/initrd", ""),
        ],
    );
    assert_eq!(paths(&installed), ["/efi/0123abcd/6.12.0-1-amd64/initrd"]);
    assert!(paths(&booted("root=/dev/vda1")).is_empty());
}

#[test]
fn what_the_running_kernel_was_started_with_is_the_answer() {
    let files = [
        ("/boot/amd-ucode.img", ""),
        ("/boot/initramfs-linux.img", ""),
        ("/boot/initrd.img-6.12.0-1-amd64", ""),
    ];
    let memory = with(
        booted("initrd=\\amd-ucode.img initrd=\\initramfs-linux.img root=UUID=1"),
        &files,
    );
    assert_eq!(
        paths(&memory),
        ["/boot/amd-ucode.img /boot/initramfs-linux.img"]
    );
    assert_eq!(found(&memory)[0].evidence, Evidence::CommandLine);
    // Another kernel was not started with it, and a file that is not there is on a partition that is not mounted.
    assert!(images_of(&host(&memory), "6.1.0").unwrap().is_empty());
    let memory = with(
        booted("initrd=\\EFI\\arch\\initramfs.img root=UUID=1"),
        &files,
    );
    assert_eq!(paths(&memory), ["/boot/initrd.img-6.12.0-1-amd64"]);
}

#[test]
fn entry_files_name_images() {
    let fedora = "title Fedora\nversion 6.12.0-1-amd64\nlinux /vmlinuz-6.12.0-1-amd64\ninitrd /initramfs-6.12.0-1-amd64.img $tuned_initrd\noptions root=UUID=1\n";
    let memory = with(
        booted("BOOT_IMAGE=(hd0,gpt2)/vmlinuz-6.12.0-1-amd64 root=UUID=1"),
        &[
            ("/boot/loader/entries/1-6.12.0-1-amd64.conf", fedora),
            ("/boot/loader/entries/1-6.12.0-1-amd64-mode.conf", fedora),
            (
                "/boot/loader/entries/1-6.1.0.conf",
                "version 6.1.0\nlinux /vmlinuz-6.1.0\ninitrd /other.img\n",
            ),
            ("/boot/initramfs-6.12.0-1-amd64.img", ""),
            ("/boot/other.img", ""),
        ],
    );
    assert_eq!(paths(&memory), ["/boot/initramfs-6.12.0-1-amd64.img"]);
    assert!(matches!(found(&memory)[0].evidence, Evidence::EntryFile(_)));
    // Two loaders: both images are listed, because nothing tells which counts.
    let two = with(
        memory.fork(),
        &[
            (
                "/efi/loader/entries/x.conf",
                "linux /x/6.12.0-1-amd64/linux\ninitrd /x/6.12.0-1-amd64/initrd\n",
            ),
            ("/efi/x/6.12.0-1-amd64/initrd", ""),
        ],
    );
    assert_eq!(paths(&two).len(), 2);
}

/// A program for UEFI with these sections, as `ukify` lays them out: headers, then contents at multiples of 512.
fn program(sections: &[(&[u8; 8], &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0; 64];
    bytes[..2].copy_from_slice(b"MZ");
    bytes[60..64].copy_from_slice(&128_u32.to_le_bytes());
    bytes.resize(128, 0xcc);
    bytes.extend_from_slice(b"PE\0\0\x64\x86");
    bytes.extend_from_slice(&u16::try_from(sections.len()).unwrap().to_le_bytes());
    bytes.extend_from_slice(&[0; 12]);
    bytes.extend_from_slice(&[240, 0, 0, 0]);
    bytes.resize(bytes.len() + 240, 1);
    let mut start = 1024_u32;
    for (name, content) in sections {
        let size = u32::try_from(content.len()).unwrap();
        let on_disk = size.next_multiple_of(512);
        bytes.extend_from_slice(*name);
        for number in [size, 0x1000, on_disk, start] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&[0; 16]);
        start += on_disk;
    }
    bytes.resize(1024, 0);
    for (_, content) in sections {
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes
}

#[test]
fn the_image_inside_a_unified_kernel_image_is_read() {
    let inside = archive(&with_directories([file(
        "usr/lib/modules/6.12.0-1-amd64/a.ko",
        "",
    )]));
    let bytes = program(&[
        (b".cmdline", b"root=UUID=1"),
        (b".initrd\0", &inside),
        (b".linux\0\0", b"MZ"),
    ]);
    let memory = booted("root=UUID=1").content(
        "/efi/EFI/Linux/0123-6.12.0-1-amd64+3.efi",
        FileContent::new(bytes),
    );
    let images = found(&memory);
    assert_eq!(images[0].evidence, Evidence::UnifiedKernelImage);
    let image = images[0].read(&host(&memory)).unwrap();
    assert_eq!(image.incomplete(), None);
    assert_eq!(image.has_module("a", RELEASE), Some(true));
    // A program without the section says nothing about modules.
    let memory = booted("root=UUID=1").content(
        "/efi/EFI/Linux/0123-6.12.0-1-amd64.efi",
        FileContent::new(program(&[(b".linux\0\0", b"MZ")])),
    );
    assert!(found(&memory)[0].read(&host(&memory)).is_err());
}

#[test]
fn files_that_the_loader_joins_are_one_image() {
    let memory = booted("initrd=\\ucode.img initrd=\\main.img")
        .content(
            "/boot/ucode.img",
            FileContent::new(archive(&[file("early", "")])),
        )
        .content(
            "/boot/main.img",
            FileContent::new(archive(&[file("main", "")])),
        );
    let image = found(&memory)[0].read(&host(&memory)).unwrap();
    let names: Vec<&str> = image.contents().iter().map(|(path, _)| path).collect();
    assert_eq!(names, ["early", "main"]);
}
