//! What a failed TLS handshake means for an operator.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::CertificateError;

/// Why a server was not accepted. `Display` does not name the server, for texts that every client may read:
/// "its certificate has expired".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsFailure {
    /// No trusted authority has signed the certificate.
    NotTrusted,
    /// The certificate is for another name.
    OtherName,
    /// The certificate has expired.
    Expired,
    /// The certificate is not valid yet.
    NotYetValid,
    /// The certificate is that of an authority.
    IsAuthority,
    /// The certificate cannot be used for another reason, which the library names.
    Unusable(String),
    /// The server does not speak TLS.
    NotOffered,
    /// The handshake failed for another reason, which the library names.
    Handshake(String),
}

impl TlsFailure {
    /// The failure that an error of a connection contains.
    pub fn within(error: &(dyn Error + 'static)) -> Option<Self> {
        Some(match rustls_error(error)? {
            rustls::Error::InvalidCertificate(reason) => Self::of_certificate(reason),
            rustls::Error::InvalidMessage(_) => Self::NotOffered,
            other => Self::Handshake(other.to_string()),
        })
    }

    fn of_certificate(reason: &CertificateError) -> Self {
        match reason {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::NotTrusted,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Self::OtherName,
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotYetValid,
            CertificateError::Other(reason) if reason.to_string() == "CaUsedAsEndEntity" => Self::IsAuthority,
            other => Self::Unusable(other.to_string()),
        }
    }

    /// The failure with the server and what to do, for the log. `setting` is where an authority is named.
    pub fn at(&self, server: &str, setting: &str) -> String {
        let failure = self.sentence(&format!("the certificate of {server}"), server);
        match self {
            Self::NotTrusted => format!("{failure}: name the file of its authority in {setting}"),
            Self::OtherName => format!("{failure}: connect by a name that is in it"),
            Self::Expired => format!("{failure}: renew it"),
            Self::NotYetValid => format!("{failure}: compare the clocks of both machines"),
            Self::IsAuthority => format!("{failure}: sign another one for the server with it"),
            Self::Unusable(reason) => format!("{failure}: {reason}"),
            Self::NotOffered => format!("{failure}: enable it there"),
            Self::Handshake(reason) => format!("{failure}: {reason}"),
        }
    }

    fn sentence(&self, certificate: &str, server: &str) -> String {
        match self {
            Self::NotTrusted => format!("{certificate} is not signed by a trusted authority"),
            Self::OtherName => format!("{certificate} is for another name"),
            Self::Expired => format!("{certificate} has expired"),
            Self::NotYetValid => format!("{certificate} is not valid yet"),
            Self::IsAuthority => format!("{certificate} is that of an authority, which a server must not use"),
            Self::Unusable(_) => format!("{certificate} cannot be used"),
            Self::NotOffered => format!("{server} does not offer TLS"),
            Self::Handshake(_) => format!("{server} and the engine cannot agree on TLS"),
        }
    }
}

impl fmt::Display for TlsFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence("its certificate", "it"))
    }
}

fn rustls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(found) = error.downcast_ref() {
        return Some(found);
    }
    // The `source` of these two is not the error that they hold, but the source of that error.
    if let Some(inner) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        return rustls_error(inner);
    }
    if let Some(shared) = error.downcast_ref::<Arc<dyn Error + Send + Sync>>() {
        return rustls_error(&**shared);
    }
    error.source().and_then(rustls_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(reason: CertificateError) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, rustls::Error::InvalidCertificate(reason))
    }

    #[test]
    fn the_failure_is_found_in_the_errors_of_both_drivers() {
        let plain = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(TlsFailure::within(&plain), None);
        let expired = || refused(CertificateError::Expired);
        assert_eq!(TlsFailure::within(&expired()), Some(TlsFailure::Expired));
        let of_redis = redis::RedisError::from(expired());
        assert_eq!(TlsFailure::within(&of_redis), Some(TlsFailure::Expired));
        let of_sqlx = sea_orm::sqlx::Error::Io(expired());
        assert_eq!(TlsFailure::within(&of_sqlx), Some(TlsFailure::Expired));
    }

    #[test]
    fn a_failure_says_what_to_do_and_names_the_server_only_in_the_log() {
        let failure = TlsFailure::within(&refused(CertificateError::UnknownIssuer)).unwrap();
        assert_eq!(failure.to_string(), "its certificate is not signed by a trusted authority");
        assert_eq!(
            failure.at("db:5432", "sslrootcert"),
            "the certificate of db:5432 is not signed by a trusted authority: name the file of its authority in \
             sslrootcert"
        );
        let damaged = TlsFailure::within(&refused(CertificateError::BadEncoding)).unwrap();
        assert_eq!(damaged.to_string(), "its certificate cannot be used");
        assert!(damaged.at("db:5432", "sslrootcert").starts_with("the certificate of db:5432 cannot be used: "));
    }
}
