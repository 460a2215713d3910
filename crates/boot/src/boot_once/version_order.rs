//! How loaders compare versions and names of files: systemd-boot as `strverscmp_improved` does
//! (`src/fundamental/string-util-fundamental.c`), GRUB's `blscfg` as rpm does (`split_cmp` and `vercmp`
//! in Fedora's `grub-core/commands/blscfg.c`).

use std::cmp::Ordering;

/// The part of a text up to the first byte that is not of this kind, and the rest.
fn split(text: &[u8], is_of_it: impl Fn(&u8) -> bool) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| !is_of_it(byte));
    text.split_at(end.unwrap_or(text.len()))
}

/// Numbers of any length; zeros before them do not count.
fn compare_numbers(a: &[u8], b: &[u8]) -> Ordering {
    let (_, a) = split(a, |byte| *byte == b'0');
    let (_, b) = split(b, |byte| *byte == b'0');
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

/// The order of systemd, older first.
pub(super) fn systemd(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    let is_dropped =
        |byte: &u8| !byte.is_ascii_alphanumeric() && !matches!(byte, b'~' | b'-' | b'^' | b'.');
    loop {
        a = split(a, is_dropped).1;
        b = split(b, is_dropped).1;
        // What begins with one of these is older than what does not.
        for separator in [b'~', b'-', b'^', b'.'] {
            if separator == b'-' && (a.is_empty() || b.is_empty()) {
                return a.len().cmp(&b.len());
            }
            match (a.first() == Some(&separator), b.first() == Some(&separator)) {
                (true, true) => (a, b) = (&a[1..], &b[1..]),
                (false, false) => {}
                (is_of_a, is_of_b) => return is_of_b.cmp(&is_of_a),
            }
        }
        let is_digit = |byte: &u8| byte.is_ascii_digit();
        let is_number = |text: &[u8]| text.first().is_some_and(is_digit);
        let order = if is_number(a) || is_number(b) {
            let ((of_a, rest_a), (of_b, rest_b)) = (split(a, is_digit), split(b, is_digit));
            (a, b) = (rest_a, rest_b);
            // A number is newer than letters.
            let by_kind = of_b.is_empty().cmp(&of_a.is_empty());
            by_kind.then_with(|| compare_numbers(of_a, of_b))
        } else {
            let is_letter = |byte: &u8| byte.is_ascii_alphabetic();
            let ((of_a, rest_a), (of_b, rest_b)) = (split(a, is_letter), split(b, is_letter));
            (a, b) = (rest_a, rest_b);
            of_a.cmp(of_b)
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// The order of rpm, older first.
fn rpm(a: &[u8], b: &[u8]) -> Ordering {
    if a == b {
        return Ordering::Equal;
    }
    let (mut a, mut b) = (a, b);
    let is_dropped = |byte: &u8| !byte.is_ascii_alphanumeric() && !matches!(byte, b'~' | b'+');
    while !a.is_empty() || !b.is_empty() {
        a = split(a, is_dropped).1;
        b = split(b, is_dropped).1;
        match (a.first(), b.first()) {
            (Some(b'~'), Some(b'~')) => {
                (a, b) = (&a[1..], &b[1..]);
                continue;
            }
            (Some(b'~'), _) => return Ordering::Less,
            (_, Some(b'~')) => return Ordering::Greater,
            (Some(b'+'), Some(b'+')) => {
                (a, b) = (&a[1..], &b[1..]);
                continue;
            }
            (None, Some(b'+')) => return Ordering::Less,
            (Some(b'+'), None) => return Ordering::Greater,
            (Some(b'+'), _) => return Ordering::Less,
            (_, Some(b'+')) => return Ordering::Greater,
            (None, _) | (_, None) => break,
            (Some(_), Some(_)) => {}
        }
        let is_number = a[0].is_ascii_digit();
        let is_of_it = |byte: &u8| match is_number {
            true => byte.is_ascii_digit(),
            false => byte.is_ascii_alphabetic(),
        };
        let ((of_a, rest_a), (of_b, rest_b)) = (split(a, is_of_it), split(b, is_of_it));
        if of_b.is_empty() {
            // A number is newer than letters.
            return match is_number {
                true => Ordering::Greater,
                false => Ordering::Less,
            };
        }
        let order = match is_number {
            true => compare_numbers(of_a, of_b),
            false => of_a.cmp(of_b),
        };
        if order != Ordering::Equal {
            return order;
        }
        (a, b) = (rest_a, rest_b);
    }
    a.len().min(1).cmp(&b.len().min(1))
}

/// The order in which `blscfg` has names of files without `.conf`, older first: name, version and
/// release, which are divided at the last two `-`.
pub(super) fn grub(a: &str, b: &str) -> Ordering {
    let parts = |file: &str| -> [String; 3] {
        let text = str::to_owned;
        match *file.rsplitn(3, '-').collect::<Vec<_>>() {
            [release, version, name] => [text(name), text(version), text(release)],
            // With one dash, what is behind it is the version.
            [version, name] => [text(name), text(version), String::new()],
            _ => [text(file), String::new(), String::new()],
        }
    };
    let orders = parts(a).into_iter().zip(parts(b));
    orders.fold(Ordering::Equal, |order, (a, b)| {
        order.then_with(|| rpm(a.as_bytes(), b.as_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn is_ascending(order: fn(&str, &str) -> Ordering, texts: &[&str]) {
        for (place, a) in texts.iter().enumerate() {
            for (other, b) in texts.iter().enumerate() {
                assert_eq!(order(a, b), place.cmp(&other), "{a} and {b}");
            }
        }
    }

    /// The table in systemd's own comment, and names of entries.
    #[test]
    fn systemd_has_letters_before_numbers_and_a_dash_before_both() {
        is_ascending(
            systemd,
            &[
                "122.1",
                "123~rc1-1",
                "123",
                "123-a",
                "123-a.1",
                "123-1",
                "123-1.1",
                "123^post1",
                "123.a-1",
                "123.1-1",
                "123a-1",
                "124-1",
            ],
        );
        is_ascending(
            systemd,
            &[
                "a--hosttune-x.conf",
                "a-arch.conf",
                "a-6.9.0.conf",
                "a-6.12.0.conf",
                "arch.conf",
                "0-hosttune-x.conf",
                "0123456789-6.12.0.conf",
            ],
        );
        for (a, b) in [("123_a", "123a"), ("007", "7"), ("", "")] {
            assert_eq!(systemd(a, b), Ordering::Equal);
        }
    }

    /// The results of `vercmp` and `split_cmp` of Fedora's GRUB, compiled on a host.
    #[test]
    fn grub_has_a_tilde_before_letters_before_numbers() {
        is_ascending(
            grub,
            &[
                "~hosttune-trial-gaming",
                "a-6.9.0",
                "a-6.12.0",
                "ab34567890abcdef0123456789abcdef-6.12.0-1.fc41.x86_64",
                "0-hosttune-trial-gaming",
                "0123456789abcdef0123456789abcdef-0-rescue",
                "0123456789abcdef0123456789abcdef-6.12.9-200.fc41.x86_64",
                "0123456789abcdef0123456789abcdef-6.12.10-200.fc41.x86_64",
            ],
        );
        for (a, b, order) in [
            ("a+1", "a", Ordering::Greater),
            ("a+1", "ab", Ordering::Less),
            ("1.0~rc1", "1.0", Ordering::Less),
            ("1.0", "1.0.1", Ordering::Less),
            ("x", "x-1", Ordering::Less),
        ] {
            assert_eq!(grub(a, b), order, "{a} and {b}");
            assert_eq!(grub(b, a), order.reverse(), "{b} and {a}");
        }
    }

    proptest! {
        #[test]
        fn both_orders_are_the_same_from_both_sides(a in "[a-c01~+^._-]{0,8}", b in "[a-c01~+^._-]{0,8}") {
            prop_assert_eq!(systemd(&a, &b), systemd(&b, &a).reverse());
            prop_assert_eq!(systemd(&a, &a), Ordering::Equal);
            prop_assert_eq!(grub(&a, &a), Ordering::Equal);
        }

        #[test]
        fn a_tilde_is_last_in_grubs_menu(name in "[a-z]{1,9}", other in "[0-9a-zA-Z][0-9a-zA-Z._+-]{0,20}") {
            prop_assert_eq!(grub(&format!("~hosttune-trial-{name}"), &other), Ordering::Less);
        }
    }
}
