//! The domain, against libvirt's own schema where that is installed.

use std::path::Path;
use std::process::Command;

use hosttune_guest::libvirt::domain;
use hosttune_guest::{HugePages, qemu};

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

#[test]
fn each_core_is_pinned_to_processors_of_the_host() {
    assert!(!domain(&windows()).contains("cputune"));
    let pins = (8..16).map(|core| format!("{core},{}", core + 16));
    // More than it has cores, one of which would be an error of libvirt.
    let xml = domain(&windows().pinned(pins.chain(["0".to_owned()])));
    let document = roxmltree::Document::parse(&xml).unwrap();
    let nodes = document
        .descendants()
        .filter(|node| node.has_tag_name("vcpupin"));
    let found: Vec<_> = nodes
        .map(|node| {
            (
                node.attribute("vcpu").unwrap(),
                node.attribute("cpuset").unwrap(),
            )
        })
        .collect();
    assert_eq!(found.len(), 8, "{xml}");
    assert_eq!((found[0], found[7]), (("0", "8,24"), ("7", "15,31")));
}

#[test]
fn huge_pages_are_taken_from_the_node_that_has_them() {
    let pages = HugePages {
        size: 2048,
        node: None,
    };
    let xml = domain(&windows().huge_pages(pages));
    assert!(xml.contains("<page size='2048' unit='KiB'/>"), "{xml}");
    assert!(!xml.contains("numatune"), "{xml}");
    let pages = HugePages {
        size: 1_048_576,
        node: Some(1),
    };
    let guest = windows().huge_pages(pages);
    let xml = domain(&guest);
    assert!(xml.contains("<memory mode='strict' nodeset='1'/>"), "{xml}");
    assert!(roxmltree::Document::parse(&xml).is_ok());
    let line = qemu::command_line(&guest);
    assert!(
        line.contains(
            "size=16384M,hugetlb=on,hugetlbsize=1048576K,prealloc=on,host-nodes=1,policy=bind"
        ),
        "{line}"
    );
    assert!(line.contains("-machine q35,memory-backend=ram"), "{line}");
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
    let pages = HugePages {
        size: 2048,
        node: Some(0),
    };
    let pinned = windows().pinned(["8,24".to_owned()]);
    for guest in [windows(), windows().huge_pages(pages), pinned] {
        std::fs::write(&file, domain(&guest)).unwrap();
        let output = Command::new("xmllint")
            .args(["--noout", "--relaxng"])
            .args([&schema, &file])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
    }
}
