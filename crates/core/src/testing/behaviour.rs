//! How the files of a machine in memory answer writes.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::tree::Tree;

const EINVAL: i32 = 22;

/// How a file answers a write: given the tree, the file's path and the value without its
/// newline; an error is an errno. What it set in the tree before an error stays.
#[derive(Clone)]
pub struct Behaviour(Arc<Answer>);

type Answer = dyn Fn(&mut Tree, &Path, &str) -> Result<(), i32> + Send + Sync;

impl Behaviour {
    /// Any behaviour.
    pub fn new(
        answer: impl Fn(&mut Tree, &Path, &str) -> Result<(), i32> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(answer))
    }

    /// Takes any value.
    pub fn takes_all() -> Self {
        Self::new(|tree, path, value| {
            tree.set(path, value);
            Ok(())
        })
    }

    /// Takes an integer in a range, EINVAL for anything else.
    pub fn integer(range: std::ops::RangeInclusive<i64>) -> Self {
        Self::new(move |tree, path, value| {
            let number: i64 = value.trim().parse().map_err(|_| EINVAL)?;
            if !range.contains(&number) {
                return Err(EINVAL);
            }
            tree.set(path, &number.to_string());
            Ok(())
        })
    }

    /// Takes an integer and rounds it down to a multiple, with success.
    pub fn rounds_down_to(multiple: i64) -> Self {
        Self::new(move |tree, path, value| {
            let number: i64 = value.trim().parse().map_err(|_| EINVAL)?;
            tree.set(path, &(number - number.rem_euclid(multiple)).to_string());
            Ok(())
        })
    }

    /// Takes one of some words, EINVAL for any other.
    pub fn one_of<S: Into<String>>(words: impl IntoIterator<Item = S>) -> Self {
        let words: Vec<String> = words.into_iter().map(Into::into).collect();
        Self::new(move |tree, path, value| {
            let value = value.trim();
            if !words.iter().any(|word| word == value) {
                return Err(EINVAL);
            }
            tree.set(path, value);
            Ok(())
        })
    }

    /// Takes as many integers as stand in the file, one after the other: the first that is none
    /// gives EINVAL and what came before it has landed. Too few leave the others, too many are
    /// not looked at, both with success.
    pub fn vector() -> Self {
        Self::new(|tree, path, value| {
            let mut fields: Vec<String> = tree
                .get(path)
                .unwrap_or_default()
                .split_whitespace()
                .map(str::to_owned)
                .collect();
            let mut answer = Ok(());
            for (field, new) in fields.iter_mut().zip(value.split_whitespace()) {
                match new.parse::<i64>() {
                    Ok(number) => *field = number.to_string(),
                    Err(_) => {
                        answer = Err(EINVAL);
                        break;
                    }
                }
            }
            tree.set(path, &fields.join("\t"));
            answer
        })
    }

    /// Answers every write with an errno and changes nothing.
    pub fn refuses(errno: i32) -> Self {
        Self::new(move |_, _, _| Err(errno))
    }

    /// Does as another behaviour does, `delay` later, and says at once that it is done.
    #[must_use]
    pub fn late(self, delay: Duration) -> Self {
        Self::new(move |tree, path, value| {
            tree.later(delay, path, value, self.clone());
            Ok(())
        })
    }

    /// After a write that another behaviour takes, sets other files: what a real one resets.
    #[must_use]
    pub fn then(self, reset: impl Fn(&mut Tree, &str) + Send + Sync + 'static) -> Self {
        Self::new(move |tree, path, value| {
            (self.0)(tree, path, value)?;
            reset(tree, value);
            Ok(())
        })
    }

    pub(super) fn answer(&self, tree: &mut Tree, path: &Path, value: &str) -> Result<(), i32> {
        (self.0)(tree, path, value)
    }
}

impl fmt::Debug for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Behaviour")
    }
}
