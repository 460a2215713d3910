//! CAKE options on the command line.

use hosttune_qos::Cake;

use super::rate::rate;

/// Parses CAKE options from the command line, in tc's syntax; for the check of a
/// [`Setting`](super::Setting).
///
/// A bandwidth needs a unit, as with [`rate`]: to tc, `bandwidth 38` is 38 bits per second.
///
/// # Errors
/// What is wrong with the text, and what to type instead.
pub fn cake(text: &str) -> Result<Cake, String> {
    let cake: Cake = text
        .parse()
        .map_err(|error: hosttune_qos::TextError| error.to_string())?;
    if let Some(typed) = rates(text).find(|typed| !WITHOUT_RATE.contains(typed)) {
        rate(typed)?;
    }
    Ok(cake)
}

/// Keywords that remove the rate limit or estimate it. A rate given beside them has no effect.
const WITHOUT_RATE: [&str; 2] = ["unlimited", "autorate-ingress"];

/// The last statement of such a text about the rate: the argument of `bandwidth`, or `unlimited` or
/// `autorate-ingress`.
pub fn typed_rate(text: &str) -> Option<&str> {
    rates(text).next()
}

/// All statements of the text about the rate, the last first.
fn rates(text: &str) -> impl Iterator<Item = &str> {
    let words: Vec<&str> = text.split_whitespace().collect();
    (0..words.len()).rev().filter_map(move |at| {
        let is_rate = at > 0 && words[at - 1] == "bandwidth";
        (is_rate || WITHOUT_RATE.contains(&words[at])).then_some(words[at])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tcs_words_are_taken() {
        for text in [
            "",
            "nat",
            "diffserv4 nat dual-srchost pppoe-ptm",
            "overhead 44 mpu 84",
            "besteffort bandwidth 38mbit",
            "bandwidth 38 bandwidth 38mbit",
            "unlimited",
        ] {
            cake(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_the_word() {
        for (text, says) in [
            ("diffserv5", "diffserv5"),
            ("overhead", "overhead"),
            ("overhead 999", "999"),
            ("bandwidth 38", "needs a unit"),
            ("nat bandwidth 38kbit", "64kbit"),
            ("bandwidth 100mbps", "100mbps"),
            ("root cake nat", "root"),
        ] {
            let error = cake(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_said_last_about_the_rate_is_found() {
        for (text, rate) in [
            ("", None),
            ("nat pppoe-ptm", None),
            ("bandwidth 38mbit nat", Some("38mbit")),
            ("bandwidth 38 bandwidth 38mbit", Some("38mbit")),
            ("nat unlimited", Some("unlimited")),
            (
                "bandwidth 38mbit autorate-ingress",
                Some("autorate-ingress"),
            ),
            ("unlimited bandwidth 38mbit", Some("38mbit")),
        ] {
            assert_eq!(typed_rate(text), rate, "{text}");
        }
        cake("bandwidth 38 autorate-ingress").unwrap_err();
    }
}
