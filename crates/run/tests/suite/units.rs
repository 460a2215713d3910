//! systemd takes the units as they are meant.

use std::path::Path;
use std::process::{Command, Output};

use hosttune_run::helper_units::HelperUnits;
use hosttune_run::units::{Unit, Units};

/// Words with everything that systemd would act on.
const OPTIONS: [&str; 4] = [
    "--only",
    "cpu,memory",
    "--cake-up",
    "docsis nat \"x\" 50% $HOME \\n",
];

/// The units of a program that exists, as files; `None` and a line if there is no systemd here.
fn written(test: &str) -> Option<(tempfile::TempDir, Vec<Unit>)> {
    if Command::new("systemd-analyze")
        .arg("--version")
        .output()
        .is_err()
    {
        eprintln!("not run: {test}: there is no systemd-analyze here");
        return None;
    }
    let options: Vec<String> = OPTIONS.iter().map(ToString::to_string).collect();
    let units = Units::new("gaming", Path::new("/usr/bin/env"), &options).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let helper = HelperUnits::new(Path::new("/usr/bin/env")).unwrap();
    let units = vec![
        units.apply(),
        units.watch(),
        helper.service(),
        helper.socket(),
    ];
    for unit in &units {
        std::fs::write(directory.path().join(&unit.name), &unit.text).unwrap();
    }
    Some((directory, units))
}

fn analyze(arguments: &[&str]) -> Output {
    Command::new("systemd-analyze")
        .args(arguments)
        .env("LC_ALL", "C")
        .output()
        .unwrap()
}

#[test]
fn systemd_accepts_the_units() {
    let Some((directory, units)) = written("units::systemd_accepts_the_units") else {
        return;
    };
    for unit in &units {
        let path = directory.path().join(&unit.name);
        let output = analyze(&[
            "verify",
            "--man=no",
            "--recursive-errors=no",
            path.to_str().unwrap(),
        ]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.success() && !said.contains(&unit.name),
            "{said}\n{}",
            unit.text
        );
    }
    // The drop-in for NVIDIA GPUs, beside the helper's service.
    let devices = ["/dev/nvidiactl".to_owned(), "/dev/nvidia0".to_owned()];
    let drop_in = HelperUnits::nvidia(&devices);
    let path = directory.path().join(&drop_in.name);
    let service = directory.path().join("hosttuned.service");
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    for (text, is_accepted) in [
        (drop_in.text.clone(), true),
        (
            drop_in.text.replace("DeviceAllow=/dev", "DeviceAllow=dev"),
            false,
        ),
        (drop_in.text.replace("DeviceAllow=", "DevicesAllow="), false),
    ] {
        std::fs::write(&path, &text).unwrap();
        let output = analyze(&[
            "verify",
            "--man=no",
            "--recursive-errors=no",
            service.to_str().unwrap(),
        ]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(!said.contains("nvidia.conf"), is_accepted, "{said}\n{text}");
    }
    // The tool sees a mistake.
    let path = directory.path().join("broken.service");
    std::fs::write(&path, units[0].text.replace("Type=oneshot", "Type=once")).unwrap();
    let output = analyze(&[
        "verify",
        "--man=no",
        "--recursive-errors=no",
        path.to_str().unwrap(),
    ]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("broken.service"), "{said}");
}

#[test]
fn the_units_are_hardened() {
    let Some((directory, units)) = written("units::the_units_are_hardened") else {
        return;
    };
    for unit in units.iter().filter(|unit| unit.name.ends_with(".service")) {
        let path = directory.path().join(&unit.name);
        // Users reach the helper, so it may do less.
        let threshold = match unit.name.as_str() {
            "hosttuned.service" => "--threshold=29",
            _ => "--threshold=40",
        };
        // In tenths: the tool fails if the exposure is above.
        let output = analyze(&[
            "security",
            "--offline=yes",
            "--no-pager",
            threshold,
            path.to_str().unwrap(),
        ]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}");
    }
}
