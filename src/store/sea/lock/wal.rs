//! Detects that another program removed, replaced or cut the write-ahead log of a SQLite database.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::store::sea::lock::path::{FileId, id, is_gone};

/// The write-ahead log as it was last seen. It is part of the database: a commit is in the log before it is in the
/// file.
#[derive(Debug)]
pub(super) struct WriteAheadLog {
    // SQLite has no locks on this file, so it may be opened and closed here.
    file: File,
    id: FileId,
    header: [u8; WriteAheadLog::HEADER],
    size: u64,
}

impl WriteAheadLog {
    const HEADER: usize = 32;
    /// The first bytes of a write-ahead log, for both byte orders of its checksums;
    /// <https://www.sqlite.org/fileformat2.html>.
    const MAGIC: [[u8; 4]; 2] = [[0x37, 0x7f, 0x06, 0x82], [0x37, 0x7f, 0x06, 0x83]];

    pub(super) fn open(path: &Path) -> std::io::Result<Self> {
        let file = File::open(path)?;
        let id = id(&file.metadata()?);
        Ok(Self { file, id, header: [0; Self::HEADER], size: 0 })
    }

    /// Compares the log with its last state. The error says what another program has changed.
    pub(super) fn check(&mut self, path: &Path) -> Result<(), String> {
        let shown = path.display();
        match fs::metadata(path) {
            Ok(found) if id(&found) == self.id => {}
            Ok(_) => return Err(format!("{shown} was replaced by another file while the engine used it")),
            Err(error) if is_gone(&error) => {
                return Err(format!("{shown} was removed or renamed while the engine used it"));
            }
            // The state of the file is not known, which is not an error of the database.
            Err(_) => return Ok(()),
        }
        let Ok(size) = self.file.metadata().map(|found| found.len()) else { return Ok(()) };
        let mut header = [0; Self::HEADER];
        if self.file.read_exact_at(&mut header, 0).is_err() {
            // Empty: another process moved its content into the database, as SQLite's TRUNCATE checkpoint does.
            return Ok(());
        }
        // A checkpoint that restarts the log changes its header, so the same header with a smaller size is a cut.
        let is_cut = header == self.header && size < self.size;
        if is_cut || !Self::MAGIC.iter().any(|magic| header.starts_with(magic)) {
            return Err(format!("{shown} was cut off while the engine used it"));
        }
        (self.header, self.size) = (header, size);
        Ok(())
    }
}
