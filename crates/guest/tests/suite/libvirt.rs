//! The domain, against libvirt's own schema where that is installed.

use std::path::Path;
use std::process::Command;

use hosttune_guest::libvirt::domain;

use crate::support::{has, windows};

#[test]
fn a_domain_has_the_devices_as_one_card() {
    let xml = domain(&windows());
    let document = roxmltree::Document::parse(&xml).unwrap();
    let text = |name: &str| {
        let mut nodes = document.descendants();
        let node = nodes.find(|node| node.has_tag_name(name)).unwrap();
        (
            node.attribute("unit"),
            node.text().unwrap_or_default().to_owned(),
        )
    };
    assert_eq!(text("name").1, "windows11");
    assert_eq!(text("memory"), (Some("MiB"), "16384".to_owned()));
    assert_eq!(text("vcpu").1, "8");
    assert_eq!(text("size"), (Some("M"), "128".to_owned()));
    let wanted = "\
    <hostdev mode='subsystem' type='pci' managed='no'>
      <driver name='vfio'/>
      <source>
        <address domain='0x0000' bus='0x0d' slot='0x00' function='0x0'/>
      </source>
      <address type='pci' domain='0x0000' bus='0x01' slot='0x00' function='0x0' multifunction='on'/>
    </hostdev>
    <hostdev mode='subsystem' type='pci' managed='no'>
      <driver name='vfio'/>
      <source>
        <address domain='0x0000' bus='0x0d' slot='0x00' function='0x1'/>
      </source>
      <address type='pci' domain='0x0000' bus='0x01' slot='0x00' function='0x1'/>
    </hostdev>
    <hostdev mode='subsystem' type='pci' managed='no'>
      <driver name='vfio'/>
      <source>
        <address domain='0x10000' bus='0xe1' slot='0x00' function='0x0'/>
      </source>
      <address type='pci' domain='0x0000' bus='0x02' slot='0x00' function='0x0'/>
    </hostdev>
";
    assert!(xml.contains(wanted), "{xml}");
}

/// `libvirt0` of Debian has the schema, `libxml2-utils` the program.
#[test]
fn a_domain_is_valid_by_the_schema_of_libvirt() {
    let schema = std::env::var("HOSTTUNE_LIBVIRT_SCHEMAS");
    let schema = schema.unwrap_or_else(|_| "/usr/share/libvirt/schemas".to_owned());
    let schema = Path::new(&schema).join("domain.rng");
    let test = "a_domain_is_valid_by_the_schema_of_libvirt";
    if !schema.exists() {
        println!("not run: {test}: the schemas of libvirt are not installed");
        return;
    }
    if !has("xmllint", test) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("domain.xml");
    std::fs::write(&file, domain(&windows())).unwrap();
    let output = Command::new("xmllint")
        .args(["--noout", "--relaxng"])
        .args([&schema, &file])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}
