//! Accounts, API keys and revoked tokens.

use chrono::TimeDelta;
use order_engine::domain::secret::Secret;
use order_engine::domain::user::{ApiKey, KeyId, User, UserId};
use order_engine::store::users::{Account, Digest, RevokedToken, StoredKey, UserStore, UserWriteError};
use uuid::Uuid;

use crate::support::store::{base_time, on_both};

fn account(name: &str) -> Account {
    let user = User { id: UserId(Uuid::now_v7()), name: name.parse().unwrap(), created_at: base_time() };
    Account { user, password_hash: Secret::new("$argon2id$of something") }
}

/// An API key of a user; its name and its digest are made of a number.
fn stored_key(user: UserId, number: u8, scopes: &str) -> StoredKey {
    StoredKey {
        key: ApiKey {
            id: KeyId(Uuid::now_v7()),
            user,
            name: format!("key {number}"),
            scopes: scopes.parse().unwrap(),
            prefix: "oek_abc".to_owned(),
            created_at: base_time(),
        },
        digest: Digest([number; 32]),
    }
}

#[actix_web::test]
async fn a_name_belongs_to_one_account_in_any_case() {
    on_both(async |backend| {
        let store = &backend.store;
        let alice = account("Alice");
        store.create_account(&alice).await.unwrap();
        assert_eq!(store.create_account(&account("aLICE")).await, Err(UserWriteError::NameTaken), "{}", backend.name);
        let found = store.account(&"alice".parse().unwrap()).await.unwrap().unwrap();
        assert_eq!((found.user.clone(), found.user.name.as_str()), (alice.user.clone(), "Alice"), "{}", backend.name);
        assert_eq!(found.password_hash.expose(), alice.password_hash.expose());
        assert_eq!(store.user(alice.user.id).await.unwrap(), Some(alice.user));
        assert!(store.account(&"bob".parse().unwrap()).await.unwrap().is_none());
        assert!(store.user(UserId(Uuid::now_v7())).await.unwrap().is_none());
    })
    .await;
}

#[actix_web::test]
async fn an_api_key_is_listed_for_its_user_until_it_is_revoked() {
    on_both(async |backend| {
        let store = &backend.store;
        let (alice, bob) = (UserId(Uuid::now_v7()), UserId(Uuid::now_v7()));
        let keys = [stored_key(alice, 1, "read"), stored_key(alice, 2, "read trade"), stored_key(bob, 3, "trade")];
        for key in &keys {
            store.create_key(key, 50).await.unwrap();
        }
        assert!(
            store.create_key(&stored_key(bob, 1, "read"), 50).await.is_err(),
            "{}: two keys have one digest",
            backend.name
        );
        assert_eq!(store.keys_of(alice).await.unwrap(), [keys[0].key.clone(), keys[1].key.clone()]);
        assert!(!store.revoke_key(bob, keys[0].key.id, base_time()).await.unwrap(), "it is a key of another user");
        assert!(store.revoke_key(alice, keys[0].key.id, base_time()).await.unwrap());
        assert!(!store.revoke_key(alice, keys[0].key.id, base_time()).await.unwrap(), "it is already revoked");
        let mut live: Vec<_> = store.live_keys().await.unwrap();
        live.sort_by_key(|key| key.digest.0);
        let live: Vec<_> = live.into_iter().map(|key| (key.key, key.digest)).collect();
        assert_eq!(live, [(keys[1].key.clone(), Digest([2; 32])), (keys[2].key.clone(), Digest([3; 32]))]);
    })
    .await;
}

#[actix_web::test]
async fn concurrent_key_requests_stay_within_the_limit_of_a_user() {
    on_both(async |backend| {
        let store = &backend.store;
        let alice = account("alice");
        store.create_account(&alice).await.unwrap();
        let keys: Vec<_> = (0..40).map(|number| stored_key(alice.user.id, number, "read")).collect();
        let outcomes = futures_util::future::join_all(keys.iter().map(|key| store.create_key(key, 5))).await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 5, "{}: {outcomes:?}", backend.name);
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(()) | Err(UserWriteError::TooManyKeys))));
        let live = store.keys_of(alice.user.id).await.unwrap();
        assert_eq!(live.len(), 5, "{}", backend.name);
        assert!(store.revoke_key(alice.user.id, live[0].id, base_time()).await.unwrap());
        assert_eq!(
            store.create_key(&stored_key(alice.user.id, 100, "read"), 5).await,
            Ok(()),
            "{}: a revoked one makes room",
            backend.name
        );
        assert_eq!(
            store.create_key(&stored_key(alice.user.id, 101, "read"), 5).await,
            Err(UserWriteError::TooManyKeys),
            "{}",
            backend.name
        );
    })
    .await;
}

#[actix_web::test]
async fn a_revoked_token_is_stored_until_it_expires() {
    on_both(async |backend| {
        let store = &backend.store;
        let at = |seconds| base_time() + TimeDelta::seconds(seconds);
        let token = |seconds| RevokedToken { id: Uuid::new_v4(), expires_at: at(seconds) };
        let (short, long) = (token(10), token(100));
        for revoked in [short, long, short] {
            store.revoke_token(revoked).await.unwrap();
        }
        assert_eq!(store.revoked_tokens().await.unwrap().len(), 2, "{}", backend.name);
        store.forget_revoked_tokens(at(9)).await.unwrap();
        assert_eq!(store.revoked_tokens().await.unwrap().len(), 2, "{}", backend.name);
        store.forget_revoked_tokens(at(10)).await.unwrap();
        assert_eq!(store.revoked_tokens().await.unwrap(), [long], "{}", backend.name);
    })
    .await;
}
