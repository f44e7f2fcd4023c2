//! Certificates of the tests' own: an authority, and certificates of a server that it signs.

use std::path::Path;
use std::sync::LazyLock;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};

/// Whether every server that a test starts speaks TLS, which `ORDER_ENGINE_TEST_TLS=1` asks for.
pub fn are_asked_for() -> bool {
    std::env::var("ORDER_ENGINE_TEST_TLS").is_ok_and(|value| value == "1")
}

/// Something that signs certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, as PEM.
pub struct Signed {
    pub certificate: String,
    pub key: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut parameters = CertificateParams::new([]).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap())
    }

    /// The authority that the engines of the tests trust.
    pub fn trusted() -> &'static Self {
        static TRUSTED: LazyLock<Authority> = LazyLock::new(|| Authority::new("trusted"));
        &TRUSTED
    }

    /// Its own certificate, as PEM.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for this machine.
    pub fn certificate(&self) -> Signed {
        self.sign(Self::names(&["localhost", "127.0.0.1", "::1"]))
    }

    /// A certificate for another machine.
    pub fn certificate_of_another_name(&self) -> Signed {
        self.sign(Self::names(&["other.example.org", "192.0.2.1"]))
    }

    /// A certificate for this machine that has expired.
    pub fn expired_certificate(&self) -> Signed {
        let mut parameters = Self::names(&["localhost", "127.0.0.1"]);
        parameters.not_after = date_time_ymd(2020, 1, 1);
        self.sign(parameters)
    }

    /// Its own certificate and key, which a server must not use.
    pub fn as_server(&self) -> Signed {
        Signed { certificate: self.pem(), key: self.0.key().serialize_pem() }
    }

    /// Writes a certificate of a client and its key into a folder; their paths.
    pub fn write_client_certificate(&self, folder: &Path) -> [String; 2] {
        let Signed { certificate, key } = self.sign(Self::names(&["engine"]));
        [("client.pem", certificate), ("client.key", key)].map(|(name, pem)| {
            let path = folder.join(name);
            std::fs::write(&path, pem).unwrap();
            path.display().to_string()
        })
    }

    fn names(names: &[&str]) -> CertificateParams {
        CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()).unwrap()
    }

    fn sign(&self, parameters: CertificateParams) -> Signed {
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.0).unwrap().pem();
        Signed { certificate, key: key.serialize_pem() }
    }
}
