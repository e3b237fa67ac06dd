//! Checkpoints of PyTorch (`.pt`, `.pth`, `.bin`, `.ckpt`), read as data and never executed.
//!
//! Both formats of `torch.save` are read, the zip archive and the one before it. Their pickles are taken apart by a machine
//! that knows tensors, dicts and plain values; every other class is an opaque object, which is welcome anywhere but among
//! the entries of the state dict. A file can ask for no more memory or time than the limits of these modules allow.
//!
//! Source: PyTorch's `torch/serialization.py` and Python's `pickletools` describe the formats.

mod archive;
mod error;
mod input;
mod layout;
mod legacy;
mod pickle;
mod rebuild;
mod scalars;
mod state_dict;
mod value;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use archive::{Archive, Region};
use error::Result;
pub use error::{TorchError, TorchProblem};
use input::Input;
use layout::View;
pub use state_dict::WRAPPERS;
use value::{Arena, Value};

use super::tensor::{RawTensor, TensorInfo};

trait Source: Read + Seek + Send {}
impl<T: Read + Seek + Send> Source for T {}

/// A checkpoint whose structure is read; tensors are read one by one.
pub struct TorchFile {
    path: PathBuf,
    source: Mutex<Box<dyn Source>>,
    tensors: BTreeMap<String, TensorInfo>,
    views: HashMap<String, View>,
    wrapper: Option<String>,
    scalars: BTreeMap<String, String>,
}

impl TorchFile {
    /// Opens a checkpoint and reads its structure, no tensor.
    ///
    /// # Errors
    /// If it is no checkpoint with a state dict, is damaged, or exceeds the limits.
    pub fn open(path: &Path) -> std::result::Result<Self, TorchError> {
        let file = File::open(path).map_err(|error| TorchProblem::Io(error).at(path))?;
        Self::from_reader(path, file)
    }

    /// [`TorchFile::open`] for bytes that come from elsewhere; `path` serves error messages.
    ///
    /// # Errors
    /// Those of [`TorchFile::open`].
    pub fn from_reader(
        path: &Path,
        reader: impl Read + Seek + Send + 'static,
    ) -> std::result::Result<Self, TorchError> {
        Self::parse(path, Box::new(reader)).map_err(|problem| problem.at(path))
    }

    fn parse(path: &Path, mut source: Box<dyn Source>) -> Result<Self> {
        let len = source.seek(SeekFrom::End(0))?;
        let mut arena = Arena::default();
        let (top, places) = structure(&mut *source, len, &mut arena)?;
        let found = state_dict::find(&arena, top)?;
        let mut tensors = BTreeMap::new();
        let mut views = HashMap::new();
        let mut total = 0_u64;
        for (name, value) in found.tensors {
            let (info, view) = match place(&arena, value, &places) {
                Ok(placed) => placed,
                Err(what) => return Err(TorchProblem::Misplaced { name, what }),
            };
            total = total.saturating_add(view.bytes());
            if total > len.saturating_add(layout::MAX_REPEATED) {
                let what = "bytes in tensors that share their numbers";
                return Err(TorchProblem::TooMuch { what, limit: layout::MAX_REPEATED });
            }
            tensors.insert(name.clone(), info);
            views.insert(name, view);
        }
        let (wrapper, scalars) = (found.wrapper, found.scalars);
        Ok(Self { path: path.to_owned(), source: Mutex::new(source), tensors, views, wrapper, scalars })
    }

    /// Whether a file is one of these by its first bytes (64 are enough). Every zip archive passes.
    pub fn is_torch(first_bytes: &[u8]) -> bool {
        is_zip(first_bytes) || legacy::starts(first_bytes)
    }

    /// The tensors of the state dict by name; names of dicts inside dicts are joined by dots.
    pub fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.tensors
    }

    /// Reads a tensor, and no more of the file than it spans. Views become plain rows.
    ///
    /// # Errors
    /// If there is none of that name or the file cannot be read.
    pub fn read(&self, name: &str) -> std::result::Result<RawTensor, TorchError> {
        let (Some(info), Some(view)) = (self.tensors.get(name), self.views.get(name)) else {
            return Err(TorchProblem::Unknown(name.to_owned()).at(&self.path));
        };
        // A reader that panicked left nothing half done: every read seeks first.
        let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = view.read(&mut **source).map_err(|problem| problem.at(&self.path))?;
        Ok(RawTensor { dtype: info.dtype, shape: info.shape.clone(), bytes })
    }

    /// The key of the top level under which the state dict lay; dots join those of several levels.
    pub fn wrapper(&self) -> Option<&str> {
        self.wrapper.as_deref()
    }

    /// Plain values beside the state dict (`epoch`, `hyper_parameters.model.num_heads`) and in it. They are text of unknown
    /// origin: training code puts paths and names of people there too.
    pub fn scalars(&self) -> &BTreeMap<String, String> {
        &self.scalars
    }
}

impl fmt::Debug for TorchFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TorchFile").field("path", &self.path).field("tensors", &self.tensors).finish_non_exhaustive()
    }
}

/// Where storages lie.
enum Places {
    Archive(Archive),
    Legacy(HashMap<String, Region>),
}

fn is_zip(first_bytes: &[u8]) -> bool {
    first_bytes.starts_with(b"PK\x03\x04")
}

/// The object that was saved, and where its storages lie.
fn structure(source: &mut dyn Source, len: u64, arena: &mut Arena) -> Result<(Value, Places)> {
    source.rewind()?;
    let mut head = Vec::new();
    source.take(64).read_to_end(&mut head)?;
    if is_zip(&head) {
        let archive = Archive::open(source, len)?;
        if let Some(order) = archive.get("byteorder") {
            let mut name = Vec::new();
            source.seek(SeekFrom::Start(order.start))?;
            source.take(order.len.min(16)).read_to_end(&mut name)?;
            match name.as_slice() {
                b"little" => {}
                b"big" => return Err(TorchProblem::BigEndian),
                _ => return Err(TorchProblem::Archive("its byteorder is neither little nor big".to_owned())),
            }
        }
        let pickle = archive.get("data.pkl").ok_or(TorchProblem::NotTorch("it has no data.pkl"))?;
        source.seek(SeekFrom::Start(pickle.start))?;
        let top = pickle::load(&mut Input::new(BufReader::new(&mut *source), pickle.len), arena)?;
        return Ok((top, Places::Archive(archive)));
    }
    if legacy::starts(&head) {
        let (top, regions) = legacy::open(source, len, arena)?;
        return Ok((top, Places::Legacy(regions)));
    }
    Err(TorchProblem::NotTorch(if head.starts_with(b"version https://git-lfs") {
        "it is a pointer of Git LFS, not the file itself; run `git lfs pull` where it came from"
    } else if head.is_empty() {
        "it is empty; copy or download it again"
    } else if head.first() == Some(&0x80) {
        "it is a pickle that torch.save did not write; load it in Python and save it with torch.save"
    } else {
        "it does not start like a file of torch.save; is it another format, or a page of a web site?"
    }))
}

/// Type, shape and place of a tensor of the state dict.
fn place(arena: &Arena, value: Value, places: &Places) -> std::result::Result<(TensorInfo, View), String> {
    let tensor = arena.tensor(value).ok_or("it is no tensor")?;
    let storage = arena.storage(tensor.storage).ok_or("it has no storage")?;
    let bytes = storage.len.checked_mul(storage.item).ok_or("its storage is beyond all bounds")?;
    let region = match places {
        Places::Archive(archive) => archive.get(&format!("data/{}", storage.key)),
        Places::Legacy(regions) => regions.get(&*storage.key).copied(),
    };
    let region = region.ok_or_else(|| format!("its storage {:?} is not in the file", storage.key))?;
    if region.len != bytes {
        return Err(format!("its storage {:?} has {} bytes instead of {bytes}", storage.key, region.len));
    }
    View::new(tensor, storage, region)
}
