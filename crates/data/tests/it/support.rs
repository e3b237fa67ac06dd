//! What the tests share: golden files and small data sets.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use data::image::encode;
use data::source::phantom::{PhantomKey, Prevalence};
use safetensors::{Dtype, SafeTensors};

/// A golden file of tensors.
pub(crate) struct Golden(Vec<u8>);

impl Golden {
    pub(crate) fn read(name: &str) -> Self {
        Self(std::fs::read(golden_path(&format!("{name}.safetensors"))).unwrap())
    }

    fn view(&self, name: &str, dtype: Dtype) -> (Vec<usize>, Vec<u8>) {
        let tensors = SafeTensors::deserialize(&self.0).unwrap();
        let tensor = tensors.tensor(name).unwrap();
        assert_eq!(tensor.dtype(), dtype, "{name}");
        (tensor.shape().to_vec(), tensor.data().to_vec())
    }

    pub(crate) fn bytes(&self, name: &str) -> (Vec<usize>, Vec<u8>) {
        self.view(name, Dtype::U8)
    }

    pub(crate) fn floats(&self, name: &str) -> (Vec<usize>, Vec<f32>) {
        let (shape, data) = self.view(name, Dtype::F32);
        (shape, data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect())
    }

    pub(crate) fn doubles(&self, name: &str) -> Vec<f64> {
        let data = self.view(name, Dtype::F64).1;
        data.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect()
    }
}

/// A file of the folder of golden files.
pub(crate) fn golden_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden").join(name)
}

/// A folder of real data beside the repository, `None` (with a line that says so) where it is absent.
pub(crate) fn shared(folder: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(folder);
    if !path.is_dir() {
        println!("skipped: {} is not there", path.display());
        return None;
    }
    Some(path)
}

/// Writes a file into a folder.
pub(crate) fn write(dir: &Path, name: &str, content: &[u8]) -> PathBuf {
    let path = dir.join(name);
    data::fsx::create_dir_all(path.parent().unwrap()).unwrap();
    data::fsx::write_atomic(&path, content).unwrap();
    path
}

/// Writes a file without waiting for the disk, where a test writes thousands.
#[expect(clippy::disallowed_methods, reason = "no reader is there before the file is whole")]
pub(crate) fn write_quickly(path: &Path, content: &[u8]) {
    std::fs::write(path, content).unwrap();
}

/// A call of the binary of this crate.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::cargo_bin("roentgen-data").unwrap();
    command.args(args);
    command
}

/// What a command prints, with the exit code it must have.
pub(crate) fn output(args: &[&str], code: i32) -> (String, String) {
    let output = command(args).assert().code(code).get_output().clone();
    (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// A message with `#` for every salted hash, which differs from run to run.
pub(crate) fn unsalted(text: &str) -> String {
    let mut parts = text.split('#');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |out, part| {
        let is_hash = part.len() >= 8 && part.bytes().take(8).all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        out + "#" + if is_hash { &part[8..] } else { part }
    })
}

/// A message without the hashes of studies, where a test is about something else.
pub(crate) fn unnamed(text: &str) -> String {
    unsalted(text).replace(", study #", "")
}

/// PNG files of phantoms, all different.
pub(crate) fn films(count: u64) -> Vec<Vec<u8>> {
    let film = |index| PhantomKey { seed: 11, index, prevalence: Prevalence::Natural }.study().render(40);
    (0..count).map(|index| encode::png(&film(index)).unwrap()).collect()
}
