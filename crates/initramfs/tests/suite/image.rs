//! Modules and modprobe.d in the layouts of the three builders.

use hosttune_initramfs::{Builder, FileContent, Image};

use crate::cpio::{Written, archive, directory, file, gzip, link, with_directories};

fn image(entries: impl IntoIterator<Item = Written>) -> Image {
    let mut bytes = archive(&with_directories([file(
        "kernel/x86/microcode/GenuineIntel.bin",
        [1; 900],
    )]));
    bytes.extend(gzip(&archive(&with_directories(entries))));
    Image::read(&bytes[..])
}

fn merged() -> Vec<Written> {
    vec![
        directory("usr"),
        directory("usr/lib"),
        link("lib", "usr/lib"),
    ]
}

fn modprobe(image: &Image) -> Vec<(String, String)> {
    let files = image.modprobe_files().into_iter();
    files
        .map(|file| match file.content {
            FileContent::Bytes(bytes) => (file.path, String::from_utf8_lossy(&bytes).into_owned()),
            other => (file.path, format!("{other:?}")),
        })
        .collect()
}

#[test]
fn initramfs_tools() {
    let mut entries = merged();
    entries.extend([
        file("conf/initramfs.conf", "MODULES=most\n"),
        file("scripts/functions", ""),
        file(
            "etc/modprobe.d/zz-hosttune-gaming.conf",
            "options nvidia a=1\n",
        ),
        file("etc/modprobe.d/README", "not read\n"),
        file("lib/modprobe.d/aliases.conf", "alias x y\n"),
        file("usr/lib/modules/6.1.0-1-amd64/kernel/net/kvm-intel.ko", ""),
        file("usr/lib/modules/6.1.0-1-amd64/modules.dep", ""),
    ]);
    let image = image(entries);
    assert_eq!(image.builder(), Some(Builder::InitramfsTools));
    assert_eq!(image.incomplete(), None);
    assert_eq!(
        modprobe(&image),
        [
            (
                "/etc/modprobe.d/zz-hosttune-gaming.conf".to_owned(),
                "options nvidia a=1\n".to_owned()
            ),
            (
                "/usr/lib/modprobe.d/aliases.conf".to_owned(),
                "alias x y\n".to_owned()
            ),
        ]
    );
    assert_eq!(image.has_module("kvm-intel", "6.1.0-1-amd64"), Some(true));
    assert_eq!(image.has_module("kvm_intel", "6.1.0-1-amd64"), Some(true));
    assert_eq!(image.has_module("kvm_intel", "6.12.0"), Some(false));
    assert_eq!(image.has_module("nvidia", "6.1.0-1-amd64"), Some(false));
    assert_eq!(image.contents().segments().len(), 2);
}

#[test]
fn dracut_and_mkinitcpio() {
    let mut entries = merged();
    entries.extend([
        file("usr/lib/dracut/hostonly-files", ""),
        file("lib/modules/6.12.0/kernel/drivers/vfio-pci.ko.xz", ""),
    ]);
    let of_dracut = image(entries);
    assert_eq!(of_dracut.builder(), Some(Builder::Dracut));
    assert_eq!(of_dracut.has_module("vfio-pci", "6.12.0"), Some(true));

    let mut entries = merged();
    entries.extend([
        file("config", "EARLYHOOKS=\"udev\"\n"),
        file("init_functions", ""),
        file("usr/lib/modules/6.18.1-arch1-1/kernel/amdgpu.ko.zst", ""),
    ]);
    let of_mkinitcpio = image(entries);
    assert_eq!(of_mkinitcpio.builder(), Some(Builder::Mkinitcpio));
    assert_eq!(
        of_mkinitcpio.has_module("amdgpu", "6.18.1-arch1-1"),
        Some(true)
    );
    assert_eq!(image([file("a", "")]).builder(), None);
}

#[test]
fn what_is_not_read_is_unknown_and_not_absent() {
    let nested = image([file("squashfs-root.img", "hsqs")]);
    assert_eq!(nested.has_module("nvidia", "6.1.0"), None);
    assert!(nested.incomplete().unwrap().contains("squashfs-root.img"));

    let mut bytes = archive(&with_directories([file("usr/lib/modules/1/a.ko", "")]));
    bytes.extend_from_slice(b"BZh9 and so on");
    let cut = Image::read(&bytes[..]);
    assert_eq!(cut.has_module("a", "1"), Some(true));
    assert_eq!(cut.has_module("b", "1"), None);
    let why = cut.incomplete().unwrap();
    assert!(why.contains("bzip2 is not readable here"), "{why}");
}

#[test]
fn masks_and_symlinks_of_modprobe_files() {
    let image = image([
        link("etc/modprobe.d/masked.conf", "/dev/null"),
        link("etc/modprobe.d/linked.conf", "/usr/share/elsewhere.conf"),
        file("usr/share/elsewhere.conf", "options a b=1\n"),
        file("usr/lib/modprobe.d/masked.conf", "options c d=1\n"),
    ]);
    let files = modprobe(&image);
    assert_eq!(
        files[1],
        ("/etc/modprobe.d/masked.conf".to_owned(), String::new())
    );
    assert!(files[0].1.starts_with("Unknown"), "{files:?}");
    assert_eq!(files.len(), 3);
}
