//! The chain over JSON-RPC: an implementation of [`Chain`].

use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use solana_hash::Hash;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::chain::{Chain, ChainError, Deviation, Intent, Message, PrepareError};
use crate::domain::amount::BaseUnits;
use crate::domain::swap::{Fill, Outcome, Signature, SignedSwap, UnsignedSwap};
use crate::domain::token::Mint;
use crate::solana::builder::MessageBuilder;
use crate::solana::endpoints::{Endpoint, Endpoints};
use crate::solana::firewall::SwapReader;
use crate::solana::judge::{Finding, KnownError, Second, Testimony, chain_failure, is_executed, judge, received};
use crate::solana::rpc::{At, Commitment, EndpointUrl, HttpTransport, LandedTransaction, Rpc};
use crate::solana::signed;
use crate::solana::statuses::Statuses;
use crate::solana::transaction::{FeeLimits, wire};

/// A look at the chain waits so long for the first answer, also where its caller does not wait at all.
const FIRST_ANSWER: Duration = Duration::from_millis(1_500);

/// A proof takes up to six calls, so a swap that stays in doubt is not proved with every status.
const BETWEEN_PROOFS: Duration = Duration::from_secs(1);

/// What the chain is connected to, and how sure it must be.
#[derive(Clone, Debug)]
pub struct ChainOptions {
    /// The genesis hash of the cluster.
    pub cluster: Hash,
    /// The endpoints that are read from, in the order of preference. With two or more, two must agree before a swap is
    /// called dead.
    pub endpoints: Vec<EndpointUrl>,
    /// The endpoints to which swaps are sent; each gets the same bytes.
    pub senders: Vec<EndpointUrl>,
    /// The commitment at which a swap counts as landed: [`Commitment::Confirmed`] or [`Commitment::Finalized`].
    pub landed_at: Commitment,
    /// What a transaction may cost.
    pub fee_limits: FeeLimits,
    /// The errors of programs that mean more than a rejection.
    pub known_errors: Vec<KnownError>,
    /// The deadline of each call.
    pub call_timeout: Duration,
    /// The interval at which endpoints prove themselves.
    pub proof_interval: Duration,
    /// The interval at which the statuses of all swaps are asked for.
    pub status_interval: Duration,
}

/// The chain that the endpoints show.
pub struct SolanaChain {
    endpoints: Arc<Endpoints>,
    senders: Vec<Arc<Sender>>,
    statuses: Arc<Statuses>,
    builder: MessageBuilder,
    landed_at: Commitment,
    known_errors: Vec<KnownError>,
}

/// An endpoint to which swaps are sent.
struct Sender {
    name: String,
    rpc: Rpc,
}

impl SolanaChain {
    /// Connects to the endpoints. The tasks that prove the endpoints and ask for statuses run on the runtime of the
    /// caller, until the chain is dropped.
    ///
    /// Only swaps that the reader knows pass the inspection.
    pub fn start(options: ChainOptions, reader: Arc<dyn SwapReader>) -> Result<Arc<Self>, reqwest::Error> {
        let client = |url: &EndpointUrl| -> Result<_, reqwest::Error> {
            let transport = HttpTransport::new(url.clone(), options.call_timeout)?;
            Ok((url.to_string(), Rpc::new(Arc::new(transport))))
        };
        let endpoints = options.endpoints.iter().map(client).collect::<Result<_, _>>()?;
        let senders = options.senders.iter().map(client).collect::<Result<_, _>>()?;
        Ok(Self::over(endpoints, senders, options, reader))
    }

    /// A chain over these clients, each with its name.
    pub(super) fn over(
        endpoints: Vec<(String, Rpc)>,
        senders: Vec<(String, Rpc)>,
        options: ChainOptions,
        reader: Arc<dyn SwapReader>,
    ) -> Arc<Self> {
        let endpoints = Arc::new(Endpoints::new(options.cluster, endpoints));
        let statuses = Statuses::new();
        tokio::spawn(keep_proved(Arc::downgrade(&endpoints), options.proof_interval));
        tokio::spawn(Statuses::run(Arc::downgrade(&statuses), endpoints.clone(), options.status_interval));
        let senders = senders.into_iter().map(|(name, rpc)| Arc::new(Sender { name, rpc })).collect();
        let builder = MessageBuilder::new(Arc::new(endpoints.rpc()), reader, options.fee_limits);
        let ChainOptions { landed_at, known_errors, .. } = options;
        Arc::new(Self { endpoints, senders, statuses, builder, landed_at, known_errors })
    }

    /// The calls to the first admitted endpoint that answers.
    pub fn rpc(&self) -> Rpc {
        self.endpoints.rpc()
    }

    /// The endpoints.
    pub fn endpoints(&self) -> &Arc<Endpoints> {
        &self.endpoints
    }

    /// What is proved about a swap now; `None` if nothing is.
    async fn prove(&self, swap: &SignedSwap, blockhash: &Hash, token_out: &Mint) -> Option<Outcome> {
        let signature = swap.swap.signature;
        let admitted = self.endpoints.admitted();
        let (first, second) = (admitted.first()?, admitted.get(1));
        let (testimony, other) = tokio::join!(testify(first, signature, blockhash), async {
            match second {
                Some(endpoint) => Some(testify(endpoint, signature, blockhash).await),
                None => None,
            }
        });
        let heard = match &other {
            Some(testimony) => Second::Says(testimony),
            None if self.endpoints.all().len() > 1 => Second::Missing,
            None => Second::NotConfigured,
        };
        match judge(swap.swap.last_valid_block_height, self.landed_at, &testimony, heard) {
            Ok(Finding::Executed) => self.landed(signature, token_out).await,
            Ok(Finding::Failed) => self.failed(signature).await,
            Ok(Finding::Expired(expiry)) => {
                tracing::info!(%signature, ?expiry, "the swap has expired");
                Some(Outcome::Expired(expiry))
            }
            Err(doubt) => {
                tracing::debug!(%signature, %doubt, "the swap is undecided");
                None
            }
        }
    }

    /// The fill of a swap that was executed; `None` if no endpoint says what it paid.
    async fn landed(&self, signature: Signature, token_out: &Mint) -> Option<Outcome> {
        for endpoint in self.endpoints.admitted() {
            let Some(landed) = transaction(&endpoint, signature, self.landed_at).await else { continue };
            let fee = landed.meta.as_ref().filter(|meta| meta.err.is_none()).map(|meta| meta.fee);
            if let (Some(fee), Some(amount_out)) = (fee, received(&landed, token_out.as_str())) {
                self.endpoints.note_landed(signature, landed.slot);
                return Some(Outcome::Landed(Fill { amount_out, slot: landed.slot, fee: BaseUnits(fee) }));
            }
            tracing::debug!(%signature, endpoint = endpoint.name(), "the amounts of a landed swap cannot be read");
        }
        None
    }

    /// The cause of a swap that failed for good; `None` if no endpoint says it.
    async fn failed(&self, signature: Signature) -> Option<Outcome> {
        for endpoint in self.endpoints.admitted() {
            let Some(landed) = transaction(&endpoint, signature, Commitment::Finalized).await else { continue };
            if let Some(failure) = chain_failure(&landed) {
                self.endpoints.note_landed(signature, landed.slot);
                return Some(Outcome::Rejected { failure: failure.to_failure(&self.known_errors), slot: failure.slot });
            }
        }
        None
    }
}

/// Asks an endpoint for everything that the judge needs, in the order that a proof of expiry requires.
async fn testify(endpoint: &Endpoint, signature: Signature, blockhash: &Hash) -> Testimony {
    let rpc = endpoint.rpc();
    let finalized = endpoint.finalized().await.ok();
    let status = rpc
        .signature_statuses(&[signature])
        .await
        .ok()
        .map(|mut statuses| At { slot: statuses.slot, value: statuses.value.remove(0) });
    let is_unknown = status.as_ref().is_some_and(|status| status.value.is_none());
    let blockhash_valid = match is_unknown {
        true => rpc.is_blockhash_valid(blockhash, Commitment::Finalized).await.ok(),
        false => None,
    };
    // Read last: the endpoint may have been dropped for one of the answers.
    Testimony { standing: endpoint.standing().ok(), finalized, status, blockhash_valid }
}

/// The landed transaction with that signature, if the endpoint has it.
async fn transaction(endpoint: &Endpoint, signature: Signature, commitment: Commitment) -> Option<LandedTransaction> {
    match endpoint.rpc().transaction(signature, commitment).await {
        Ok(landed) => landed.filter(|landed| landed.transaction.signatures.first() == Some(&signature)),
        Err(error) => {
            tracing::debug!(%signature, endpoint = endpoint.name(), %error, "no transaction");
            None
        }
    }
}

async fn keep_proved(endpoints: Weak<Endpoints>, interval: Duration) {
    let mut ticks = tokio::time::interval(interval);
    loop {
        ticks.tick().await;
        let Some(endpoints) = endpoints.upgrade() else { return };
        endpoints.prove().await;
    }
}

#[async_trait]
impl Chain for SolanaChain {
    async fn prepare(&self, unsigned: &UnsignedSwap, intent: &Intent) -> Result<Message, PrepareError> {
        self.builder.prepare(unsigned, intent).await
    }

    fn inspect(&self, message: &Message, intent: &Intent) -> Result<(), Deviation> {
        self.builder.inspect(message, intent)
    }

    fn wire(&self, message: &Message, signature: Signature) -> Arc<[u8]> {
        wire(&message.bytes, signature).into()
    }

    async fn send(&self, bytes: &[u8]) -> Result<(), ChainError> {
        let (report, mut reports) = mpsc::channel(self.senders.len().max(1));
        for sender in &self.senders {
            // A task of its own: when one endpoint has taken the swap, the others still get it.
            let (sender, bytes, report) = (sender.clone(), bytes.to_vec(), report.clone());
            tokio::spawn(async move {
                let sent = sender.rpc.send_transaction(&bytes).await;
                if let Err(error) = &sent {
                    tracing::debug!(endpoint = sender.name, %error, "send without an answer");
                }
                // Closed: another endpoint was faster.
                let _ = report.try_send(sent.is_ok());
            });
        }
        drop(report);
        while let Some(is_taken) = reports.recv().await {
            if is_taken {
                return Ok(());
            }
        }
        Err(ChainError("no endpoint confirmed that it has taken the swap".into()))
    }

    async fn watch(
        &self,
        swap: &SignedSwap,
        token_out: &Mint,
        timeout: Duration,
    ) -> Result<Option<Outcome>, ChainError> {
        let signature = swap.swap.signature;
        let blockhash = signed::blockhash(&swap.bytes, signature)
            .ok_or_else(|| ChainError("the recorded bytes are not a transaction with that signature".into()))?;
        let mut asking = self.statuses.ask(signature);
        let now = Instant::now();
        let (mut has_answer, mut next_proof) = (false, now);
        loop {
            let deadline = now + if has_answer { timeout } else { timeout.max(FIRST_ANSWER) };
            let Ok(status) = tokio::time::timeout_at(deadline, asking.next()).await else {
                return if has_answer { Ok(None) } else { Err(ChainError("no endpoint answers".into())) };
            };
            has_answer = true;
            let is_due = match status {
                Some(status) if is_executed(&status, self.landed_at) => {
                    let landed = self.landed(signature, token_out).await;
                    if landed.is_some() {
                        return Ok(landed);
                    }
                    false
                }
                Some(status) => status.err.is_some() && status.commitment() == Commitment::Finalized,
                None => self.endpoints.height().is_some_and(|height| height > swap.swap.last_valid_block_height),
            };
            if is_due && Instant::now() >= next_proof {
                next_proof = Instant::now() + BETWEEN_PROOFS;
                let outcome = self.prove(swap, &blockhash, token_out).await;
                if outcome.is_some() {
                    return Ok(outcome);
                }
            }
        }
    }

    fn trouble(&self) -> Option<String> {
        self.endpoints.trouble()
    }
}
