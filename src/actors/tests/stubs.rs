//! The stubs: one actor that stands for all others and hands each message to the test, with the way to answer it.
//!
//! The test reads the messages in the order of their arrival. Time is paused and passes only while every actor is idle.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use async_trait::async_trait;
use rust_decimal::Decimal;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use uuid::Uuid;

use crate::actors::dex_router::{RouteOrder, SwapEnded};
use crate::actors::order::{
    OrderContext, OrderExited, OrderUpdate, ReportRecipients, RequestSlot, Subscriber, SwapStuck,
};
use crate::actors::order_manager::{CloseBook, FindOrder, GetQueueStats, ReopenBook, SubmitOrder};
use crate::actors::persistence::{FindKey, GetDatabaseState, ListOrders, LoadOrder, Record};
use crate::actors::restartable_addr::RestartableAddr;
use crate::actors::supervisor::ChildExited;
use crate::actors::venue::{BuildSwap, GetQuote, Venues};
use crate::chain::{Chain, ChainError, Deviation, Intent, Message as SwapMessage, PrepareError};
use crate::config::Settings;
use crate::domain::amount::BaseUnits;
use crate::domain::id::{OrderId, VenueId};
use crate::domain::lifecycle::OrderEvent;
use crate::domain::order::{Order, RecordedEvent};
use crate::domain::quote::Quote;
use crate::domain::request::tests::request;
use crate::domain::routing::RoutingDecision;
use crate::domain::swap::{Expiry, Fill, Outcome, Signature, SignedSwap, Swap, UnsignedSwap};
use crate::domain::token::Mint;
use crate::domain::user::{Owner, UserId};
use crate::runtime::clock::Clock;
use crate::runtime::environment::Environment;
use crate::signer::Signer;
use crate::simulation::signer::SimulatedSigner;
use crate::store::{Write, Written};
use crate::telemetry::metrics::Metrics;

/// The venues of the tests, in the venue order.
pub(crate) const VENUES: [VenueId; 2] = [VenueId::RAYDIUM, VenueId::METEORA];

/// The answer to a message. If it is dropped, the answer never comes.
pub(crate) type Reply<M> = oneshot::Sender<<M as Message>::Result>;

/// The answer of the chain to one look at a signature.
pub(crate) type ChainReply = oneshot::Sender<Result<Option<Outcome>, ChainError>>;

/// A message to a stub.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there are few of them")]
#[allow(dead_code, reason = "some fields are read only in the message of a failed test")]
pub(crate) enum Asked {
    RequestSlot(RequestSlot),
    SwapStuck(SwapStuck),
    OrderExited(OrderExited),
    Record(Record),
    SwapEnded(SwapEnded),
    ChildExited(ChildExited),
    SubmitOrder(SubmitOrder),
    LoadOrder(LoadOrder, Reply<LoadOrder>),
    FindKey(FindKey, Reply<FindKey>),
    ListOrders(ListOrders, Reply<ListOrders>),
    GetDatabaseState(GetDatabaseState, Reply<GetDatabaseState>),
    RouteOrder(RouteOrder, Reply<RouteOrder>),
    GetQuote(GetQuote, Reply<GetQuote>),
    BuildSwap(BuildSwap, Reply<BuildSwap>),
    FindOrder(FindOrder, Reply<FindOrder>),
    GetQueueStats(GetQueueStats, Reply<GetQueueStats>),
    CloseBook(CloseBook, Reply<CloseBook>),
    ReopenBook(ReopenBook),
    /// A swap was sent to the chain.
    Send(Vec<u8>),
    /// The chain was asked for a signature.
    Watch(Signature, ChainReply),
}

/// Takes the next message, which must match the pattern.
macro_rules! next {
    ($stubs:expr, $pattern:pat => $value:expr) => {
        match $stubs.next().await {
            $pattern => $value,
            other => panic!("expected {}, got {other:?}", stringify!($pattern)),
        }
    };
}
pub(crate) use next;

/// The actor behind all recipients.
pub(crate) struct Stub(mpsc::UnboundedSender<Asked>);

impl Actor for Stub {
    type Context = Context<Self>;
}

macro_rules! notifications {
    ($($message:ident)*) => {$(
        impl Handler<$message> for Stub {
            type Result = ();

            fn handle(&mut self, message: $message, _: &mut Self::Context) {
                // The test may have ended.
                let _ = self.0.send(Asked::$message(message));
            }
        }
    )*};
}

macro_rules! questions {
    ($($message:ident)*) => {$(
        impl Handler<$message> for Stub {
            type Result = ResponseFuture<<$message as Message>::Result>;

            fn handle(&mut self, message: $message, _: &mut Self::Context) -> Self::Result {
                let (reply, answer) = oneshot::channel();
                let _ = self.0.send(Asked::$message(message, reply));
                Box::pin(or_never(answer))
            }
        }
    )*};
}

notifications! { RequestSlot SwapStuck OrderExited Record SwapEnded ChildExited SubmitOrder ReopenBook }
questions! {
    LoadOrder FindKey ListOrders GetDatabaseState RouteOrder GetQuote BuildSwap FindOrder GetQueueStats CloseBook
}

async fn or_never<T>(answer: oneshot::Receiver<T>) -> T {
    match answer.await {
        Ok(answer) => answer,
        Err(_) => std::future::pending().await,
    }
}

struct StubChain(mpsc::UnboundedSender<Asked>);

#[async_trait]
impl Chain for StubChain {
    async fn prepare(&self, unsigned: &UnsignedSwap, _: &Intent) -> Result<SwapMessage, PrepareError> {
        match unsigned.instructions.is_empty() {
            true => Err(PrepareError::Instructions("there are none".to_owned())),
            false => Ok(SwapMessage { bytes: unsigned.instructions.clone(), last_valid_block_height: 100 }),
        }
    }

    fn inspect(&self, _: &SwapMessage, _: &Intent) -> Result<(), Deviation> {
        Ok(())
    }

    fn wire(&self, message: &SwapMessage, _: Signature) -> Arc<[u8]> {
        message.bytes.clone()
    }

    async fn send(&self, bytes: &[u8]) -> Result<(), ChainError> {
        let _ = self.0.send(Asked::Send(bytes.to_vec()));
        Ok(())
    }

    async fn watch(&self, signed: &SignedSwap, _: &Mint, _: Duration) -> Result<Option<Outcome>, ChainError> {
        let (reply, answer) = oneshot::channel();
        let _ = self.0.send(Asked::Watch(signed.swap.signature, reply));
        or_never(answer).await
    }
}

/// Everything around the actor under test.
pub(crate) struct Stubs {
    asked: mpsc::UnboundedReceiver<Asked>,
    sender: mpsc::UnboundedSender<Asked>,
    /// Stands for every other actor.
    pub(crate) addr: Addr<Stub>,
    /// Follows the paused time.
    pub(crate) clock: Clock,
    /// The wallet of the orders that start later.
    pub(crate) signer: Arc<dyn Signer>,
}

impl Stubs {
    /// Pauses the time and starts the stub.
    pub(crate) fn start() -> Self {
        tokio::time::pause();
        let (sender, asked) = mpsc::unbounded_channel();
        let signer = Arc::new(SimulatedSigner::new(&[1; 32]));
        Self { asked, addr: Stub(sender.clone()).start(), sender, clock: Clock::runtime(), signer }
    }

    /// The next message. Within an hour of paused time there must be one.
    pub(crate) async fn next(&mut self) -> Asked {
        let asked = timeout(Duration::from_secs(3_600), self.asked.recv()).await;
        asked.expect("nothing was asked for an hour").expect("the stub holds a sender")
    }

    /// Lets time pass, in which there must be no message.
    pub(crate) async fn nothing_for(&mut self, duration: Duration) {
        if let Ok(asked) = timeout(duration, self.asked.recv()).await {
            panic!("expected nothing for {duration:?}, got {asked:?}");
        }
    }

    /// The environment with that clock.
    pub(crate) fn environment(&self) -> Environment {
        Environment { clock: self.clock, ..Environment::system() }
    }

    /// What orders share, with stubs for everything.
    pub(crate) fn context<'a>(&self, settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> Arc<OrderContext> {
        self.context_of(ReportRecipients::from(self.addr.clone()), settings)
    }

    /// The same for the orders of this manager.
    pub(crate) fn context_of<'a>(
        &self,
        manager: ReportRecipients,
        settings: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Arc<OrderContext> {
        Arc::new(OrderContext {
            suspended: false,
            settings: Arc::new(Settings::with(settings).unwrap()),
            environment: self.environment(),
            manager,
            persistence: self.addr.clone().into(),
            router: RestartableAddr::new(self.addr.clone()),
            venues: self.venues(),
            chain: self.chain(),
            signer: self.signer.clone(),
            announce: None,
            metrics: Metrics::default(),
        })
    }

    pub(crate) fn venues(&self) -> Venues {
        let venue = |id| (id, RestartableAddr::new(self.addr.clone()));
        VENUES.into_iter().map(venue).collect()
    }

    pub(crate) fn chain(&self) -> Arc<dyn Chain> {
        Arc::new(StubChain(self.sender.clone()))
    }

    /// Expects a write and leaves it unanswered.
    pub(crate) async fn write(&mut self) -> Record {
        next!(self, Asked::Record(record) => record)
    }

    /// Expects the write of that event and answers that it is stored.
    pub(crate) async fn stores(&mut self, event: &str) -> Arc<RecordedEvent> {
        let record = self.write().await;
        let recorded = recorded(&record.write);
        assert_eq!(recorded.event.name(), event);
        record.reply.send(Ok(Written::Stored)).expect("the order waits for its write");
        recorded
    }
}

/// Whether the answer is not there yet, once every actor is idle.
pub(crate) async fn waits(answer: &mut (impl Future + Unpin)) -> bool {
    timeout(Duration::from_millis(1), answer).await.is_err()
}

/// The event that is written.
pub(crate) fn recorded(write: &Write) -> Arc<RecordedEvent> {
    match write {
        Write::Accept(accept) => accept.order.history()[0].clone(),
        Write::Step(step) => step.recorded.clone(),
    }
}

/// A user.
pub(crate) fn user(number: u128) -> Owner {
    Owner::User(UserId(Uuid::from_u128(number)))
}

/// An order that was accepted now.
pub(crate) fn order(clock: &Clock) -> Order {
    Order::accept(None, OrderId(Uuid::now_v7()), Owner::Shared, Arc::new(request()), clock.read())
}

/// The order after those events.
pub(crate) fn after(mut order: Order, events: impl IntoIterator<Item = OrderEvent>, clock: &Clock) -> Order {
    for event in events {
        order.apply(Arc::new(order.propose(event, clock.read()).unwrap())).unwrap();
    }
    order
}

/// The events from a slot to a live swap.
pub(crate) fn until_submitted(clock: &Clock) -> [OrderEvent; 3] {
    let swap = Arc::new(signed(VenueId::RAYDIUM).swap);
    [OrderEvent::Dispatched, OrderEvent::Routed(Arc::new(decision(clock))), OrderEvent::Submitted(swap)]
}

/// A quote that is given now.
pub(crate) fn quote(venue: VenueId, clock: &Clock) -> Quote {
    Quote {
        venue,
        amount_out: BaseUnits(150_000_000),
        fee: BaseUnits(0),
        price: Decimal::from(150),
        price_impact: Decimal::ZERO,
        latency_ms: 1,
        quoted_at: clock.now(),
    }
}

/// A decision for Raydium before Meteora.
pub(crate) fn decision(clock: &Clock) -> RoutingDecision {
    let quotes = VENUES.map(|venue| quote(venue, clock)).into();
    RoutingDecision { quotes, unavailable: vec![], reason: "it is the first".into() }
}

/// The swap that a venue builds for its [`quote`].
pub(crate) fn unsigned(venue: VenueId) -> UnsignedSwap {
    UnsignedSwap {
        venue,
        quoted_out: BaseUnits(150_000_000),
        min_amount_out: BaseUnits(148_500_000),
        instructions: Arc::from([1, 2, 3]),
    }
}

/// A signed swap of that venue.
pub(crate) fn signed(venue: VenueId) -> SignedSwap {
    let swap = Swap {
        venue,
        signature: Signature([venue.name().as_bytes()[0]; 64]),
        last_valid_block_height: 100,
        quoted_out: BaseUnits(150_000_000),
        min_amount_out: BaseUnits(148_500_000),
    };
    SignedSwap { swap, bytes: Arc::from([1, 2, 3]) }
}

/// The chain knows that the swap landed.
pub(crate) fn landed() -> Result<Option<Outcome>, ChainError> {
    let fill = Fill { amount_out: BaseUnits(150_000_000), slot: 90, fee: BaseUnits(5_000) };
    Ok(Some(Outcome::Landed(fill)))
}

/// The chain proves with that height that the swap has expired.
pub(crate) fn expired_at(height: u64) -> Result<Option<Outcome>, ChainError> {
    Ok(Some(Outcome::Expired(Expiry { height, unknown_at: height })))
}

/// A subscriber, and the sequence numbers and events that it gets.
pub(crate) fn subscriber() -> (Subscriber, mpsc::UnboundedReceiver<(u32, &'static str)>) {
    struct Listener(mpsc::UnboundedSender<(u32, &'static str)>);

    impl Actor for Listener {
        type Context = Context<Self>;
    }

    impl Handler<OrderUpdate> for Listener {
        type Result = ();

        fn handle(&mut self, update: OrderUpdate, _: &mut Self::Context) {
            if let OrderUpdate::Step { step, .. } = update {
                let _ = self.0.send((step.seq, step.event.name()));
            }
        }
    }

    let (sender, updates) = mpsc::unbounded_channel();
    (Subscriber::new(Listener(sender).start().recipient(), 10), updates)
}
