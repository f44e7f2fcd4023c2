//! How a connection to PostgreSQL is encrypted: the parameters of its URL that begin with `ssl`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use crate::config::certificates;

/// Whether a connection to PostgreSQL is encrypted, and what is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMode {
    /// Never encrypted.
    Disable,
    /// Encrypted if the server offers it. Nothing is checked, so an attacker on the network can still read it.
    Prefer,
    /// Always encrypted. The certificate is not checked.
    Require,
    /// The certificate must be signed by a trusted authority.
    VerifyCa,
    /// The certificate must also be for the host of the URL.
    VerifyFull,
}

impl FromStr for TlsMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "disable" => Ok(Self::Disable),
            "prefer" => Ok(Self::Prefer),
            "require" => Ok(Self::Require),
            "verify-ca" => Ok(Self::VerifyCa),
            "verify-full" => Ok(Self::VerifyFull),
            // The driver would never encrypt.
            "allow" => Err("sslmode=allow is not supported: write sslmode=prefer".to_owned()),
            _ => Err("sslmode must be disable, prefer, require, verify-ca or verify-full".to_owned()),
        }
    }
}

/// How a connection to PostgreSQL is encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresTls {
    /// What is required.
    pub mode: TlsMode,
    authorities: Option<PathBuf>,
    client_certificate: Option<(PathBuf, PathBuf)>,
}

impl PostgresTls {
    /// Takes the parameters from those of the URL, and those that it does not have from the variables of the environment
    /// that the driver reads. A parameter of the URL that would have no effect is refused.
    pub(super) fn parse(given: &BTreeMap<String, String>, is_socket: bool) -> Result<Self, String> {
        let file = |name: &str| given.get(name).map(PathBuf::from);
        let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
        let (authorities, certificate, key) = (file("sslrootcert"), file("sslcert"), file("sslkey"));
        let mode = given.get("sslmode").cloned().or_else(|| std::env::var("PGSSLMODE").ok());
        let text = mode.map_or_else(|| "prefer".to_owned(), |mode| mode.to_ascii_lowercase());
        let mode = text.parse::<TlsMode>()?;
        let verifies = matches!(mode, TlsMode::VerifyCa | TlsMode::VerifyFull);
        if is_socket && (verifies || mode == TlsMode::Require) {
            return Err(format!(
                "sslmode={text} is not possible: PostgreSQL does not encrypt a socket of this machine"
            ));
        }
        if authorities.is_some() && !verifies {
            return Err(format!("sslrootcert has no effect with sslmode={text}: write sslmode=verify-full"));
        }
        if authorities.as_ref().is_some_and(|path| path.as_os_str() == "system") {
            return Err(
                "sslrootcert=system is not supported: leave it out to trust the system's authorities".to_owned()
            );
        }
        if certificate.is_some() != key.is_some() {
            return Err("sslcert and sslkey must be given together".to_owned());
        }
        if certificate.is_some() && mode == TlsMode::Disable {
            return Err("sslcert has no effect with sslmode=disable: write sslmode=verify-full".to_owned());
        }
        let authorities = authorities.or_else(|| variable("PGSSLROOTCERT").filter(|_| verifies));
        let client_certificate = certificate
            .zip(key)
            .or_else(|| variable("PGSSLCERT").zip(variable("PGSSLKEY")).filter(|_| mode != TlsMode::Disable));
        Ok(Self { mode, authorities, client_certificate })
    }

    /// Checks the files that are named. The error names the file.
    pub(in crate::config) fn check_files(&self) -> Result<(), String> {
        if let Some(path) = &self.authorities {
            certificates::authorities(path).map_err(|error| format!("sslrootcert: {error}"))?;
        }
        if let Some((certificate, key)) = &self.client_certificate {
            certificates::client_certificate(certificate, key)
                .map_err(|error| format!("sslcert and sslkey: {error}"))?;
        }
        // The driver trusts the authorities of the system too. Without a check of the name, every certificate that a
        // public authority has signed would do. SSL_CERT_FILE replaces the authorities of the system.
        let replaced = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
        let only_own = replaced.is_some() && replaced == self.authorities && std::env::var_os("SSL_CERT_DIR").is_none();
        if self.mode == TlsMode::VerifyCa && !only_own {
            return Err("sslmode=verify-ca checks no name, so the certificate of any public web site would do: write \
                        sslmode=verify-full, or set SSL_CERT_FILE in the environment to the same file as sslrootcert"
                .to_owned());
        }
        Ok(())
    }
}
