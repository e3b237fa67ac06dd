//! Paths of manifests, which must stay in their folder.

use std::collections::HashMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::error::PathFault;

/// The path of `relative` in `root`.
///
/// The last parts may be missing: whether the file exists is the caller's question. Links that stay in `root` are fine.
///
/// # Errors
/// [`PathFault`] for an empty or absolute path, a backslash or a NUL, a `..` that leads out of `root` and a link that
/// does. A `root` that does not exist counts as [`PathFault::Escape`].
pub fn contained(root: &Path, relative: &str) -> Result<PathBuf, PathFault> {
    Folder::new(root)?.path(relative)
}

/// A folder that paths are resolved in; as [`contained`], but quick for many paths.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    real_root: PathBuf,
    /// What is wrong with the folders of earlier paths.
    known: HashMap<PathBuf, Option<PathFault>>,
}

impl Folder {
    /// The folder `root`.
    ///
    /// # Errors
    /// [`PathFault::Escape`] where it does not exist.
    pub fn new(root: &Path) -> Result<Self, PathFault> {
        let real_root = root.canonicalize().map_err(|_| PathFault::Escape)?;
        Ok(Self { root: root.to_path_buf(), real_root, known: HashMap::new() })
    }

    /// The path of `relative` in this folder.
    ///
    /// # Errors
    /// As [`contained`].
    pub fn path(&mut self, relative: &str) -> Result<PathBuf, PathFault> {
        Ok(self.file(relative)?.0)
    }

    /// The path of `relative` in this folder, and whether there is a file.
    ///
    /// # Errors
    /// As [`contained`].
    pub fn file(&mut self, relative: &str) -> Result<(PathBuf, bool), PathFault> {
        check_parts(relative)?;
        // By its parts: behind a link, a slash or a dot at the end would hide that it is one.
        let joined: PathBuf = self.root.join(relative).components().collect();
        let found = fs::symlink_metadata(&joined);
        let is_link = found.as_ref().is_ok_and(fs::Metadata::is_symlink);
        // A plain file lies where its folder lies, and few folders hold all files.
        let plain = !is_link && Path::new(relative).components().all(|c| matches!(c, Component::Normal(_)));
        let fault = match joined.parent().filter(|_| plain) {
            None => self.fault(&joined),
            Some(parent) => {
                if let Some(fault) = self.known.get(parent) {
                    *fault
                } else {
                    let fault = self.fault(parent);
                    self.known.insert(parent.to_path_buf(), fault);
                    fault
                }
            }
        };
        if let Some(fault) = fault {
            return Err(fault);
        }
        // Asked once: a data set has hundreds of thousands of files.
        let is_file = if is_link { joined.is_file() } else { found.is_ok_and(|m| m.is_file()) };
        Ok((joined, is_file))
    }

    /// What is wrong with a path whose parts are fine: the deepest part that exists must lie in the root.
    ///
    /// What does not exist cannot be a link, but it can become one: nothing may go up again behind it. A link to nothing
    /// exists, and what it points to can appear later.
    fn fault(&self, path: &Path) -> Option<PathFault> {
        let existing = path.ancestors().find(|part| fs::symlink_metadata(part).is_ok())?;
        if path.strip_prefix(existing).is_ok_and(|rest| rest.components().any(|c| c == Component::ParentDir)) {
            return Some(PathFault::Escape);
        }
        let inside = existing.canonicalize().is_ok_and(|real| real.starts_with(&self.real_root));
        (!inside).then_some(PathFault::Link)
    }
}

/// Refuses what no manifest should hold, without looking at the disk.
fn check_parts(relative: &str) -> Result<(), PathFault> {
    if relative.is_empty() {
        return Err(PathFault::Empty);
    }
    if relative.contains(['\0', '\\']) {
        return Err(PathFault::Character);
    }
    // `C:\x` is refused above by its backslash; `C:x` would be a drive on the one system that has drives.
    let bytes = relative.as_bytes();
    if bytes[0].is_ascii_alphabetic() && bytes.get(1) == Some(&b':') {
        return Err(PathFault::Absolute);
    }
    let mut depth = 0_usize;
    for component in Path::new(relative).components() {
        match component {
            Component::Normal(name) if is_device(&name.to_string_lossy()) => return Err(PathFault::Device),
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir => depth = depth.checked_sub(1).ok_or(PathFault::Escape)?,
            Component::RootDir | Component::Prefix(_) => return Err(PathFault::Absolute),
        }
    }
    Ok(())
}

/// Whether Windows takes a name for a device, whatever its case and ending: a set of data is to be read everywhere.
fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or(name).trim_end().to_ascii_lowercase();
    match stem.as_str() {
        "con" | "prn" | "aux" | "nul" => true,
        stem => {
            let number = stem.strip_prefix("com").or_else(|| stem.strip_prefix("lpt"));
            number.is_some_and(|number| matches!(number.as_bytes(), [b'1'..=b'9']))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_in_their_folder() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("images")).unwrap();
        for good in ["images/a.png", "a.png", "./images/a.png", "images/../a.png", "no/such/a.png", "a:b.png"] {
            // "a:b.png" names a drive on one system and is refused everywhere.
            let expected = if good == "a:b.png" { Err(PathFault::Absolute) } else { Ok(root.join(good)) };
            assert_eq!(contained(&root, good), expected, "{good}");
        }
        let bad = [
            ("", PathFault::Empty),
            ("/etc/passwd", PathFault::Absolute),
            ("..", PathFault::Escape),
            ("../root/a.png", PathFault::Escape),
            ("images/../../a.png", PathFault::Escape),
            ("./../a.png", PathFault::Escape),
            ("images\\a.png", PathFault::Character),
            ("C:\\a.png", PathFault::Character),
            ("c:a.png", PathFault::Absolute),
            ("a\0.png", PathFault::Character),
            ("in/Nul.png", PathFault::Device),
            ("COM1", PathFault::Device),
        ];
        for (path, fault) in bad {
            assert_eq!(contained(&root, path), Err(fault), "{path:?}");
        }
    }

    #[test]
    #[cfg(unix)]
    fn links_out_of_the_folder_are_refused() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("images")).unwrap();
        fs::create_dir_all(dir.path().join("outside")).unwrap();
        symlink(dir.path().join("outside"), root.join("out")).unwrap();
        symlink(root.join("images"), root.join("in")).unwrap();
        for path in ["out", "out/", "out//", "out/.", "out/a.png"] {
            assert_eq!(contained(&root, path), Err(PathFault::Link), "{path}");
        }
        // `..` after a link leads to the parent of its target, which is outside.
        assert_eq!(contained(&root, "out/../a.png"), Err(PathFault::Link));
        assert_eq!(contained(&root, "in/a.png"), Ok(root.join("in/a.png")));
    }
}
