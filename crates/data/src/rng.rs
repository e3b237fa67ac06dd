//! Random streams that are a pure function of a key.
//!
//! There is no global generator: every draw names what it is for and where it belongs, so the value does not depend on
//! threads, on worker counts or on what was drawn before. The generator is xoshiro256++ seeded by `SplitMix64`
//! (Blackman and Vigna, 2018), both a few lines and frozen: a library update can never change a data set.

/// What a stream is for. Two purposes never share numbers, even at the same index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Order of an epoch.
    Order = 1,
    /// Which image of a study is taken.
    Image = 2,
    /// Which sentence of a report is taken.
    Sentence = 3,
    /// Crops, flips, jitter, blur.
    Augment = 4,
    /// Patient-level splits and few-label subsets.
    Split = 5,
    /// Anatomy and exposure of a phantom.
    Anatomy = 6,
    /// Findings of a phantom.
    Finding = 7,
    /// Wording of a phantom's report.
    Wording = 8,
    /// Noise and texture of a phantom.
    Noise = 9,
    /// Bootstrap resamples.
    Bootstrap = 10,
    /// Replacement of an unreadable sample.
    Substitute = 11,
    /// Dropout and other draws on the device.
    Device = 12,
    /// Initial parameters.
    Init = 13,
    /// Shuffled pairs (a negative control).
    Control = 14,
    /// Which patches of an image a loss sees.
    Patches = 15,
    /// Which sentences of an observation an epoch may draw.
    Pool = 20,
    /// How a sentence is put in other words.
    Rewording = 21,
    /// Which prompts of a class stand for it.
    Prompts = 30,
    /// Which images of a class are selected.
    Selection = 31,
}

/// A random stream (xoshiro256++).
#[derive(Debug, Clone)]
pub struct Stream {
    state: [u64; 4],
}

fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A 64-bit key that mixes a seed, a purpose and two positions (an epoch and an index, say).
pub fn key(seed: u64, purpose: Purpose, epoch: u64, index: u64) -> u64 {
    let mut mixed = seed;
    for part in [purpose as u64, epoch, index] {
        let mut state = mixed ^ part.wrapping_mul(0xD6E8_FEB8_6659_FD93);
        mixed = split_mix(&mut state);
    }
    mixed
}

/// The stream of `(seed, purpose, epoch, index)`.
pub fn stream(seed: u64, purpose: Purpose, epoch: u64, index: u64) -> Stream {
    Stream::new(key(seed, purpose, epoch, index))
}

impl Stream {
    /// A stream from one 64-bit key.
    pub fn new(key: u64) -> Self {
        let mut mixer = key;
        Self { state: std::array::from_fn(|_| split_mix(&mut mixer)) }
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// A value in `[0, 1)` with 53 random bits.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / 9_007_199_254_740_992.0)
    }

    /// A value in `[low, high)`; `low` where the two are equal.
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// An integer in `0..n` without modulo bias.
    ///
    /// # Panics
    /// Panics if `n` is zero.
    #[expect(clippy::cast_possible_truncation, reason = "the result is below n, which is a usize")]
    pub fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "below(0) has no value to return");
        // Lemire's multiplication, with rejection of the biased low part.
        let n = n as u64;
        let threshold = n.wrapping_neg() % n;
        loop {
            let wide = u128::from(self.next_u64()) * u128::from(n);
            if wide as u64 >= threshold {
                return (wide >> 64) as usize;
            }
        }
    }

    /// `true` with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    /// A standard normal value (Box-Muller, one of the two values used).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// One element of a slice, `None` where it is empty.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        if items.is_empty() { None } else { items.get(self.below(items.len())) }
    }

    /// Shuffles in place (Fisher-Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

/// The numbers `0..n` in a random order that depends on the key alone.
#[expect(clippy::cast_possible_truncation, reason = "data sets hold fewer than 2^32 studies")]
pub fn permutation(seed: u64, purpose: Purpose, epoch: u64, n: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..n as u32).collect();
    stream(seed, purpose, epoch, 0).shuffle(&mut order);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_with_different_keys_differ_and_repeat() {
        let draw = |seed, purpose, epoch, index| stream(seed, purpose, epoch, index).next_u64();
        let base = draw(1, Purpose::Order, 2, 3);
        assert_eq!(base, draw(1, Purpose::Order, 2, 3));
        for other in [
            draw(2, Purpose::Order, 2, 3),
            draw(1, Purpose::Image, 2, 3),
            draw(1, Purpose::Order, 3, 3),
            draw(1, Purpose::Order, 2, 4),
            draw(1, Purpose::Order, 3, 2),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn moments_are_those_of_the_distributions() {
        let mut s = Stream::new(7);
        let n = 20_000;
        let uniform: f64 = (0..n).map(|_| s.unit()).sum::<f64>() / f64::from(n);
        assert!((uniform - 0.5).abs() < 0.01, "{uniform}");
        let normal: Vec<f64> = (0..n).map(|_| s.normal()).collect();
        let mean = normal.iter().sum::<f64>() / f64::from(n);
        let variance = normal.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / f64::from(n);
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
    }

    #[test]
    fn a_permutation_holds_every_number_once() {
        let mut order = permutation(3, Purpose::Order, 1, 1000);
        assert_ne!(order, (0..1000).collect::<Vec<u32>>());
        order.sort_unstable();
        assert_eq!(order, (0..1000).collect::<Vec<u32>>());
    }
}
