//! Text style of a stream: colour, arrow and width, determined once from the environment.

use std::fmt::Write as _;
use std::os::fd::AsFd;

/// The default and the maximum text width, in columns.
const WIDTH: usize = 100;

/// The minimum text width, in columns. Narrower text would not line up; a narrower terminal wraps it.
const NARROWEST: usize = 60;

/// The role of a piece of text, which determines its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// A title.
    Title,
    /// A wanted value.
    Wanted,
    /// Something that needs attention.
    Attention,
    /// An error.
    Error,
    /// Secondary text.
    Aside,
}

/// The text style of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) colour: bool,
    pub(super) unicode: bool,
    pub(super) width: usize,
}

impl Look {
    /// The style for a file or a pipe.
    #[cfg(test)]
    pub(super) fn plain() -> Self {
        Self {
            colour: false,
            unicode: true,
            width: WIDTH,
        }
    }

    /// The style for a stream of this process, given whether that is a terminal.
    pub(super) fn of(stream: &impl AsFd, terminal: bool) -> Self {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let width = terminal
            .then(|| rustix::termios::tcgetwinsize(stream).ok())
            .flatten()
            .map_or(WIDTH, |size| usize::from(size.ws_col));
        Self {
            colour: terminal
                && set("NO_COLOR").is_none()
                && set("TERM").is_some_and(|term| term != "dumb"),
            unicode: is_unicode(["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set)),
            width: if width == 0 {
                WIDTH
            } else {
                width.clamp(NARROWEST, WIDTH)
            },
        }
    }

    /// The arrow between an old and a new value.
    pub(super) fn arrow(self) -> &'static str {
        if self.unicode { "→" } else { "->" }
    }

    /// The text in the colour of its role, if the stream has colour.
    pub(super) fn paint(self, role: Role, text: &str) -> String {
        if !self.colour || text.is_empty() {
            return text.to_owned();
        }
        let code = match role {
            Role::Title => "1",
            Role::Wanted => "32",
            Role::Attention => "33",
            Role::Error => "1;31",
            Role::Aside => "2",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// Whether the locale's character set is UTF-8. If no locale is set it is ASCII, as in the C locale.
fn is_unicode(locale: Option<String>) -> bool {
    locale.is_some_and(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}

/// The text with every control character escaped, and every character that is not seen or changes the order in
/// which others are shown. Values read from a host are printed to a terminal, which would otherwise interpret them:
/// one could look like another.
pub(super) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\t' => shown.push(' '),
            character if character.is_control() || is_invisible(character) => {
                let _ = write!(shown, "{}", character.escape_default());
            }
            character => shown.push(character),
        }
    }
    shown
}

/// The same for a text of several lines.
pub(super) fn visible_lines(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(visible).collect();
    lines.join("\n")
}

/// Whether a character is shown as nothing: the format characters of Unicode (general category Cf, version 16),
/// its line and paragraph separators, and the letters without a glyph (`Default_Ignorable_Code_Point`). Variation
/// selectors are not among them: they follow a character that is seen.
fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}'
        | '\u{890}'..='\u{891}' | '\u{8e2}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}'
        | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e007f}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown_and_not_obeyed() {
        assert_eq!(visible("a\tb\u{1b}[2Jc\n"), "a b\\u{1b}[2Jc\\n");
    }

    #[test]
    fn what_is_not_seen_or_turns_the_text_around_is_shown() {
        for character in [
            '\u{202a}',
            '\u{202e}',
            '\u{2066}',
            '\u{2069}',
            '\u{200b}',
            '\u{200f}',
            '\u{feff}',
            '\u{61c}',
            '\u{ad}',
            '\u{2028}',
            '\u{2060}',
            '\u{3164}',
            '\u{e0041}',
        ] {
            let shown = visible(&format!("a{character}b"));
            assert_eq!(shown, format!("a{}b", character.escape_unicode()));
        }
        assert_eq!(visible("é → … ❤\u{fe0f} 日本"), "é → … ❤\u{fe0f} 日本");
        assert_eq!(visible_lines("a\u{202e}\nb\n"), "a\\u{202e}\nb");
    }

    #[test]
    fn the_locale_decides_the_arrow() {
        assert!(is_unicode(Some("de_DE.UTF-8".into())));
        assert!(is_unicode(Some("C.utf8".into())));
        assert!(!is_unicode(Some("C".into())));
        assert!(!is_unicode(None));
    }

    #[test]
    fn without_colour_text_is_text() {
        assert_eq!(Look::plain().paint(Role::Error, "x"), "x");
        let look = Look {
            colour: true,
            ..Look::plain()
        };
        assert_eq!(look.paint(Role::Error, "x"), "\u{1b}[1;31mx\u{1b}[0m");
        assert_eq!(look.paint(Role::Error, ""), "");
    }
}
