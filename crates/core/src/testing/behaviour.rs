//! How the files of a simulated machine answer writes.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::tree::Tree;

const EINVAL: i32 = 22;

/// How a file answers a write.
///
/// It gets the tree, the file's path and the value without its newline, and returns an errno on error. What
/// it has set in the tree before an error stays.
#[derive(Clone)]
pub struct Behaviour(Arc<Answer>);

type Answer = dyn Fn(&mut Tree, &Path, &str) -> Result<(), i32> + Send + Sync;

impl Behaviour {
    /// Creates a behaviour from a function.
    pub fn new(
        answer: impl Fn(&mut Tree, &Path, &str) -> Result<(), i32> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(answer))
    }

    /// Accepts any value.
    pub fn takes_all() -> Self {
        Self::new(|tree, path, value| {
            tree.set(path, value);
            Ok(())
        })
    }

    /// Accepts an integer in a range, and answers EINVAL to anything else.
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

    /// Accepts an integer and silently rounds it down to a multiple.
    pub fn rounds_down_to(multiple: i64) -> Self {
        Self::new(move |tree, path, value| {
            let number: i64 = value.trim().parse().map_err(|_| EINVAL)?;
            tree.set(path, &(number - number.rem_euclid(multiple)).to_string());
            Ok(())
        })
    }

    /// Accepts one of several words, and answers EINVAL to any other.
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

    /// Accepts as many integers as the file has, one after the other.
    ///
    /// The first field that is not an integer gives EINVAL after the fields before it are set. Missing
    /// fields keep their values and excess fields are ignored, both without an error.
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

    /// Reports success at once and does what another behaviour does after `delay`.
    #[must_use]
    pub fn late(self, delay: Duration) -> Self {
        Self::new(move |tree, path, value| {
            tree.later(delay, path, value, self.clone());
            Ok(())
        })
    }

    /// Sets other files after a write that another behaviour accepted, as a kernel that resets them.
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
