//! Properties of paths in manifests: none leads out of its folder, by whatever links.

use std::path::{Component, Path, PathBuf};

use data::fsx::{Folder, contained};

use crate::cases::{bytes, check, text};
use crate::support::write;

const PIECES: [&str; 17] =
    ["/", "/", "/", "..", "../", ".", "a", "a/b", "inner", "outer", "self", "up", "gone", "film.png", "\\", "C:", " "];

/// Folders, files and links: to a folder inside, to one outside, to the folder itself and to the one above.
fn tree() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    for file in ["root/a/b/film.png", "root/a/film.png", "secret/a/film.png", "secret/film.png"] {
        write(dir.path(), file, b"x");
    }
    #[cfg(unix)]
    for (target, link) in [("a/b", "inner"), ("../secret", "outer"), (".", "self"), ("..", "a/up"), ("nowhere", "gone")]
    {
        std::os::unix::fs::symlink(target, root.join(link)).unwrap();
    }
    dir
}

/// Where a path leads, as far as it exists.
fn real(path: &Path) -> PathBuf {
    path.ancestors().find_map(|part| part.canonicalize().ok()).unwrap()
}

#[test]
fn no_path_leads_out_of_its_folder() {
    let dir = tree();
    let root = dir.path().join("root");
    let inside = root.canonicalize().unwrap();
    check(41, |draws| {
        let relative = text(draws, &PIECES, 8);
        let Ok(path) = contained(&root, &relative) else { return };
        assert_eq!(path, root.join(&relative));
        assert!(real(&path).starts_with(&inside), "{relative:?}");
        // Nor does any part of it on its way, read without the disk.
        let mut depth = 0_i32;
        for part in Path::new(&relative).components() {
            match part {
                Component::Normal(_) => depth += 1,
                Component::ParentDir => depth -= 1,
                Component::CurDir => {}
                Component::RootDir | Component::Prefix(_) => panic!("{relative:?}"),
            }
            assert!(depth >= 0, "{relative:?}");
        }
        assert!(!relative.contains(['\\', '\0']));
    });
}

#[test]
fn what_was_asked_before_changes_no_answer() {
    let dir = tree();
    let root = dir.path().join("root");
    let folder = std::sync::Mutex::new(Folder::new(&root).unwrap());
    check(42, |draws| {
        let relative = text(draws, &PIECES, 6);
        let known = folder.lock().unwrap().path(&relative);
        assert_eq!(known, contained(&root, &relative), "{relative:?}");
    });
}

#[test]
fn any_bytes_are_a_path_or_an_error() {
    let dir = tree();
    let root = dir.path().join("root");
    let pieces = PIECES.map(str::as_bytes);
    check(43, |draws| {
        let bytes = bytes(draws, &pieces, 8);
        if let Ok(path) = contained(&root, &String::from_utf8_lossy(&bytes)) {
            assert!(path.starts_with(&root));
        }
    });
}
