//! The command line of `retrieval`.

use std::path::PathBuf;

use clap::Args;
use data::prompt::Prompts;
use data::source::queries;
use engine::checkpoint::Checkpoint;
use serde_json::{Map, Value, json};

use super::Common;
use crate::error::Result;
use crate::retrieval::own::by_queries;
use crate::tasks::Towers;

/// Finds images by text, images by image and texts by image.
#[derive(Debug, Args)]
pub(super) struct RetrievalArgs {
    #[command(flatten)]
    common: Common,
    /// Cut-offs.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 5, 10, 50])]
    k: Vec<usize>,
    /// A CSV of queries with a column `category`, a label of the images of --data, and a column `text`, or `image_path` for
    /// queries by image; may be given twice, once of each kind. The files of CheXpert 8x200 are read as they are, with
    /// their candidate.csv as --data. A query that is one of the images does not find itself.
    #[arg(long, requires = "data")]
    queries: Vec<PathBuf>,
}

impl RetrievalArgs {
    pub(super) fn run(&self) -> Result<String> {
        let figures = if self.queries.is_empty() { self.without_queries()? } else { self.with_queries()? };
        let figures = Value::Object(Map::from_iter([("retrieval".to_owned(), figures)]));
        Ok(if self.common.json { format!("{figures:#}\n") } else { format!("{}\n", crate::show::table(&figures)) })
    }

    fn with_queries(&self) -> Result<Value> {
        let tools = self.common.tools(&self.k)?;
        let checkpoint = Checkpoint::read(&self.common.weights)?;
        checkpoint.image_config()?;
        let data = &self.common.data;
        let read = |file: &PathBuf| queries::read(file, data.image_column(), data.image_root());
        let files = self.queries.iter().map(read).collect::<data::error::Result<Vec<_>>>()?;
        if files.iter().any(|queries| matches!(queries.asked, queries::Asked::Texts(_))) {
            checkpoint.dual_config()?;
            checkpoint.tokenizer()?;
        }
        let mut categories: Vec<String> = Vec::new();
        for category in files.iter().flat_map(|queries| &queries.categories) {
            if !categories.contains(category) {
                categories.push(category.clone());
            }
        }
        let candidates = data.candidates(&categories)?;
        Ok(Value::Object(by_queries(&checkpoint, &files, &candidates, &tools)?))
    }

    fn without_queries(&self) -> Result<Value> {
        let tools = self.common.tools(&self.k)?;
        let checkpoint = self.common.dual_encoder()?;
        let (tokenizer, text) = checkpoint.tokenizer()?;
        let towers = Towers::new(&checkpoint, &tokenizer, text.max_tokens, &tools)?;
        let (dataset, parts) = self.common.data.dataset()?;
        Ok(match &parts.categories {
            Some(categories) => json!(towers.retrieval_by_category(categories, &Prompts::phantom())?),
            None => json!(towers.retrieval_by_pairs(&dataset)?),
        })
    }
}
