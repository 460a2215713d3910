//! Files of sysfs that list what can be chosen, the choice in brackets, in a captured tree.
//!
//! The kernel takes one word and moves the brackets (`none [mq-deadline] bfq`,
//! `always [madvise] never`). A captured file is an ordinary one: the word alone would take the
//! place of the list, and nobody could read from it what there is to be chosen.

/// The list with the brackets around the word that is written. `None` where it is no such list;
/// an error where the word is not in it, as the kernel has one then.
pub(super) fn moved(list: &[u8], written: &[u8]) -> Option<Result<Vec<u8>, NotOffered>> {
    let list = std::str::from_utf8(list).ok()?;
    let written = std::str::from_utf8(written).ok()?.trim();
    let mut chosen = list
        .split_whitespace()
        .filter(|word| inside(word).is_some());
    let chosen = chosen.next().filter(|_| chosen.next().is_none())?;
    if list.trim_end().contains('\n') {
        return None;
    }
    let mut found = false;
    // Blanks stay as they are: what is chosen and given back is the same bytes.
    let words = list.split_inclusive(char::is_whitespace).map(|piece| {
        let word = piece.trim_end();
        let blanks = &piece[word.len()..];
        let bare = if word == chosen {
            inside(word).unwrap_or(word)
        } else {
            word
        };
        if bare == written && !bare.is_empty() {
            found = true;
            format!("[{bare}]{blanks}")
        } else {
            format!("{bare}{blanks}")
        }
    });
    let list: String = words.collect();
    Some(if found {
        Ok(list.into_bytes())
    } else {
        Err(NotOffered)
    })
}

/// A word that is not in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotOffered;

fn inside(word: &str) -> Option<&str> {
    word.strip_prefix('[')?.strip_suffix(']')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(list: &str, word: &str) -> Option<Result<String, NotOffered>> {
        let moved = moved(list.as_bytes(), word.as_bytes())?;
        Some(moved.map(|bytes| String::from_utf8(bytes).unwrap()))
    }

    #[test]
    fn the_brackets_move_and_the_blanks_stay() {
        let to = |list, word| written(list, word).unwrap().unwrap();
        assert_eq!(
            to("none [mq-deadline] bfq \n", "bfq\n"),
            "none mq-deadline [bfq] \n"
        );
        assert_eq!(
            to("always [madvise] never\n", "always"),
            "[always] madvise never\n"
        );
        assert_eq!(to("[none]", "none"), "[none]");
    }

    #[test]
    fn what_is_not_in_the_list_is_refused() {
        for word in ["kyber", "", "[none]", "non", "none bfq"] {
            assert_eq!(
                written("[none] bfq\n", word),
                Some(Err(NotOffered)),
                "{word}"
            );
        }
    }

    #[test]
    fn what_is_no_list_of_choices_is_left_to_be_written() {
        for list in [
            "",
            "none\n",
            "128\n",
            "[a] [b]\n",
            "x: [a]\ny: b\n",
            "\u{0}",
        ] {
            assert_eq!(written(list, "a"), None, "{list:?}");
        }
        assert_eq!(moved(&[0xff], b"a"), None);
    }
}
