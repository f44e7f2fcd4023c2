//! What the builder of messages asks, over JSON-RPC.

use async_trait::async_trait;
use solana_address::Address;

use super::{Commitment, Rpc, RpcError, SimulationMode};
use crate::solana::node::{AccountData, Lifetime, Node, NodeError, Simulated};

#[async_trait]
impl Node for Rpc {
    async fn latest_blockhash(&self) -> Result<Lifetime, NodeError> {
        let latest = Rpc::latest_blockhash(self, Commitment::Confirmed).await?.value;
        Ok(Lifetime { blockhash: latest.blockhash, last_valid_block_height: latest.last_valid_block_height })
    }

    async fn accounts(&self, addresses: &[Address]) -> Result<Vec<Option<AccountData>>, NodeError> {
        Ok(self.multiple_accounts(addresses, Commitment::Confirmed).await?.value)
    }

    async fn rent(&self, length: usize) -> Result<u64, NodeError> {
        Ok(self.minimum_balance_for_rent_exemption(length).await?)
    }

    async fn recent_prices(&self, writable: &[Address]) -> Result<Vec<u64>, NodeError> {
        let fees = self.recent_prioritization_fees(writable).await?;
        Ok(fees.into_iter().map(|fee| fee.prioritization_fee).collect())
    }

    async fn simulate(&self, transaction: &[u8]) -> Result<Simulated, NodeError> {
        let mode = SimulationMode::ReplacedBlockhash;
        let simulation = self.simulate_transaction(transaction, mode, Commitment::Confirmed).await?.value;
        let error = simulation.err.map(|error| error.to_string());
        match (simulation.units_consumed, &error) {
            (None, None) => Err(NodeError("the simulation does not say how many units it used".to_owned())),
            (units, _) => Ok(Simulated { units: units.unwrap_or_default(), error }),
        }
    }
}

impl From<RpcError> for NodeError {
    fn from(error: RpcError) -> Self {
        Self(error.to_string())
    }
}
