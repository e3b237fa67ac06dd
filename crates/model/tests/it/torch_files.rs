//! Checkpoints that `scripts/golden/torch_files.py` wrote with torch: tensors are those of the safetensors file beside each.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use model::weights::torch::{TorchFile, TorchProblem};
use safetensors::SafeTensors;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden/torch")
}

/// Names of the checkpoints, and whether a state dict is to be found in each.
pub(super) fn fixtures() -> Vec<(PathBuf, bool)> {
    let files = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let checkpoints = files.filter(|path| path.extension().unwrap() != "safetensors");
    let mut found: Vec<(PathBuf, bool)> = checkpoints.map(|path| (path.clone(), beside(&path).exists())).collect();
    found.sort();
    assert!(found.len() >= 25, "only {} checkpoints", found.len());
    found
}

fn beside(path: &Path) -> PathBuf {
    path.with_added_extension("safetensors")
}

fn open(name: &str) -> TorchFile {
    TorchFile::open(&folder().join(name)).unwrap()
}

fn problem(name: &str) -> (TorchProblem, String) {
    let error = TorchFile::open(&folder().join(name)).unwrap_err();
    let message = error.to_string();
    assert!(message.contains(name), "{message}");
    (error.problem, message)
}

#[test]
fn every_tensor_is_the_one_that_torch_saved() {
    let mut tensors = 0;
    for (path, _) in fixtures().into_iter().filter(|(_, loads)| *loads) {
        let shown = path.display();
        let bytes = std::fs::read(beside(&path)).unwrap();
        let expected = SafeTensors::deserialize(&bytes).unwrap();
        let file = TorchFile::open(&path).unwrap();
        let names: Vec<&str> = file.tensors().keys().map(String::as_str).collect();
        let mut wanted = expected.names();
        wanted.sort_unstable();
        assert_eq!(names, wanted, "{shown}");
        for (name, info) in file.tensors() {
            let tensor = file.read(name).unwrap();
            let view = expected.tensor(name).unwrap();
            assert_eq!((tensor.dtype, tensor.shape.as_slice()), (view.dtype(), view.shape()), "{shown}: {name}");
            assert_eq!((tensor.dtype, &tensor.shape), (info.dtype, &info.shape), "{shown}: {name}");
            assert_eq!(tensor.bytes, view.data(), "{shown}: {name}");
            tensors += 1;
        }
    }
    assert!(tensors > 150, "only {tensors} tensors were compared");
}

#[test]
fn files_are_known_by_their_first_bytes() {
    for (path, _) in fixtures() {
        let bytes = std::fs::read(&path).unwrap();
        assert!(TorchFile::is_torch(&bytes[..64]), "{}", path.display());
    }
    let safetensors = std::fs::read(beside(&folder().join("types.pt"))).unwrap();
    for other in [&safetensors, b"".as_slice(), b"\x80\x02}q\x00.", b"<!DOCTYPE html>", b"PK"] {
        assert!(!TorchFile::is_torch(other), "{:?}", &other[..other.len().min(16)]);
    }
}

#[test]
fn the_key_above_the_state_dict_is_told() {
    let wrappers = [
        ("types.pt", None),
        ("views_legacy.pth", None),
        ("model.bin", Some("model")),
        ("teacher.pth", Some("teacher")),
        ("double.pth", Some("model.state_dict")),
        ("nested.pt", Some("model")),
        ("parts.pt", None),
        ("lightning.ckpt", Some("state_dict")),
    ];
    for (name, wrapper) in wrappers {
        assert_eq!(open(name).wrapper(), wrapper, "{name}");
    }
}

#[test]
fn settings_are_told_whatever_their_classes() {
    let expected = [
        ("epoch", "12"),
        ("global_step", "3400"),
        ("hparams_name", "kwargs"),
        ("pytorch-lightning_version", "1.5.10"),
        ("lr_schedulers", "[]"),
        ("hyper_parameters.img_encoder", "vit_base"),
        ("hyper_parameters.emb_dim", "128"),
        ("hyper_parameters.softmax_temperature", "0.07"),
        ("hyper_parameters.freeze_bert", "false"),
        ("hyper_parameters.stages", "[2, 2, 6, 2]"),
        ("hyper_parameters.args.batch_size", "48"),
        ("hyper_parameters.args.seed", "42"),
        ("hyper_parameters.model.vision.num_heads", "12"),
        ("hyper_parameters.model.vision.layers.1", "2"),
        ("hyper_parameters.model.vision.layers.0", "2"),
        ("hyper_parameters.model.vision.name", "swin"),
        ("hyper_parameters.model.lr", "1e-5"),
    ];
    let expected: BTreeMap<String, String> = expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    for name in ["lightning.ckpt", "lightning_legacy.ckpt"] {
        assert_eq!(*open(name).scalars(), expected, "{name}");
    }
    let expected = [("args.lr", "0.1"), ("epoch", "3")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    assert_eq!(*open("model.bin").scalars(), expected.into());
    // A plain value among the tensors is no weight, and told as well.
    assert_eq!(open("nested.pt").scalars()["size"], "[7, 7]");
}

#[test]
fn what_is_no_state_dict_is_refused_with_the_way_out() {
    for name in ["module.pt", "wrapped_module.pt"] {
        let (problem, message) = problem(name);
        assert!(matches!(problem, TorchProblem::PickledModule { .. }), "{name}: {message}");
        assert!(message.contains("__main__.Model") && message.contains("model.state_dict()"), "{message}");
    }
    let (script, message) = problem("script.pt");
    assert!(matches!(script, TorchProblem::TorchScript), "{message}");
    for (name, found) in [("no_state_dict.pt", "\"epoch\" (an integer), \"history\""), ("one_tensor.pt", "a tensor")] {
        let (problem, message) = problem(name);
        assert!(matches!(problem, TorchProblem::NoStateDict { .. }), "{name}: {message}");
        assert!(message.contains(found), "{message}");
    }
}

#[test]
fn an_entry_that_is_no_plain_tensor_is_named() {
    let entries = [
        ("array_inside.pt", "bias", "numpy._core.multiarray._reconstruct"),
        ("sparse_inside.pt", "weight", "_rebuild_sparse_tensor"),
    ];
    for (file, entry, class) in entries {
        let (problem, message) = problem(file);
        let TorchProblem::NotATensor { name, what } = problem else { panic!("{message}") };
        assert_eq!(name, entry);
        assert!(what.contains(class), "{what}");
    }
    let (complex, message) = problem("complex_inside.pt");
    assert!(matches!(complex, TorchProblem::Misplaced { ref name, .. } if name == "weight"), "{message}");
}

#[test]
fn a_name_that_is_not_there_is_an_error() {
    let error = open("types.pt").read("weight").unwrap_err();
    assert!(matches!(error.problem, TorchProblem::Unknown(ref name) if name == "weight"), "{error}");
}

#[test]
fn other_files_are_told_apart() {
    let missing = TorchFile::open(Path::new("no/such/file.pt")).unwrap_err();
    assert!(matches!(missing.problem, TorchProblem::Io(_)), "{missing}");
    let others: [(&[u8], &str); 5] = [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b"\x80\x04}\x94.", "torch.save did not write"),
        (b"<!DOCTYPE html><html>", "web site"),
        (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe8\x03.", "version"),
    ];
    for (bytes, hint) in others {
        let error = TorchFile::from_reader(Path::new("x.pt"), std::io::Cursor::new(bytes)).unwrap_err();
        assert!(matches!(error.problem, TorchProblem::NotTorch(_)), "{error}");
        assert!(error.to_string().contains(hint), "{error}");
    }
}
