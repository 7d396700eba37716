//! Numbers drawn by Zipf's law, and the cheap generator they are drawn with. It is not `clock`'s chance: a bench
//! wants the same keys in every run. The method is that of Gray et al. ("Quickly generating billion-record
//! synthetic databases"), which needs one pass over the ranks beforehand and constant time for each draw.

/// A small, fast, seeded generator (splitmix64).
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform below `end`, which is not 0.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }

    /// Uniform in 0..1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Ranks below `ranks`, rank 0 the most frequent: rank k with a weight of 1 / (k + 1)^theta.
#[derive(Debug, Clone)]
pub(super) struct Zipf {
    ranks: u64,
    theta: f64,
    alpha: f64,
    zeta: f64,
    eta: f64,
}

impl Zipf {
    /// `theta` is between 0 (uniform) and 1, both excluded.
    pub(super) fn new(ranks: u64, theta: f64) -> Self {
        let ranks = ranks.max(1);
        let zeta = |n: u64| (1..=n).map(|k| (k as f64).powf(-theta)).sum::<f64>();
        let all = zeta(ranks);
        let eta = (1.0 - (2.0 / ranks as f64).powf(1.0 - theta)) / (1.0 - zeta(2) / all);
        Self { ranks, theta, alpha: 1.0 / (1.0 - theta), zeta: all, eta }
    }

    pub(super) fn draw(&self, random: &mut Random) -> u64 {
        let unit = random.unit();
        let place = unit * self.zeta;
        if place < 1.0 || self.ranks == 1 {
            return 0;
        }
        if place < 1.0 + 0.5f64.powf(self.theta) {
            return 1;
        }
        let base = (self.eta * unit - self.eta + 1.0).max(0.0);
        let rank = (self.ranks as f64 * base.powf(self.alpha)) as u64;
        rank.min(self.ranks - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_follow_the_law() {
        const DRAWS: u64 = 400_000;
        let (zipf, mut random) = (Zipf::new(1_000, 0.99), Random::new(7));
        let mut counts = vec![0u64; 1_000];
        for _ in 0..DRAWS {
            counts[usize::try_from(zipf.draw(&mut random)).expect("small")] += 1;
        }
        let zeta: f64 = (1..=1_000).map(|k| f64::from(k).powf(-0.99)).sum();
        // The first two ranks are exact by construction, the tail is close.
        for rank in [0usize, 1] {
            let expected = DRAWS as f64 * ((rank + 1) as f64).powf(-0.99) / zeta;
            let ratio = counts[rank] as f64 / expected;
            assert!((0.97..1.03).contains(&ratio), "rank {rank}: {ratio}");
        }
        let tail: u64 = counts[100..].iter().sum();
        let expected: f64 = (101..=1_000).map(|k| f64::from(k).powf(-0.99)).sum::<f64>() / zeta;
        let ratio = tail as f64 / (DRAWS as f64 * expected);
        assert!((0.9..1.1).contains(&ratio), "the tail: {ratio}");
    }

    #[test]
    fn small_ranges_stay_within_bounds() {
        let mut random = Random::new(1);
        for ranks in [1, 2, 3] {
            let zipf = Zipf::new(ranks, 0.99);
            let seen: Vec<u64> = (0..1_000).map(|_| zipf.draw(&mut random)).collect();
            assert!(seen.iter().all(|&rank| rank < ranks), "{ranks} ranks");
            assert!((0..ranks).all(|rank| seen.contains(&rank)), "{ranks} ranks");
        }
    }

    #[test]
    fn uniform_draws_are_seeded_and_spread() {
        let draw = |seed| {
            let mut random = Random::new(seed);
            (0..10_000).map(|_| random.below(10)).collect::<Vec<_>>()
        };
        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3), draw(4));
        for digit in 0..10 {
            let count = draw(3).iter().filter(|&&d| d == digit).count();
            assert!((850..1_150).contains(&count), "{digit}: {count}");
        }
    }
}
