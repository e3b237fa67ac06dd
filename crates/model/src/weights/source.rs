//! Files of weights, whatever their format: one file, or a folder as Hugging Face lays it out.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use serde_json::Value;

use super::infer::config_beside;
use super::stored::SafetensorsFile;
use super::tensor::{RawTensor, TensorInfo};
use super::torch::TorchFile;
use crate::{ModelError, Result};

/// Names of the weights in a folder, the best first. An index names the files that hold a part each.
const NAMES: [&str; 4] =
    ["model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"];
/// Endings of weights.
const ENDINGS: [&str; 5] = ["safetensors", "pt", "pth", "bin", "ckpt"];
/// Largest index that is read (bytes).
const MAX_INDEX_BYTES: u64 = 16 << 20;

#[derive(Debug)]
enum Opened {
    Safetensors(SafetensorsFile),
    Torch(TorchFile),
}

/// Tensors of one or several files under the names that they have there.
#[derive(Debug)]
pub struct Source {
    /// The file, or the folder where it was found by name.
    pub path: PathBuf,
    /// Where it lies.
    pub folder: PathBuf,
    files: Vec<Opened>,
    /// Types and shapes.
    pub tensors: BTreeMap<String, TensorInfo>,
    /// Which file holds a tensor.
    places: BTreeMap<String, usize>,
    /// The metadata of its header.
    pub metadata: BTreeMap<String, String>,
    /// The `config.json` beside it.
    pub config: Option<Value>,
    /// Format, for people.
    pub format: &'static str,
}

impl Source {
    /// Opens a file or the weights of a folder; reads what they hold, not the tensors.
    ///
    /// # Errors
    /// If there are no weights, or they cannot be read as safetensors or as a file of `PyTorch`.
    pub fn open(path: &Path) -> Result<Self> {
        let file = if path.is_dir() { weights_in(path)? } else { path.to_owned() };
        let folder = file.parent().map(Path::to_owned).unwrap_or_default();
        let paths = if file.extension().is_some_and(|e| e == "json") { parts_of(&file)? } else { vec![file.clone()] };
        let mut source = Self {
            path: file,
            config: config_beside(&folder).map(|(_, value)| value),
            folder,
            files: Vec::new(),
            tensors: BTreeMap::new(),
            places: BTreeMap::new(),
            metadata: BTreeMap::new(),
            format: "safetensors",
        };
        for path in paths {
            source.add(&path)?;
        }
        Ok(source)
    }

    fn add(&mut self, path: &Path) -> Result<()> {
        let mut start = Vec::new();
        let file = File::open(path).map_err(|source| ModelError::Io { path: path.to_owned(), source })?;
        file.take(64).read_to_end(&mut start).map_err(|source| ModelError::Io { path: path.to_owned(), source })?;
        let opened = if TorchFile::is_torch(&start) {
            self.format = "PyTorch";
            Opened::Torch(TorchFile::open(path)?)
        } else {
            Opened::Safetensors(SafetensorsFile::open(path)?)
        };
        let tensors = match &opened {
            Opened::Safetensors(file) => {
                self.metadata.extend(file.metadata().clone());
                file.tensors()
            }
            Opened::Torch(file) => file.tensors(),
        };
        for (name, info) in tensors {
            self.tensors.insert(name.clone(), info.clone());
            self.places.insert(name.clone(), self.files.len());
        }
        self.files.push(opened);
        Ok(())
    }

    /// Reads one tensor.
    ///
    /// # Errors
    /// If there is no such tensor or it cannot be read.
    pub fn read(&self, name: &str) -> Result<RawTensor> {
        match self.places.get(name).map(|&file| &self.files[file]) {
            Some(Opened::Safetensors(file)) => file.read(name),
            Some(Opened::Torch(file)) => Ok(file.read(name)?),
            None => Err(ModelError::NoTensor { path: self.path.clone(), name: name.to_owned() }),
        }
    }

    /// Hands over the numbers of one tensor in single precision, some rows of `columns` numbers at a time: so many that they
    /// stay in a core's cache, where the caller looks at them and puts them into their place. False where they are of a type
    /// that holds none. `strip` is memory to read them into, which may serve many tensors.
    ///
    /// # Errors
    /// As [`Source::read`].
    pub(super) fn strips(
        &self,
        name: &str,
        columns: usize,
        strip: &mut Vec<f32>,
        mut take: impl FnMut(&[f32]),
    ) -> Result<bool> {
        const NUMBERS: usize = 1 << 16;
        const ROWS: usize = 16;
        let single = self.tensors.get(name).filter(|info| info.dtype == Dtype::F32);
        if let (Some(Opened::Safetensors(file)), Some(info)) =
            (self.places.get(name).map(|&at| &self.files[at]), single)
        {
            let count: usize = info.shape.iter().product();
            let most = (NUMBERS / columns / ROWS).max(1) * ROWS * columns;
            strip.resize(strip.len().max(most.min(count)), 0.0);
            for first in (0..count).step_by(most) {
                let strip = &mut strip[..most.min(count - first)];
                file.read_f32(name, first, strip)?;
                take(strip);
            }
            return Ok(true);
        }
        let numbers = self.read(name)?.to_f32();
        Ok(numbers.map(|numbers| take(&numbers)).is_some())
    }
}

/// The weights of a folder: under one of the usual names, else the only file that ends like weights.
fn weights_in(folder: &Path) -> Result<PathBuf> {
    if let Some(found) = NAMES.iter().map(|name| folder.join(name)).find(|path| path.is_file()) {
        return Ok(found);
    }
    let entries = std::fs::read_dir(folder).map_err(|source| ModelError::Io { path: folder.to_owned(), source })?;
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_file() && path.extension().is_some_and(|e| ENDINGS.iter().any(|known| e == *known)))
        .collect();
    match found.len() {
        1 => Ok(found.swap_remove(0)),
        0 => {
            let what = format!("holds no weights ({} or one file ending in {})", NAMES.join(", "), ENDINGS.join(", "));
            Err(ModelError::Folder { path: folder.to_owned(), what })
        }
        n => Err(ModelError::Folder { path: folder.to_owned(), what: format!("holds {n} files of weights") }),
    }
}

/// The files that an index names, which must lie beside it.
fn parts_of(index: &Path) -> Result<Vec<PathBuf>> {
    let io = |source| ModelError::Io { path: index.to_owned(), source };
    let bad = |what: &str| ModelError::Folder { path: index.to_owned(), what: what.to_owned() };
    let mut text = Vec::new();
    File::open(index).map_err(io)?.take(MAX_INDEX_BYTES).read_to_end(&mut text).map_err(io)?;
    let index_value: Value = serde_json::from_slice(&text).map_err(|_| bad("is no index of weights"))?;
    let map = index_value.get("weight_map").and_then(Value::as_object).ok_or_else(|| bad("has no `weight_map`"))?;
    let names: std::collections::BTreeSet<&str> = map.values().filter_map(Value::as_str).collect();
    let plain = |name: &&str| Path::new(name).file_name().is_some_and(|file| file == *name);
    if names.is_empty() || names.len() > 1000 || !names.iter().all(plain) {
        return Err(bad("names files that do not lie beside it, or too many"));
    }
    let folder = index.parent().map(Path::to_owned).unwrap_or_default();
    Ok(names.iter().map(|name| folder.join(name)).collect())
}
