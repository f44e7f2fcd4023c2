//! A new order together with its idempotency key.

use std::sync::Arc;

use crate::actors::order_manager::SubmitError;
use crate::domain::id::ClientKey;
use crate::domain::request::OrderRequest;

/// An order that is ready to be submitted.
#[derive(Clone, Debug)]
pub struct NewOrder {
    pub(super) request: Arc<OrderRequest>,
    pub(super) key: Option<ClientKey>,
}

impl NewOrder {
    /// Combines a request with the idempotency key that came with it.
    ///
    /// `client_order_id` is an idempotency key too. If both are given and differ, this is [`SubmitError::KeyMismatch`].
    /// Without any key, each submit creates another order.
    pub fn new(request: OrderRequest, key: Option<ClientKey>) -> Result<Self, SubmitError> {
        let key = match (key, &request.client_order_id) {
            (Some(key), Some(id)) if key != *id => return Err(SubmitError::KeyMismatch),
            (key, id) => key.or_else(|| id.clone()),
        };
        Ok(Self { request: Arc::new(request), key })
    }

    /// What is to be bought and sold.
    pub fn request(&self) -> &Arc<OrderRequest> {
        &self.request
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::request::tests::request;

    fn key_of(key: Option<&str>, client_order_id: Option<&str>) -> Result<Option<String>, SubmitError> {
        let parse = |text: &str| text.parse::<ClientKey>().unwrap();
        let request = OrderRequest { client_order_id: client_order_id.map(parse), ..request() };
        NewOrder::new(request, key.map(parse)).map(|order| order.key.map(|key| key.as_str().to_owned()))
    }

    #[test]
    fn a_client_order_id_is_an_idempotency_key_and_must_agree_with_the_other() {
        assert_eq!(key_of(None, None), Ok(None));
        assert_eq!(key_of(Some("a"), None), Ok(Some("a".to_owned())));
        assert_eq!(key_of(None, Some("a")), Ok(Some("a".to_owned())));
        assert_eq!(key_of(Some("a"), Some("a")), Ok(Some("a".to_owned())));
        assert_eq!(key_of(Some("a"), Some("b")), Err(SubmitError::KeyMismatch));
    }
}
