//! Knobs, values and reasons in three columns that are aligned over a whole page.

use super::super::colour::{Look, Role, visible};

/// A longer knob name does not widen its column; the value goes on the next line.
const WIDEST_NAME: usize = 40;

/// A longer pair of values is split into two lines.
const WIDEST_PAIR: usize = 28;

/// A longer value does not widen its column, to leave room for the reasons.
const WIDEST_VALUE: usize = 17;

/// The minimum room for a reason; in less it would be broken into single words.
const NARROWEST_REASON: usize = 28;

/// The second column.
#[derive(Debug, Clone)]
pub(super) enum Cell {
    /// One value.
    Is(String),
    /// The old and the new value.
    Change(String, String),
}

/// One knob.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) cell: Cell,
    pub(super) reason: String,
    /// What to do about it, on its own line.
    pub(super) hint: Option<String>,
}

/// Knobs under a title. An empty title means that they belong to no part.
#[derive(Debug, Clone, Default)]
pub(super) struct Section {
    pub(super) title: String,
    pub(super) rows: Vec<Row>,
}

/// Groups rows by title, in the order in which the titles first occur.
pub(super) fn by_title(rows: impl IntoIterator<Item = (String, Row)>) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    for (title, row) in rows {
        match sections.iter_mut().find(|section| section.title == title) {
            Some(section) => section.rows.push(row),
            None => sections.push(Section {
                title,
                rows: vec![row],
            }),
        }
    }
    sections
}

/// The sections as text. The columns are aligned over all sections.
pub(super) fn render(look: Look, sections: &[Section]) -> String {
    let rows = || sections.iter().flat_map(|section| &section.rows);
    let names = rows().map(|row| length(&visible(&row.name)));
    let name_width = names.filter(|name| *name <= WIDEST_NAME).max().unwrap_or(0);
    let value_width = rows()
        .filter_map(|row| match lines(look, &row.cell).as_slice() {
            [one] => Some(length(&one.0)),
            _ => None,
        })
        .filter(|value| *value <= WIDEST_VALUE)
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for section in sections.iter().filter(|section| !section.rows.is_empty()) {
        if !section.title.is_empty() {
            text.push_str("  ");
            text.push_str(&look.paint(Role::Title, &visible(&section.title)));
            text.push('\n');
        }
        for row in &section.rows {
            render_row(look, row, name_width, value_width, &mut text);
        }
    }
    text
}

fn render_row(look: Look, row: &Row, name_width: usize, value_width: usize, text: &mut String) {
    let name = visible(&row.name);
    let value_column = 4 + name_width + 2;
    text.push_str("    ");
    text.push_str(&name);
    let mut column = 4 + length(&name);
    let values = lines(look, &row.cell);
    for (number, (plain, painted)) in values.iter().enumerate() {
        if plain.is_empty() {
            continue;
        }
        if number > 0 || column + 2 > value_column {
            text.push('\n');
            column = 0;
        }
        pad(text, &mut column, value_column);
        text.push_str(painted);
        column += length(plain);
    }
    let mut says: Vec<(Role, String)> = Vec::new();
    if !row.reason.is_empty() {
        says.push((Role::Aside, visible(&row.reason)));
    }
    if let Some(hint) = &row.hint {
        says.push((Role::Attention, format!("try: {}", visible(hint))));
    }
    let fits = |said: &str, start: usize| {
        let room = look.width.saturating_sub(start);
        length(said) <= room || room >= NARROWEST_REASON
    };
    for (number, (role, said)) in says.into_iter().enumerate() {
        // The reason goes beside the value, or below it if there is no room.
        let reason_column = value_column + value_width + 2;
        let beside = reason_column.max(column + 2);
        let start = if number == 0 && fits(&said, beside) {
            beside
        } else {
            text.push('\n');
            column = 0;
            [reason_column, value_column]
                .into_iter()
                .find(|start| fits(&said, *start))
                .unwrap_or(6)
        };
        for (number, line) in wrap(&said, look.width.saturating_sub(start))
            .into_iter()
            .enumerate()
        {
            if number > 0 {
                text.push('\n');
                column = 0;
            }
            pad(text, &mut column, start);
            text.push_str(&look.paint(role, &line));
            column += length(&line);
        }
    }
    text.push('\n');
}

/// The lines of a cell, plain and painted.
fn lines(look: Look, cell: &Cell) -> Vec<(String, String)> {
    let arrow = look.arrow();
    match cell {
        Cell::Is(value) => {
            let value = visible(value);
            vec![(value.clone(), value)]
        }
        Cell::Change(from, to) => {
            let (from, to) = (visible(from), visible(to));
            let painted = format!("{arrow} {}", look.paint(Role::Wanted, &to));
            let short = format!("{from} {arrow} {to}");
            if length(&short) <= WIDEST_PAIR {
                vec![(short, format!("{from} {painted}"))]
            } else {
                vec![(from.clone(), from), (format!("{arrow} {to}"), painted)]
            }
        }
    }
}

fn pad(text: &mut String, column: &mut usize, to: usize) {
    while *column < to {
        text.push(' ');
        *column += 1;
    }
}

/// The number of columns of a text. Double-width characters are counted as one column; names and values
/// of a host do not contain any.
pub(super) fn length(text: &str) -> usize {
    text.chars().count()
}

/// Breaks a text between words. A word longer than a line is not broken, so that it can be copied.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if length(line) + 1 + length(word) <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, cell: Cell, reason: &str) -> (String, Row) {
        let row = Row {
            name: name.into(),
            cell,
            reason: reason.into(),
            hint: None,
        };
        ("sysctl".into(), row)
    }

    fn change(from: &str, to: &str) -> Cell {
        Cell::Change(from.into(), to.into())
    }

    #[test]
    fn columns_line_up_and_long_pairs_take_two_lines() {
        let sections = by_title([
            row("vm.swappiness", change("60", "100"), "zram is swap here"),
            row(
                "net.ipv4.tcp_rmem",
                change("4096 131072 6291456", "4096 1048576 33554432"),
                "room for a gigabit",
            ),
            row("vm.dirty_ratio", change("20", "10"), "less to wait for"),
        ]);
        assert_eq!(
            render(Look::plain(), &sections),
            "  sysctl\n\
             \x20   vm.swappiness      60 → 100  zram is swap here\n\
             \x20   net.ipv4.tcp_rmem  4096 131072 6291456\n\
             \x20                      → 4096 1048576 33554432  room for a gigabit\n\
             \x20   vm.dirty_ratio     20 → 10   less to wait for\n"
        );
    }

    #[test]
    fn nothing_of_a_reason_stands_beyond_the_width() {
        let reason = "a reason of many words that goes on and on ".repeat(6);
        for name in [
            "vm.swappiness",
            "a.name.that.is.much.longer.than.the.column.for.names",
        ] {
            for cell in [
                change("1", "2"),
                change("a value of thirty characters..", "another"),
            ] {
                for width in [60, 80, 100] {
                    let look = Look {
                        width,
                        ..Look::plain()
                    };
                    let text = render(look, &by_title([row(name, cell.clone(), &reason)]));
                    for line in text.lines() {
                        assert!(length(line) <= width, "{width}: {line}");
                    }
                    let words: Vec<&str> = text.split_whitespace().collect();
                    assert!(words.join(" ").contains(reason.trim()), "{text}");
                }
            }
        }
    }

    #[test]
    fn what_a_host_shows_cannot_move_the_cursor() {
        let text = render(
            Look::plain(),
            &by_title([row("x", change("\u{1b}[2J", "1"), "")]),
        );
        assert!(!text.contains('\u{1b}'), "{text}");
    }
}
