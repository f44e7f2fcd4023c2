//! The endpoints: each proves itself before it is believed, and is dropped when it lies, lags or forgets.

mod admission;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use serde_json::Value;
use serde_json::value::RawValue;
use solana_hash::Hash;
use tokio::time::Instant;

pub use self::admission::{
    Answers, BLOCKHASH_LIFE, MAX_LAG, MAX_STANDSTILL, Reference, Refusal, Standing, admit, compare, fit_together,
};
use crate::domain::swap::Signature;
use crate::solana::rpc::{Commitment, EpochInfo, Rpc, RpcError, Transport};

/// For how long a block that was believed has a voice. By then every blockhash of its time is invalid, so a wrong
/// height can no longer make a swap look expired that may still land.
const REFERENCE_LIFE: Duration = Duration::from_secs(600);

/// One endpoint, and whether it is believed.
pub struct Endpoint {
    name: String,
    rpc: Rpc,
    standing: Mutex<Result<Standing, Refusal>>,
}

impl Endpoint {
    /// The calls to this endpoint alone.
    pub fn rpc(&self) -> &Rpc {
        &self.rpc
    }

    /// Its host.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its last proof, or why it is not believed.
    pub fn standing(&self) -> Result<Standing, Refusal> {
        self.locked().clone()
    }

    /// Its newest finalized block. If that does not fit to the block of its proof, the endpoint is dropped.
    pub async fn finalized(&self) -> Result<EpochInfo, RpcError> {
        let block = self.rpc.epoch_info(Commitment::Finalized).await?;
        let standing = self.standing().map_err(|_| RpcError::NoEndpoint)?;
        if !fit_together(standing.block, block) {
            self.set(Err(Refusal::Contradiction));
            return Err(RpcError::Unreadable("it contradicts an earlier answer"));
        }
        self.set(Ok(Standing { block, ..standing }));
        Ok(block)
    }

    /// Stops to believe the endpoint until it proves itself again.
    pub fn drop_for(&self, refusal: Refusal) {
        self.set(Err(refusal));
    }

    /// Asks the questions of a proof. `landed` is a transaction that is known to have landed, and its slot.
    async fn proof(&self, cluster: Hash, landed: Option<(Signature, u64)>) -> Result<Standing, Refusal> {
        let answers = self.answers(landed).await.map_err(|error| match error {
            RpcError::NoHistory => Refusal::NoHistory,
            error => Refusal::NoAnswer(error.to_string()),
        })?;
        admit(cluster, &answers)
    }

    async fn answers(&self, landed: Option<(Signature, u64)>) -> Result<Answers, RpcError> {
        let genesis = self.rpc.genesis_hash().await?;
        let epoch = self.rpc.epoch_info(Commitment::Finalized).await?;
        let height = self.rpc.block_height(Commitment::Finalized).await?;
        let latest = self.rpc.latest_blockhash(Commitment::Finalized).await?;
        let first_available = match self.rpc.first_available_block().await {
            // Some providers do not offer this call: then no old swap is judged by this endpoint.
            Err(RpcError::Refused { .. }) => u64::MAX,
            answer => answer?,
        };
        let landed = landed.filter(|(_, slot)| *slot <= epoch.absolute_slot);
        // Without a known transaction the question still shows whether the endpoint keeps old ones.
        let signature = landed.map_or(Signature([0; 64]), |(signature, _)| signature);
        let statuses = self.rpc.signature_statuses(&[signature]).await?;
        let remembers = landed.map(|_| statuses.value[0].is_some());
        Ok(Answers { genesis, epoch, height, latest, first_available, remembers })
    }

    fn set(&self, standing: Result<Standing, Refusal>) {
        let before = std::mem::replace(&mut *self.locked(), standing.clone());
        match (before, standing) {
            (Err(_), Ok(_)) => tracing::info!(endpoint = self.name, "the endpoint is admitted"),
            (Ok(_), Err(refusal)) => tracing::warn!(endpoint = self.name, %refusal, "the endpoint is dropped"),
            (Err(before), Err(refusal)) if before != refusal => {
                tracing::warn!(endpoint = self.name, %refusal, "the endpoint is not admitted");
            }
            _ => {}
        }
    }

    fn locked(&self) -> MutexGuard<'_, Result<Standing, Refusal>> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The configured endpoints of one cluster, in the order of preference.
pub struct Endpoints {
    cluster: Hash,
    list: Vec<Arc<Endpoint>>,
    known: Mutex<Known>,
}

/// What is known of the cluster, from any endpoint.
#[derive(Default)]
struct Known {
    /// The newest block that was believed, and when it was first seen.
    block: Option<(EpochInfo, Instant)>,
    /// The last transaction that is known to have landed, and its slot.
    landed: Option<(Signature, u64)>,
}

impl Endpoints {
    /// Endpoints by their names, of the cluster with that genesis hash. None is admitted before [`Endpoints::prove`].
    pub fn new(cluster: Hash, endpoints: Vec<(String, Rpc)>) -> Self {
        let endpoint = |(name, rpc)| Endpoint { name, rpc, standing: Mutex::new(Err(Refusal::NotAsked)) };
        let list = endpoints.into_iter().map(endpoint).map(Arc::new).collect();
        Self { cluster, list, known: Mutex::new(Known::default()) }
    }

    /// Lets every endpoint prove itself, and admits those that do.
    pub async fn prove(&self) {
        let landed = self.known().landed;
        let mut proofs = join_all(self.list.iter().map(|endpoint| endpoint.proof(self.cluster, landed))).await;
        let reference = self.reference();
        compare(&mut proofs, reference);
        let newest = proofs.iter().flatten().map(|standing| standing.block).max_by_key(|block| block.absolute_slot);
        if let Some(newest) = newest {
            self.believe(newest);
        }
        for (endpoint, proof) in self.list.iter().zip(proofs) {
            endpoint.set(proof);
        }
    }

    /// Every endpoint.
    pub fn all(&self) -> &[Arc<Endpoint>] {
        &self.list
    }

    /// The admitted endpoints, in the order of preference.
    pub fn admitted(&self) -> Vec<Arc<Endpoint>> {
        self.list.iter().filter(|endpoint| endpoint.locked().is_ok()).cloned().collect()
    }

    /// The highest finalized block height that an admitted endpoint has answered.
    pub fn height(&self) -> Option<u64> {
        let heights = self.list.iter().filter_map(|endpoint| endpoint.standing().ok());
        heights.map(|standing| standing.block.block_height).max()
    }

    /// Notes a transaction that has landed. An endpoint that does not know it is dropped.
    pub fn note_landed(&self, signature: Signature, slot: u64) {
        self.known().landed = Some((signature, slot));
    }

    /// The calls to the first admitted endpoint that answers.
    pub fn rpc(self: &Arc<Self>) -> Rpc {
        Rpc::new(self.clone())
    }

    /// Why a swap cannot be decided at present. The text names hosts only.
    pub fn trouble(&self) -> Option<String> {
        let refused: Vec<_> = self
            .list
            .iter()
            .filter_map(|endpoint| endpoint.standing().err().map(|refusal| format!("{}: {refusal}", endpoint.name)))
            .collect();
        // Two have to agree where two are configured.
        let needed = self.list.len().min(2);
        let is_enough = self.list.len() - refused.len() >= needed;
        (!is_enough).then(|| format!("too few endpoints of the chain can be believed ({})", refused.join("; ")))
    }

    fn reference(&self) -> Option<Reference> {
        let (block, seen) = self.known().block?;
        let age = seen.elapsed();
        (age <= REFERENCE_LIFE).then_some(Reference { block, age })
    }

    fn believe(&self, newest: EpochInfo) {
        let mut known = self.known();
        let is_new = known
            .block
            .is_none_or(|(block, seen)| newest.absolute_slot > block.absolute_slot || seen.elapsed() > REFERENCE_LIFE);
        if is_new {
            known.block = Some((newest, Instant::now()));
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Transport for Endpoints {
    async fn call(&self, method: &'static str, params: Value) -> Result<Box<RawValue>, RpcError> {
        let mut last = RpcError::NoEndpoint;
        for endpoint in self.admitted() {
            match endpoint.rpc.raw(method, params.clone()).await {
                Err(error) if error.is_of_endpoint() => {
                    if error == RpcError::NoHistory {
                        endpoint.drop_for(Refusal::NoHistory);
                    }
                    last = error;
                }
                answer => return answer,
            }
        }
        Err(last)
    }
}
