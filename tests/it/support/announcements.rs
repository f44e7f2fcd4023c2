//! What the engine writes to Redis, read by another connection.

use std::collections::BTreeMap;
use std::pin::Pin;

use futures_util::{Stream, StreamExt};
use serde_json::Value;

use crate::support::wait::TIMEOUT;

/// A subscriber of every channel that the engine announces on.
pub struct Subscriber(Pin<Box<dyn Stream<Item = ::redis::Msg>>>);

impl Subscriber {
    /// Subscribes, before any order of the test is submitted.
    pub async fn to(url: &str) -> Self {
        let mut pubsub = ::redis::Client::open(url).unwrap().get_async_pubsub().await.unwrap();
        pubsub.psubscribe("order-engine:v1:*").await.unwrap();
        Self(Box::pin(pubsub.into_on_message()))
    }

    /// The next message, and the channel it came on.
    pub async fn next(&mut self) -> (String, Value) {
        let message = tokio::time::timeout(TIMEOUT, self.0.next()).await.expect("a message").expect("a connection");
        let channel = message.get_channel_name().strip_prefix("order-engine:v1:").unwrap().to_owned();
        (channel, serde_json::from_slice(message.get_payload_bytes()).unwrap())
    }

    /// Every message up to the end of that order, by channel.
    pub async fn until_ended(&mut self, id: &str) -> BTreeMap<String, Vec<Value>> {
        let mut received = BTreeMap::<_, Vec<_>>::new();
        loop {
            let (channel, message) = self.next().await;
            let last = channel == "orders" && message["orderId"] == id && message["status"] == "confirmed";
            received.entry(channel).or_default().push(message);
            if last {
                return received;
            }
        }
    }
}

/// Opens a connection for commands.
pub async fn connect(url: &str) -> ::redis::aio::MultiplexedConnection {
    ::redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap()
}

/// Runs a command of plain words.
pub async fn ask<T: ::redis::FromRedisValue>(connection: &mut ::redis::aio::MultiplexedConnection, words: &str) -> T {
    let mut words = words.split(' ');
    let mut command = ::redis::cmd(words.next().unwrap());
    command.arg(words.collect::<Vec<_>>()).query_async(connection).await.unwrap()
}
