//! The file with the secret that signs tokens. It is created once, and only its owner may read it.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::auth::random::random_text;
use crate::config::AuthSettings;
use crate::domain::secret::Secret;
use crate::runtime::private_file::{OWNER_ONLY, is_shared};

/// Why the secret in a file cannot be used.
#[derive(Debug, Error)]
#[error("auth.secret_file: {}: {reason}", .path.display())]
pub struct SecretFileError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub reason: String,
}

/// Reads the secret from the file, or creates the file if it does not exist.
pub(super) fn read_or_create(path: &Path) -> Result<Secret, SecretFileError> {
    let wrong = |reason: String| SecretFileError { path: path.to_owned(), reason };
    match File::open(path) {
        Ok(file) => read(file).map_err(wrong),
        Err(error) if error.kind() == ErrorKind::NotFound => create(path).map_err(|error| wrong(error.to_string())),
        Err(error) => Err(wrong(error.to_string())),
    }
}

fn read(mut file: File) -> Result<Secret, String> {
    const MAX_LENGTH: u64 = 4096;
    let found = file.metadata().map_err(|error| error.to_string())?;
    // A user who can read the file can sign tokens.
    if is_shared(&found) {
        let mode = found.permissions().mode();
        return Err(format!("other users have access to it (mode {:o}); run chmod 600", mode & 0o777));
    }
    let mut text = String::new();
    // The error for bytes that are not UTF-8 does not contain them.
    (&mut file).take(MAX_LENGTH).read_to_string(&mut text).map_err(|error| error.to_string())?;
    let text = text.trim();
    if text.len() < AuthSettings::SECRET_BYTES {
        return Err(AuthSettings::short_secret(text.len()));
    }
    Ok(Secret::new(text))
}

/// Creates the file under another name first, so that it is complete or does not exist.
fn create(path: &Path) -> std::io::Result<Secret> {
    let secret = random_text();
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}", uuid::Uuid::new_v4().simple()));
    let written =
        OpenOptions::new().write(true).create_new(true).mode(OWNER_ONLY).open(&temporary).and_then(|mut file| {
            writeln!(file, "{}", secret.expose())?;
            file.sync_all()
        });
    if let Err(error) = written.and_then(|()| fs::rename(&temporary, path)) {
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    tracing::info!(file = %path.display(), "a secret to sign tokens was created");
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_created_once_and_only_its_owner_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("engine.secret");
        let created = read_or_create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read_or_create(&path).unwrap().expose(), created.expose());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn a_file_that_is_short_or_open_to_others_or_not_text_is_refused_with_the_setting() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("engine.secret");
        let refused = |content: &[u8], mode: u32| {
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            read_or_create(&path).unwrap_err().to_string()
        };
        let long = [b'a'; 32];
        for (content, mode, reason) in [
            (&long[..31], 0o600, "at least 32 bytes"),
            (&long[..], 0o640, "chmod 600"),
            (&long[..], 0o604, "chmod 600"),
            (&[0xff; 32][..], 0o600, "UTF-8"),
        ] {
            let error = refused(content, mode);
            assert!(error.starts_with("auth.secret_file: ") && error.contains(reason), "{error}");
            assert!(!error.contains("aaaa"), "{error}");
        }
        let nowhere = folder.path().join("no/such/folder/engine.secret");
        assert!(read_or_create(&nowhere).unwrap_err().to_string().starts_with("auth.secret_file: "));
    }
}
