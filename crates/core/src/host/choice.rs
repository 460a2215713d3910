//! Files of sysfs in a captured tree that list choices, with the current one in brackets.
//!
//! The kernel accepts one word and moves the brackets (`none [mq-deadline] bfq`,
//! `always [madvise] never`). A captured file is a regular file: writing only the word would
//! replace the list, and the choices could no longer be read from it.

/// The list with the brackets moved to the word that is written. `None` if it is not such a list;
/// an error if the word is not in it, as from the kernel.
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
    // Whitespace is kept, so that choosing a word and changing back gives the same bytes.
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
