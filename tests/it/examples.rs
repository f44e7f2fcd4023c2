//! The examples run, and print what the documentation says.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ed25519_dalek::SigningKey;
use order_engine::domain::secret::Secret;
use order_engine::domain::swap::PublicKey;
use order_engine::signer::{SignError, Signer};
use order_engine::solana::wallet::{RemoteSigner, RemoteSignerSettings};

/// The command that runs an example, and builds it first unless it is up to date.
fn run(example: &str) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["run", "--quiet", "--locked", "--example", example]).current_dir(env!("CARGO_MANIFEST_DIR"));
    // As these tests were built, so that nothing is built twice.
    if cfg!(feature = "failpoints") {
        cargo.args(["--features", "failpoints"]);
    }
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    cargo
}

/// What an example prints.
fn output_of(example: &str) -> String {
    let output = run(example).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_example_that_embeds_the_engine_follows_an_order_to_its_end() {
    assert_eq!(output_of("embed"), "1 pending\n2 routing\n3 building\n4 submitted\n5 confirmed\n");
}

#[test]
fn the_example_with_its_own_venue_trades_at_its_own_price() {
    let output = output_of("own_venue");
    let lines: Vec<_> = output.lines().collect();
    let [pending, routing, building, submitted, confirmed] = lines[..] else { panic!("{output}") };
    assert_eq!([pending, routing, submitted, confirmed], ["pending", "routing", "submitted", "confirmed: 300 USDC"]);
    assert!(building.starts_with("building: fixed-price") && building.contains("300 USDC"), "{output}");
}

/// The example signer, as a process of its own. It ends with the test.
struct SignerProcess {
    process: Child,
    public_key: PublicKey,
    url: String,
}

impl Drop for SignerProcess {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl SignerProcess {
    /// Starts it with a keypair file in that folder.
    fn start(folder: &Path) -> Self {
        let key = SigningKey::from_bytes(&[7; 32]);
        let file = folder.join("id.json");
        fs::write(&file, serde_json::to_string(&key.to_keypair_bytes().to_vec()).unwrap()).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        let mut command = run("remote_signer");
        command.arg("--").arg(&file).arg("0").env("REMOTE_SIGNER_TOKEN", "hunter2").stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let public_key = PublicKey::from_bytes(&key.verifying_key().to_bytes()).unwrap();
        let url = line.trim().strip_prefix(&format!("{public_key} ")).expect("it prints its wallet").to_owned();
        Self { process, public_key, url }
    }

    /// The engine's side, with that token.
    fn asked_with(&self, token: &str) -> RemoteSigner {
        let (url, public_key, token) = (self.url.parse().unwrap(), self.public_key, Secret::new(token));
        let timeout = Duration::from_secs(10);
        RemoteSigner::new(RemoteSignerSettings { url, public_key, token, timeout }).unwrap()
    }
}

#[tokio::test]
async fn the_example_signer_signs_for_those_who_have_its_token_until_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let process = SignerProcess::start(folder.path());
    let signer = process.asked_with("hunter2");
    let message = [7; 1232 - 65];
    let signature = signer.sign(&message).await.unwrap();
    assert!(process.public_key.verifies(&message, signature));
    let refused = signer.sign(&[7; 1232]).await.unwrap_err();
    assert_eq!(refused, SignError::Refused("the message is longer than a transaction".to_owned()));
    let error = process.asked_with("guessed").sign(&message).await.unwrap_err();
    assert!(matches!(error, SignError::Unavailable(_)), "{error}");
    drop(process);
    let error = signer.sign(&message).await.unwrap_err();
    assert!(matches!(error, SignError::Unavailable(_)), "{error}");
}
