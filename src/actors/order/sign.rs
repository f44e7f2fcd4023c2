//! From the unsigned swap of a venue to the signed swap: the only place that calls the signer.

use std::time::Duration;

use tokio::time::timeout;

use crate::chain::{Chain, Intent, PrepareError};
use crate::domain::retry::{Failure, FailureCode};
use crate::domain::swap::{PublicKey, SignedSwap, Swap, UnsignedSwap};
use crate::signer::{SignError, Signer};
use crate::venue::SwapRequest;

/// Why a swap was not signed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotSigned {
    /// The venue built something that cannot be signed. Another venue may do better.
    Venue(Failure),
    /// The chain or the signer failed, and would fail with the swap of another venue too.
    Shared(Failure),
}

/// Signs the swap that a venue built for that request. `max_wait` applies to each call of the chain and of the signer.
///
/// Nothing is sent here. If the future is dropped, its signature is lost, and no bytes exist that could be sent.
pub(super) async fn sign(
    chain: &dyn Chain,
    signer: &dyn Signer,
    request: &SwapRequest,
    unsigned: UnsignedSwap,
    max_wait: Duration,
) -> Result<SignedSwap, NotSigned> {
    check(request, &unsigned).map_err(NotSigned::Venue)?;
    let intent = intent(request, &unsigned, signer.public_key());
    let message = match timeout(max_wait, chain.prepare(&unsigned, &intent)).await {
        Ok(Ok(message)) => message,
        Ok(Err(error)) => return Err(not_prepared(&error)),
        Err(_) => return Err(not_prepared(&PrepareError::Unavailable("timed out".to_owned()))),
    };
    chain.inspect(&message, &intent).map_err(|deviation| {
        tracing::error!(order_id = %request.order_id, %deviation, "the firewall refused a swap; it is not signed");
        let text = "the swap that was built is not the ordered one, so it was not signed";
        NotSigned::Shared(Failure::new(FailureCode::RefusedByFirewall, text))
    })?;
    let signature = match timeout(max_wait, signer.sign(&message.bytes)).await {
        Ok(Ok(signature)) => signature,
        Ok(Err(error)) => return Err(refused(&error)),
        Err(_) => return Err(refused(&SignError::Unavailable("timed out".to_owned()))),
    };
    let swap = Swap {
        venue: unsigned.venue,
        signature,
        last_valid_block_height: message.last_valid_block_height,
        quoted_out: unsigned.quoted_out,
        min_amount_out: unsigned.min_amount_out,
    };
    Ok(SignedSwap { swap, bytes: chain.wire(&message, signature) })
}

/// What the swap is meant to do. The minimum output is the one that will be recorded; `check` has compared it with the
/// floor of the order.
fn intent(request: &SwapRequest, unsigned: &UnsignedSwap, wallet: PublicKey) -> Intent {
    Intent {
        order_id: request.order_id,
        attempt: request.attempt,
        wallet,
        venue: request.quote.venue,
        token_in: request.order.token_in.mint.clone(),
        token_out: request.order.token_out.mint.clone(),
        amount_in: request.order.amount_in,
        min_amount_out: unsigned.min_amount_out,
    }
}

/// Compares what the venue states about its swap with the request. [`Chain::inspect`] decodes the instructions.
fn check(request: &SwapRequest, unsigned: &UnsignedSwap) -> Result<(), Failure> {
    let (asked, floor) = (request.quote.venue, request.order.floor(request.quote.amount_out));
    if unsigned.venue != asked || unsigned.min_amount_out < floor {
        tracing::error!(venue = %asked, ?unsigned, "a venue built another swap than the requested one");
        return Err(Failure::new(
            FailureCode::BuildFailed,
            format!("{asked} built another swap than the requested one"),
        ));
    }
    Ok(())
}

fn not_prepared(error: &PrepareError) -> NotSigned {
    match error {
        PrepareError::Instructions(_) => NotSigned::Venue(Failure::new(FailureCode::BuildFailed, error.to_string())),
        PrepareError::InsufficientFunds(_) => {
            NotSigned::Shared(Failure::new(FailureCode::InsufficientFunds, error.to_string()))
        }
        PrepareError::Unavailable(_) => shared(&error.to_string()),
    }
}

fn refused(error: &SignError) -> NotSigned {
    tracing::warn!(%error, "a swap is not signed");
    shared(match error {
        SignError::Refused(_) => "the signer refused the swap",
        SignError::Unavailable(_) => "the signer is unavailable",
        SignError::Invalid => "the signer returned a wrong signature",
    })
}

fn shared(message: &str) -> NotSigned {
    NotSigned::Shared(Failure::new(FailureCode::BuildFailed, message))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_trait::async_trait;
    use uuid::Uuid;

    use super::*;
    use crate::chain::{ChainError, Deviation, Message};
    use crate::domain::amount::BaseUnits;
    use crate::domain::id::{OrderId, VenueId};
    use crate::domain::quote::Quote;
    use crate::domain::request::tests::request;
    use crate::domain::swap::{Outcome, Signature};
    use crate::domain::token::Mint;
    use crate::simulation::signer::SimulatedSigner;

    const MAX_WAIT: Duration = Duration::from_millis(300);

    /// A chain whose message is the instructions, or that fails to prepare it. It passes only the bytes `swap`.
    struct StubChain(Option<PrepareError>);

    #[async_trait]
    impl Chain for StubChain {
        async fn prepare(&self, unsigned: &UnsignedSwap, _: &Intent) -> Result<Message, PrepareError> {
            match &self.0 {
                Some(error) => Err(error.clone()),
                None => Ok(Message { bytes: unsigned.instructions.clone(), last_valid_block_height: 150 }),
            }
        }

        fn inspect(&self, message: &Message, intent: &Intent) -> Result<(), Deviation> {
            assert_eq!(*intent, super::intent(&swap_request(), &unsigned(), intent.wallet));
            if *message.bytes == *b"swap" { Ok(()) } else { Err(Deviation("it is a theft".to_owned())) }
        }

        fn wire(&self, message: &Message, signature: Signature) -> Arc<[u8]> {
            [&signature.0[..], &message.bytes].concat().into()
        }

        async fn send(&self, _: &[u8]) -> Result<(), ChainError> {
            unreachable!("nothing is sent before it is recorded")
        }

        async fn watch(&self, _: &SignedSwap, _: &Mint, _: Duration) -> Result<Option<Outcome>, ChainError> {
            unreachable!("nothing is sent before it is recorded")
        }
    }

    /// A signer that gives this answer, or none at all.
    struct StubSigner(Option<Result<Signature, SignError>>);

    #[async_trait]
    impl Signer for StubSigner {
        fn public_key(&self) -> PublicKey {
            SimulatedSigner::new(&[1; 32]).public_key()
        }

        async fn sign(&self, _: &[u8]) -> Result<Signature, SignError> {
            match &self.0 {
                Some(answer) => answer.clone(),
                None => std::future::pending().await,
            }
        }
    }

    fn swap_request() -> SwapRequest {
        let quote = Quote {
            venue: VenueId::RAYDIUM,
            amount_out: BaseUnits(1_000),
            fee: BaseUnits(1),
            price: 1.into(),
            price_impact: 0.into(),
            latency_ms: 1,
            quoted_at: chrono::DateTime::UNIX_EPOCH,
        };
        SwapRequest { order_id: OrderId(Uuid::nil()), attempt: 1, order: Arc::new(request()), quote }
    }

    fn unsigned() -> UnsignedSwap {
        let request = swap_request();
        UnsignedSwap {
            venue: VenueId::RAYDIUM,
            quoted_out: request.quote.amount_out,
            min_amount_out: request.order.floor(request.quote.amount_out),
            instructions: Arc::from(*b"swap"),
        }
    }

    async fn signed(chain: StubChain, signer: &dyn Signer, unsigned: UnsignedSwap) -> Result<SignedSwap, NotSigned> {
        sign(&chain, signer, &swap_request(), unsigned, MAX_WAIT).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_signed_swap_has_the_lifetime_of_its_message_and_a_signature_that_verifies() {
        let signer = SimulatedSigner::new(&[1; 32]);
        let signed = signed(StubChain(None), &signer, unsigned()).await.unwrap();
        assert_eq!(signed.swap.last_valid_block_height, 150);
        assert_eq!(signed.swap.min_amount_out, unsigned().min_amount_out);
        assert!(signer.public_key().verifies(b"swap", signed.swap.signature));
        assert_eq!(&*signed.bytes, [&signed.swap.signature.0[..], b"swap"].concat());
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_the_firewall_refuses_is_not_signed_and_not_tried_again() {
        struct NeverSigns;

        #[async_trait]
        impl Signer for NeverSigns {
            fn public_key(&self) -> PublicKey {
                SimulatedSigner::new(&[1; 32]).public_key()
            }

            async fn sign(&self, _: &[u8]) -> Result<Signature, SignError> {
                unreachable!("the message is refused before")
            }
        }

        let theft = UnsignedSwap { instructions: Arc::from(*b"theft"), ..unsigned() };
        let refused = signed(StubChain(None), &NeverSigns, theft).await.unwrap_err();
        let NotSigned::Shared(failure) = refused else { panic!("another venue would be asked") };
        assert_eq!(failure.code, FailureCode::RefusedByFirewall);
        assert!(!failure.code.retryable() && !failure.message.contains("theft"), "{failure}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_signer_that_refuses_is_silent_or_signs_wrongly_fails_for_every_venue() {
        let secret = || "https://user:password@signer".to_owned();
        let answers = [
            (None, "the signer is unavailable"),
            (Some(Err(SignError::Unavailable(secret()))), "the signer is unavailable"),
            (Some(Err(SignError::Refused(secret()))), "the signer refused the swap"),
            (Some(Err(SignError::Invalid)), "the signer returned a wrong signature"),
        ];
        for (answer, message) in answers {
            let failure = signed(StubChain(None), &StubSigner(answer), unsigned()).await.unwrap_err();
            assert_eq!(failure, NotSigned::Shared(Failure::new(FailureCode::BuildFailed, message)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_unusable_instructions_leave_the_swap_to_another_venue() {
        let fails = async |error| signed(StubChain(Some(error)), &StubSigner(None), unsigned()).await.unwrap_err();
        let NotSigned::Venue(failure) = fails(PrepareError::Instructions("none".to_owned())).await else { panic!() };
        assert_eq!(failure.code, FailureCode::BuildFailed);
        let NotSigned::Shared(failure) = fails(PrepareError::Unavailable("gone".to_owned())).await else { panic!() };
        assert_eq!(failure.code, FailureCode::BuildFailed);
        let NotSigned::Shared(failure) = fails(PrepareError::InsufficientFunds("no SOL".to_owned())).await else {
            panic!()
        };
        assert_eq!(failure.code, FailureCode::InsufficientFunds);
    }

    #[tokio::test(start_paused = true)]
    async fn a_swap_that_differs_from_the_request_is_not_signed() {
        let floor = unsigned().min_amount_out;
        for wrong in [
            UnsignedSwap { min_amount_out: BaseUnits(floor.0 - 1), ..unsigned() },
            UnsignedSwap { venue: VenueId::METEORA, ..unsigned() },
        ] {
            let failure = signed(StubChain(None), &StubSigner(None), wrong).await.unwrap_err();
            assert!(matches!(failure, NotSigned::Venue(_)), "{failure:?}");
        }
    }
}
