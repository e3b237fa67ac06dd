//! Zero-shot classification: the score of a class is the cosine with the mean of its positive prompts minus the cosine with
//! the mean of its negative prompts. Other rules, drawn prompts and comparisons of models: [`task`].

mod draw;
mod encode;
mod figures;
pub mod matching;
pub mod rule;
mod settings;
pub mod task;

use data::prompt::{ClassPrompts, Prompts};

pub use self::draw::{NumPrompts, Sampling};
pub(crate) use self::figures::Question;
pub use self::rule::Rule;
pub(crate) use self::settings::told;
use crate::classes::{ClassFigures, class_figures};
use crate::embed::{Embedded, TextTower, mean_rows};
use crate::error::{EvalError, Result};
use crate::metric::Bootstrap;
use crate::ranking::Embeddings;

/// AUROC of every class of a prompt set that the data label.
///
/// # Errors
/// If no class of the prompts is labelled in the data.
pub fn zero_shot(
    prompts: &Prompts,
    set: Embedded<'_>,
    text: TextTower<'_>,
    bootstrap: &Bootstrap,
) -> Result<ClassFigures> {
    let Embedded { dataset, images, embeddings } = set;
    let classes: Vec<(usize, &ClassPrompts)> = prompts
        .classes
        .iter()
        .filter_map(|class| Some((dataset.classes.iter().position(|name| *name == class.name)?, class)))
        .collect();
    if classes.is_empty() {
        return Err(EvalError::Unfit {
            data: dataset.name.clone(),
            what: format!(
                "none of its labels ({}) has prompts; give --prompts with a class of the same name",
                dataset.classes.join(", ")
            ),
        });
    }
    let prompts: Vec<&ClassPrompts> = classes.iter().map(|(_, class)| *class).collect();
    let scores = differences(&prompts, &embeddings.embeds, text)?;
    let columns: Vec<(String, usize)> = classes.iter().map(|(column, class)| (class.name.clone(), *column)).collect();
    class_figures(dataset, images, &columns, &scores, bootstrap)
}

/// The score of each class (`[K][N]`) for each row of images: cosine with the mean of its positive prompts minus cosine with the
/// mean of its negative ones, which is 0 where there are none.
///
/// # Errors
/// Prompts that cannot be embedded.
pub(crate) fn differences(
    classes: &[&ClassPrompts],
    images: &Embeddings,
    text: TextTower<'_>,
) -> Result<Vec<Vec<f32>>> {
    let mut texts = Vec::new();
    let mut groups = Vec::new();
    for class in classes {
        for side in [&class.positive, &class.negative] {
            groups.push((texts.len()..texts.len() + side.len()).collect::<Vec<_>>());
            texts.extend(side.iter().map(String::as_str));
        }
    }
    let sides = mean_rows(&text.embed(&texts)?, &groups)?;
    let score = |image: usize, class: usize| {
        images.cosine(image, &sides, 2 * class) - images.cosine(image, &sides, 2 * class + 1)
    };
    Ok((0..classes.len()).map(|class| (0..images.rows()).map(|image| score(image, class)).collect()).collect())
}
