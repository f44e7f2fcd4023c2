//! A wallet whose key is elsewhere: a signer that is asked over HTTP. The protocol is described in `docs/wallet.md`.

use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Response, StatusCode, redirect};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use url::Url;

use crate::domain::secret::Secret;
use crate::domain::swap::{PublicKey, Signature};
use crate::signer::{SignError, Signer};

/// How a remote signer is reached.
#[derive(Clone)]
pub struct RemoteSignerSettings {
    /// Where it takes requests.
    pub url: Url,
    /// The wallet that it signs for.
    pub public_key: PublicKey,
    /// What it knows the engine by.
    pub token: Secret,
    /// The limit for one signature.
    pub timeout: Duration,
}

/// Why a remote signer cannot be used.
#[derive(Debug, Error)]
pub enum RemoteSignerError {
    /// The token and the messages would be readable on the way.
    #[error("the URL of the signer must be https://, or http:// to this machine")]
    Insecure,
    /// The token is not the value of an HTTP header.
    #[error("the token of the signer may contain only printable ASCII characters")]
    Token,
    /// The HTTP client cannot be built.
    #[error("no HTTP client for the signer: {0}")]
    Client(reqwest::Error),
}

/// Asks another process for each signature, and verifies the answer.
pub struct RemoteSigner {
    client: Client,
    url: Url,
    public_key: PublicKey,
    authorization: HeaderValue,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    public_key: String,
    message: String,
}

#[derive(Deserialize)]
struct Answer {
    signature: Signature,
}

#[derive(Deserialize)]
struct Problem {
    error: String,
}

impl RemoteSigner {
    /// A signer that is asked when it is needed; nothing is sent now.
    pub fn new(settings: RemoteSignerSettings) -> Result<Self, RemoteSignerError> {
        if !is_private(&settings.url) {
            return Err(RemoteSignerError::Insecure);
        }
        let mut authorization = HeaderValue::from_str(&format!("Bearer {}", settings.token.expose()))
            .map_err(|_| RemoteSignerError::Token)?;
        authorization.set_sensitive(true);
        let client = Client::builder()
            // A redirect or a proxy would hand the token and the message to another host.
            .redirect(redirect::Policy::none())
            .no_proxy()
            .timeout(settings.timeout)
            .build()
            .map_err(RemoteSignerError::Client)?;
        Ok(Self { client, url: settings.url, public_key: settings.public_key, authorization })
    }

    async fn ask(&self, message: &[u8]) -> Result<Signature, SignError> {
        let request = Request { public_key: self.public_key.to_string(), message: STANDARD.encode(message) };
        let body = serde_json::to_vec(&request).expect("a request holds only texts");
        let request = self.client.post(self.url.clone()).header(AUTHORIZATION, self.authorization.clone());
        let sent = request.header(CONTENT_TYPE, "application/json").body(body).send().await;
        let answer = sent.map_err(|error| no_answer(&error))?;
        let status = answer.status();
        let body = self.body(answer).await?;
        match status {
            StatusCode::OK => {
                let answer: Answer = serde_json::from_slice(&body).map_err(|_| SignError::Invalid)?;
                Ok(answer.signature)
            }
            // The signer understood who asks and what for, and will not sign it.
            StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN | StatusCode::UNPROCESSABLE_ENTITY => {
                Err(SignError::Refused(self.reason(&body)))
            }
            _ => Err(SignError::Unavailable(format!("it answered {status}: {}", self.reason(&body)))),
        }
    }

    async fn body(&self, mut answer: Response) -> Result<Vec<u8>, SignError> {
        const LIMIT: usize = 4096;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| no_answer(&error))? {
            if body.len() + chunk.len() > LIMIT {
                return Err(SignError::Unavailable(format!("its answer is longer than {LIMIT} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// The reason that the signer gives, fit for a log: short, on one line, and without the token.
    fn reason(&self, body: &[u8]) -> String {
        const LIMIT: usize = 200;
        let Ok(Problem { error }) = serde_json::from_slice(body) else { return "without a reason".to_owned() };
        let authorization = self.authorization.to_str().unwrap_or_default();
        let token = authorization.trim_start_matches("Bearer ");
        let error = if token.is_empty() { error } else { error.replace(token, "***") };
        error.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(LIMIT).collect()
    }
}

#[async_trait]
impl Signer for RemoteSigner {
    fn public_key(&self) -> PublicKey {
        self.public_key
    }

    async fn sign(&self, message: &[u8]) -> Result<Signature, SignError> {
        let signature = self.ask(message).await?;
        // The signature of another message would make the engine follow another transaction.
        if self.public_key.verifies(message, signature) { Ok(signature) } else { Err(SignError::Invalid) }
    }
}

/// Whether the token cannot be read on the way: the connection is encrypted, or stays within this machine.
fn is_private(url: &Url) -> bool {
    let is_local = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    url.scheme() == "https" || (url.scheme() == "http" && is_local)
}

/// Without the URL, which may hold a secret.
fn no_answer(error: &reqwest::Error) -> SignError {
    let what = match () {
        () if error.is_timeout() => "it did not answer in time",
        () if error.is_connect() => "no connection to it",
        () => "the connection to it broke",
    };
    SignError::Unavailable(what.to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use ed25519_dalek::{Signer as _, SigningKey};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const MESSAGE: &[u8] = b"a message";

    fn key() -> SigningKey {
        SigningKey::from_bytes(&[7; 32])
    }

    fn signature_of(message: &[u8]) -> String {
        serde_json::json!({ "signature": Signature(key().sign(message).to_bytes()) }).to_string()
    }

    fn settings(url: &str) -> RemoteSignerSettings {
        RemoteSignerSettings {
            url: url.parse().unwrap(),
            public_key: PublicKey::from_bytes(&key().verifying_key().to_bytes()).unwrap(),
            token: Secret::new("hunter2"),
            timeout: Duration::from_millis(500),
        }
    }

    /// What the engine makes of one answer, and the request that the signer saw.
    async fn asked(answer: Option<String>) -> (Result<Signature, SignError>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/sign?key=hunter3", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(String::new()));
        let server = {
            let seen = seen.clone();
            tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"}") {
                    assert!(stream.read_buf(&mut request).await.unwrap() > 0);
                }
                *seen.lock().unwrap() = String::from_utf8(request).unwrap();
                match answer {
                    Some(answer) => stream.write_all(answer.as_bytes()).await.unwrap(),
                    None => std::future::pending().await,
                }
            })
        };
        let signed = RemoteSigner::new(settings(&url)).unwrap().sign(MESSAGE).await;
        server.abort();
        let seen = seen.lock().unwrap().clone();
        (signed, seen)
    }

    fn http(status: &str, body: &str) -> Option<String> {
        Some(format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len()))
    }

    #[tokio::test]
    async fn the_request_names_the_wallet_and_the_message_and_the_signature_is_returned() {
        let (signed, request) = asked(http("200 OK", &signature_of(MESSAGE))).await;
        assert!(settings("https://signer/").public_key.verifies(MESSAGE, signed.unwrap()));
        assert!(request.starts_with("POST /sign?key=hunter3 "), "{request}");
        assert!(request.to_lowercase().contains("authorization: bearer hunter2\r\n"), "{request}");
        let body: serde_json::Value = serde_json::from_str(request.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        let wallet = settings("https://signer/").public_key.to_string();
        assert_eq!(body, serde_json::json!({ "publicKey": wallet, "message": STANDARD.encode(MESSAGE) }));
    }

    #[tokio::test]
    async fn a_refusal_differs_from_a_signer_that_cannot_sign() {
        let reason = r#"{"error":"hunter2 may not\nsell"}"#;
        for status in ["400 Bad Request", "403 Forbidden", "422 Unprocessable Content"] {
            let refused = asked(http(status, reason)).await.0.unwrap_err();
            assert_eq!(refused, SignError::Refused("*** may not sell".to_owned()));
        }
        for status in ["401 Unauthorized", "404 Not Found", "429 Too Many Requests", "500 Error", "302 Found"] {
            let unavailable = asked(http(status, reason)).await.0.unwrap_err();
            assert!(matches!(unavailable, SignError::Unavailable(_)), "{unavailable}");
            assert!(!unavailable.to_string().contains("hunter"), "{unavailable}");
        }
    }

    #[tokio::test]
    async fn a_signature_of_another_message_or_no_signature_is_invalid() {
        for body in [signature_of(b"another").as_str(), "", "{}", r#"{"signature":"1"}"#, "<html>"] {
            assert_eq!(asked(http("200 OK", body)).await.0, Err(SignError::Invalid));
        }
    }

    #[tokio::test]
    async fn a_signer_that_is_silent_gone_or_endless_is_unavailable() {
        let endless =
            format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2000\r\n{}\r\n", "x".repeat(0x2000));
        let cut = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".to_owned();
        for answer in [None, Some(endless), Some(cut), Some("no http\r\n\r\n".to_owned())] {
            let error = asked(answer).await.0.unwrap_err();
            assert!(matches!(error, SignError::Unavailable(_)), "{error}");
            assert!(!error.to_string().contains("hunter"), "{error}");
        }
        let gone = RemoteSigner::new(settings("http://127.0.0.1:1/")).unwrap();
        let error = gone.sign(MESSAGE).await.unwrap_err();
        assert_eq!(error, SignError::Unavailable("no connection to it".to_owned()));
    }

    #[test]
    fn a_url_on_which_others_could_read_the_token_is_refused() {
        for url in ["https://signer.example/", "http://localhost:1/", "http://127.0.0.1/", "http://[::1]/"] {
            assert!(RemoteSigner::new(settings(url)).is_ok(), "{url}");
        }
        for url in ["http://signer.example/", "http://10.0.0.1/", "ftp://localhost/", "unix:/run/signer"] {
            assert!(matches!(RemoteSigner::new(settings(url)), Err(RemoteSignerError::Insecure)), "{url}");
        }
        let token = RemoteSignerSettings { token: Secret::new("two\nlines"), ..settings("https://signer/") };
        assert!(matches!(RemoteSigner::new(token), Err(RemoteSignerError::Token)));
    }
}
