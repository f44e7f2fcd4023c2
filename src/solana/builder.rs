//! From the instruction of a venue to a message that is ready to sign, and its inspection.
//!
//! The message is simulated before it is signed and never after: a node that gets a signed swap could send it before it is
//! recorded.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use solana_address::Address;
use solana_hash::Hash;
use solana_instruction::Instruction;

use crate::chain::{Deviation, Intent, Message, PrepareError};
use crate::domain::amount::BaseUnits;
use crate::domain::id::OrderId;
use crate::domain::swap::{Signature, UnsignedSwap};
use crate::domain::token::Mint;
use crate::solana::firewall::{Expected, SwapReader, inspect};
use crate::solana::node::{AccountData, Node, NodeError, Simulated};
use crate::solana::transaction::{
    Budget, FeeLimits, Funds, Rents, Seed, SwapIntent, TokenMint, TokenProgram, associated_account, budget,
    check_funds, compile, decode_template, filled, plan, wire,
};

/// The length of an account of SPL Token, and the longest one of Token-2022 that is reckoned with.
const TOKEN_ACCOUNT_BYTES: usize = 165;
const TOKEN_2022_ACCOUNT_BYTES: usize = 320;

/// Builds the messages of swaps, and inspects them.
pub struct MessageBuilder {
    node: Arc<dyn Node>,
    reader: Arc<dyn SwapReader>,
    limits: FeeLimits,
    prepared: Mutex<VecDeque<Prepared>>,
}

/// What the chain said while a message was prepared, which its inspection needs again.
struct Prepared {
    order_id: OrderId,
    attempt: u32,
    token_in: TokenMint,
    token_out: TokenMint,
    token_account_rent: u64,
    blockhash: Hash,
    last_valid_block_height: u64,
}

impl MessageBuilder {
    /// A builder that asks this node, and passes the swaps that this reader knows.
    pub fn new(node: Arc<dyn Node>, reader: Arc<dyn SwapReader>, limits: FeeLimits) -> Self {
        Self { node, reader, limits, prepared: Mutex::default() }
    }

    /// As [`Chain::prepare`](crate::chain::Chain::prepare).
    pub async fn prepare(&self, unsigned: &UnsignedSwap, intent: &Intent) -> Result<Message, PrepareError> {
        let template = decode_template(&unsigned.instructions)
            .ok_or_else(|| PrepareError::Instructions("they are not an instruction of Solana".to_owned()))?;
        // The blockhash first: its lifetime begins now, and the message is built within it.
        let lifetime = self.node.latest_blockhash().await.map_err(unavailable)?;
        let wallet = self.wallet(intent).await?;
        let swap_intent = wallet.intent(intent);
        let swap = filled(template, &swap_intent);
        wallet.can_pay(&swap_intent, Budget::DRAFT.fee())?;
        let build = |budget| {
            let message = compile(&swap_intent.wallet, &plan(&swap_intent, swap.clone(), budget), lifetime.blockhash);
            message.map_err(|error| PrepareError::Instructions(error.to_string()))
        };
        let draft = self.simulated(&build(Budget::DRAFT)?).await?;
        let recent = self.node.recent_prices(&writable(&swap)).await.map_err(unavailable)?;
        let budget = budget(draft.units, &recent, intent.attempt, self.limits);
        wallet.can_pay(&swap_intent, budget.fee())?;
        let message = build(budget)?;
        // Once more, now with its real limit of units.
        self.simulated(&message).await?;
        self.remember(Prepared {
            order_id: intent.order_id,
            attempt: intent.attempt,
            token_in: swap_intent.token_in,
            token_out: swap_intent.token_out,
            token_account_rent: swap_intent.token_account_rent,
            blockhash: lifetime.blockhash,
            last_valid_block_height: lifetime.last_valid_block_height,
        });
        Ok(Message { bytes: message.into(), last_valid_block_height: lifetime.last_valid_block_height })
    }

    /// As [`Chain::inspect`](crate::chain::Chain::inspect): once for each message that was prepared.
    pub fn inspect(&self, message: &Message, intent: &Intent) -> Result<(), Deviation> {
        let deviation = |reason: String| Deviation(reason);
        let prepared = self.recall(intent).ok_or_else(|| deviation("it was not prepared here".to_owned()))?;
        if message.last_valid_block_height != prepared.last_valid_block_height {
            return Err(deviation("it has another last valid block height".to_owned()));
        }
        let (mint_in, mint_out) = (address_of(&intent.token_in), address_of(&intent.token_out));
        if (prepared.token_in.mint, prepared.token_out.mint) != (mint_in, mint_out) {
            return Err(deviation("it was prepared for other tokens".to_owned()));
        }
        let swap_intent = prepared.intent(intent);
        let expected = Expected { intent: &swap_intent, blockhash: prepared.blockhash, max_fee: self.limits.max_fee };
        inspect(&message.bytes, &expected, &*self.reader).map_err(|refusal| deviation(refusal.to_string()))
    }

    /// What the wallet holds, and what accounts cost.
    async fn wallet(&self, intent: &Intent) -> Result<Wallet, PrepareError> {
        let address = Address::new_from_array(intent.wallet.to_bytes());
        let (mint_in, mint_out) = (address_of(&intent.token_in), address_of(&intent.token_out));
        // The programs of the tokens are not known yet, so the accounts under both are asked for: one slot, one call.
        let accounts =
            |mint| TokenProgram::ALL.map(|program| associated_account(&address, TokenMint { mint, program }));
        let [ins, outs] = [accounts(mint_in), accounts(mint_out)];
        let asked = [mint_in, mint_out, address, ins[0], ins[1], outs[0], outs[1]];
        let (found, wallet_rent, token_account_rent, token_2022_account_rent) = tokio::try_join!(
            self.node.accounts(&asked),
            self.node.rent(0),
            self.node.rent(TOKEN_ACCOUNT_BYTES),
            self.node.rent(TOKEN_2022_ACCOUNT_BYTES),
        )
        .map_err(unavailable)?;
        let Ok([mint_account_in, mint_account_out, own, in_0, in_1, out_0, out_1]) = <[_; 7]>::try_from(found) else {
            return Err(PrepareError::Unavailable("the node answered with another number of accounts".to_owned()));
        };
        let token_in = token(mint_in, mint_account_in.as_ref())?;
        let token_out = token(mint_out, mint_account_out.as_ref())?;
        let under = |program, [token, token_2022]: [Option<AccountData>; 2]| match program {
            TokenProgram::Token => token,
            TokenProgram::Token2022 => token_2022,
        };
        let source = under(token_in.program, [in_0, in_1]);
        let has_output_account = under(token_out.program, [out_0, out_1]).is_some() || token_out.is_native();
        let output_account = match token_out.program {
            _ if has_output_account => 0,
            TokenProgram::Token => token_account_rent,
            TokenProgram::Token2022 => token_2022_account_rent,
        };
        Ok(Wallet {
            token_in,
            token_out,
            decimals_in: mint_account_in.as_ref().and_then(decimals).unwrap_or(0),
            funds: Funds {
                lamports: own.map_or(0, |account| account.lamports),
                tokens: source.as_ref().and_then(amount).unwrap_or(0),
            },
            rents: Rents { wallet: wallet_rent, output_account },
            token_account_rent,
        })
    }

    /// Executes a message without effect; fails if it would fail.
    async fn simulated(&self, message: &[u8]) -> Result<Simulated, PrepareError> {
        const UNSIGNED: Signature = Signature([0; 64]);
        let simulated = self.node.simulate(&wire(message, UNSIGNED)).await.map_err(unavailable)?;
        match simulated.error {
            Some(error) => Err(PrepareError::Instructions(format!("the simulation failed: {error}"))),
            None => Ok(simulated),
        }
    }

    fn remember(&self, prepared: Prepared) {
        /// Far more than orders that are between both calls; each is forgotten with its inspection.
        const MOST: usize = 10_000;
        let mut all = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|other| (other.order_id, other.attempt) != (prepared.order_id, prepared.attempt));
        if all.len() == MOST {
            all.pop_front();
        }
        all.push_back(prepared);
    }

    fn recall(&self, intent: &Intent) -> Option<Prepared> {
        let mut all = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        let at =
            all.iter().position(|prepared| (prepared.order_id, prepared.attempt) == (intent.order_id, intent.attempt));
        all.remove(at?)
    }
}

/// The wallet as it was when the message was prepared.
struct Wallet {
    token_in: TokenMint,
    token_out: TokenMint,
    decimals_in: u8,
    funds: Funds,
    rents: Rents,
    token_account_rent: u64,
}

impl Wallet {
    fn intent(&self, intent: &Intent) -> SwapIntent {
        swap_intent(intent, self.token_in, self.token_out, self.token_account_rent)
    }

    fn can_pay(&self, intent: &SwapIntent, fee: u64) -> Result<(), PrepareError> {
        check_funds(intent, self.funds, self.rents, fee).map_err(|short| {
            let could_sell = short.could_sell.to_decimal(self.decimals_in);
            let lamports = BaseUnits(short.missing_lamports).to_decimal(9);
            let for_fees = match short.missing_lamports {
                0 => String::new(),
                _ => format!("; for fees and accounts it needs {lamports} SOL more"),
            };
            PrepareError::InsufficientFunds(format!("it could sell at most {could_sell}{for_fees}"))
        })
    }
}

impl Prepared {
    fn intent(&self, intent: &Intent) -> SwapIntent {
        swap_intent(intent, self.token_in, self.token_out, self.token_account_rent)
    }
}

fn swap_intent(intent: &Intent, token_in: TokenMint, token_out: TokenMint, token_account_rent: u64) -> SwapIntent {
    SwapIntent {
        wallet: Address::new_from_array(intent.wallet.to_bytes()),
        token_in,
        token_out,
        amount_in: intent.amount_in,
        min_amount_out: intent.min_amount_out,
        seed: Seed::of(intent.order_id, intent.attempt),
        token_account_rent,
    }
}

fn token(mint: Address, account: Option<&AccountData>) -> Result<TokenMint, PrepareError> {
    let program = account.and_then(|account| TokenProgram::from_id(account.owner));
    let program = program
        .ok_or_else(|| PrepareError::Instructions(format!("{mint} is not the mint of a token on this cluster")))?;
    Ok(TokenMint { mint, program })
}

/// The accounts that compete for a place in a block.
fn writable(swap: &Instruction) -> Vec<Address> {
    swap.accounts.iter().filter(|account| account.is_writable).map(|account| account.pubkey).collect()
}

fn decimals(mint: &AccountData) -> Option<u8> {
    const DECIMALS: usize = 44;
    mint.data.get(DECIMALS).copied()
}

fn amount(token_account: &AccountData) -> Option<u64> {
    const AMOUNT: std::ops::Range<usize> = 64..72;
    Some(u64::from_le_bytes(token_account.data.get(AMOUNT)?.try_into().ok()?))
}

fn address_of(mint: &Mint) -> Address {
    mint.as_str().parse().expect("a mint is an address")
}

fn unavailable(error: NodeError) -> PrepareError {
    PrepareError::Unavailable(error.to_string())
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use solana_message::VersionedMessage;
    use uuid::Uuid;

    use super::*;
    use crate::domain::id::VenueId;
    use crate::domain::swap::PublicKey;
    use crate::solana::firewall::tests::StandIn;
    use crate::solana::node::Lifetime;
    use crate::solana::transaction::testing::{BLOCKHASH, Shape, intent as swap_of, swap_between};
    use crate::solana::transaction::{DESTINATION, NATIVE_MINT, SOURCE, USER, encode_template};

    const LIMITS: FeeLimits = FeeLimits { min_price: 0, max_fee: 50_000 };
    const RENT: u64 = 1_488_440;

    /// A node with one wallet. It keeps what it was asked to simulate.
    struct StubNode {
        lamports: u64,
        tokens: u64,
        simulated: Result<Simulated, NodeError>,
        asked: Mutex<Vec<Vec<u8>>>,
    }

    impl StubNode {
        fn rich() -> Self {
            let simulated = Ok(Simulated { units: 50_000, error: None });
            Self { lamports: 10_000_000_000, tokens: 10_000_000_000, simulated, asked: Mutex::default() }
        }
    }

    #[async_trait]
    impl Node for StubNode {
        async fn latest_blockhash(&self) -> Result<Lifetime, NodeError> {
            Ok(Lifetime { blockhash: BLOCKHASH, last_valid_block_height: 150 })
        }

        async fn accounts(&self, addresses: &[Address]) -> Result<Vec<Option<AccountData>>, NodeError> {
            let wallet = swap_of(Shape::Tokens).wallet;
            let mint = |program: TokenProgram, decimals| {
                let mut data = vec![0; 82];
                data[44] = decimals;
                Some(AccountData { lamports: RENT, owner: program.id(), data })
            };
            let account = |address: &Address| match *address {
                NATIVE_MINT => mint(TokenProgram::Token, 9),
                address if address == wallet => {
                    Some(AccountData { lamports: self.lamports, owner: Address::default(), data: Vec::new() })
                }
                address if address == swap_of(Shape::BuyNative).source() => {
                    let mut data = vec![0; TOKEN_ACCOUNT_BYTES];
                    data[64..72].copy_from_slice(&self.tokens.to_le_bytes());
                    Some(AccountData { lamports: RENT, owner: TokenProgram::Token.id(), data })
                }
                address if [81, 82].map(|mint| Address::new_from_array([mint; 32])).contains(&address) => {
                    mint(TokenProgram::Token, 6)
                }
                address if address == Address::new_from_array([83; 32]) => mint(TokenProgram::Token2022, 6),
                _ => None,
            };
            Ok(addresses.iter().map(account).collect())
        }

        async fn rent(&self, length: usize) -> Result<u64, NodeError> {
            Ok(if length == 0 { 650_000 } else { RENT })
        }

        async fn recent_prices(&self, _: &[Address]) -> Result<Vec<u64>, NodeError> {
            Ok(vec![100_000; 10])
        }

        async fn simulate(&self, transaction: &[u8]) -> Result<Simulated, NodeError> {
            self.asked.lock().unwrap().push(transaction.to_vec());
            self.simulated.clone()
        }
    }

    fn intent(shape: Shape) -> Intent {
        let swap = swap_of(shape);
        Intent {
            order_id: OrderId(Uuid::from_u128(7)),
            attempt: 1,
            wallet: PublicKey::from_bytes(&swap.wallet.to_bytes()).unwrap(),
            venue: VenueId::RAYDIUM,
            token_in: swap.token_in.mint.to_string().parse().unwrap(),
            token_out: swap.token_out.mint.to_string().parse().unwrap(),
            amount_in: swap.amount_in,
            min_amount_out: swap.min_amount_out,
        }
    }

    fn unsigned(shape: Shape) -> UnsignedSwap {
        let template = swap_between(&swap_of(shape), [USER, SOURCE, DESTINATION]);
        UnsignedSwap {
            venue: VenueId::RAYDIUM,
            quoted_out: BaseUnits(100_000),
            min_amount_out: swap_of(shape).min_amount_out,
            instructions: encode_template(&template).into(),
        }
    }

    fn builder(node: StubNode) -> (MessageBuilder, Arc<StubNode>) {
        let node = Arc::new(node);
        (MessageBuilder::new(node.clone(), Arc::new(StandIn), LIMITS), node)
    }

    /// The limit and the price of compute units in a transaction or a message.
    fn budget_of(bytes: &[u8]) -> (u32, u64) {
        let message = if bytes[0] == 1 { &bytes[65..] } else { bytes };
        let Ok(VersionedMessage::V0(message)) = wincode::deserialize_exact(message) else { panic!() };
        let data = |place: usize| message.instructions[place].data[1..].to_vec();
        (u32::from_le_bytes(data(0).try_into().unwrap()), u64::from_le_bytes(data(1).try_into().unwrap()))
    }

    #[tokio::test]
    async fn a_swap_is_simulated_twice_without_a_signature_and_then_passes_the_inspection() {
        for shape in Shape::ALL {
            let (builder, node) = builder(StubNode::rich());
            let message = builder.prepare(&unsigned(shape), &intent(shape)).await.unwrap();
            assert_eq!(message.last_valid_block_height, 150);
            assert_eq!(budget_of(&message.bytes), (60_000, 100_000));
            let simulated = node.asked.lock().unwrap().clone();
            assert_eq!(
                simulated.iter().map(|bytes| budget_of(bytes)).collect::<Vec<_>>(),
                [(1_400_000, 0), (60_000, 100_000)]
            );
            assert!(simulated.iter().all(|bytes| bytes[1..65] == [0; 64]), "a signature left the engine");
            assert_eq!(builder.inspect(&message, &intent(shape)), Ok(()), "{shape:?}");
        }
    }

    #[tokio::test]
    async fn a_later_attempt_offers_more_within_the_limit() {
        let fee = async |attempt| {
            let (builder, _) = builder(StubNode::rich());
            let intent = Intent { attempt, ..intent(Shape::SellNative) };
            let message = builder.prepare(&unsigned(Shape::SellNative), &intent).await.unwrap();
            assert_eq!(builder.inspect(&message, &intent), Ok(()));
            let (units, price) = budget_of(&message.bytes);
            Budget { units, price }.fee()
        };
        assert_eq!([fee(1).await, fee(2).await, fee(3).await, fee(4).await], [11_000, 17_000, 29_000, 50_000]);
    }

    #[tokio::test]
    async fn a_message_for_another_intent_or_of_another_preparation_is_refused() {
        let (builder, _) = builder(StubNode::rich());
        let asked = intent(Shape::SellNative);
        let others = [
            Intent { min_amount_out: BaseUnits(98_766), ..asked.clone() },
            Intent { amount_in: BaseUnits(1), ..asked.clone() },
            Intent { attempt: 2, ..asked.clone() },
            Intent { token_out: intent(Shape::Tokens).token_out, ..asked.clone() },
        ];
        for other in others {
            let message = builder.prepare(&unsigned(Shape::SellNative), &asked).await.unwrap();
            assert!(builder.inspect(&message, &other).is_err(), "{other:?}");
        }
        let message = builder.prepare(&unsigned(Shape::SellNative), &asked).await.unwrap();
        let longer = Message { last_valid_block_height: 151, ..message.clone() };
        assert!(builder.inspect(&longer, &asked).is_err());
        assert!(builder.inspect(&message, &asked).is_err(), "each preparation is inspected once");
    }

    #[tokio::test]
    async fn a_venue_that_sells_for_less_than_the_intent_is_refused() {
        let (builder, _) = builder(StubNode::rich());
        let cheap = SwapIntent { min_amount_out: BaseUnits(0), ..swap_of(Shape::Tokens) };
        let template = swap_between(&cheap, [USER, SOURCE, DESTINATION]);
        let unsigned = UnsignedSwap { instructions: encode_template(&template).into(), ..unsigned(Shape::Tokens) };
        let message = builder.prepare(&unsigned, &intent(Shape::Tokens)).await.unwrap();
        assert!(builder.inspect(&message, &intent(Shape::Tokens)).is_err());
    }

    async fn refused(node: StubNode, unsigned: &UnsignedSwap, intent: &Intent) -> PrepareError {
        builder(node).0.prepare(unsigned, intent).await.unwrap_err()
    }

    #[tokio::test]
    async fn a_wallet_without_the_funds_learns_how_much_it_could_sell() {
        let poor = StubNode { lamports: 1_000_000_000, ..StubNode::rich() };
        let error = refused(poor, &unsigned(Shape::SellNative), &intent(Shape::SellNative)).await;
        let text = "it could sell at most 0.99850656".to_owned();
        assert_eq!(
            error,
            PrepareError::InsufficientFunds(text),
            "all but the fee and the rent of the temporary account"
        );
        let poor = StubNode { tokens: 1_500_000, ..StubNode::rich() };
        let error = refused(poor, &unsigned(Shape::BuyNative), &intent(Shape::BuyNative)).await;
        assert_eq!(error, PrepareError::InsufficientFunds("it could sell at most 1.5".to_owned()));
        let poor = StubNode { lamports: 5_000, ..StubNode::rich() };
        let error = refused(poor, &unsigned(Shape::Tokens), &intent(Shape::Tokens)).await;
        let text = "it could sell at most 0; for fees and accounts it needs 0.00213844 SOL more".to_owned();
        assert_eq!(error, PrepareError::InsufficientFunds(text));
    }

    #[tokio::test]
    async fn what_the_chain_cannot_execute_is_not_prepared() {
        let (swap, asked) = (unsigned(Shape::Tokens), intent(Shape::Tokens));
        let other = UnsignedSwap { instructions: Arc::from(*b"{}"), ..swap.clone() };
        assert!(matches!(refused(StubNode::rich(), &other, &asked).await, PrepareError::Instructions(_)));
        let fails = Ok(Simulated { units: 1, error: Some("the price has moved".to_owned()) });
        let failing = StubNode { simulated: fails, ..StubNode::rich() };
        let error = refused(failing, &swap, &asked).await;
        assert_eq!(error, PrepareError::Instructions("the simulation failed: the price has moved".to_owned()));
        let gone = StubNode { simulated: Err(NodeError("no answer".to_owned())), ..StubNode::rich() };
        assert_eq!(refused(gone, &swap, &asked).await, PrepareError::Unavailable("no answer".to_owned()));
        let unknown = Intent { token_out: Address::new_from_array([84; 32]).to_string().parse().unwrap(), ..asked };
        assert!(matches!(refused(StubNode::rich(), &swap, &unknown).await, PrepareError::Instructions(_)));
    }
}
