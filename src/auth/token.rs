//! Tokens: signed claims of who somebody is, with HMAC-SHA-256 and nothing else.
//!
//! The crate leaves cryptography to a provider. Ours knows one algorithm, so a token that names another cannot even be
//! looked at, whatever the crate would make of it.

use chrono::{DateTime, TimeDelta, Utc};
use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::signature::{self, Signer as Signs, Verifier as Verifies};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use uuid::Uuid;

use crate::domain::secret::Secret;
use crate::domain::user::UserId;

const ISSUER: &str = "order-engine";
const AUDIENCE: &str = "order-engine-api";
/// A longer token is none of ours.
const MAX_LENGTH: usize = 1024;

/// A token may have been made so far in the future: the clock was set back since. Its end has no such leeway.
const LEEWAY: TimeDelta = TimeDelta::seconds(30);

/// Signs tokens, and reads those that it has signed.
pub(super) struct Signer {
    signs: EncodingKey,
    verifies: DecodingKey,
    validation: Validation,
    ttl: TimeDelta,
}

/// A token for its user.
#[derive(Debug)]
pub(super) struct Issued {
    pub(super) text: Secret,
    pub(super) expires_at: DateTime<Utc>,
}

/// What a token says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bearer {
    pub(super) user: UserId,
    /// The token's identity.
    pub(super) token: Uuid,
    pub(super) expires_at: DateTime<Utc>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    iss: String,
    aud: String,
    sub: Uuid,
    jti: Uuid,
    iat: i64,
    nbf: i64,
    exp: i64,
}

impl Signer {
    /// A signer with that secret, whose tokens last so long.
    pub(super) fn new(secret: &Secret, ttl: TimeDelta) -> Self {
        // Once a process. Where another program in it has brought a provider of its own, that one knows HMAC too.
        let _ = HMAC_SHA256.install_default();
        let key = secret.expose().as_bytes();
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
        // Times are judged below, by the time that is told.
        validation.validate_exp = false;
        Self { signs: EncodingKey::from_secret(key), verifies: DecodingKey::from_secret(key), validation, ttl }
    }

    /// A token for that user, from now on.
    pub(super) fn issue(&self, user: UserId, now: DateTime<Utc>) -> Issued {
        let exp = (now + self.ttl).timestamp();
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: user.0,
            jti: Uuid::new_v4(),
            iat: now.timestamp(),
            nbf: now.timestamp(),
            exp,
        };
        let text = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.signs);
        Issued {
            text: Secret::new(text.expect("the provider signs with HMAC-SHA-256")),
            expires_at: DateTime::from_timestamp(exp, 0).unwrap_or(now),
        }
    }

    /// Who brings a token, if it is one of ours, whole and within its time.
    pub(super) fn read(&self, text: &str, now: DateTime<Utc>) -> Option<Bearer> {
        if text.len() > MAX_LENGTH {
            return None;
        }
        let token = jsonwebtoken::decode::<Claims>(text, &self.verifies, &self.validation).ok()?;
        let Claims { sub, jti, iat, nbf, exp, .. } = token.claims;
        // Nothing in the header but what we write: no key of the sender's choice, nothing "critical".
        let is_ours = token.header == Header::new(Algorithm::HS256);
        let begun_by = (now + LEEWAY).timestamp();
        let is_its_time = iat <= begun_by && nbf <= begun_by && now.timestamp() < exp;
        let expires_at = DateTime::from_timestamp(exp, 0)?;
        (is_ours && is_its_time).then_some(Bearer { user: UserId(sub), token: jti, expires_at })
    }
}

static HMAC_SHA256: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| match algorithm {
        Algorithm::HS256 => Ok(Box::new(HmacSha256::new(key.as_bytes())?)),
        _ => Err(ErrorKind::InvalidAlgorithm.into()),
    },
    verifier_factory: |algorithm, key| match algorithm {
        Algorithm::HS256 => Ok(Box::new(HmacSha256::new(key.try_get_as_bytes()?)?)),
        _ => Err(ErrorKind::InvalidAlgorithm.into()),
    },
    key_utils: KeyUtils::new_unimplemented(),
};

struct HmacSha256(Hmac<Sha256>);

impl HmacSha256 {
    fn new(key: &[u8]) -> jsonwebtoken::errors::Result<Self> {
        Hmac::new_from_slice(key).map(Self).map_err(|_| ErrorKind::InvalidKeyFormat.into())
    }

    fn over(&self, message: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(message);
        mac
    }
}

impl Signs<Vec<u8>> for HmacSha256 {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        Ok(self.over(message).finalize().into_bytes().to_vec())
    }
}

impl Verifies<Vec<u8>> for HmacSha256 {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        self.over(message).verify_slice(signature).map_err(|_| signature::Error::new())
    }
}

impl JwtSigner for HmacSha256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

impl JwtVerifier for HmacSha256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;
    use crate::fuzz::many;

    fn signer(secret: &str) -> Signer {
        Signer::new(&Secret::new(secret), TimeDelta::hours(1))
    }

    #[test]
    fn a_token_is_read_by_whoever_has_its_secret_and_in_its_time() {
        let now = DateTime::from_timestamp(1_800_000_000, 500_000_000).unwrap();
        let user = UserId(Uuid::now_v7());
        let signer = signer("a secret of thirty-two characters");
        let Issued { text, expires_at } = signer.issue(user, now);
        let bearer = signer.read(text.expose(), now).unwrap();
        assert_eq!((bearer.user, bearer.expires_at), (user, expires_at));
        assert_eq!(signer.read(text.expose(), expires_at - TimeDelta::microseconds(1)), Some(bearer));
        assert_eq!(signer.read(text.expose(), expires_at), None);
        assert_eq!(signer.read(text.expose(), now - LEEWAY), Some(bearer), "the clock was set back a little");
        assert_eq!(signer.read(text.expose(), now - LEEWAY - TimeDelta::seconds(1)), None);
        assert_eq!(super::tests::signer("another secret of as many letters").read(text.expose(), now), None);
        let mut longer = text.expose().to_owned();
        longer.push_str(&"A".repeat(MAX_LENGTH));
        assert_eq!(signer.read(&longer, now), None);
    }

    proptest! {
        #[test]
        fn a_token_with_one_other_character_is_none(place in any::<Index>(), other in any::<char>()) {
            let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
            let signer = signer("a secret of thirty-two characters");
            let mut text: Vec<char> = signer.issue(UserId(Uuid::nil()), now).text.expose().chars().collect();
            let place = place.index(text.len());
            prop_assume!(text[place] != other);
            text[place] = other;
            prop_assert_eq!(signer.read(&text.into_iter().collect::<String>(), now), None);
        }

        #[test]
        fn no_text_is_a_token_or_makes_the_reader_panic(text in "\\PC{0,60}(\\.\\PC{0,60}){0,3}") {
            let signer = signer("a secret of thirty-two characters");
            prop_assert_eq!(signer.read(&text, DateTime::UNIX_EPOCH), None);
        }
    }

    #[test]
    fn any_text_is_judged_and_only_the_very_token_is_one() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let signer = signer("a secret of thirty-two characters");
        let token = signer.issue(UserId(Uuid::now_v7()), now).text;
        many("token", |fuzzer| {
            let text = match fuzzer.below(8) {
                0 => fuzzer.text(),
                _ => fuzzer.mangled_text(token.expose()),
            };
            let taken = signer.read(&text, now).is_some();
            assert_eq!(taken, text == token.expose(), "{text}");
            taken
        });
    }

    #[test]
    fn our_signature_is_the_one_of_the_standard() {
        // The example of RFC 7515, appendix A.1.
        use jsonwebtoken::crypto;
        let _ = HMAC_SHA256.install_default();
        let message = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let key = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow==";
        let key = DecodingKey::from_secret(EncodingKey::from_urlsafe_base64_secret(key).unwrap().as_bytes());
        let signature = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        assert!(crypto::verify(signature, message.as_bytes(), &key, Algorithm::HS256).unwrap());
        assert!(crypto::verify(signature, message.as_bytes(), &key, Algorithm::HS384).is_err());
    }
}
