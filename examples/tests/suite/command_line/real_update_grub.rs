//! `--regenerate` with Debian's own GRUB, unpacked by `scripts/machine`, in a chroot on an ext4 file system.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use hosttune_test_machine::{GrubDisk, Kernel, grub};

use super::tree::{GAMING, is_root, not_run};

const UUID: &str = "0a3e1f52-5a0c-4bb3-9f7e-6a3d1c0b7e11";

/// A machine that is emulated needs a quarter of a minute. This is for a slow one.
const LIMIT: Duration = Duration::from_secs(300);

const TEST: &str = "debian's own update-grub";

/// `/bin`, `/sbin` and `/lib` are those of this machine, and `/usr` has what GRUB's packages contain. The results
/// are files in `$OUT`.
const SCRIPT: &str = r#"
set -e
M=$OUT/mounted
mkdir "$M"
truncate -s 96M "$OUT/disk"
mke2fs -q -F -t ext4 "$OUT/disk"
loop=$(losetup --find --show "$OUT/disk") || exit 77
trap 'losetup --detach "$loop"' EXIT
numbers=$(stat -c '0x%t 0x%T' "$loop")
# GRUB takes a loop device for the file behind it, so this one has another name.
mount -t tmpfs none /dev || exit 77
mknod "$loop" b $numbers || exit 77
mknod /dev/vda1 b $numbers
mknod /dev/null c 1 3
mount -t ext4 /dev/vda1 "$M" || exit 77
for directory in bin sbin lib lib64 proc sys dev etc usr/share usr/lib var/lib run tmp root boot/grub; do
    mkdir -p "$M/$directory"
done
cp -a "$GRUB/etc/." "$M/etc/"
cp -a "$GRUB/usr/sbin" "$GRUB/usr/bin" "$M/usr/"
cp -a "$GRUB/usr/share/grub" "$M/usr/share/"
cp -a "$GRUB/usr/lib/grub" "$M/usr/lib/"
cp "$GRUB"/lib/x86_64-linux-gnu/libdevmapper.so* "$M/usr/lib/"
: >"$M/gaming"
mount --bind "$GAMING" "$M/gaming"
for directory in bin sbin lib; do mount --bind "/usr/$directory" "$M/$directory"; done
mount --bind /lib64 "$M/lib64"
for directory in proc sys dev; do mount --bind "/$directory" "$M/$directory"; done
printf '%s\n' "BOOT_IMAGE=/boot/vmlinuz-6.12.0-1-amd64 root=/dev/vda1 ro quiet" >"$OUT/line"
mount --bind "$OUT/line" "$M/proc/cmdline" || exit 77
if [ -d "$M/sys/firmware/efi" ]; then mount -t tmpfs none "$M/sys/firmware"; fi
printf '%s\n' 'GRUB_CMDLINE_LINUX_DEFAULT="console=ttyS0"' 'GRUB_TIMEOUT=0' >"$M/etc/default/grub"
kernel() { : >"$M/boot/vmlinuz-$1"; : >"$M/boot/initrd.img-$1"; }
in_chroot() { env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C chroot "$M" "$@" </dev/null >>"$OUT/said" 2>&1; }
keep() { cp "$M/boot/grub/grub.cfg" "$OUT/$1"; }
regenerate="--persist --regenerate --only boot"
kernel 6.12.0-1-amd64
in_chroot update-grub; keep before
in_chroot /gaming apply --yes $regenerate; keep applied
in_chroot update-grub; keep by-update-grub
in_chroot /gaming plan --exit-code $regenerate
kernel 6.12.0-2-amd64
in_chroot update-grub; keep with-new-kernel
in_chroot /gaming revert --yes --regenerate; keep reverted
in_chroot update-grub; keep after
in_chroot /gaming apply --yes $regenerate; keep applied-again
in_chroot /gaming revert --yes; keep reverted-again
echo 'echo "menuentry {"' >"$M/etc/grub.d/42_broken"
chmod +x "$M/etc/grub.d/42_broken"
code=0
in_chroot /gaming apply --yes $regenerate || code=$?
if [ "$code" != 3 ]; then exit 1; fi
keep refused
if [ -e "$M/etc/default/grub.d/zz-hosttune-gaming.cfg" ]; then exit 1; fi
"#;

#[test]
fn debians_own_update_grub_and_ours_write_the_same_menu() {
    if !is_root() {
        not_run(TEST, "it takes root to mount a file system");
        return;
    }
    let unpacked = match grub() {
        Ok(unpacked) => unpacked,
        Err(error) => {
            not_run(TEST, &error.to_string());
            return;
        }
    };
    if !Path::new("/bin").is_symlink() {
        not_run(TEST, "the programs of this machine are not in /usr");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let ran = Command::new("unshare")
        .args(["--mount", "sh", "-c", SCRIPT])
        .env("OUT", directory.path())
        .env("GRUB", unpacked)
        .env("GAMING", GAMING)
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let read = |name: &str| {
        String::from_utf8_lossy(&fs::read(directory.path().join(name)).unwrap_or_default())
            .into_owned()
    };
    let messages = String::from_utf8_lossy(&ran.stderr).into_owned();
    if ran.status.code() == Some(77) || messages.starts_with("unshare:") {
        not_run(TEST, messages.trim());
        return;
    }
    assert!(ran.status.success(), "{messages}\n{}", read("said"));
    let line = "ro  console=ttyS0 mitigations=off nmi_watchdog=0 transparent_hugepage=madvise\n";
    let applied = read("applied");
    assert!(applied.contains(line), "{applied}");
    assert!(!read("before").contains("nmi_watchdog"));
    let (menu, mark) = applied.trim_end().rsplit_once('\n').unwrap();
    assert!(mark.starts_with("# Generated for hosttune;"), "{mark}");
    assert!(format!("{menu}\n") == read("by-update-grub"));
    let recovery = applied.lines().find(|line| line.contains(" ro single"));
    assert!(!recovery.unwrap().contains("nmi_watchdog"));

    // GRUB itself starts the kernel with that line.
    let boot = directory.path().join("boot");
    fs::create_dir_all(boot.join("grub")).unwrap();
    fs::write(boot.join("grub/grub.cfg"), &applied).unwrap();
    let (kernel, initrd) = ("vmlinuz-6.12.0-1-amd64", "initrd.img-6.12.0-1-amd64");
    let disk = GrubDisk::make(&boot, UUID, Kernel::Linux6_12, kernel, initrd).unwrap();
    let said = disk.boot(LIMIT).unwrap();
    let booted = said.lines().find(|said| said.contains("booted with: "));
    // GRUB divides the line into words.
    let words = line.trim_end().replace("  ", " ");
    assert!(
        booted.is_some_and(|said| said.contains(&words)),
        "{booted:?}"
    );

    assert!(read("with-new-kernel").contains("vmlinuz-6.12.0-2-amd64"));
    assert!(read("reverted").contains("vmlinuz-6.12.0-2-amd64"));
    assert!(!read("reverted").contains("nmi_watchdog"));
    assert!(read("reverted") == read("after"));
    assert!(read("applied-again").contains(line));
    assert!(read("reverted-again") == read("after"));
    assert!(read("refused") == read("after"));
    let said = read("said");
    assert!(
        said.contains("grub-script-check failed with exit code 1"),
        "{said}"
    );
}
