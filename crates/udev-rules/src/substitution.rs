//! Substitution of `$kernel`, `%k` and others in values.

/// A substitution of udev(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Variable {
    Devnode,
    Attribute,
    Property,
    Kernel,
    Number,
    Driver,
    Devpath,
    Id,
    Major,
    Minor,
    Result,
    Parent,
    Name,
    Links,
    Root,
    Sys,
}

// In the order in which udevd compares, so that `$name` is not taken for `$n`.
const VARIABLES: [(&str, char, Variable); 18] = [
    ("devnode", 'N', Variable::Devnode),
    ("tempnode", 'N', Variable::Devnode),
    ("attr", 's', Variable::Attribute),
    ("sysfs", 's', Variable::Attribute),
    ("env", 'E', Variable::Property),
    ("kernel", 'k', Variable::Kernel),
    ("number", 'n', Variable::Number),
    ("driver", 'd', Variable::Driver),
    ("devpath", 'p', Variable::Devpath),
    ("id", 'b', Variable::Id),
    ("major", 'M', Variable::Major),
    ("minor", 'm', Variable::Minor),
    ("result", 'c', Variable::Result),
    ("parent", 'P', Variable::Parent),
    ("name", 'D', Variable::Name),
    ("links", 'L', Variable::Links),
    ("root", 'r', Variable::Root),
    ("sys", 'S', Variable::Sys),
];

/// Replaces each variable by the result of `look_up`, which gets the text in braces after it.
///
/// Text that is not a variable is kept, as in udevd; an unclosed brace ends the text.
///
/// # Errors
/// The first error of `look_up`.
pub(super) fn substitute<E>(
    text: &str,
    mut look_up: impl FnMut(Variable, &str) -> Result<String, E>,
) -> Result<String, E> {
    let mut done = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['$', '%']) {
        done.push_str(&rest[..at]);
        let sign = &rest[at..=at];
        rest = &rest[at + 1..];
        if let Some(behind) = rest.strip_prefix(sign) {
            done.push_str(sign);
            rest = behind;
            continue;
        }
        let found = VARIABLES.iter().find_map(|(name, letter, variable)| {
            let behind = if sign == "$" {
                rest.strip_prefix(name)
            } else {
                rest.strip_prefix(*letter)
            };
            Some((*variable, behind?))
        });
        let Some((variable, behind)) = found else {
            done.push_str(sign);
            continue;
        };
        rest = behind;
        let mut inside = "";
        if let Some(begun) = rest.strip_prefix('{') {
            match begun.split_once('}') {
                Some((name, behind)) if !name.is_empty() => (inside, rest) = (name, behind),
                _ => return Ok(done),
            }
        }
        done.push_str(&look_up(variable, inside)?);
    }
    done.push_str(rest);
    Ok(done)
}

/// Whether a text contains variables or doubled signs.
pub(super) fn has_variables(text: &str) -> bool {
    text.contains(['$', '%'])
}

/// How udevd substitutes an attribute: characters that could be interpreted become `_`.
pub(super) fn harmless(text: &str) -> String {
    let keep = |character: char| {
        character.is_ascii_alphanumeric()
            || "#+-.:=@_/ $%?,".contains(character)
            || !character.is_ascii()
    };
    let text = text.trim_end_matches([' ', '\t', '\n', '\r']);
    text.chars()
        .map(|character| if keep(character) { character } else { '_' })
        .collect()
}
