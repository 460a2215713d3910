//! Moments and choices of tests.

/// Numbers that look random and are the same in each run (xorshift).
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// Starts a sequence from a seed other than zero.
    ///
    /// # Panics
    ///
    /// Panics if the seed is zero, from which all numbers would be zero.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        assert_ne!(seed, 0, "a seed of zero");
        Self(seed)
    }

    /// The next number, below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
