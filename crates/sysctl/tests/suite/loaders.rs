//! Our reading of sysctl.d files agrees with that of the two programs that load them: systemd-sysctl and
//! procps' `sysctl`. Each runs in a network namespace of its own, so that no other process is affected.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use hosttune_sysctl::{Content, Directories, Key, Loader, Setting, Sources};
use tempfile::TempDir;

const SYSTEMD_SYSCTL: [&str; 2] = [
    "/usr/lib/systemd/systemd-sysctl",
    "/lib/systemd/systemd-sysctl",
];

/// A directory that is used as `/`.
struct Root(TempDir);

impl Root {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, path: &str, text: &str) -> PathBuf {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path.trim_start_matches('/'))
    }
}

impl Directories for Root {
    type Error = io::Error;

    fn names(&self, directory: &str) -> io::Result<Vec<String>> {
        match fs::read_dir(self.at(directory)) {
            Ok(entries) => entries
                .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
                .collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    fn content(&self, path: &str) -> io::Result<Content> {
        match fs::read(self.at(path)) {
            Ok(bytes) => Ok(Content::Bytes(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Content::Missing),
            Err(error) => Err(error),
        }
    }

    fn resolved(&self, path: &str) -> io::Result<String> {
        let Ok(real) = fs::canonicalize(self.at(path)) else {
            return Ok(path.to_owned());
        };
        let root = fs::canonicalize(&self.0)?;
        let beneath = real.strip_prefix(root).unwrap_or(&real);
        Ok(format!("/{}", beneath.to_string_lossy()))
    }
}

/// Runs a program. If it does not exist, this prints that and returns `None`.
fn output(program: &str, arguments: &[&str]) -> Option<std::process::Output> {
    match Command::new(program).args(arguments).output() {
        Ok(output) => Some(output),
        Err(error) => {
            eprintln!("NOT RUN: {program} cannot be started: {error}");
            None
        }
    }
}

fn can_make_namespaces() -> bool {
    match output("unshare", &["-n", "true"]) {
        Some(output) if output.status.success() => true,
        Some(output) => {
            eprintln!(
                "NOT RUN: no network namespace can be made here: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            false
        }
        None => false,
    }
}

#[test]
fn files_are_read_in_the_order_in_which_systemd_reads_them() {
    let root = Root::new();
    for (path, text) in [
        ("/usr/lib/sysctl.d/50-a.conf", "a=1\n"),
        ("/etc/sysctl.d/50-a.conf", "a=2\n"),
        ("/run/sysctl.d/40-b.conf", "b=1\n"),
        ("/usr/lib/sysctl.d/41-c.conf", "c=1\n"),
        ("/etc/sysctl.d/41-c.conf", ""),
        ("/usr/local/lib/sysctl.d/Z.conf", "d=1\n"),
        ("/usr/local/lib/sysctl.d/é.conf", "e=1\n"),
        ("/usr/lib/sysctl.d/z.conf", "f=1\n"),
        ("/usr/lib/sysctl.d/.hidden.conf", "g=1\n"),
        ("/usr/lib/sysctl.d/no-suffix", "h=1\n"),
        ("/run/sysctl.d/100.conf", "i=1\n"),
        ("/etc/sysctl.d/9.conf", "j=1\n"),
        ("/etc/sysctl.conf", "k=1\n"),
    ] {
        root.file(path, text);
    }
    std::os::unix::fs::symlink("../sysctl.conf", root.at("/etc/sysctl.d/99-sysctl.conf")).unwrap();
    let argument = format!("--root={}", root.0.path().display());
    let Some(output) = output("systemd-analyze", &["cat-config", &argument, "sysctl.d"]) else {
        return;
    };
    if !output.status.success() {
        eprintln!(
            "NOT RUN: systemd-analyze has no cat-config --root: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        return;
    }
    // A line `# PATH` precedes each file. Empty files are left out on both sides.
    let prefix = format!("# {}", root.0.path().display());
    let mut theirs: Vec<String> = Vec::new();
    let mut current = String::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        if let Some(path) = line.strip_prefix(&prefix) {
            path.clone_into(&mut current);
        } else if !line.is_empty() && theirs.last() != Some(&current) {
            theirs.push(current.clone());
        }
    }
    let sources = Sources::collect(&root, Loader::Systemd).unwrap();
    let ours: Vec<String> = sources
        .files()
        .iter()
        .filter(|file| file.masked_by.is_none() && !file.document.bytes().is_empty())
        .map(|file| file.path.clone())
        .collect();
    assert_eq!(ours, theirs);
    assert_eq!(ours.len(), 8, "{ours:?}");
}

/// Each text sets net.ipv4.tcp_keepalive_intvl in some way, or looks as if it did.
const TEXTS: &[&str] = &[
    "net.ipv4.tcp_keepalive_intvl = 70\n",
    "net/ipv4/tcp_keepalive_intvl=70\nnet.ipv4.tcp_keepalive_intvl=71",
    "net.ipv4.tcp_keepalive_int* = 70\n",
    "net.ipv4.tcp_keepalive_int[a-z]? = 70\n",
    "net.ipv4.tcp_keepalive_int[!v]l = 70\n",
    "net.ipv4.tcp_keepalive_int{vl} = 70\n",
    "net.*.tcp_keepalive_intvl = 70\n",
    "net.ipv4.tcp_keepalive_intvl = 70\nnet.ipv4.tcp_keepalive_int* = 71\n",
    "net.ipv4.tcp_keepalive_int* = 70\nnet.ipv4.tcp_keepalive_intvl = 71\n",
    "net.ipv4.tcp_keepalive_int* = 70\nnet.ipv4.tcp_keepalive_i* = 71\n",
    "net.ipv4.tcp_keepalive_int* = 70\nnet.ipv4.tcp_keepalive_i* = 71\nnet.ipv4.tcp_keepalive_int* = 70\n",
    "net.ipv4.tcp_keepalive_int* = 70\nnet.ipv4.tcp_keepalive_i* = 71\nnet.ipv4.tcp_keepalive_int* = 72\n",
    "net.ipv4.tcp_keepalive_int* = 70\n-net.ipv4.tcp_keepalive_intvl\n",
    "-net.ipv4.tcp_keepalive_intvl\nnet.ipv4.tcp_keepalive_int* = 70\n",
    "net.ipv4.tcp_keepalive_int* = 70\n-net.ipv4.tcp_keepalive_intvl # comment\n",
    "net.ipv4.tcp_keepalive_int* = 70\n-net.ipv4.tcp_keepalive_int*\n",
    "-net.ipv4.tcp_keepalive_int*\nnet.ipv4.tcp_keepalive_i* = 70\n",
    "net.ipv4.tcp_keepalive_intvl = 70\n-net.ipv4.tcp_keepalive_intvl\n",
    "-net.ipv4.tcp_keepalive_intvl\nnet.ipv4.tcp_keepalive_intvl = 70\n",
    "-net.ipv4.tcp_keepalive_intvl = 70\n",
    "  # net.ipv4.tcp_keepalive_intvl = 70\n\t;net.ipv4.tcp_keepalive_intvl = 71\n",
    "net.ipv4.tcp_keepalive_intvl = 70\r\n",
    " net.ipv4.tcp_keepalive_intvl\t=\t70\t \n",
    "net.ipv4.tcp_keepalive_intvl = 0x46\n",
    "net.ipv4.tcp_keepalive_intvl = 70 # comment\n",
    "garbage\nnet.ipv4.tcp_keepalive_intvl = 70\n",
    "/net/ipv4/tcp_keepalive_intvl = 70\n",
    "net..ipv4.tcp_keepalive_intvl = 70\n",
    "net.ipv4.tcp_keepalive_time = 7000\n",
    "",
];

/// Texts that only systemd reads as we do, because we follow systemd there.
const SYSTEMD_TEXTS: &[&str] = &[
    "net.ipv4.tcp_fin_timeout = 60\rnet.ipv4.tcp_keepalive_intvl = 70\n",
    "net.ipv4.tcp_fin_timeout = 60\0net.ipv4.tcp_keepalive_intvl = 70\n",
    "- net.ipv4.tcp_keepalive_intvl = 70\n",
    "--net.ipv4.tcp_keepalive_intvl = 70\n",
    "net.ipv4.tcp_keepalive_intvl. = 70\n",
    "net/ipv4/../ipv4/tcp_keepalive_intvl = 70\n",
];

fn compare(loader: Loader, program: &str, texts: &[&str]) {
    if !can_make_namespaces() {
        return;
    }
    let key: Key = "net.ipv4.tcp_keepalive_intvl".parse().unwrap();
    let root = Root::new();
    for text in texts {
        let file = root.file("/etc/sysctl.d/a.conf", text);
        // The value in a new namespace is read and not assumed.
        let script = r#"cat "$1"; $2 "$3" >/dev/null 2>&1; cat "$1""#;
        let path = file.display().to_string();
        let arguments = ["-n", "sh", "-c", script, "sh", &key.path(), program, &path];
        let Some(output) = output("unshare", &arguments) else {
            return;
        };
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        let (before, after) = shown.trim_end().split_once('\n').unwrap();
        let settings = Sources::collect(&root, loader).unwrap().who_sets(&key);
        let winner = settings.into_iter().find(Setting::is_winner);
        // The kernel ignores a comment after a number, and parses numbers in base 0.
        let expected = match winner.and_then(|setting| setting.value).as_deref() {
            Some("0x46" | "70 # comment") => "70".to_owned(),
            Some(value) => value.to_owned(),
            None => before.to_owned(),
        };
        assert_eq!(after, expected, "{program} on {text:?}");
    }
}

#[test]
fn systemd_sysctl_leaves_the_value_of_our_winner() {
    let Some(program) = SYSTEMD_SYSCTL
        .into_iter()
        .find(|path| Path::new(path).exists())
    else {
        eprintln!("NOT RUN: systemd-sysctl is not installed");
        return;
    };
    compare(Loader::Systemd, program, TEXTS);
    compare(Loader::Systemd, program, SYSTEMD_TEXTS);
}

#[test]
fn procps_sysctl_leaves_the_value_of_our_winner() {
    match output("sysctl", &["--version"]) {
        // busybox has a `sysctl` too, which knows no globs.
        Some(version) if String::from_utf8_lossy(&version.stdout).contains("procps") => {
            compare(Loader::Procps, "sysctl -q -p", TEXTS);
        }
        Some(_) => eprintln!("NOT RUN: `sysctl` here is not the one of procps"),
        None => {}
    }
}

#[test]
fn a_missing_key_fails_procps_and_not_systemd() {
    let Some(systemd) = SYSTEMD_SYSCTL
        .into_iter()
        .find(|path| Path::new(path).exists())
    else {
        eprintln!("NOT RUN: systemd-sysctl is not installed");
        return;
    };
    if !can_make_namespaces() {
        return;
    }
    let root = Root::new();
    let file = root.file("/a.conf", "net.ipv4.no_such_key = 1\n");
    let path = file.display().to_string();
    for (arguments, status) in [
        (vec!["-n", systemd, &path], 0),
        (vec!["-n", "sysctl", "-q", "-p", &path], 1),
    ] {
        let Some(output) = output("unshare", &arguments) else {
            return;
        };
        if output.status.code() == Some(127) {
            eprintln!("NOT RUN for {}: it is not installed", arguments[1]);
            continue;
        }
        assert_eq!(output.status.code(), Some(status), "{arguments:?}");
    }
}
