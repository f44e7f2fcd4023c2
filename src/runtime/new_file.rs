//! A file that gets its name only once it is complete.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

/// Only the owner may read and write.
const MODE: u32 = 0o600;

/// A file that is being written under the name `{path}.partial`, which only its owner may read. After a crash the name
/// of the file does not exist, and the next attempt replaces the part.
#[derive(Debug)]
pub struct NewFile {
    path: PathBuf,
    partial: PathBuf,
    // Locked, so that two processes do not write the same file.
    file: File,
}

impl NewFile {
    /// Begins a file. Refused if something has its name already, or if another process is writing it.
    pub fn begin(path: &Path) -> io::Result<Self> {
        if fs::symlink_metadata(path).is_ok() {
            return Err(exists());
        }
        let partial = beside(path, ".partial");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(MODE).open(&partial)?;
        file.try_lock().map_err(|_| io::Error::new(ErrorKind::ResourceBusy, "another process is writing it"))?;
        // The other process may have finished the file after it was opened here: then this is not a part any more.
        let (opened, named) = (file.metadata()?, fs::symlink_metadata(&partial));
        if named.map(|named| (named.dev(), named.ino())).ok() != Some((opened.dev(), opened.ino())) {
            return Err(exists());
        }
        file.set_permissions(Permissions::from_mode(MODE))?;
        file.set_len(0)?;
        Ok(Self { path: path.to_owned(), partial, file })
    }

    /// The name until the file is complete.
    pub fn partial(&self) -> &Path {
        &self.partial
    }

    /// The open file.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Gives the file its name. It is on the disk when this returns.
    pub fn publish(self) -> io::Result<()> {
        self.file.sync_all()?;
        renameat_with(CWD, &self.partial, CWD, &self.path, RenameFlags::NOREPLACE).map_err(|error| match error {
            rustix::io::Errno::EXIST => exists(),
            error => error.into(),
        })?;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // After `publish` it has another name, and this fails.
        let _ = fs::remove_file(&self.partial);
    }
}

/// The path with something appended to its last part.
pub fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn exists() -> io::Error {
    io::Error::new(ErrorKind::AlreadyExists, "it exists already, and is not overwritten")
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn write(path: &Path, text: &str) -> io::Result<()> {
        let mut new = NewFile::begin(path)?;
        new.file().write_all(text.as_bytes())?;
        new.publish()
    }

    #[test]
    fn a_file_is_complete_or_does_not_exist_and_only_its_owner_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("copy");
        // The rest of an interrupted attempt.
        fs::write(folder.path().join("copy.partial"), "an earlier attempt, which was longer").unwrap();
        let mut new = NewFile::begin(&path).unwrap();
        new.file().write_all(b"whole").unwrap();
        assert!(!path.exists());
        new.publish().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole");
        drop(NewFile::begin(&folder.path().join("given up")).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no part is left");
        write(&folder.path().join("other"), "").unwrap();
        assert_eq!(fs::metadata(folder.path().join("other")).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn an_existing_file_is_not_overwritten_also_if_it_appears_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("copy");
        let new = NewFile::begin(&path).unwrap();
        assert_eq!(NewFile::begin(&path).unwrap_err().kind(), ErrorKind::ResourceBusy);
        fs::write(&path, "another").unwrap();
        assert_eq!(new.publish().unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(write(&path, "new").unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "another");
    }
}
