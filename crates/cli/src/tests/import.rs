//! `hosttune import sqm`.

use std::fs;

use super::asked::hosttune;
use super::schema::{assert_notices_every_change, assert_valid};
use crate::exit::Exit;

const FILE: &str = "config queue 'line'
    option enabled '1'
    option interface 'pppoe-wan'
    option download '0'
    option upload '10000'
    option script 'piece_of_cake.qos'
    option linklayer 'ethernet'
    option overhead '34'
    option eqdisc_opts 'dual-srchost'

config queue
    option interface \"eth0; reboot\"
    option script 'simple.qos'
    option iqdisc_opts 'nonsense'
    option download '85000'
    option upload '9000'
";

#[test]
fn a_file_becomes_commands() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("etc/config");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("sqm"), FILE).unwrap();
    let at = root.path().to_str().unwrap();
    let ran = hosttune(&["import", "sqm", "--root", at]);
    assert_eq!(ran.exit, Exit::Done, "{ran:?}");
    assert_eq!(
        ran.out,
        "# /etc/config/sqm, line 1\n\
         gaming apply --only qos --device pppoe-wan --up 10mbit --cake-up 'no-ack-filter egress besteffort nat overhead 34 mpu 0 dual-srchost' \
         --cake-down 'no-ack-filter egress besteffort nat wash overhead 34 mpu 0 unlimited'\n\
         # /etc/config/sqm, line 11, not enabled there\n\
         # note: simple.qos shapes with HTB or TBF and fq_codel; here CAKE does, so its options for fq_codel are left out\n\
         gaming apply --only qos --device 'eth0; reboot' --up 9mbit --cake-up 'no-ack-filter egress diffserv3' --down 85mbit \
         --cake-down 'no-ack-filter egress diffserv3'\n"
    );
    // A file elsewhere.
    let file = directory.join("sqm").display().to_string();
    let ran = hosttune(&["import", "sqm", &file, "--json"]);
    let document = ran.document();
    assert_valid("import", &document);
    assert_notices_every_change("import", &document);
    assert_eq!(document["file"], file);
    assert_eq!(document["queues"][0]["options"][1], "pppoe-wan");
    assert_eq!(document["queues"][1]["name"], serde_json::Value::Null);
}

#[test]
fn what_cannot_be_read_is_told() {
    let root = tempfile::tempdir().unwrap();
    let at = root.path().to_str().unwrap();
    let ran = hosttune(&["import", "sqm", "--root", at]);
    assert_eq!(ran.exit, Exit::Refused, "{ran:?}");
    assert!(ran.err.contains("/etc/config/sqm"), "{ran:?}");
    let file = root.path().join("sqm");
    fs::write(&file, FILE.replace("'34'", "'34mm'")).unwrap();
    let ran = hosttune(&["import", "sqm", file.to_str().unwrap()]);
    assert_eq!(ran.exit, Exit::Usage, "{ran:?}");
    assert!(
        ran.err
            .contains("line 8: option overhead '34mm': not a whole number"),
        "{ran:?}"
    );
    assert_eq!(hosttune(&["import"]).exit, Exit::Usage);
}
