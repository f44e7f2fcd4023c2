//! The wallet that pays for swaps and signs them.
//!
//! The key is in this process ([`LocalWallet`]), or only a signer elsewhere has it ([`RemoteSigner`]). A secret has no
//! `Debug`, is in no error, and is overwritten when it is dropped.

mod file;
mod key;
mod local;
mod remote;

pub use self::file::{FileError, FileRefusal};
pub use self::key::KeyError;
pub use self::local::LocalWallet;
pub use self::remote::{RemoteSigner, RemoteSignerError, RemoteSignerSettings};
