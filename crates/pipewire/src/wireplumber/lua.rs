//! Lua scripts of WirePlumber up to 0.4. They are not evaluated: only the lines that name a property are
//! found.

use super::{DeviceSetting, Generation, KEYS, Text};

/// The lines of a script, outside of comments, that give a value to a property.
pub(super) fn settings(file: &Text) -> Vec<DeviceSetting> {
    let text = String::from_utf8_lossy(&file.bytes);
    let code = without_comments(&text);
    let lines = code.lines().enumerate();
    lines
        .filter_map(|(number, line)| {
            let properties: Vec<(String, String)> = KEYS
                .iter()
                .filter_map(|key| Some(((*key).to_owned(), value(line, key)?)))
                .collect();
            (!properties.is_empty()).then(|| DeviceSetting {
                path: file.path.clone(),
                line: number + 1,
                properties,
                matches: Vec::new(),
                is_for_virtual_machines: false,
                generation: Generation::Lua,
            })
        })
        .collect()
}

/// What a line sets a property to: the text after `["KEY"] =`.
fn value(line: &str, key: &str) -> Option<String> {
    let quoted = ['"', '\''].map(|quote| format!("{quote}{key}{quote}"));
    let (_, after) = quoted
        .iter()
        .find_map(|key| line.split_once(key.as_str()))?;
    let after = after.trim_start().strip_prefix(']')?;
    let value = after.trim_start().strip_prefix('=')?.trim();
    // A comparison sets nothing.
    let value = (!value.starts_with('=')).then_some(value)?;
    Some(value.trim_end_matches(',').trim_end().to_owned())
}

/// A script with its comments blanked: `--` up to the end of the line, and `--[[` up to `]]`.
fn without_comments(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    let mut quote: Option<char> = None;
    while let Some(next) = rest.chars().next() {
        if quote.is_none() && rest.starts_with("--") {
            let comment = match rest[2..].strip_prefix('[').and_then(long_bracket) {
                Some(close) => {
                    let end = rest[2..].find(&close);
                    end.map_or(rest.len(), |end| 2 + end + close.len())
                }
                None => rest.find('\n').unwrap_or(rest.len()),
            };
            // The lines stay, so that their numbers do.
            code.extend(rest[..comment].chars().filter(|kept| *kept == '\n'));
            rest = &rest[comment..];
            continue;
        }
        match (quote, next) {
            (Some(_), '\\') => {
                let escaped: String = rest.chars().take(2).collect();
                code.push_str(&escaped);
                rest = &rest[escaped.len()..];
                continue;
            }
            (Some(open), _) if open == next || next == '\n' => quote = None,
            (None, '"' | '\'') => quote = Some(next),
            _ => {}
        }
        code.push(next);
        rest = &rest[next.len_utf8()..];
    }
    code
}

/// What closes a long bracket, from the text after its first `[`; `None` if it is none.
fn long_bracket(after: &str) -> Option<String> {
    let level = after.len() - after.trim_start_matches('=').len();
    after[level..]
        .starts_with('[')
        .then(|| format!("]{}]", "=".repeat(level)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(usize, String, String)> {
        let file = Text {
            path: "/etc/wireplumber/main.lua.d/51-x.lua".into(),
            bytes: text.as_bytes().to_owned(),
        };
        let settings = settings(&file).into_iter();
        settings
            .flat_map(|setting| {
                let line = setting.line;
                let properties = setting.properties.into_iter();
                properties.map(move |(key, value)| (line, key, value))
            })
            .collect()
    }

    #[test]
    fn lines_that_set_a_property_are_found_outside_of_comments() {
        let text = "rule = {\n  apply_properties = {\n    [\"api.alsa.period-size\"] = 256,\n    --[\"api.alsa.headroom\"] = 0,\n    ['node.latency'] = \"64/48000\", -- [\"audio.rate\"] = 1\n  },\n}\n--[[ [\"audio.rate\"] = 2,\n[\"audio.rate\"] = 3 ]]\n--[==[ ]] [\"audio.rate\"] = 4 ]==] x[\"audio.rate\"] = 5\nif p[\"audio.rate\"] == 6 then end\nprint(\"-- \\\" --\", p['audio.rate']) p[\"audio.rate\"] = 7\n";
        assert_eq!(
            found(text),
            [
                (3, "api.alsa.period-size".to_owned(), "256".to_owned()),
                (5, "node.latency".to_owned(), "\"64/48000\"".to_owned()),
                (10, "audio.rate".to_owned(), "5".to_owned()),
                (12, "audio.rate".to_owned(), "7".to_owned()),
            ]
        );
        for odd in [
            "",
            "--[[",
            "--",
            "'",
            "\"\\",
            "--[=",
            "ä--ä[[",
            "[\"audio.rate\"]",
        ] {
            assert_eq!(found(odd), [], "{odd}");
        }
    }
}
