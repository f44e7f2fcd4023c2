//! Files that only the user of the engine may read and write.

use std::fs::Metadata;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The mode with which such a file is created. The umask can only take permissions away.
pub(crate) const OWNER_ONLY: u32 = 0o600;

/// Whether other users have access to a file.
pub(crate) fn is_shared(found: &Metadata) -> bool {
    found.permissions().mode() & 0o077 != 0
}

/// Warns if other users have access to a file. The mode is left as it is: the operator may have set it on purpose, for
/// example for a backup.
pub(crate) fn warn_if_shared(path: &Path, found: &Metadata) {
    if is_shared(found) {
        let mode = format!("{:o}", found.permissions().mode() & 0o777);
        tracing::warn!(file = %path.display(), mode, "other users have access to this file; chmod 600 takes it away");
    }
}
