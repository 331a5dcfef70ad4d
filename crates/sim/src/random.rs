//! The one source of chance in a run: a seed decides everything.

/// A splitmix64 generator: small, fast, and the same on every platform.
///
/// It decides schedules and faults, never secrets.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The generator of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed ^ 0x6d61_6674_6961_5f31)
    }

    /// 64 uniform bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Uniform below `bound`; 0 if `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The bias is below bound / 2^64, which no test can notice.
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u64
    }

    /// True in `permille` of 1000 calls.
    pub fn chance(&mut self, permille: u32) -> bool {
        permille > 0 && self.below(1000) < u64::from(permille)
    }

    /// Near-exponentially distributed with the given mean.
    ///
    /// Delays without memory make every pending message equally likely to be the next one. Integers
    /// only, so that a seed means the same run on every platform: the number of leading zeros is
    /// geometric, and the line between two powers of two stands in for the curve.
    pub fn exponential(&mut self, mean: u64) -> u64 {
        let bits = self.bits() | 1;
        let zeros = u64::from(bits.leading_zeros());
        let fraction = 0xffff - ((bits << zeros << 1) >> 48);
        let in_halvings = u128::from((zeros << 16) + fraction);
        // One halving takes ln 2 = 0.693 of the mean; (in_halvings / 2^16) * mean * 0.693.
        ((in_halvings * u128::from(mean) * 45_426) >> 32) as u64
    }

    /// A generator for another purpose, whose draws do not disturb this one's.
    pub fn fork(&mut self, purpose: u64) -> Self {
        Self::new(self.bits() ^ purpose)
    }
}
