//! Tensors that grow row by row on the disk and become one safetensors file in the end: memory does not grow with their rows,
//! and a command that was stopped goes on.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use burn::tensor::Tensor;
use data::fsx;
use model::weights::stored;
use model::weights::{RawTensor, TensorInfo};
use safetensors::Dtype;

use crate::error::Result;
use crate::partial::{Partial, failed};

/// A tensor in its file, whose name tells the shape of a row: `image_local.49x64`.
#[derive(Debug)]
struct Column {
    path: PathBuf,
    file: File,
    row: Vec<usize>,
    rows: usize,
}

impl Column {
    fn open(folder: &Path, name: &str, row: &[usize]) -> io::Result<Self> {
        let shape: Vec<String> = row.iter().map(usize::to_string).collect();
        let path = folder.join(format!("{name}.{}", shape.join("x")));
        let mut file = File::options().create(true).truncate(false).read(true).write(true).open(&path)?;
        let mut column = Self { rows: 0, row: row.to_vec(), file: file.try_clone()?, path };
        column.rows = usize::try_from(file.seek(SeekFrom::End(0))?).unwrap_or(usize::MAX) / column.row_bytes();
        column.cut(column.rows)?;
        Ok(column)
    }

    fn row_bytes(&self) -> usize {
        (size_of::<f32>() * self.row.iter().product::<usize>()).max(1)
    }

    /// Leaves the first rows; more go behind them.
    fn cut(&mut self, rows: usize) -> io::Result<()> {
        self.rows = self.rows.min(rows);
        let end = (self.rows * self.row_bytes()) as u64;
        self.file.set_len(end)?;
        self.file.seek(SeekFrom::Start(end)).map(|_| ())
    }

    fn info(&self) -> TensorInfo {
        TensorInfo { dtype: Dtype::F32, shape: [&[self.rows], self.row.as_slice()].concat() }
    }
}

/// Columns of a file to come.
#[derive(Debug)]
pub struct Columns {
    partial: Partial,
    columns: BTreeMap<String, Column>,
}

impl Columns {
    /// Columns of the file `out`, with the rows that an earlier command left; `of` is the digest of everything that they depend
    /// on.
    ///
    /// # Errors
    /// If another process makes the same file, or the rows cannot be read.
    pub fn open(out: &Path, of: &str) -> Result<Self> {
        let partial = Partial::open(out, of)?;
        let read = || -> io::Result<BTreeMap<String, Column>> {
            let mut columns = BTreeMap::new();
            for entry in fs::read_dir(partial.folder())? {
                let file = entry?.file_name().to_string_lossy().into_owned();
                let Some((name, shape)) = file.split_once('.') else { continue };
                if let Ok(row) = shape.split('x').map(str::parse).collect::<Result<Vec<usize>, _>>() {
                    columns.insert(name.to_owned(), Column::open(partial.folder(), name, &row)?);
                }
            }
            Ok(columns)
        };
        let columns = read().map_err(|source| failed("read", partial.folder(), source))?;
        Ok(Self { partial, columns })
    }

    /// Whole batches of rows that all columns of a kind (`image`, `text`) have; what some have beyond them goes.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn rows(&mut self, kind: &str) -> Result<usize> {
        let told = fs::read_to_string(self.mark(kind)).ok().and_then(|text| text.trim().parse().ok());
        let of_kind = |column: &&mut Column| name_of(&column.path).starts_with(kind);
        let least = self.columns.values_mut().filter(of_kind).map(|column| column.rows).min().unwrap_or(0);
        let rows = least.min(told.unwrap_or(0));
        for column in self.columns.values_mut().filter(of_kind) {
            column.cut(rows).map_err(|source| failed("cut", &column.path, source))?;
        }
        Ok(rows)
    }

    /// Notes that all columns of a kind have so many rows: a column that a stopped command had not begun cannot tell.
    pub(crate) fn note(&self, kind: &str, rows: usize) -> Result<()> {
        Ok(fsx::write_atomic(&self.mark(kind), rows.to_string().as_bytes())?)
    }

    fn mark(&self, kind: &str) -> PathBuf {
        self.partial.folder().join(format!("{kind}.done"))
    }

    /// Leaves no rows.
    ///
    /// # Errors
    /// If they cannot be removed.
    pub fn clear(&mut self) -> Result<()> {
        for column in self.columns.values_mut() {
            column.cut(0).map_err(|source| failed("cut", &column.path, source))?;
        }
        Ok(())
    }

    /// The first number of every row of a column.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(crate) fn first_numbers(&mut self, name: &str) -> Result<Vec<f32>> {
        let Some(column) = self.columns.get_mut(name) else { return Ok(Vec::new()) };
        let mut read = || -> io::Result<Vec<f32>> {
            let mut numbers = Vec::new();
            for row in 0..column.rows {
                let mut number = [0; 4];
                column.file.seek(SeekFrom::Start((row * column.row_bytes()) as u64))?;
                column.file.read_exact(&mut number)?;
                numbers.push(f32::from_le_bytes(number));
            }
            column.cut(column.rows)?;
            Ok(numbers)
        };
        read().map_err(|source| failed("read", &column.path, source))
    }

    /// Adds rows to a column; all have the shape of the first.
    pub(crate) fn push(&mut self, name: &str, row: &[usize], values: &[f32]) -> Result<()> {
        if !self.columns.contains_key(name) {
            let folder = self.partial.folder();
            let column = Column::open(folder, name, row).map_err(|source| failed("create", folder, source))?;
            self.columns.insert(name.to_owned(), column);
        }
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        if let Some(column) = self.columns.get_mut(name) {
            column.rows += bytes.len() / column.row_bytes();
            column.file.write_all(&bytes).map_err(|source| failed("write", &column.path, source))?;
        }
        Ok(())
    }

    pub(crate) fn push_tensor<const D: usize>(&mut self, name: &str, tensor: Tensor<D>) -> Result<()> {
        let dims = tensor.dims();
        let values: Vec<f32> = tensor.into_data().iter::<f32>().collect();
        self.push(name, &dims[1..], &values)
    }

    /// Writes the file; gives the shape of each tensor.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn finish(self, metadata: &BTreeMap<String, String>) -> Result<BTreeMap<String, Vec<usize>>> {
        let Self { partial, mut columns } = self;
        let infos: BTreeMap<String, TensorInfo> =
            columns.iter().map(|(name, column)| (name.clone(), column.info())).collect();
        fsx::write_atomic_with(partial.out(), |file| {
            stored::write(file, &infos, metadata, |name| -> io::Result<RawTensor> {
                let mut bytes = Vec::new();
                if let Some(column) = columns.get_mut(name) {
                    column.file.seek(SeekFrom::Start(0))?;
                    column.file.read_to_end(&mut bytes)?;
                }
                Ok(RawTensor { dtype: Dtype::F32, shape: infos[name].shape.clone(), bytes })
            })
        })?;
        partial.finish()?;
        Ok(infos.into_iter().map(|(name, info)| (name, info.shape)).collect())
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_a_command_that_was_stopped_are_there_again() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("vectors.safetensors");
        let mut columns = Columns::open(&out, "a").unwrap();
        columns.push("image_features", &[2], &[1.0, 2.0]).unwrap();
        columns.push("image_embeds", &[3], &[1.0; 3]).unwrap();
        columns.note("image", 1).unwrap();
        columns.push("image_features", &[2], &[3.0, 4.0]).unwrap();
        columns.push("text_features", &[1], &[7.0]).unwrap();
        columns.note("text", 1).unwrap();
        assert!(Columns::open(&out, "a").unwrap_err().to_string().contains("another process"));
        // As a crash leaves them.
        drop(columns);
        let torn = folder.path().join("vectors.safetensors.partial/text_features.1");
        File::options().append(true).open(&torn).unwrap().write_all(&[1, 2]).unwrap();

        let mut columns = Columns::open(&out, "a").unwrap();
        assert_eq!((columns.rows("image").unwrap(), columns.rows("text").unwrap()), (1, 1));
        assert_eq!(columns.first_numbers("image_features").unwrap(), [1.0]);
        columns.push("image_features", &[2], &[5.0, 6.0]).unwrap();
        columns.push("image_embeds", &[3], &[8.0; 3]).unwrap();
        let shapes = columns.finish(&BTreeMap::new()).unwrap();
        assert_eq!(shapes["image_features"], [2, 2]);
        let file = stored::SafetensorsFile::open(&out).unwrap();
        let values = |name: &str| file.read(name).unwrap().to_f32().unwrap();
        assert_eq!(values("image_features"), [1.0, 2.0, 5.0, 6.0]);
        assert_eq!((values("text_features"), values("image_embeds")[3]), (vec![7.0], 8.0));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);

        // Of a first batch that is not whole nothing is kept: no column tells what others there will be.
        let mut columns = Columns::open(&out, "c").unwrap();
        columns.push("image_features", &[2], &[1.0, 2.0]).unwrap();
        assert_eq!(columns.rows("image").unwrap(), 0);
        drop(columns);

        // Other weights or images begin anew.
        let mut columns = Columns::open(&out, "a").unwrap();
        columns.push("image_features", &[2], &[1.0, 2.0]).unwrap();
        drop(columns);
        assert_eq!(Columns::open(&out, "b").unwrap().rows("image").unwrap(), 0);
    }
}
