//! What is at the path of a SQLite database, and whether an engine may start on it.

use std::fs::{self, Metadata, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, StatxFlags, access, statx};

use crate::config::SqliteFile;
use crate::runtime::private_file::OWNER_ONLY;
use crate::store::sea::lock::error::LockError;

/// The identity of a file: device and inode.
pub(super) type FileId = (u64, u64);

pub(super) fn id(found: &Metadata) -> FileId {
    (found.dev(), found.ino())
}

/// Whether the error means that no file is at the path.
pub(super) fn is_gone(error: &std::io::Error) -> bool {
    [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind())
}

/// Whether the error means that the user, or the file system for every user, does not allow it.
pub(super) fn is_denied(error: &std::io::Error) -> bool {
    [ErrorKind::PermissionDenied, ErrorKind::ReadOnlyFilesystem].contains(&error.kind())
}

/// Refuses a folder in which SQLite cannot create its log, which is beside the file.
pub(super) fn check_folder(path: &Path) -> Result<(), LockError> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = path.parent().unwrap_or(&path);
    access(folder, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| LockError::Denied {
        path: folder.to_owned(),
        reason: format!("must be writable for this user, because SQLite keeps its log beside the database: {error}"),
    })
}

/// Creates the file if it does not exist, so that there is a file to lock.
pub(super) fn create(path: &Path, database: &SqliteFile) -> Result<(), LockError> {
    let shown = path.display();
    // A symbolic link exists even if its target does not.
    if fs::symlink_metadata(path).is_ok() {
        return match fs::metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(LockError::Setting(format!("{shown} is a symbolic link to a file that does not exist")))
            }
            _ => Ok(()),
        };
    }
    let folder = path.parent().unwrap_or(path);
    if !folder.is_dir() {
        return Err(LockError::Setting(format!("{shown} cannot exist: there is no folder {}", folder.display())));
    }
    if !database.create {
        return Err(LockError::Setting(format!(
            "{shown} does not exist; to create it, write sqlite://{}?mode=rwc",
            database.path.display()
        )));
    }
    // Only as a new file: SQLite may already have a file open that was created meanwhile.
    match OpenOptions::new().write(true).create_new(true).mode(OWNER_ONLY).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) if is_denied(&error) => {
            Err(LockError::Denied { path: path.to_owned(), reason: format!("cannot be created by this user: {error}") })
        }
        Err(error) => Err(LockError::Setting(format!("{shown} cannot be created: {error}"))),
    }
}

/// Whether an engine may start on such a file. The error is the reason against it.
pub(super) fn check_usable(found: &Metadata) -> Result<(), String> {
    if found.is_dir() {
        return Err("is a folder, not a file".to_owned());
    }
    if !found.is_file() {
        return Err("is not a regular file".to_owned());
    }
    match found.nlink() {
        0 => Err("was removed during the start; start again".to_owned()),
        1 => Ok(()),
        // SQLite keeps the log beside the name by which the file was opened, and does not find it by another name.
        links => Err(format!(
            "has {links} names (hard links): the write-ahead log belongs to one of them, and the orders in it are lost \
             under another; remove all names but one (`find -samefile` lists them)"
        )),
    }
}

/// Whether the file itself is a mount point, and not its folder. False if the system does not report it.
pub(super) fn is_mount_point(path: &Path) -> bool {
    let Ok(path) = fs::canonicalize(path) else { return false };
    let mount = |path: &Path| {
        let found = statx(CWD, path, AtFlags::empty(), StatxFlags::MNT_ID).ok()?;
        (found.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(found.stx_mnt_id)
    };
    let folder = path.parent().and_then(mount);
    folder.zip(mount(&path)).is_some_and(|(folder, file)| folder != file)
}
