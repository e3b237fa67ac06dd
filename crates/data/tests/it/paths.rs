//! Paths of manifests: none leads out of its folder.

use std::path::{Component, Path};

use data::error::PathFault;
use data::fsx::contained;
use proptest::prelude::*;

use crate::support::write;

/// A folder `root` with files, folders and links, and a file outside of it.
fn tree() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in ["root/a.png", "root/in/b.png", "root/in/deep/c.png", "outside/secret.png", "root2/d.png"] {
        write(dir.path(), name, b"x");
    }
    #[cfg(unix)]
    for (link, target) in [
        ("root/to_in", "in"),
        ("root/to_out", "../outside"),
        ("root/to_file", "in/b.png"),
        ("root/to_secret", "../outside/secret.png"),
        ("root/to_nothing", "../later"),
        ("root/in/up", "../.."),
        ("root/loop", "loop"),
    ] {
        std::os::unix::fs::symlink(target, dir.path().join(link)).unwrap();
    }
    dir
}

#[test]
#[cfg(unix)]
fn each_way_out_is_refused() {
    use PathFault::{Absolute, Character, Empty, Escape, Link};
    let dir = tree();
    let root = dir.path().join("root");
    let cases: [(&str, Result<(), PathFault>); 44] = [
        ("a.png", Ok(())),
        ("in/b.png", Ok(())),
        ("./in/./b.png", Ok(())),
        ("in/../a.png", Ok(())),
        ("in//b.png", Ok(())),
        ("in/", Ok(())),
        ("not/there.png", Ok(())),
        ("...", Ok(())),
        ("..a", Ok(())),
        ("a:b", Err(Absolute)),
        (" a.png", Ok(())),
        ("to_in/b.png", Ok(())),
        ("to_file", Ok(())),
        ("nul", Err(PathFault::Device)),
        ("", Err(Empty)),
        ("/", Err(Absolute)),
        ("/etc/passwd", Err(Absolute)),
        ("//etc/passwd", Err(Absolute)),
        ("..", Err(Escape)),
        ("../root/a.png", Err(Escape)),
        ("../root2/d.png", Err(Escape)),
        ("in/../../outside/secret.png", Err(Escape)),
        ("in/deep/../../../x", Err(Escape)),
        ("./..", Err(Escape)),
        ("not/../../x", Err(Escape)),
        ("..\\outside\\secret.png", Err(Character)),
        ("in\\b.png", Err(Character)),
        ("C:\\a.png", Err(Character)),
        ("\\\\host\\share", Err(Character)),
        ("c:a.png", Err(Absolute)),
        ("C:/a.png", Err(Absolute)),
        ("a.png\0.jpg", Err(Character)),
        ("\0", Err(Character)),
        ("to_out/secret.png", Err(Link)),
        ("to_out/not/there", Err(Link)),
        // Out and in again.
        ("to_out/../root/a.png", Ok(())),
        ("to_out/../root2/d.png", Err(Link)),
        ("not/../to_out/secret.png", Err(Escape)),
        ("to_secret", Err(Link)),
        ("to_out/", Err(Link)),
        ("to_out/.", Err(Link)),
        ("to_nothing", Err(Link)),
        ("in/up/outside/secret.png", Err(Link)),
        ("loop", Err(Link)),
    ];
    for (path, expected) in cases {
        assert_eq!(contained(&root, path), expected.map(|()| root.join(path)), "{path:?}");
    }
    // What the link points to may come to exist.
    assert_eq!(contained(&root, "to_nothing/x.png"), Err(Link));
}

/// Whether a path, followed step by step as the system would, ends outside of a folder, or goes by a link to nothing.
#[cfg(unix)]
fn escapes(root: &Path, relative: &Path) -> bool {
    let mut at = root.canonicalize().unwrap();
    let top = at.clone();
    for component in relative.components() {
        match component {
            Component::CurDir => continue,
            Component::ParentDir => at = at.parent().map(Path::to_path_buf).unwrap_or_default(),
            Component::Normal(name) => at = at.join(name),
            Component::RootDir | Component::Prefix(_) => return true,
        }
        let is_link = at.symlink_metadata().is_ok_and(|m| m.is_symlink());
        match at.canonicalize() {
            Ok(real) => at = real,
            Err(_) if is_link => return true,
            Err(_) => {}
        }
    }
    !at.starts_with(&top)
}

#[cfg(unix)]
proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn no_accepted_path_escapes(parts in prop::collection::vec(prop_oneof![
        4 => prop::sample::select(vec!["in", "deep", "..", ".", "to_in", "to_out", "to_nothing", "up", "a.png", "b.png"]),
        2 => prop::sample::select(vec!["outside", "secret.png", "root", "loop", "", "x", "~", "C:", "a\\b", "a\0"]),
    ], 0..7), absolute: bool) {
        thread_local!(static TREE: tempfile::TempDir = tree());
        TREE.with(|dir| {
            let root = dir.path().join("root");
            let path = format!("{}{}", if absolute { "/" } else { "" }, parts.join("/"));
            if let Ok(found) = contained(&root, &path) {
                prop_assert_eq!(&found, &root.join(&path));
                prop_assert!(!escapes(&root, Path::new(&path)), "{path:?}");
                if let Ok(real) = found.canonicalize() {
                    prop_assert!(real.starts_with(root.canonicalize().unwrap()), "{path:?}");
                }
            }
            Ok(())
        })?;
    }
}
