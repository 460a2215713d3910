//! How many connections and leases there can be, as a function of values.
//!
//! Each lease is two processes of the host program. The limits of one user leave room for others, so that one
//! member of the group cannot shut another one out.

/// How much there can be of something: for one user, and for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// For one user.
    pub each: usize,
    /// For all users.
    pub all: usize,
}

/// Connections that have not sent their request yet.
pub const CONNECTIONS: Limit = Limit { each: 8, all: 64 };

/// Leases.
pub const LEASES: Limit = Limit { each: 16, all: 64 };

/// How long a client may take to send its request, in seconds. A client sends it right after connecting.
pub const REQUEST_SECONDS: u64 = 5;

/// Why there cannot be another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// This user has as many as one user can have.
    #[error("user {user} has {count} of them already, as many as one user can have")]
    Each {
        /// The user.
        user: u32,
        /// How many there are.
        count: usize,
    },
    /// All users together have as many as there can be.
    #[error("there are {count} of them already, as many as there can be")]
    All {
        /// How many there are.
        count: usize,
    },
}

impl Limit {
    /// Whether `user` may have another one beside those of these users.
    ///
    /// # Errors
    /// If it would be one too many.
    pub fn admit(&self, user: u32, users: impl IntoIterator<Item = u32>) -> Result<(), Full> {
        let (mut each, mut all) = (0, 0);
        for other in users {
            all += 1;
            each += usize::from(other == user);
        }
        if each >= self.each {
            Err(Full::Each { user, count: each })
        } else if all >= self.all {
            Err(Full::All { count: all })
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However many ask in whatever order, no user has more than a user can have, and a user who has none
        /// gets one unless the others are as many users as it takes to fill everything.
        #[test]
        fn one_user_cannot_shut_out_another(asked in proptest::collection::vec(0..12_u32, 0..200)) {
            let mut held: Vec<u32> = Vec::new();
            for user in asked {
                let admitted = LEASES.admit(user, held.iter().copied());
                let own = held.iter().filter(|&&other| other == user).count();
                let others: std::collections::BTreeSet<u32> = held.iter().copied().collect();
                if own == 0 && others.len() < LEASES.all / LEASES.each {
                    prop_assert_eq!(admitted, Ok(()));
                }
                if admitted.is_ok() {
                    held.push(user);
                }
                prop_assert!(held.len() <= LEASES.all);
                prop_assert!(held.iter().filter(|&&other| other == user).count() <= LEASES.each);
            }
        }
    }
}
