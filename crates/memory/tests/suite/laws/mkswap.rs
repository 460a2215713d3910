//! The swap header compared with the one that mkswap writes.

use std::process::Command;

use hosttune_memory::zram::SwapHeader;
use proptest::prelude::*;

use super::machine::cases;

#[test]
fn a_header_is_byte_for_byte_that_of_mkswap() {
    let directory = tempfile::tempdir().unwrap();
    for (label, pages) in [("hosttune", 4096u32), ("a", 10), ("fifteen bytes!!", 300)] {
        let path = directory.path().join("swap");
        let file = std::fs::File::create(&path).unwrap();
        file.set_len(u64::from(pages) * 4096).unwrap();
        let uuid = "0f4a5a4e-8f1a-4d0e-9b51-0d3c5a1f7e42";
        let made = Command::new("/usr/sbin/mkswap")
            .args(["--pagesize", "4096", "--label", label, "--uuid", uuid])
            .arg(&path)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&made.stderr).into_owned();
        assert!(made.status.success(), "{said}");
        let theirs = std::fs::read(&path).unwrap();
        let header = SwapHeader {
            label: label.to_owned(),
            uuid: 0x0f4a_5a4e_8f1a_4d0e_9b51_0d3c_5a1f_7e42_u128.to_be_bytes(),
            last_page: pages - 1,
        };
        assert_eq!(header.to_page(4096), theirs[..4096], "{label}");
        assert_eq!(SwapHeader::of_page(&theirs[..4096]), Some(header));
    }
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn a_header_reads_as_it_was_written(
        label in "[ -~]{0,15}",
        uuid in any::<[u8; 16]>(),
        last_page in any::<u32>(),
        large in any::<bool>(),
    ) {
        let page = if large { 65536 } else { 4096 };
        let header = SwapHeader { label, uuid, last_page };
        prop_assert_eq!(SwapHeader::of_page(&header.to_page(page)), Some(header));
    }

    #[test]
    fn no_page_panics(page in proptest::collection::vec(any::<u8>(), 0..5000), end in any::<bool>()) {
        let mut page = page;
        if end {
            page.extend(*b"SWAPSPACE2");
        }
        let _ = SwapHeader::of_page(&page);
    }
}
