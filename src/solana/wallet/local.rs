//! A wallet whose key is in this process.

use std::path::Path;

use async_trait::async_trait;
use ed25519_dalek::{Signer as _, SigningKey};

use super::file::{self, FileError};
use super::key::{self, KeyError};
use crate::domain::swap::{PublicKey, Signature};
use crate::signer::{SignError, Signer};

/// Signs with a key in memory. It has no `Debug`, because the key is a secret; the key is overwritten when it is dropped.
pub struct LocalWallet {
    key: SigningKey,
    public_key: PublicKey,
}

impl LocalWallet {
    /// The wallet in a keypair file of the Solana CLI, which only the user of the engine may read.
    pub fn from_file(path: &Path) -> Result<Self, FileError> {
        let wallet = file::read(path).and_then(|text| Ok(Self::from_text(&text)?));
        wallet.map_err(|refusal| FileError { path: path.to_owned(), refusal })
    }

    /// The wallet of a keypair as text: the array of the Solana CLI, or the base58 that browser wallets export.
    pub fn from_text(text: &str) -> Result<Self, KeyError> {
        let key = key::parse(text)?;
        let public_key = PublicKey::from_bytes(&key.verifying_key().to_bytes()).map_err(|_| KeyError::Halves)?;
        Ok(Self { key, public_key })
    }
}

#[async_trait]
impl Signer for LocalWallet {
    fn public_key(&self) -> PublicKey {
        self.public_key
    }

    async fn sign(&self, message: &[u8]) -> Result<Signature, SignError> {
        Ok(Signature(self.key.sign(message).to_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::PathBuf;

    use tempfile::TempDir;

    use super::*;
    use crate::solana::wallet::FileRefusal;
    use crate::solana::wallet::key::tests::keypair_text;

    fn file(content: impl AsRef<[u8]>, mode: u32) -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("id.json");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (folder, path)
    }

    fn refusal(path: &Path) -> FileRefusal {
        let Err(error) = LocalWallet::from_file(path) else { panic!("the file is accepted") };
        let text = error.to_string();
        assert!(text.contains(path.to_str().unwrap()), "{text}");
        assert!(!text.contains("7,7"), "{text}");
        error.refusal
    }

    #[tokio::test]
    async fn a_wallet_signs_with_the_key_of_its_file() {
        let (_folder, path) = file(keypair_text(), 0o600);
        let wallet = LocalWallet::from_file(&path).unwrap();
        let signature = wallet.sign(b"message").await.unwrap();
        assert!(wallet.public_key().verifies(b"message", signature));
        let same = LocalWallet::from_text(&keypair_text()).unwrap();
        assert_eq!(wallet.public_key(), same.public_key());
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_also_behind_a_link() {
        for mode in [0o640, 0o604, 0o660, 0o644] {
            let (folder, path) = file(keypair_text(), mode);
            assert!(matches!(refusal(&path), FileRefusal::OpenToOthers(found) if found == mode));
            let link = folder.path().join("link");
            symlink(&path, &link).unwrap();
            assert!(matches!(refusal(&link), FileRefusal::OpenToOthers(found) if found == mode));
        }
        // A link to a private file is how secrets are mounted into containers.
        let (folder, path) = file(keypair_text(), 0o400);
        let link = folder.path().join("link");
        symlink(&path, &link).unwrap();
        assert!(LocalWallet::from_file(&link).is_ok());
    }

    #[test]
    fn what_is_not_a_short_file_with_a_keypair_is_refused() {
        let (folder, path) = file(" ".repeat(1025), 0o600);
        assert!(matches!(refusal(&path), FileRefusal::TooLong));
        assert!(matches!(refusal(folder.path()), FileRefusal::NotAFile | FileRefusal::OpenToOthers(_)));
        assert!(matches!(refusal(&folder.path().join("absent")), FileRefusal::Unreadable(_)));
        let (_folder, path) = file([0xff; 64], 0o600);
        assert!(matches!(refusal(&path), FileRefusal::Unreadable(_)));
        let (_folder, path) = file("[7,7,7]", 0o600);
        assert!(matches!(refusal(&path), FileRefusal::Key(KeyError::Format)));
    }

    #[test]
    fn a_pipe_is_refused_and_does_not_block() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").args(["-m", "600"]).arg(&pipe).status().unwrap();
        assert!(made.success());
        assert!(matches!(refusal(&pipe), FileRefusal::NotAFile));
    }
}
