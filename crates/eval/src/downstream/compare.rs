//! Figures of an encoder beside those of others that were trained in the same way.

use serde_json::{Map, Value, json};

use super::figures::Scored;
use super::judge::Judge;
use crate::error::Result;
use crate::metric::Bootstrap;
use crate::zero_shot::task::Against;

/// Logits by share of the labels, then by repetition.
pub(super) type ByFraction = Vec<Vec<Scored>>;

/// Under which names the figures of others and the differences to them stand: `random_init` and `paired_difference` of random
/// weights; `baseline` and `baseline_difference` of weights, from the second on with their number.
fn names<'a>(others: impl Iterator<Item = &'a Against>) -> Vec<(String, String)> {
    let mut weights = 0;
    let name = |other: &Against| match other {
        Against::Random => ("random_init".to_owned(), "paired_difference".to_owned()),
        Against::Checkpoint(_) => {
            weights += 1;
            let name = if weights == 1 { "baseline".to_owned() } else { format!("baseline_{weights}") };
            (name.clone(), format!("{name}_difference"))
        }
    };
    others.map(name).collect()
}

/// The figures of each share of the labels, those of `others` and the differences to them; of one share by themselves, of
/// several under `fraction_0.01` and the like.
pub(super) fn figures(
    judge: &Judge,
    fractions: &[f64],
    trained: &ByFraction,
    others: &[(&Against, ByFraction)],
    bootstrap: &Bootstrap,
) -> Result<Map<String, Value>> {
    let names = names(others.iter().map(|(other, _)| *other));
    let mut all = Map::new();
    for (place, fraction) in fractions.iter().enumerate() {
        let mut figures = judge.figures(&trained[place], bootstrap)?;
        for ((name, difference), (_, other)) in names.iter().zip(others) {
            figures.insert(name.clone(), json!(judge.areas(&other[place], bootstrap)?));
            figures.insert(difference.clone(), judge.difference(&trained[place], &other[place], bootstrap)?);
        }
        if fractions.len() == 1 {
            return Ok(figures);
        }
        all.insert(format!("fraction_{fraction}"), Value::Object(figures));
    }
    Ok(all)
}
