//! `model fetch`: published weights in a folder of their own, every file checked before it gets its name.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use data::fsx;
use model::ModelError;
use model::card::Publication;
use model::weights::{CARD_FILE, Weights};
use model::zoo::{PRESETS, Published};
use serde_json::json;

use super::hub::Hub;
use super::{CliError, aligned};

/// The published weights of a name, for the command line.
pub(super) fn published(name: &str) -> Result<Published, String> {
    let known = || -> Vec<&str> { PRESETS.iter().filter(|p| p.published.is_some()).map(|p| p.name).collect() };
    match PRESETS.iter().find(|preset| preset.name == name) {
        Some(preset) => preset.published.ok_or_else(|| {
            format!(
                "no weights of it are known by their hash; use one of {} or a folder of your own",
                known().join(", ")
            )
        }),
        None => Err(format!("use one of {}", known().join(", "))),
    }
}

pub(super) fn run(published: &Published, out: &Path, as_json: bool) -> Result<String, CliError> {
    fetch(&Hub::from_env()?, published, out)?;
    let Published { source, revision, licence, files } = published;
    if as_json {
        let hashes: serde_json::Map<_, _> = files.iter().map(|f| (f.name.to_owned(), json!(f.sha256))).collect();
        let value = json!({
            "source": source, "revision": revision, "licence": licence, "sha256": hashes, "folder": out,
        });
        return Ok(format!("{value:#}\n"));
    }
    let mut rows = vec![["from", source], ["revision", revision], ["licence", licence]]
        .into_iter()
        .map(|row| row.map(str::to_owned).to_vec())
        .collect::<Vec<_>>();
    let names = files.iter().map(|file| file.name).chain([CARD_FILE]);
    rows.extend(names.map(|name| vec!["wrote".to_owned(), out.join(name).display().to_string()]));
    Ok(aligned(&rows))
}

/// Downloads all files, checks them and writes them with a card; the folder gets its name when all are in it.
///
/// # Errors
/// [`CliError::Hash`] where a file is another than the one that was published; in this and any other case there is no
/// folder afterwards.
pub(super) fn fetch(hub: &Hub, published: &Published, out: &Path) -> Result<(), CliError> {
    let refuse = |why| CliError::Output { output: out.to_owned(), why };
    if out.exists() && !fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_none()) {
        return Err(refuse("it is there and not an empty folder: name a new one, so that nothing gets mixed up"));
    }
    let name = out.file_name().ok_or_else(|| refuse("a folder needs a name"))?;
    let stage = Stage::new(out.with_file_name(format!(".{}.tmp-{}", name.display(), std::process::id())))?;
    for file in published.files {
        let cached = hub.file(published, file.name)?;
        let staged = stage.0.join(file.name);
        let mut from = File::open(&cached).map_err(|source| ModelError::Io { path: cached.clone(), source })?;
        fsx::write_atomic_with(&staged, |to| io::copy(&mut from, to).map(|_| ()))?;
        // Of the bytes that were written: the cache belongs to others too.
        let found = fsx::sha256_file(&staged)?;
        if found != file.sha256 {
            hub.forget(&cached);
            return Err(CliError::Hash { repository: published.source, file: file.name, expected: file.sha256, found });
        }
    }
    write_card(&stage.0, published)?;
    if out.exists() {
        // Empty, as said above; not every system renames onto a folder.
        fs::remove_dir(out).map_err(|source| ModelError::Io { path: out.to_owned(), source })?;
    }
    Ok(fsx::rename_durable(&stage.0, out)?)
}

/// Says beside the files what they are, where they come from and under which licence; checks that they can be used.
fn write_card(folder: &Path, published: &Published) -> Result<(), CliError> {
    let weights = Weights::open(folder)?;
    weights.check(&Device::flex())?;
    let mut card = weights.card;
    card.provenance.licence = Some(published.licence.to_owned());
    card.provenance.published = Some(Publication {
        source: published.source.to_owned(),
        revision: published.revision.to_owned(),
        sha256: published.files.iter().map(|file| (file.name.to_owned(), file.sha256.to_owned())).collect(),
    });
    Ok(fsx::write_atomic(&folder.join(CARD_FILE), toml::to_string(&card)?.as_bytes())?)
}

/// A hidden folder beside the one that is asked for, gone at the end unless it was renamed.
struct Stage(PathBuf);

impl Stage {
    fn new(path: PathBuf) -> Result<Self, CliError> {
        // Of a process of this number that was killed.
        fsx::remove_dir_all(&path)?;
        fsx::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Best effort: the error that matters is on its way.
        let _ = fsx::remove_dir_all(&self.0);
    }
}
