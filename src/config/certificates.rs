//! The files of TLS, in PEM form. They are read and checked at the start, so that a wrong one does not show up at a
//! reconnect.

use std::fmt;
use std::io;
use std::path::Path;

use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::config::sources::text_of;

/// The certificate of this engine and its key, as PEM. `Debug` hides them.
#[derive(Clone)]
pub struct ClientCertificate {
    /// The certificate, followed by those of its authorities if there are any.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The certificates of authorities in a file, as PEM. The error names the file.
pub(super) fn authorities(path: &Path) -> Result<String, String> {
    let pem = read(path)?;
    let mut accepted = RootCertStore::empty();
    for (number, certificate) in (1..).zip(certificates(path, &pem)?) {
        accepted.add(certificate).map_err(|_| format!("{path:?}: certificate {number} in it is damaged"))?;
    }
    Ok(pem)
}

/// A certificate and its key in two files. The error names the file.
pub(super) fn client_certificate(certificate: &Path, key: &Path) -> Result<ClientCertificate, String> {
    let (certificate_pem, key_pem) = (read(certificate)?, read(key)?);
    let chain = certificates(certificate, &certificate_pem)?;
    let parsed = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())
        .map_err(|_| format!("{key:?} has no unencrypted private key in PEM form"))?;
    CertifiedKey::from_der(chain, parsed, &ring::default_provider())
        .map_err(|_| format!("{key:?} is not the key of the certificate in {certificate:?}"))?;
    Ok(ClientCertificate { certificate: certificate_pem, key: key_pem })
}

fn read(path: &Path) -> Result<String, String> {
    match text_of(path) {
        Ok(text) if text.trim().is_empty() => Err(format!("{path:?} is empty")),
        Ok(text) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(format!("{path:?} is not in PEM form")),
        Err(error) => Err(format!("cannot read {path:?}: {error}")),
    }
}

fn certificates(path: &Path, pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(format!("{path:?} has no certificate in PEM form")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_without_a_usable_certificate_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(path("good.pem"), made.cert.pem()).unwrap();
        fs::write(path("key.pem"), made.signing_key.serialize_pem()).unwrap();
        fs::write(path("other-key.pem"), other.signing_key.serialize_pem()).unwrap();
        fs::write(path("empty.pem"), "\n").unwrap();
        fs::write(path("der.pem"), made.cert.der()).unwrap();
        fs::write(path("text.pem"), "no certificate").unwrap();
        fs::write(path("cut.pem"), &made.cert.pem()[..200]).unwrap();
        let damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        fs::write(path("damaged.pem"), made.cert.pem() + damaged).unwrap();
        fs::create_dir(path("folder.pem")).unwrap();

        assert_eq!(authorities(&path("good.pem")), Ok(made.cert.pem()));
        for (name, reason) in [
            ("missing.pem", "No such file"),
            ("folder.pem", "not a regular file"),
            ("empty.pem", "is empty"),
            ("der.pem", "is not in PEM form"),
            ("text.pem", "no certificate in PEM form"),
            ("cut.pem", "no certificate in PEM form"),
            ("key.pem", "no certificate in PEM form"),
            ("damaged.pem", "certificate 2 in it is damaged"),
        ] {
            let error = authorities(&path(name)).unwrap_err();
            assert!(error.contains(reason) && error.contains(name), "{name}: {error}");
        }
        let pair = client_certificate(&path("good.pem"), &path("key.pem")).unwrap();
        assert_eq!(format!("{pair:?}"), "***");
        for (key, reason) in [
            ("other-key.pem", "is not the key of the certificate"),
            ("good.pem", "no unencrypted private key"),
            ("missing.pem", "No such file"),
        ] {
            let error = client_certificate(&path("good.pem"), &path(key)).unwrap_err();
            assert!(error.contains(reason) && error.contains(key), "{key}: {error}");
        }
    }
}
