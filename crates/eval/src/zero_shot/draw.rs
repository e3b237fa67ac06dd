//! Which sentences stand for the classes in a sampling.

use std::str::FromStr;

use data::error::DataError;
use data::prompt::Prompts;
use data::rng::{Purpose, stream};

use super::matching::Compared;
use super::rule::{Rule, Sides};
use crate::error::{EvalError, Result};

/// How many sentences of each list of a class are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NumPrompts {
    /// All of them.
    #[default]
    All,
    /// This many, or all where there are fewer.
    Some(usize),
}

impl FromStr for NumPrompts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse()) {
            ("all", _) => Ok(Self::All),
            (_, Ok(count)) if count > 0 => Ok(Self::Some(count)),
            _ => Err("give a number above 0, or all".to_owned()),
        }
    }
}

/// The sentences of one sampling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draw<'a> {
    /// Lists of sentences, each the positive or the negative ones of a class.
    pub lists: Vec<Vec<&'a str>>,
    /// Rows of the sentences of each class, numbered list after list.
    pub classes: Vec<Sides>,
}

/// How sentences are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampling {
    /// How many of each list, without replacement.
    pub num_prompts: NumPrompts,
    /// Seed of the draws.
    pub seed: u64,
    /// Number of samplings.
    pub samplings: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { num_prompts: NumPrompts::All, seed: 0, samplings: 1 }
    }
}

impl Sampling {
    /// The draws of every sampling. What is drawn of a class depends on the seed, the sampling and the place of the class in
    /// its set: not on the data, nor on the rule.
    ///
    /// # Errors
    /// No sampling or several of the same sentences, and a class without negative sentences under a rule that needs them.
    pub fn draws<'a>(&self, prompts: &'a Prompts, classes: &[Compared], rule: Rule) -> Result<Vec<Draw<'a>>> {
        let refuse = |why| DataError::Setting { key: "--samplings", value: self.samplings.to_string(), why };
        if self.samplings == 0 {
            return Err(refuse("use at least 1").into());
        }
        if self.samplings > 1 && self.num_prompts == NumPrompts::All {
            return Err(refuse("every sampling of all sentences is the same: give --num-prompts").into());
        }
        (0..self.samplings).map(|sampling| self.draw(prompts, classes, rule, sampling)).collect()
    }

    fn draw<'a>(&self, prompts: &'a Prompts, classes: &[Compared], rule: Rule, sampling: u64) -> Result<Draw<'a>> {
        let mut rows = Rows::default();
        let mut add = |place: usize, negative: bool| {
            let class = &prompts.classes[place];
            let list = if negative { &class.negative } else { &class.positive };
            rows.add(self.pick(list, 2 * place as u64 + u64::from(negative), sampling))
        };
        let mut sides = Vec::with_capacity(classes.len());
        for class in classes {
            let positive = add(class.place, false);
            let negative = if rule.uses_negatives() { add(class.place, true) } else { Vec::new() };
            sides.push(Sides { positive, negative });
        }
        if rule.uses_negatives() {
            let normal = prompts.classes.iter().position(|class| class.normal);
            let of_normal = normal.map(|place| match classes.iter().position(|class| class.place == place) {
                Some(found) => sides[found].positive.clone(),
                None => add(place, false),
            });
            let others: Vec<usize> = (classes.iter().zip(&sides))
                .filter(|(class, _)| Some(class.place) != normal)
                .flat_map(|(_, side)| side.positive.clone())
                .collect();
            for (class, side) in classes.iter().zip(&mut sides).filter(|(_, side)| side.negative.is_empty()) {
                let is_normal = Some(class.place) == normal;
                side.negative = if is_normal { others.clone() } else { of_normal.clone().unwrap_or_default() };
            }
        }
        if rule == Rule::Pair
            && let Some((class, _)) = classes.iter().zip(&sides).find(|(_, side)| side.negative.is_empty())
        {
            let what = format!(
                "class \"{}\" has no negative sentences, with which the rule {} compares: give it some, mark the class \
                 for their absence with `normal = true`, or use another --rule",
                class.name,
                rule.name()
            );
            return Err(EvalError::Unfit { data: "the prompt set".to_owned(), what });
        }
        Ok(Draw { lists: rows.lists, classes: sides })
    }

    /// Some sentences of a list, in its order.
    fn pick<'a>(&self, list: &'a [String], key: u64, sampling: u64) -> Vec<&'a str> {
        let mut places: Vec<usize> = (0..list.len()).collect();
        if let NumPrompts::Some(count) = self.num_prompts
            && count < list.len()
        {
            stream(self.seed, Purpose::Prompts, sampling, key).shuffle(&mut places);
            places.truncate(count);
            places.sort_unstable();
        }
        places.into_iter().map(|place| list[place].as_str()).collect()
    }
}

/// Lists under construction.
#[derive(Default)]
struct Rows<'a> {
    lists: Vec<Vec<&'a str>>,
    count: usize,
}

impl<'a> Rows<'a> {
    /// Adds a list; gives the rows of its sentences.
    fn add(&mut self, list: Vec<&'a str>) -> Vec<usize> {
        let rows = (self.count..self.count + list.len()).collect();
        self.count += list.len();
        self.lists.push(list);
        rows
    }
}

#[cfg(test)]
mod tests {
    use data::record::Dataset;

    use super::super::matching::compared;
    use super::*;

    const TEXT: &str = "
[[class]]
name = 'none'
normal = true
positive = ['n1', 'n2', 'n3']
[[class]]
name = 'a'
positive = ['a1', 'a2', 'a3', 'a4', 'a5']
[[class]]
name = 'b'
positive = ['b1', 'b2']
negative = ['c1']
";

    fn of(labels: &[&str], sampling: Sampling, rule: Rule) -> Vec<Vec<Vec<String>>> {
        let prompts = Prompts::parse(TEXT).unwrap();
        let classes = labels.iter().map(|&label| label.to_owned()).collect();
        let classes = compared(&prompts, &Dataset { classes, ..Dataset::default() }).unwrap();
        let sides = |draw: &Draw<'_>| {
            let flat: Vec<&str> = draw.lists.concat();
            let texts = |rows: &[usize]| rows.iter().map(|&row| flat[row].to_owned()).collect::<Vec<String>>();
            draw.classes.iter().flat_map(|side| [texts(&side.positive), texts(&side.negative)]).collect()
        };
        sampling.draws(&prompts, &classes, rule).unwrap().iter().map(sides).collect()
    }

    #[test]
    fn negatives_of_a_class_without_any_are_the_normal_sentences() {
        let all = of(&["a", "b"], Sampling::default(), Rule::Pair).remove(0);
        let [normal, others] = [vec!["n1", "n2", "n3"], vec!["a1", "a2", "a3", "a4", "a5", "b1", "b2"]];
        assert_eq!(
            all,
            [normal.clone(), others, vec!["a1", "a2", "a3", "a4", "a5"], normal, vec!["b1", "b2"], vec!["c1"]]
        );
        // Where the rule has no use for them there are none.
        let none: Vec<String> = Vec::new();
        assert!(of(&["a"], Sampling::default(), Rule::MaxLogit)[0].iter().skip(1).step_by(2).all(|side| *side == none));
    }

    #[test]
    fn draws_depend_on_seed_and_sampling_alone() {
        let sampling = |seed| Sampling { num_prompts: NumPrompts::Some(2), seed, samplings: 5 };
        let two = of(&["a", "b"], sampling(3), Rule::MeanLogit);
        assert_eq!(two.len(), 5);
        let of_a = |draws: &[Vec<Vec<String>>]| draws.iter().map(|draw| draw[2].clone()).collect::<Vec<_>>();
        assert!(of_a(&two).iter().all(|list| list.len() == 2 && list[0] < list[1]), "{two:?}");
        assert!(of_a(&two).windows(2).any(|pair| pair[0] != pair[1]), "five samplings of two of five differ");
        assert_eq!(of_a(&of(&["a"], sampling(3), Rule::ZScore)), of_a(&two));
        assert_ne!(of_a(&of(&["a"], sampling(4), Rule::MeanLogit)), of_a(&two));
        // A list with no more sentences is taken whole.
        assert!(two.iter().all(|draw| draw[4] == ["b1", "b2"]));
    }

    #[test]
    fn what_cannot_be_drawn_is_refused() {
        let prompts = Prompts::parse("[[class]]\nname = 'a'\npositive = ['x']").unwrap();
        let classes = compared(&prompts, &Dataset { classes: vec!["a".to_owned()], ..Dataset::default() }).unwrap();
        let refused = |sampling: Sampling, rule| sampling.draws(&prompts, &classes, rule).unwrap_err().to_string();
        assert!(refused(Sampling::default(), Rule::Pair).contains("class \"a\" has no negative sentences"));
        assert!(Sampling::default().draws(&prompts, &classes, Rule::Difference).is_ok());
        let samplings = |samplings| Sampling { samplings, ..Sampling::default() };
        assert!(refused(samplings(2), Rule::MaxLogit).contains("give --num-prompts"));
        assert!(refused(samplings(0), Rule::MaxLogit).contains("use at least 1"));
        assert_eq!("all".parse(), Ok(NumPrompts::All));
        assert_eq!("7".parse(), Ok(NumPrompts::Some(7)));
        assert!("0".parse::<NumPrompts>().is_err() && "-1".parse::<NumPrompts>().is_err());
    }
}
