//! The backend that runs generators, in a mount namespace in which `/usr/sbin`, `/boot`, `/run` and `/var/cache` are those of
//! the test. `mkinitramfs` is a script here.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use hosttune_core::host::LinuxHost;
use hosttune_core::{Host, Knob};
use hosttune_initramfs::{GeneratedImage, ImageGenerators, ImageState, WORKING_DIRECTORY};
use hosttune_modules::testing::RELEASE;
use nix::sched::{CloneFlags, unshare};

use super::initramfs_copy::{image, inside};

const SCRIPT: &str = r#"#!/bin/sh
# As mkinitramfs: temporary files, and the image at the path behind -o.
[ "$1" = -o ] && [ "$3" = "$RELEASE" ] || exit 9
mkdir "$TMPDIR/mkinitramfs_1" || exit 8
read -r behaviour </boot/behaviour
case $behaviour in
works) while IFS= read -r line || [ -n "$line" ]; do :; done </dev/null; /bin/cat /boot/new >"$2" ;;
fails) echo "E: no module" >&2; exit 1 ;;
killed) kill -9 $$ ;;
nothing) ;;
truncated) /usr/bin/head -c 100 /boot/new >"$2" ;;
link) ln -s /boot/new "$2" ;;
esac
"#;

fn run(program: &str, arguments: &[&str]) -> bool {
    let ran = Command::new(program).args(arguments).status();
    ran.is_ok_and(|status| status.success())
}

/// Why the mounts cannot be had.
fn mounted(tree: &Path) -> Result<(), String> {
    unshare(CloneFlags::CLONE_NEWNS).map_err(|errno| errno.to_string())?;
    let private = run("mount", &["--make-rprivate", "/"]);
    for (directory, at) in [
        ("boot", "/boot"),
        ("cache", "/var/cache"),
        // The lock of children is there, which another program may hold for minutes.
        ("run", "/run"),
        ("sbin", "/usr/sbin"),
    ] {
        let from = tree.join(directory);
        if !private || !run("mount", &["--bind", from.to_str().unwrap(), at]) {
            return Err(format!("{at} cannot be mounted"));
        }
    }
    Ok(())
}

#[test]
fn an_image_is_made_beside_the_old_one_and_nothing_stays_behind() {
    let tree = tempfile::tempdir().unwrap();
    let tree = tree.path().to_owned();
    // The namespace is that of a thread, and ends with it.
    let told = std::thread::spawn(move || inside_the_mounts(&tree)).join();
    if let Err(why) = told.unwrap() {
        println!(
            "not run: image_generators::an_image_is_made_beside_the_old_one_and_nothing_stays_behind: {why}"
        );
    }
}

fn inside_the_mounts(tree: &Path) -> Result<(), String> {
    for directory in ["boot", "cache", "run", "sbin"] {
        fs::create_dir(tree.join(directory)).unwrap();
    }
    let script = SCRIPT.replace("$RELEASE", RELEASE);
    for (name, text) in [
        ("mkinitramfs", &*script),
        ("update-initramfs", "#!/bin/sh\nmkinitramfs\n"),
    ] {
        let path = tree.join("sbin").join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let kvm = inside("kvm");
    let old = image(&[("init", ""), (&kvm, "")]);
    let new = image(&[("init", ""), (&kvm, ""), ("bin/new", "")]);
    let path = "/boot/initrd.img-test";
    let put = |name: &str, bytes: &[u8]| fs::write(tree.join("boot").join(name), bytes).unwrap();
    put("initrd.img-test", &old);
    put("new", &new);
    fs::set_permissions(
        tree.join("boot/initrd.img-test"),
        fs::Permissions::from_mode(0o600),
    )
    .unwrap();
    if !rustix::process::geteuid().is_root() {
        return Err("it takes root to mount directories of a test".to_owned());
    }
    mounted(tree)?;
    let etc = Path::new("/etc/initramfs-tools");
    if !etc.exists() && !run("mount", &["-t", "tmpfs", "none", "/etc"]) {
        return Err("/etc cannot be mounted".to_owned());
    }
    fs::create_dir_all(etc).unwrap();
    let mut host = Host::new(LinuxHost::live().unwrap()).with_backend(ImageGenerators::live());
    // The file is on the host and not in the image, so that each call makes the image.
    let file = "/etc/modprobe.d/zz-hosttune-test.conf";
    let knob = GeneratedImage::new(path, RELEASE, file);
    let to = GeneratedImage::with_copy(b"options kvm ignore_msrs=1\n");
    let left = || {
        let mut names: Vec<String> = fs::read_dir("/boot")
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["behaviour", "initrd.img-test", "new"]);
        assert!(!Path::new(WORKING_DIRECTORY).exists());
    };
    for (behaviour, said) in [
        ("fails", "failed with exit code 1: E: no module"),
        ("killed", "was killed by signal 9"),
        ("nothing", "has written no image"),
        ("link", "has written no image"),
        ("truncated", "ends too early"),
    ] {
        put("behaviour", format!("{behaviour}\n").as_bytes());
        let error = knob.set(&mut host, &to).unwrap_err();
        let told = format!("{error} {:?}", error.hint());
        assert!(told.contains(said), "{behaviour}: {told}");
        assert!(told.contains("mkinitramfs -o"), "{told}");
        assert_eq!(fs::read(path).unwrap(), old, "{behaviour}");
        left();
    }
    put("behaviour", b"works\n");
    // What a generator left that was killed together with its program.
    fs::create_dir_all(Path::new(WORKING_DIRECTORY).join("mkinitramfs_0/a")).unwrap();
    fs::write("/boot/.initrd.img-test.hosttune-new", "half").unwrap();
    let seen = knob.read(&host).unwrap();
    assert_eq!(seen, ImageState::HalfMade { copy: None });
    let original = ImageState::Image { copy: None };
    assert!(knob.is_partial_write(&seen, &original, &to));
    knob.set(&mut host, &original).unwrap();
    assert_eq!(fs::read(path).unwrap(), old);
    left();
    // The configuration has no such file, so a new image without it is what is to be made.
    knob.set(&mut host, &to).unwrap();
    assert_eq!(fs::read(path).unwrap(), new);
    let mode = fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    left();
    Ok(())
}
