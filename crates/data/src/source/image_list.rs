//! Images to look at, with nothing said of them: the files of a folder, or a column of a CSV.
//!
//! Nothing is refused for the sake of one image: what is wrong with its path is kept beside it.

use std::fs;
use std::path::{Path, PathBuf};

use super::table::Table;
use crate::error::{DataError, ImageFault, Result};
use crate::fsx::{self, Folder};
use crate::record::Phi;

/// Ends of the names of files that are taken for images in a folder.
const EXTENSIONS: [&str; 3] = ["png", "jpg", "jpeg"];
/// Deepest folder below the one that is listed; deeper ones are refused, since links may go round.
const DEEPEST: usize = 32;

/// One image of a list.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Row of the CSV (1 = first data row), or place in the sorted list of a folder's files.
    pub row: usize,
    /// How the list names it: the field of the CSV, or the path below the folder.
    pub name: Phi<String>,
    /// Where it lies; whether there is a file is for the decoder to say.
    pub path: Result<Phi<PathBuf>, ImageFault>,
}

impl Listed {
    /// What tells it from other images and changes with it. For hashing alone, as a name can hold a patient's id.
    fn state(&self) -> String {
        let file = self.path.as_ref().map(|path| fsx::state(path.expose()));
        format!("{} {} {:?}", self.row, self.name.expose(), file.ok())
    }
}

/// SHA-256 of the images of a list, in order; it changes with any of them.
pub fn fingerprint(listed: &[Listed]) -> String {
    listed.iter().fold(String::new(), |digest, image| fsx::sha256_hex(format!("{digest}{}", image.state()).as_bytes()))
}

/// The images that `column` of a CSV names, one for each row, relative to the folder of the CSV.
///
/// # Errors
/// [`DataError::Io`] where the file cannot be read, [`DataError::Column`] where there is no such column,
/// [`DataError::Rows`] where a row has another number of fields than the header, [`DataError::Empty`] where there is no row.
pub fn csv(file: &Path, column: &str) -> Result<Vec<Listed>> {
    let mut table = Table::read(file)?;
    let position = table.require(column, "--image-column")?;
    table.check()?;
    let beside = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut folder = Folder::new(beside)?;
    let mut listed = Vec::with_capacity(table.rows.len());
    for row in &mut table.rows {
        let name = std::mem::take(&mut row.fields[position]);
        let path = folder.path(name.trim()).map(Phi::new).map_err(ImageFault::from);
        listed.push(Listed { row: row.number, name: Phi::new(name), path });
    }
    if listed.is_empty() {
        let name = file.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        return Err(DataError::Empty { name, what: "the list has no rows: name one row per image" });
    }
    Ok(listed)
}

/// The PNG and JPEG files in a folder and those below it, by their names, in the order of their paths.
///
/// # Errors
/// [`DataError::Io`] where a folder cannot be read, [`DataError::Empty`] where there is no such file.
pub fn folder(root: &Path) -> Result<Vec<Listed>> {
    let mut found = Vec::new();
    walk(root, 0, &mut found)?;
    found.sort();
    if found.is_empty() {
        let what = "it holds no file whose name ends in .png, .jpg or .jpeg";
        return Err(DataError::Empty { name: "the folder of images".to_owned(), what });
    }
    let listed = found.into_iter().zip(1..).map(|(path, row)| {
        let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
        Listed { row, name: Phi::new(name), path: Ok(Phi::new(path)) }
    });
    Ok(listed.collect())
}

fn walk(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<()> {
    let failed = |source| DataError::Io { action: "list", path: folder.to_path_buf(), source };
    if depth > DEEPEST {
        return Err(failed(std::io::Error::other("the folders are too deep")));
    }
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        // Links to folders are not followed: they may lead round or out.
        if entry.file_type().map_err(failed)?.is_dir() {
            walk(&path, depth + 1, found)?;
        } else if path.extension().is_some_and(|end| EXTENSIONS.iter().any(|known| end.eq_ignore_ascii_case(known))) {
            found.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsx::{create_dir_all, write_atomic};

    #[test]
    fn a_folder_lists_its_pictures_in_order() {
        let dir = tempfile::tempdir().unwrap();
        create_dir_all(&dir.path().join("b/c")).unwrap();
        for name in ["b/c/2.PNG", "b/1.jpeg", "z.jpg", "notes.txt", "b/png"] {
            write_atomic(&dir.path().join(name), b"x").unwrap();
        }
        let listed = folder(dir.path()).unwrap();
        let names: Vec<_> = listed.iter().map(|l| (l.row, l.name.expose().as_str())).collect();
        assert_eq!(names, [(1, "b/1.jpeg"), (2, "b/c/2.PNG"), (3, "z.jpg")]);
        assert_eq!(listed[2].path.as_ref().unwrap().expose(), &dir.path().join("z.jpg"));
        assert!(matches!(folder(&dir.path().join("b/c/absent")), Err(DataError::Io { .. })));
        create_dir_all(&dir.path().join("empty")).unwrap();
        assert!(matches!(folder(&dir.path().join("empty")), Err(DataError::Empty { .. })));
    }

    #[test]
    fn a_csv_keeps_every_row_and_what_is_wrong_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("list.csv");
        write_atomic(&file, b"file,age\n a.png ,3\n../b.png,4\n,5\nabsent.png,6\n").unwrap();
        let listed = csv(&file, "file").unwrap();
        let fine: Vec<_> = listed.iter().map(|l| (l.row, l.name.expose().as_str(), l.path.is_ok())).collect();
        assert_eq!(fine, [(1, " a.png ", true), (2, "../b.png", false), (3, "", false), (4, "absent.png", true)]);
        assert_eq!(listed[0].path.as_ref().unwrap().expose(), &dir.path().join("a.png"));
        assert!(matches!(csv(&file, "image_path"), Err(DataError::Column { .. })));
        write_atomic(&file, b"file\n").unwrap();
        assert!(matches!(csv(&file, "file"), Err(DataError::Empty { .. })));
    }
}
