//! Tokens: JSON Web Tokens that name a user, signed with HMAC-SHA-256 only.
//!
//! The crate takes its cryptography from a provider. This provider has one algorithm, so a token that names another one
//! cannot be verified, whatever the crate would accept.

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
/// The maximum length of a token. The engine makes shorter ones.
const MAX_LENGTH: usize = 1024;

/// A token is accepted although it was issued this far in the future: the clock may have been set back since. Its
/// expiry has no leeway.
const LEEWAY: TimeDelta = TimeDelta::seconds(30);

/// Signs and reads tokens.
pub(super) struct Signer {
    signing_key: EncodingKey,
    verifying_key: DecodingKey,
    validation: Validation,
    ttl: TimeDelta,
}

/// A new token.
#[derive(Debug)]
pub(super) struct Issued {
    pub(super) text: Secret,
    pub(super) expires_at: DateTime<Utc>,
}

/// The content of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bearer {
    pub(super) user: UserId,
    /// The id of the token.
    pub(super) token: Uuid,
    /// The version of the user's tokens when it was issued.
    pub(super) version: i64,
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
    // Absent in tokens of releases whose tokens had no version.
    #[serde(default)]
    ver: i64,
}

impl Signer {
    /// A signer with this secret, for tokens with this lifetime.
    pub(super) fn new(secret: &Secret, ttl: TimeDelta) -> Self {
        // Once per process. An embedding program may have installed its own provider, which has HMAC too.
        let _ = HMAC_SHA256.install_default();
        let key = secret.expose().as_bytes();
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
        // `read` checks the expiry, with the time that it is given.
        validation.validate_exp = false;
        let (signing_key, verifying_key) = (EncodingKey::from_secret(key), DecodingKey::from_secret(key));
        Self { signing_key, verifying_key, validation, ttl }
    }

    /// A token for the user, of that version and valid from now on.
    pub(super) fn issue(&self, user: UserId, version: i64, now: DateTime<Utc>) -> Issued {
        let exp = (now + self.ttl).timestamp();
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: user.0,
            jti: Uuid::new_v4(),
            iat: now.timestamp(),
            nbf: now.timestamp(),
            exp,
            ver: version,
        };
        let text = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.signing_key);
        Issued {
            text: Secret::new(text.expect("the provider signs with HMAC-SHA-256")),
            expires_at: DateTime::from_timestamp(exp, 0).unwrap_or(now),
        }
    }

    /// The content of a token, if it was signed with the secret, is unchanged and is valid at this time.
    pub(super) fn read(&self, text: &str, now: DateTime<Utc>) -> Option<Bearer> {
        if text.len() > MAX_LENGTH {
            return None;
        }
        let token = jsonwebtoken::decode::<Claims>(text, &self.verifying_key, &self.validation).ok()?;
        let Claims { sub, jti, iat, nbf, exp, ver, .. } = token.claims;
        // The header has exactly what `issue` writes: no key that the sender chose, no "crit" extension.
        let is_ours = token.header == Header::new(Algorithm::HS256);
        let latest_start = (now + LEEWAY).timestamp();
        let is_valid_now = iat <= latest_start && nbf <= latest_start && now.timestamp() < exp;
        let expires_at = DateTime::from_timestamp(exp, 0)?;
        (is_ours && is_valid_now).then_some(Bearer { user: UserId(sub), token: jti, version: ver, expires_at })
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
    fn a_token_is_valid_with_its_secret_and_until_it_expires() {
        let now = DateTime::from_timestamp(1_800_000_000, 500_000_000).unwrap();
        let user = UserId(Uuid::now_v7());
        let signer = signer("a secret of thirty-two characters");
        let Issued { text, expires_at } = signer.issue(user, 5, now);
        let bearer = signer.read(text.expose(), now).unwrap();
        assert_eq!((bearer.user, bearer.version, bearer.expires_at), (user, 5, expires_at));
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
        fn a_token_with_one_changed_character_is_refused(place in any::<Index>(), other in any::<char>()) {
            let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
            let signer = signer("a secret of thirty-two characters");
            let mut text: Vec<char> = signer.issue(UserId(Uuid::nil()), 0, now).text.expose().chars().collect();
            let place = place.index(text.len());
            prop_assume!(text[place] != other);
            text[place] = other;
            prop_assert_eq!(signer.read(&text.into_iter().collect::<String>(), now), None);
        }

        #[test]
        fn no_other_text_is_a_token_or_causes_a_panic(text in "\\PC{0,60}(\\.\\PC{0,60}){0,3}") {
            let signer = signer("a secret of thirty-two characters");
            prop_assert_eq!(signer.read(&text, DateTime::UNIX_EPOCH), None);
        }
    }

    #[test]
    fn of_all_texts_only_the_token_itself_is_accepted() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let signer = signer("a secret of thirty-two characters");
        let token = signer.issue(UserId(Uuid::now_v7()), 0, now).text;
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
