//! Samples of one study, kept in different batches.

use std::collections::{HashMap, HashSet};

use crate::error::{DataError, Result};
use crate::record::Study;

/// Which samples of a data set are of one study.
#[derive(Debug)]
pub(super) struct Apart {
    /// A number of the study of every sample.
    studies: Vec<u32>,
    /// Most samples of a study.
    most: usize,
}

impl Apart {
    /// The studies of some samples. Some sources number studies anew for every patient.
    pub(super) fn new(samples: &[Study]) -> Self {
        let mut numbers: HashMap<(&str, &str), (u32, usize)> = HashMap::new();
        let mut studies = Vec::with_capacity(samples.len());
        for sample in samples {
            #[expect(clippy::cast_possible_truncation, reason = "data sets hold fewer than 2^32 studies")]
            let next = numbers.len() as u32;
            let (number, count) =
                numbers.entry((sample.patient_id.expose(), sample.study_id.expose())).or_insert((next, 0));
            *count += 1;
            studies.push(*number);
        }
        let most = numbers.values().map(|&(_, count)| count).max().unwrap_or(0);
        Self { studies, most }
    }

    /// The number of the study of a sample.
    pub(super) fn study(&self, sample: usize) -> u32 {
        self.studies[sample]
    }

    /// The order with as few exchanges as needed for no batch to hold two samples of one study. An order that is fine
    /// stays as it is.
    ///
    /// # Errors
    /// [`DataError::Setting`] where a study has more samples than an epoch has batches.
    pub(super) fn arrange(&self, mut order: Vec<u32>, batch_size: usize) -> Result<Vec<u32>> {
        let batches = order.len() / batch_size.max(1);
        if self.most <= 1 {
            return Ok(order);
        }
        if self.most > batches {
            return Err(DataError::Setting {
                key: "data.batch_size",
                value: batch_size.to_string(),
                why: "a study has more images than an epoch has batches, so that two of them would be in one: make it \
                      smaller, or let the images of a study form one sample",
            });
        }
        for batch in 0..batches {
            let mut held = HashSet::new();
            let mut at = batch * batch_size;
            while at < (batch + 1) * batch_size {
                if held.insert(self.study(order[at] as usize)) {
                    at += 1;
                    continue;
                }
                // What comes in may be repeated as well, but then it was repeated where it came from: there is one
                // repetition less each time, and the place is looked at again.
                let Some(other) = self.exchange(&order, at, batch_size, batches) else { break };
                order.swap(at, other);
            }
        }
        Ok(order)
    }

    /// Where a sample that repeats the study of another in its batch can go. There is such a place: a study fits into
    /// the batches once each, so that one lacks it; and of the studies in that one, either all differ, and then they
    /// cannot all be here too, or one is repeated.
    fn exchange(&self, order: &[u32], at: usize, batch_size: usize, batches: usize) -> Option<usize> {
        let here = at / batch_size;
        let study_at = |place: usize| self.study(order[place] as usize);
        let count = |batch: usize, study: u32| {
            (batch * batch_size..(batch + 1) * batch_size).filter(|&place| study_at(place) == study).count()
        };
        let after = (1..batches).map(|step| (here + step) % batches);
        let lacking = after.into_iter().find(|&batch| count(batch, study_at(at)) == 0)?;
        (lacking * batch_size..(lacking + 1) * batch_size)
            .find(|&place| count(here, study_at(place)) == 0 || count(lacking, study_at(place)) > 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, Stream, permutation};

    fn apart(studies: Vec<u32>) -> Apart {
        let count = |study| studies.iter().filter(|&&s| s == study).count();
        let most = studies.iter().map(|&s| count(s)).max().unwrap_or(0);
        Apart { studies, most }
    }

    #[test]
    fn no_batch_holds_a_study_twice() {
        let mut random = Stream::new(3);
        let mut refused = 0;
        for seed in 0..5000 {
            let (n, batch_size) = (1 + random.below(40), 1 + random.below(8));
            let names = 1 + random.below(n);
            let all = apart((0..n).map(|_| u32::try_from(random.below(names)).unwrap()).collect());
            let drawn = permutation(seed, Purpose::Order, 0, n);
            let Ok(order) = all.arrange(drawn.clone(), batch_size) else {
                assert!(all.most > n / batch_size);
                refused += 1;
                continue;
            };
            for batch in order.chunks_exact(batch_size) {
                let studies: HashSet<u32> = batch.iter().map(|&sample| all.study(sample as usize)).collect();
                assert_eq!(studies.len(), batch_size);
            }
            let sorted = |mut order: Vec<u32>| {
                order.sort_unstable();
                order
            };
            assert_eq!(sorted(order), sorted(drawn));
        }
        assert!((500..4500).contains(&refused), "{refused}");
    }

    #[test]
    fn an_order_that_is_fine_stays() {
        let all = apart(vec![0, 0, 1, 2, 3, 4]);
        assert_eq!(all.arrange(vec![0, 2, 3, 1, 4, 5], 3).unwrap(), [0, 2, 3, 1, 4, 5]);
        // Samples 0 and 1 are of one study: the second changes places with the first that may.
        assert_eq!(all.arrange(vec![0, 1, 2, 3, 4, 5], 3).unwrap(), [0, 3, 2, 1, 4, 5]);
        let text = apart(vec![0, 0, 0, 1, 2, 3]).arrange((0..6).collect(), 3).unwrap_err().to_string();
        assert!(text.starts_with("data.batch_size = 3: a study has more images than an epoch has batches"), "{text}");
    }
}
