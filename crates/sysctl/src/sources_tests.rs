//! The order of files, and which line wins. The expected precedence was measured by running each
//! case through systemd-sysctl 252 in a network namespace and reading the value from the kernel.

use super::*;
use std::collections::BTreeMap;
use std::convert::Infallible;

/// Files by path; a text `-> target` is a symbolic link.
struct Tree(BTreeMap<&'static str, &'static str>);

impl Tree {
    fn new(files: &[(&'static str, &'static str)]) -> Self {
        Self(files.iter().copied().collect())
    }
}

impl Directories for Tree {
    type Error = Infallible;

    fn names(&self, directory: &str) -> Result<Vec<String>, Infallible> {
        let beneath = format!("{directory}/");
        let names = self.0.keys().filter_map(|path| path.strip_prefix(&beneath));
        Ok(names.map(str::to_owned).rev().collect())
    }

    fn content(&self, path: &str) -> Result<Content, Infallible> {
        let real = self.resolved(path)?;
        Ok(match self.0.get(real.as_str()) {
            _ if real == "/dev/null" => Content::Masked,
            Some(text) => Content::Bytes(text.as_bytes().to_vec()),
            None => Content::Missing,
        })
    }

    fn resolved(&self, path: &str) -> Result<String, Infallible> {
        let link = self.0.get(path).and_then(|text| text.strip_prefix("-> "));
        Ok(link.unwrap_or(path).to_owned())
    }
}

fn collect(files: &[(&'static str, &'static str)], loader: Loader) -> Sources {
    Sources::collect(&Tree::new(files), loader).unwrap()
}

/// The lines of one file that concern `kernel.x`, each with its standing.
fn standings(text: &'static str, loader: Loader) -> Vec<(usize, Standing)> {
    collect(&[("/etc/sysctl.d/a.conf", text)], loader)
        .who_sets(&"kernel.x".parse().unwrap())
        .into_iter()
        .map(|setting| (setting.place.line, setting.standing))
        .collect()
}

fn place(line: usize) -> Place {
    Place {
        file: "/etc/sysctl.d/a.conf".to_owned(),
        line,
    }
}

fn paths(sources: &Sources) -> Vec<(&str, Option<&str>)> {
    sources
        .files()
        .iter()
        .map(|file| (file.path.as_str(), file.masked_by.as_deref()))
        .collect()
}

#[test]
fn files_are_merged_by_base_name_and_masked_by_the_higher_directory() {
    let sources = collect(
        &[
            ("/usr/lib/sysctl.d/50-a.conf", "kernel.x=1"),
            ("/run/sysctl.d/50-a.conf", "kernel.x=2"),
            ("/etc/sysctl.d/60-b.conf", "kernel.x=3"),
            ("/usr/local/lib/sysctl.d/10-c.conf", "kernel.x=4"),
            ("/lib/sysctl.d/Z.conf", "kernel.x=5"),
            ("/etc/sysctl.d/README", "kernel.x=6"),
            ("/etc/sysctl.d/.hidden.conf", "kernel.x=7"),
        ],
        Loader::Systemd,
    );
    assert_eq!(
        paths(&sources),
        [
            ("/usr/local/lib/sysctl.d/10-c.conf", None),
            (
                "/usr/lib/sysctl.d/50-a.conf",
                Some("/run/sysctl.d/50-a.conf")
            ),
            ("/run/sysctl.d/50-a.conf", None),
            ("/etc/sysctl.d/60-b.conf", None),
            ("/lib/sysctl.d/Z.conf", None),
        ]
    );
    let settings = sources.who_sets(&"kernel.x".parse().unwrap());
    let shown: Vec<_> = settings
        .iter()
        .map(|setting| (setting.value.as_deref(), setting.is_winner()))
        .collect();
    assert_eq!(
        shown,
        [
            (Some("4"), false),
            (Some("1"), false),
            (Some("2"), false),
            (Some("3"), false),
            (Some("5"), true)
        ]
    );
    assert_eq!(
        settings[1].standing,
        Standing::Masked {
            by: "/run/sysctl.d/50-a.conf".to_owned()
        }
    );
}

#[test]
fn a_link_to_dev_null_and_an_empty_file_switch_off_a_lower_file() {
    for mask in ["-> /dev/null", "", "-> /nowhere"] {
        let sources = collect(
            &[
                ("/usr/lib/sysctl.d/50-a.conf", "kernel.x=1"),
                ("/etc/sysctl.d/50-a.conf", mask),
            ],
            Loader::Systemd,
        );
        let settings = sources.who_sets(&"kernel.x".parse().unwrap());
        assert_eq!(settings.len(), 1);
        assert!(
            matches!(settings[0].standing, Standing::Masked { .. }),
            "{mask:?}"
        );
    }
}

#[test]
fn lib_is_listed_once_where_it_is_a_link_to_usr_lib() {
    let sources = collect(
        &[
            ("/lib/sysctl.d", "-> /usr/lib/sysctl.d"),
            ("/usr/lib/sysctl.d/50-a.conf", "kernel.x=1"),
            ("/lib/sysctl.d/50-a.conf", "kernel.x=1"),
        ],
        Loader::Systemd,
    );
    assert_eq!(paths(&sources), [("/usr/lib/sysctl.d/50-a.conf", None)]);
}

const DEBIAN: [(&str, &str); 3] = [
    ("/etc/sysctl.conf", "kernel.x=1"),
    ("/etc/sysctl.d/99-sysctl.conf", "-> /etc/sysctl.conf"),
    ("/etc/sysctl.d/zz.conf", "kernel.x=2"),
];

#[test]
fn a_linked_sysctl_conf_is_one_file_at_the_place_where_the_loader_lets_it_count() {
    let systemd = collect(&DEBIAN, Loader::Systemd);
    assert_eq!(
        paths(&systemd),
        [
            ("/etc/sysctl.d/99-sysctl.conf", None),
            ("/etc/sysctl.d/zz.conf", None)
        ]
    );
    assert_eq!(winner(&systemd).as_deref(), Some("2"));
    let procps = collect(&DEBIAN, Loader::Procps);
    assert_eq!(
        paths(&procps),
        [("/etc/sysctl.d/zz.conf", None), ("/etc/sysctl.conf", None)]
    );
    assert_eq!(winner(&procps).as_deref(), Some("1"));
}

#[test]
fn sysctl_conf_without_a_link_is_read_by_procps_alone() {
    let files = [DEBIAN[0]];
    assert!(collect(&files, Loader::Systemd).files().is_empty());
    assert_eq!(
        winner(&collect(&files, Loader::Procps)).as_deref(),
        Some("1")
    );
}

fn winner(sources: &Sources) -> Option<String> {
    let settings = sources.who_sets(&"kernel.x".parse().unwrap());
    let mut winners = settings.into_iter().filter(Setting::is_winner);
    let winner = winners.next()?.value;
    assert!(winners.next().is_none(), "two winners");
    winner
}

#[test]
fn the_last_assignment_wins() {
    assert_eq!(
        standings("kernel.x=1\nkernel/x=2\n", Loader::Systemd),
        [
            (1, Standing::Overridden { by: place(2) }),
            (2, Standing::Wins)
        ]
    );
}

#[test]
fn a_name_beats_a_glob_in_either_order() {
    for loader in [Loader::Systemd, Loader::Procps] {
        assert_eq!(
            standings("kernel.x=1\nkernel.*=2\n", loader),
            [
                (1, Standing::Wins),
                (2, Standing::BeatenByName { by: place(1) })
            ]
        );
        assert_eq!(
            standings("kernel.*=2\nkernel.x=1\n", loader),
            [
                (1, Standing::BeatenByName { by: place(2) }),
                (2, Standing::Wins)
            ]
        );
    }
}

#[test]
fn an_exclusion_keeps_globs_away() {
    for loader in [Loader::Systemd, Loader::Procps] {
        assert_eq!(
            standings("kernel.*=2\n-kernel.x\n", loader),
            [
                (1, Standing::Excluded { by: place(2) }),
                (2, Standing::Excludes)
            ]
        );
    }
}

#[test]
fn an_exclusion_with_a_comment_keeps_nothing_away() {
    assert_eq!(
        standings("kernel.*=2\n-kernel.x # c\n", Loader::Systemd),
        [(1, Standing::Wins)]
    );
}

#[test]
fn an_exclusion_drops_an_earlier_assignment_for_systemd_and_not_for_procps() {
    let text = "kernel.x=1\n-kernel.x\n";
    assert_eq!(
        standings(text, Loader::Systemd),
        [
            (1, Standing::Excluded { by: place(2) }),
            (2, Standing::Excludes)
        ]
    );
    assert_eq!(standings(text, Loader::Procps)[0], (1, Standing::Wins));
}

#[test]
fn an_assignment_below_an_exclusion_counts() {
    assert_eq!(
        standings("-kernel.x\nkernel.x=1\n", Loader::Systemd),
        [
            (1, Standing::Overridden { by: place(2) }),
            (2, Standing::Wins)
        ]
    );
}

#[test]
fn a_glob_in_an_exclusion_reaches_only_globs_of_the_same_text() {
    assert_eq!(
        standings("-kernel.x*\nkernel.*=1\n", Loader::Systemd),
        [(1, Standing::Excludes), (2, Standing::Wins)]
    );
    assert_eq!(
        standings("kernel.*=1\n-kernel.*\n", Loader::Systemd),
        [
            (1, Standing::Excluded { by: place(2) }),
            (2, Standing::Excludes)
        ]
    );
    assert_eq!(
        standings("kernel.*=1\n-kernel.*\n", Loader::Procps)[0],
        (1, Standing::Wins)
    );
}

#[test]
fn among_globs_the_last_wins_unless_it_repeats_an_earlier_one() {
    assert_eq!(
        standings("kernel.*=1\nkernel.x*=2\nkernel.*=3\n", Loader::Systemd),
        [
            (1, Standing::Overridden { by: place(3) }),
            (2, Standing::Overridden { by: place(3) }),
            (3, Standing::Wins)
        ]
    );
    // A repeated assignment keeps the position of the first one.
    let repeated = "kernel.*=1\nkernel.x*=2\nkernel.*=1\n";
    assert_eq!(standings(repeated, Loader::Systemd)[1], (2, Standing::Wins));
    assert_eq!(standings(repeated, Loader::Procps)[2], (3, Standing::Wins));
}

#[test]
fn both_names_of_one_variable_are_found_and_the_last_written_wins() {
    let sources = collect(
        &[(
            "/etc/sysctl.d/a.conf",
            "net.ipv4.conf.all.forwarding=1\nnet.ipv4.ip_forward=0\nnet.ipv4.conf.*.forwarding=1\n",
        )],
        Loader::Systemd,
    );
    for name in ["net.ipv4.ip_forward", "net.ipv4.conf.all.forwarding"] {
        let found: Vec<_> = sources
            .who_sets(&name.parse().unwrap())
            .into_iter()
            .map(|setting| (setting.place.line, setting.standing))
            .collect();
        assert_eq!(
            found,
            [
                (1, Standing::Overridden { by: place(2) }),
                (2, Standing::Wins),
                (3, Standing::BeatenByName { by: place(1) })
            ]
        );
    }
}

#[test]
fn a_key_that_nothing_names_has_no_settings() {
    assert!(standings("vm.x=1\nkernel.y=1\n# kernel.x=1\n", Loader::Systemd).is_empty());
}

/// A read error is returned with the path, not ignored.
#[test]
fn what_cannot_be_read_is_an_error() {
    struct Locked;
    impl Directories for Locked {
        type Error = std::io::Error;
        fn names(&self, _: &str) -> Result<Vec<String>, Self::Error> {
            Ok(vec!["a.conf".to_owned()])
        }
        fn content(&self, _: &str) -> Result<Content, Self::Error> {
            Err(std::io::ErrorKind::PermissionDenied.into())
        }
        fn resolved(&self, path: &str) -> Result<String, Self::Error> {
            Ok(path.to_owned())
        }
    }
    let error = Sources::collect(&Locked, Loader::Systemd).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot read the sysctl file /lib/sysctl.d/a.conf"
    );
    assert!(matches!(error, SourcesError::Read { .. }));
}
