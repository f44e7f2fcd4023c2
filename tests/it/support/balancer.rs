//! nginx and HAProxy in front of an engine, configured by the files in `examples/proxies`; only ports and paths are
//! replaced. Where they are not installed the test fails and names the Debian package.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;

use crate::support::client::Client;
use crate::support::daemon::{Daemon, on_a_free_port};
use crate::support::os::{clean_command, program};

/// The name for which the balancers have a certificate, as in the examples; another one is `localhost`.
pub const NAME: &str = "engine.example.org";

/// A program that balancers are made of.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Nginx,
    HaProxy,
}

/// A balancer that terminates TLS, and passes everything on to one engine.
pub struct Balancer {
    port: u16,
    tls: Arc<ClientConfig>,
    _daemon: Daemon,
    _folder: TempDir,
}

impl Balancer {
    /// Starts it in front of the engine at that address, which may be started later.
    pub fn start(kind: Kind, engine: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed([NAME.to_owned(), "localhost".to_owned()]).unwrap();
        let (certificate, key) = (cert.pem(), signing_key.serialize_pem());
        for (name, pem) in [("certificate", certificate.clone()), ("key", key.clone()), ("both", certificate + &key)] {
            std::fs::write(folder.path().join(name), pem).unwrap();
        }
        let (mut daemon, mut port) = (Daemon::new("the balancer"), 0);
        on_a_free_port(|free| {
            port = free;
            let command = match kind {
                Kind::Nginx => nginx(folder.path(), port, engine),
                Kind::HaProxy => haproxy(folder.path(), port, engine),
            };
            let listens = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
            daemon.start(command, folder.path(), listens)
        });
        Self { port, tls: trusting(cert.der().clone()), _daemon: daemon, _folder: folder }
    }

    /// Its URL under that name.
    pub fn url(&self, name: &str) -> String {
        format!("https://{name}:{}", self.port)
    }

    /// A client that reaches the engine through it, under that name.
    pub fn client(&self, name: &str) -> Client {
        Client::through(&self.url(name), ([127, 0, 0, 1], self.port).into(), self.tls.clone())
    }
}

/// The settings of a client that trusts only that certificate.
fn trusting(certificate: CertificateDer<'static>) -> Arc<ClientConfig> {
    let mut trusted = RootCertStore::empty();
    trusted.add(certificate).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_root_certificates(trusted).with_no_client_auth())
}

fn nginx(folder: &Path, port: u16, engine: SocketAddr) -> Command {
    let path = |name: &str| folder.join(name).display().to_string();
    let site = example(
        "nginx.conf",
        &[
            ("server 127.0.0.1:3000;", format!("server {engine};")),
            ("listen 443 ssl", format!("listen 127.0.0.1:{port} ssl")),
            ("/etc/ssl/certs/engine.example.org.pem", path("certificate")),
            ("/etc/ssl/private/engine.example.org.key", path("key")),
        ],
    );
    std::fs::write(folder.join("site"), site).unwrap();
    let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|name| format!("{name}_temp_path {name};"));
    let main = format!(
        "user root; worker_processes 1; pid pid; events {{}} http {{ access_log off; {} include site; }}",
        paths.concat()
    );
    std::fs::write(folder.join("nginx"), main).unwrap();
    let mut command = clean_command(&program("nginx", "nginx"), "nginx");
    command.arg("-p").arg(folder).args(["-c", "nginx", "-e", "stderr", "-g", "daemon off;"]);
    command
}

fn haproxy(folder: &Path, port: u16, engine: SocketAddr) -> Command {
    let sections = example(
        "haproxy.cfg",
        &[
            ("server engine 127.0.0.1:3000", format!("server engine {engine}")),
            ("bind :443 ssl", format!("bind 127.0.0.1:{port} ssl")),
            ("/etc/haproxy/engine.example.org.pem", folder.join("both").display().to_string()),
        ],
    );
    std::fs::write(folder.join("haproxy"), sections).unwrap();
    let mut command = clean_command(&program("haproxy", "haproxy"), "haproxy");
    command.args(["-db", "-f", "haproxy"]);
    command
}

/// A file of the examples with some texts replaced, each of which it must contain once.
fn example(name: &str, replaced: &[(&str, String)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/proxies").join(name);
    let mut text = std::fs::read_to_string(path).unwrap();
    for (from, to) in replaced {
        assert_eq!(text.matches(from).count(), 1, "{from} in {name}");
        text = text.replace(from, to);
    }
    text
}
