//! Options of CAKE as somebody types them.

use hosttune_qos::Cake;

use super::rate::rate;

/// Reads options of CAKE from the command line, in tc's words: for the check of a
/// [`Setting`](super::Setting).
///
/// A bandwidth needs its unit, as with [`rate`]: to tc, `bandwidth 38` is 38 bits per second.
///
/// # Errors
/// What is wrong with it, and what to type instead.
pub fn cake(text: &str) -> Result<Cake, String> {
    let cake: Cake = text
        .parse()
        .map_err(|error: hosttune_qos::TextError| error.to_string())?;
    if let Some(typed) = typed_bandwidth(text) {
        rate(typed)?;
    }
    Ok(cake)
}

/// The rate behind the last `bandwidth` of such a text.
pub fn typed_bandwidth(text: &str) -> Option<&str> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut pairs = words.windows(2).rev();
    pairs.find_map(|pair| (pair[0] == "bandwidth").then_some(pair[1]))
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
            ("bandwidth 38", "needs its unit"),
            ("nat bandwidth 38kbit", "64kbit"),
            ("bandwidth 100mbps", "100mbps"),
            ("root cake nat", "root"),
        ] {
            let error = cake(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
