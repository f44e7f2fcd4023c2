//! The lock of a SQLite database: an exclusive `flock` on the database file itself.
//!
//! It is bound to the file (device and inode) and not to a path, so a symbolic link, a bind mount or another spelling of
//! the path leads to the same lock. On Linux a `flock` and the POSIX locks that SQLite uses do not see each other.
//!
//! A POSIX lock has a trap: when a process closes *any* descriptor of a file, all its POSIX locks on that file are gone,
//! SQLite's included, and two writers could get in. So this descriptor is opened before SQLite opens the file and closed
//! after SQLite has closed it, and nothing else in the process opens the file: a table of the locked files is asked by
//! `stat`, before anything is opened.
//!
//! Beside the database, `{file}.lock` names the process. It is locked too, because earlier engines lock nothing
//! else; it may be removed at any time.

use std::collections::HashSet;
use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{ErrorKind, Seek, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

use crate::config::SqliteFile;
use crate::store::lock::LockError;

/// What makes a file this file: device and inode.
type FileId = (u64, u64);

/// The database files that are locked by this process.
static LOCKED: Mutex<Option<HashSet<FileId>>> = Mutex::new(None);

/// An exclusive lock on a SQLite file; given back when it is dropped.
#[derive(Debug)]
pub(in crate::store) struct FileLock {
    path: PathBuf,
    id: FileId,
    file: File,
    // Held for earlier engines; there is none where the folder takes no more files.
    note: Option<File>,
    // While a connection writes: its write-ahead log.
    log: Mutex<Option<Log>>,
    // Why the files are no longer those of the database, once that was found out: there is no way back.
    lost: OnceLock<String>,
}

/// The write-ahead log as it was seen last. It belongs to the database: commits are in it before they are in the file.
#[derive(Debug)]
struct Log {
    // SQLite takes no locks on this file, so it may be opened and closed.
    file: File,
    id: FileId,
    header: [u8; Log::HEADER],
    size: u64,
}

impl Log {
    const HEADER: usize = 32;
    /// How a write-ahead log begins, whatever the byte order of its checksums; <https://www.sqlite.org/fileformat2.html>.
    const MAGIC: [[u8; 4]; 2] = [[0x37, 0x7f, 0x06, 0x82], [0x37, 0x7f, 0x06, 0x83]];

    fn open(path: &Path) -> std::io::Result<Self> {
        let file = File::open(path)?;
        let id = id(&file.metadata()?);
        Ok(Self { file, id, header: [0; Self::HEADER], size: 0 })
    }

    /// Compares the log with what was seen last; the error says what another program has changed.
    fn look(&mut self, path: &Path) -> Result<(), String> {
        let shown = path.display();
        match fs::metadata(path) {
            Ok(found) if id(&found) == self.id => {}
            Ok(_) => return Err(format!("{shown} was replaced by another file while the engine used it")),
            Err(error) if is_gone(&error) => {
                return Err(format!("{shown} was removed or renamed while the engine used it"));
            }
            // Nobody can say just now, and then nothing follows.
            Err(_) => return Ok(()),
        }
        let Ok(size) = self.file.metadata().map(|found| found.len()) else { return Ok(()) };
        let mut header = [0; Self::HEADER];
        if self.file.read_exact_at(&mut header, 0).is_err() {
            // Empty: another process has moved all of it into the database, as SQLite's TRUNCATE checkpoint does.
            return Ok(());
        }
        let is_cut = header == self.header && size < self.size;
        if is_cut || !Self::MAGIC.iter().any(|magic| header.starts_with(magic)) {
            return Err(format!("{shown} was cut off while the engine used it"));
        }
        (self.header, self.size) = (header, size);
        Ok(())
    }
}

impl FileLock {
    /// Locks the database file, which is created where it does not exist and the URL says so.
    pub(super) fn acquire(database: &SqliteFile) -> Result<Self, LockError> {
        let path = std::path::absolute(&database.path)
            .map_err(|error| LockError::Setting(format!("{}: {error}", database.path.display())))?;
        create(&path, database)?;
        let wrong = |reason: String| LockError::Setting(format!("{} {reason}", path.display()));
        let held = |holder: String| LockError::Held { holder, what: format!("{path:?}") };
        // Until the file is in the table nobody else of this process may get as far as opening it.
        let mut locked = LOCKED.lock().unwrap_or_else(PoisonError::into_inner);
        let locked = locked.get_or_insert_default();
        let seen = fs::metadata(&path).map_err(|error| wrong(format!("cannot be used: {error}")))?;
        usable(&seen).map_err(wrong)?;
        if is_mount_point(&path) {
            return Err(wrong(
                "is mounted as a single file: its write-ahead log would stay beside the mount, and the orders in it are \
                 lost when that goes; mount its folder instead"
                    .to_owned(),
            ));
        }
        if locked.contains(&id(&seen)) {
            return Err(held(format!("process {} (this one)", std::process::id())));
        }
        let file = OpenOptions::new().read(true).write(true).open(&path);
        let file = file.map_err(|error| wrong(format!("cannot be opened for writing: {error}")))?;
        let opened = file.metadata().map_err(|error| wrong(format!("cannot be used: {error}")))?;
        if id(&opened) != id(&seen) {
            return Err(wrong("was replaced by another file just now; start again".to_owned()));
        }
        lock(&file, &opened).map_err(held)?;
        // Looked at again under the lock: a file that was linked or removed meanwhile is no database to start on.
        let opened = file.metadata().map_err(|error| wrong(format!("cannot be used: {error}")))?;
        usable(&opened).map_err(wrong)?;
        let note = note(&path).map_err(held)?;
        locked.insert(id(&opened));
        Ok(Self { path, id: id(&opened), file, note, log: Mutex::default(), lost: OnceLock::new() })
    }

    /// Whether that path leads to this file.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|found| id(&found) == self.id)
    }
}

impl FileLock {
    /// Whether the database is still the one that was locked, its write-ahead log included; if not, the cause.
    ///
    /// Asked after a commit, before anybody is told of it: what is written into a file that was removed is lost.
    pub(in crate::store) fn check(&self) -> Result<(), String> {
        match self.lost.get() {
            Some(cause) => Err(cause.clone()),
            None => self.look().map_err(|cause| self.lost.get_or_init(|| cause).clone()),
        }
    }

    /// The cause that [`FileLock::check`] has found, if it has.
    pub(in crate::store) fn lost(&self) -> Option<&str> {
        self.lost.get().map(String::as_str)
    }

    fn look(&self) -> Result<(), String> {
        let path = self.path.display();
        match fs::metadata(&self.path) {
            Ok(found) if id(&found) != self.id => {
                return Err(format!("the database file {path} was replaced by another file while the engine used it"));
            }
            Ok(found) if found.len() == 0 && self.has_log() => {
                return Err(format!("the database file {path} was emptied while the engine used it"));
            }
            Err(error) if is_gone(&error) => {
                return Err(format!("the database file {path} was removed or renamed while the engine used it"));
            }
            // It is there; or nobody can say just now, and then nothing follows.
            Ok(_) | Err(_) => {}
        }
        match &mut *self.log() {
            Some(log) => log.look(&self.log_path()),
            None => Ok(()),
        }
    }

    /// Watches the write-ahead log from here on: a connection has just written to it.
    pub(in crate::store) fn watch_log(&self) {
        let mut log = self.log();
        if log.is_none() {
            *log = Log::open(&self.log_path()).ok();
        }
    }

    /// The writing connection is about to be closed. SQLite removes the log when the last connection is.
    pub(in crate::store) fn forget_log(&self) {
        *self.log() = None;
    }

    fn has_log(&self) -> bool {
        self.log().is_some()
    }

    fn log(&self) -> MutexGuard<'_, Option<Log>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// SQLite keeps it beside the file, and follows symbolic links to find where that is.
    fn log_path(&self) -> PathBuf {
        let mut path = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone()).into_os_string();
        path.push("-wal");
        path.into()
    }
}

fn is_gone(error: &std::io::Error) -> bool {
    [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind())
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // Said, and not left to the close: a child process that is being started shares the descriptor for a moment.
        let _ = self.file.unlock();
        if let Some(note) = &self.note {
            let _ = note.unlock();
        }
        let mut locked = LOCKED.lock().unwrap_or_else(PoisonError::into_inner);
        locked.get_or_insert_default().remove(&self.id);
    }
}

/// Resolves with the cause once the database is no longer the one that was locked; `None` once the lock was given back.
pub(super) async fn replaced(lock: Weak<FileLock>) -> Option<String> {
    const LOOK: Duration = Duration::from_secs(1);
    loop {
        let lock = lock.upgrade()?;
        // On a thread of its own, for a file system can hang.
        if let Ok(Err(cause)) = tokio::task::spawn_blocking(move || lock.check()).await {
            return Some(cause);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Creates the file where it does not exist, so that there is something to lock.
fn create(path: &Path, database: &SqliteFile) -> Result<(), LockError> {
    let shown = path.display();
    // A link that leads nowhere is there, though its target is not.
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
        return Err(LockError::Setting(format!("{shown} cannot be: there is no folder {}", folder.display())));
    }
    if !database.create {
        return Err(LockError::Setting(format!(
            "{shown} does not exist; to have it created write sqlite://{}?mode=rwc",
            database.path.display()
        )));
    }
    // Only as a new file: one that somebody has created meanwhile may be open already. Readable as SQLite makes it.
    match OpenOptions::new().write(true).create_new(true).mode(0o644).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(LockError::Setting(format!("{shown} cannot be created: {error}"))),
    }
}

/// Whether an engine may start on a file like that; if not, why.
fn usable(found: &Metadata) -> Result<(), String> {
    if found.is_dir() {
        return Err("is a folder, not a file".to_owned());
    }
    if !found.is_file() {
        return Err("is no regular file".to_owned());
    }
    match found.nlink() {
        0 => Err("was removed just now; start again".to_owned()),
        1 => Ok(()),
        // SQLite keeps its journal beside the name by which it was opened, so under another name it is not found.
        links => Err(format!(
            "has {links} names (hard links): a write-ahead log belongs to one of them, and under another the orders in \
             it are lost; remove all names but one, `find -samefile` lists them"
        )),
    }
}

/// Whether the file is mounted by itself, and not its folder. Where nobody can say it counts as not.
fn is_mount_point(path: &Path) -> bool {
    let Ok(path) = fs::canonicalize(path) else { return false };
    let mount = |path: &Path| {
        let found = statx(CWD, path, AtFlags::empty(), StatxFlags::MNT_ID).ok()?;
        (found.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(found.stx_mnt_id)
    };
    let folder = path.parent().and_then(mount);
    folder.zip(mount(&path)).is_some_and(|(folder, file)| folder != file)
}

fn id(found: &Metadata) -> FileId {
    (found.dev(), found.ino())
}

/// Locks an opened file, or says who has it locked.
fn lock(file: &File, found: &Metadata) -> Result<(), String> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(holder(found)),
        Err(TryLockError::Error(error)) => Err(format!("nobody can say who ({error})")),
    }
}

/// Locks `{file}.lock` and writes this process's number into it. Not being able to is no reason not to start: the lock
/// is on the database.
fn note(database: &Path) -> Result<Option<File>, String> {
    let mut path = fs::canonicalize(database).unwrap_or_else(|_| database.to_owned()).into_os_string();
    path.push(".lock");
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
    let Ok(mut note) = opened else { return Ok(None) };
    let Ok(found) = note.metadata() else { return Ok(None) };
    lock(&note, &found)?;
    let written = note.set_len(0).and_then(|()| note.rewind());
    if let Err(error) = written.and_then(|()| writeln!(note, "process {}", std::process::id())) {
        tracing::warn!(%error, "the lock file does not name this process");
    }
    Ok(Some(note))
}

/// Who has the file locked, from the kernel's own list. Another container's processes are not in it.
fn holder(found: &Metadata) -> String {
    let list = fs::read_to_string("/proc/locks").unwrap_or_default();
    match list.lines().find_map(|line| holder_in(line, found.ino())) {
        Some(process) => format!("process {process}"),
        None => "another process, which cannot be seen from here,".to_owned(),
    }
}

/// The process of a line such as `3: FLOCK  ADVISORY  WRITE 1234 fe:01:5678 0 EOF`, if it is about that inode. The device
/// is not compared: on some file systems the kernel writes another one here than `stat` gives.
fn holder_in(line: &str, inode: u64) -> Option<u32> {
    let words: Vec<_> = line.split_whitespace().collect();
    let [_, "FLOCK", _, _, process, file, ..] = words.as_slice() else { return None };
    (file.rsplit(':').next()?.parse() == Ok(inode)).then(|| process.parse().ok())?
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
    fn what_cannot_be_a_database_is_refused_before_it_is_opened() {
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
            ("socket.db", "no regular file"),
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
            // There is no way back: what was written meanwhile is somewhere else.
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
