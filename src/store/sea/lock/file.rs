//! The lock of a SQLite database: an exclusive `flock` on the database file itself.
//!
//! The lock belongs to the file (device and inode) and not to a path, so a symbolic link, a bind mount or another
//! spelling of the path leads to the same lock. On Linux a `flock` is independent of the POSIX locks that SQLite uses.
//!
//! POSIX locks have a trap: when a process closes *any* descriptor of a file, the kernel releases all its POSIX locks
//! on that file, including those of SQLite, and a second writer could enter. Therefore this descriptor is opened before
//! SQLite opens the file and closed after SQLite has closed it, and nothing else in the process opens the file: a table
//! has the locked files, and each path is compared with it by `stat` before anything is opened.
//!
//! `{file}.lock` beside the database names the process. It is locked too, because earlier versions of the engine lock
//! only that file. It may be removed at any time.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use crate::config::SqliteFile;
use crate::runtime::private_file::warn_if_shared;
use crate::store::sea::lock::error::LockError;
use crate::store::sea::lock::flock::{Refusal, lock, lock_companion};
use crate::store::sea::lock::path::{
    FileId, check_folder, check_usable, create, id, is_denied, is_gone, is_mount_point,
};
use crate::store::sea::lock::wal::WriteAheadLog;

/// The database files that are locked by this process.
static LOCKED: Mutex<Option<HashSet<FileId>>> = Mutex::new(None);

/// An exclusive lock on a SQLite file. It is released when it is dropped.
#[derive(Debug)]
pub(in crate::store) struct FileLock {
    path: PathBuf,
    id: FileId,
    file: File,
    // `{file}.lock`; `None` if it could not be created.
    companion: Option<File>,
    // The write-ahead log, while a connection writes.
    log: Mutex<Option<WriteAheadLog>>,
    // Why the files are not those of the database any more. Once set, it stays: what was written meanwhile may be lost.
    lost: OnceLock<String>,
}

impl FileLock {
    /// Locks the database file. The file is created if it does not exist and the URL says so.
    pub(super) fn acquire(database: &SqliteFile) -> Result<Self, LockError> {
        let path = std::path::absolute(&database.path)
            .map_err(|error| LockError::Setting(format!("{}: {error}", database.path.display())))?;
        create(&path, database)?;
        let wrong = |reason: String| LockError::Setting(format!("{} {reason}", path.display()));
        let denied = |reason: String| LockError::Denied { path: path.clone(), reason };
        let held = |holder: String| LockError::Held { holder, what: format!("{path:?}") };
        // The table is locked until the file is in it, so that no other thread of this process opens the file
        // meanwhile.
        let mut locked = LOCKED.lock().unwrap_or_else(PoisonError::into_inner);
        let locked = locked.get_or_insert_default();
        let seen = fs::metadata(&path).map_err(|error| wrong(format!("cannot be used: {error}")))?;
        check_usable(&seen).map_err(wrong)?;
        if is_mount_point(&path) {
            return Err(wrong(
                "is mounted as a single file: its write-ahead log would be outside the mount, and the orders in it \
                 are lost when that place is removed; mount its folder instead"
                    .to_owned(),
            ));
        }
        if locked.contains(&id(&seen)) {
            return Err(held(format!("process {} (this one)", std::process::id())));
        }
        let file = OpenOptions::new().read(true).write(true).open(&path);
        let file = file.map_err(|error| match is_denied(&error) {
            true => denied(format!("cannot be written by this user: {error}")),
            false => wrong(format!("cannot be opened for writing: {error}")),
        })?;
        check_folder(&path)?;
        let opened = file.metadata().map_err(|error| wrong(format!("cannot be used: {error}")))?;
        if id(&opened) != id(&seen) {
            return Err(wrong("was replaced by another file during the start; start again".to_owned()));
        }
        lock(&file, &opened).map_err(|refusal| match refusal {
            Refusal::HeldBy(holder) => held(holder),
            Refusal::Impossible(error) => {
                denied(format!("cannot be locked: {error}; keep the database on a local file system"))
            }
        })?;
        // Checked again under the lock: the file may have been linked or removed meanwhile.
        let opened = file.metadata().map_err(|error| wrong(format!("cannot be used: {error}")))?;
        check_usable(&opened).map_err(wrong)?;
        warn_if_shared(&path, &opened);
        let companion = lock_companion(&path).map_err(held)?;
        locked.insert(id(&opened));
        Ok(Self { path, id: id(&opened), file, companion, log: Mutex::default(), lost: OnceLock::new() })
    }

    /// Whether the path leads to this file.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|found| id(&found) == self.id)
    }

    /// Checks that the database and its write-ahead log are still the locked ones. The error is the cause.
    ///
    /// It is called after a commit and before its answer: what is written into a removed file is lost.
    pub(in crate::store) fn check(&self) -> Result<(), String> {
        match self.lost.get() {
            Some(cause) => Err(cause.clone()),
            None => self.inspect().map_err(|cause| self.lost.get_or_init(|| cause).clone()),
        }
    }

    /// The cause that an earlier [`FileLock::check`] has found.
    pub(in crate::store) fn lost(&self) -> Option<&str> {
        self.lost.get().map(String::as_str)
    }

    /// Watches the write-ahead log from now on. A connection has just written to it, so it exists.
    pub(in crate::store) fn watch_log(&self) {
        let mut log = self.log();
        if log.is_none() {
            *log = WriteAheadLog::open(&self.log_path()).ok();
        }
    }

    /// Stops watching the log. Called before the writing connection is closed: SQLite removes the log when the last
    /// connection is closed.
    pub(in crate::store) fn forget_log(&self) {
        *self.log() = None;
    }

    fn inspect(&self) -> Result<(), String> {
        let path = self.path.display();
        match fs::metadata(&self.path) {
            Ok(found) if id(&found) != self.id => {
                return Err(format!("the database file {path} was replaced by another file while the engine used it"));
            }
            Ok(found) if found.len() == 0 && self.log().is_some() => {
                return Err(format!("the database file {path} was emptied while the engine used it"));
            }
            Err(error) if is_gone(&error) => {
                return Err(format!("the database file {path} was removed or renamed while the engine used it"));
            }
            // The file is there. Or its state is not known, which is not an error of the database.
            Ok(_) | Err(_) => {}
        }
        match &mut *self.log() {
            Some(log) => log.check(&self.log_path()),
            None => Ok(()),
        }
    }

    fn log(&self) -> MutexGuard<'_, Option<WriteAheadLog>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The path of the log. SQLite keeps it beside the file, after it has followed symbolic links.
    fn log_path(&self) -> PathBuf {
        let mut path = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone()).into_os_string();
        path.push("-wal");
        path.into()
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // Unlocked explicitly: a child process that is being started shares the descriptor for a moment, so closing it
        // here does not release the lock yet.
        let _ = self.file.unlock();
        if let Some(companion) = &self.companion {
            let _ = companion.unlock();
        }
        let mut locked = LOCKED.lock().unwrap_or_else(PoisonError::into_inner);
        locked.get_or_insert_default().remove(&self.id);
    }
}

/// Resolves with the cause once the database is not the locked one any more; `None` once the lock was released.
pub(super) async fn replaced(lock: Weak<FileLock>) -> Option<String> {
    const INTERVAL: Duration = Duration::from_secs(1);
    loop {
        let lock = lock.upgrade()?;
        // On a thread for blocking work: a file system can hang.
        if let Ok(Err(cause)) = tokio::task::spawn_blocking(move || lock.check()).await {
            return Some(cause);
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn database(path: &Path) -> SqliteFile {
        SqliteFile { path: path.to_owned(), create: true }
    }

    #[track_caller]
    fn refusal(path: &Path) -> String {
        FileLock::acquire(&database(path)).expect_err("it is refused").to_string()
    }

    #[test]
    fn another_name_of_the_same_file_does_not_let_a_second_engine_of_the_same_process_in() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("orders.db");
        let first = FileLock::acquire(&database(&path)).unwrap();
        symlink(&path, folder.path().join("link.db")).unwrap();
        symlink(folder.path(), folder.path().join("folder")).unwrap();
        let this = format!("process {}", std::process::id());
        for other in ["link.db", "./orders.db", "folder/orders.db", "folder/folder/link.db"] {
            let refusal = refusal(&folder.path().join(other));
            assert!(refusal.contains(&this), "{other}: {refusal}");
        }
        drop(first);
        FileLock::acquire(&database(&folder.path().join("link.db"))).unwrap();
    }

    #[test]
    fn a_removed_lock_file_does_not_let_a_second_engine_of_the_same_process_in() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("orders.db");
        let _first = FileLock::acquire(&database(&path)).unwrap();
        fs::remove_file(folder.path().join("orders.db.lock")).unwrap();
        assert!(refusal(&path).contains("another engine uses this database"));
    }

    #[test]
    fn an_engine_that_locks_only_the_lock_file_keeps_a_newer_one_out() {
        let folder = tempfile::tempdir().unwrap();
        let old = File::create(folder.path().join("orders.db.lock")).unwrap();
        old.lock().unwrap();
        let refusal = refusal(&folder.path().join("orders.db"));
        assert!(refusal.contains(&format!("process {}", std::process::id())), "{refusal}");
    }

    #[test]
    fn a_path_that_cannot_be_a_database_is_refused_before_it_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("folder.db")).unwrap();
        symlink(path("nowhere"), path("dangling.db")).unwrap();
        fs::write(path("linked.db"), "").unwrap();
        fs::hard_link(path("linked.db"), path("other.db")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(path("socket.db")).unwrap();
        for (name, reason) in [
            ("folder.db", "is a folder"),
            ("dangling.db", "symbolic link"),
            ("linked.db", "2 names"),
            ("socket.db", "not a regular file"),
            ("missing/orders.db", "no folder"),
        ] {
            let refusal = refusal(&path(name));
            assert!(refusal.contains(reason), "{name}: {refusal}");
        }
        let missing = SqliteFile { path: path("new.db"), create: false };
        let refusal = FileLock::acquire(&missing).expect_err("it is refused").to_string();
        assert!(refusal.contains("does not exist") && refusal.contains("new.db?mode=rwc"), "{refusal}");
        assert!(!path("new.db").exists());
    }

    #[tokio::test(start_paused = true)]
    async fn a_database_file_that_is_renamed_or_replaced_is_noticed() {
        for is_replaced in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("orders.db");
            let lock = std::sync::Arc::new(FileLock::acquire(&database(&path)).unwrap());
            fs::rename(&path, folder.path().join("moved.db")).unwrap();
            if is_replaced {
                fs::write(&path, "").unwrap();
            }
            let cause = replaced(std::sync::Arc::downgrade(&lock)).await.unwrap();
            assert!(cause.contains(if is_replaced { "replaced" } else { "removed or renamed" }), "{cause}");
            // The cause stays after the file is back: what was written meanwhile may be elsewhere.
            fs::rename(folder.path().join("moved.db"), &path).unwrap();
            assert_eq!(lock.check(), Err(cause));
        }
        let folder = tempfile::tempdir().unwrap();
        let lock = std::sync::Arc::new(FileLock::acquire(&database(&folder.path().join("orders.db"))).unwrap());
        let watched = tokio::spawn(replaced(std::sync::Arc::downgrade(&lock)));
        drop(lock);
        assert_eq!(watched.await.unwrap(), None);
    }
}
