//! Random numbers by counter (INV-4): each number is a function of what it is for, never of how many were drawn before it.
//!
//! Philox4x32-10, from Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3" (SC 2011). The known-answer vectors of the
//! paper's Random123 distribution are in the tests.

const MULTIPLIER: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: usize = 10;

/// The raw generator: 128 bits of counter and 64 of key give 128 random bits.
pub fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..ROUNDS {
        let a = u64::from(MULTIPLIER[0]) * u64::from(counter[0]);
        let b = u64::from(MULTIPLIER[1]) * u64::from(counter[2]);
        counter = [(b >> 32) as u32 ^ counter[1] ^ key[0], b as u32, (a >> 32) as u32 ^ counter[3] ^ key[1], a as u32];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    counter
}

/// FNV-1a over bytes: a stable 64-bit name for a string. Not for anything an adversary controls.
pub fn stable_hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, &b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

/// A stream of numbers for one purpose: the run's seed and a name pick the stream, a counter picks the number.
#[derive(Debug, Clone)]
pub struct CounterRng {
    key: [u32; 2],
    stream: u64,
    next: u64,
}

impl CounterRng {
    /// The stream called `name` of a run with this seed.
    pub fn new(seed: u64, name: &str) -> Self {
        Self { key: [seed as u32, (seed >> 32) as u32], stream: stable_hash(name.as_bytes()), next: 0 }
    }

    /// The `counter`-th 64 bits of the stream, wherever the stream stands.
    pub fn at(&self, counter: u64) -> u64 {
        let r =
            philox([counter as u32, (counter >> 32) as u32, self.stream as u32, (self.stream >> 32) as u32], self.key);
        u64::from(r[0]) | u64::from(r[1]) << 32
    }

    /// The `counter`-th number in `[0, 1)`, with 53 random bits.
    pub fn uniform_at(&self, counter: u64) -> f64 {
        (self.at(counter) >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.next += 1;
        self.at(self.next - 1)
    }

    /// The next number in `[0, 1)`.
    pub fn uniform(&mut self) -> f64 {
        self.next += 1;
        self.uniform_at(self.next - 1)
    }

    /// The next integer in `low ..= high`.
    pub fn range(&mut self, low: i64, high: i64) -> i64 {
        assert!(low <= high, "empty range {low}..={high}");
        low + (self.uniform() * (high - low + 1) as f64) as i64
    }

    /// One of `items`.
    pub fn choose<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.range(0, items.len() as i64 - 1) as usize]
    }

    /// A standard normal number (Box–Muller).
    pub fn normal(&mut self) -> f64 {
        let (u, v) = (1.0 - self.uniform(), self.uniform());
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }

    /// Shuffles in place (Fisher–Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.range(0, i as i64) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Random123's `kat_vectors`, philox4x32 with 10 rounds.
    #[test]
    fn inv_4_philox_known_answers() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(
            philox([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn inv_4_a_number_does_not_depend_on_what_was_drawn_before() {
        let mut drawn = CounterRng::new(7, "sampling");
        let first: Vec<u64> = (0..5).map(|_| drawn.next_u64()).collect();
        let fresh = CounterRng::new(7, "sampling");
        assert_eq!((0..5).rev().map(|i| fresh.at(i)).collect::<Vec<_>>(), first.into_iter().rev().collect::<Vec<_>>());
        assert_ne!(CounterRng::new(8, "sampling").at(0), fresh.at(0));
        assert_ne!(CounterRng::new(7, "other").at(0), fresh.at(0));
    }
}
