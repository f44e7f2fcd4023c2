//! How an order is admitted: it is stored first, and only then started.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};
use uuid::Uuid;

use crate::actors::order_manager::messages::{OpenOrders, Submission, SubmitAnswer, SubmitError};
use crate::actors::persistence::{FindKey, LoadOrder, PersistenceRecipients, RecordError};
use crate::domain::id::{ClientKey, OrderId};
use crate::domain::order::Order;
use crate::domain::request::OrderRequest;
use crate::domain::user::{Owner, UserId};
use crate::runtime::crash_points::crash_point;
use crate::store::{ReadError, StoredOrder, Write, Written};

/// A submit is answered within this time, also if the database does not answer.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_millis(950);

/// A new order that is not stored after this time is given up; early enough that the answer can still say so.
const WRITE_WITHIN: Duration = Duration::from_millis(900);

/// After it was given up, the time to find out whether its key belongs to an earlier order.
const KEY_WITHIN: Duration = Duration::from_millis(100);

/// The number of open orders and its limits. An order that is being stored counts as open.
#[derive(Debug)]
pub(super) struct Admission {
    max_open: usize,
    max_open_per_user: usize,
    open: usize,
    // A user without open orders is not in it.
    open_of_users: HashMap<UserId, usize>,
    // The users whose account is being deleted or was: a request that was authenticated before may come after. Bounded by
    // the cost of an account.
    closed_books: HashSet<UserId>,
    // The keys of orders that are being stored. If a repeat cannot be stored either, its answer names the first order.
    unsettled_keys: HashMap<(Owner, ClientKey), OrderId>,
}

impl Admission {
    /// No open orders.
    pub(super) fn new(max_open: usize, max_open_per_user: usize) -> Self {
        Self {
            max_open,
            max_open_per_user,
            open: 0,
            open_of_users: HashMap::new(),
            closed_books: HashSet::new(),
            unsettled_keys: HashMap::new(),
        }
    }

    /// Why no further order of that owner is admitted; `None` if one is.
    pub(super) fn refusal(&self, owner: Owner) -> Option<SubmitError> {
        if owner.user().is_some_and(|user| self.closed_books.contains(&user)) {
            return Some(SubmitError::NotAccepted);
        }
        if owner.user().is_some_and(|user| self.open_of(user) >= self.max_open_per_user) {
            return Some(SubmitError::UserFull);
        }
        (self.open >= self.max_open).then_some(SubmitError::Full)
    }

    /// Admits no further order of a user, unless one is open.
    pub(super) fn close_book(&mut self, user: UserId) -> Result<(), OpenOrders> {
        match self.open_of(user) {
            0 => {
                self.closed_books.insert(user);
                Ok(())
            }
            open => Err(OpenOrders(open)),
        }
    }

    /// Admits orders of a user again.
    pub(super) fn reopen_book(&mut self, user: UserId) {
        self.closed_books.remove(&user);
    }

    fn open_of(&self, user: UserId) -> usize {
        self.open_of_users.get(&user).copied().unwrap_or_default()
    }

    /// Counts an order as open.
    pub(super) fn opened(&mut self, owner: Owner) {
        self.open += 1;
        if let Some(user) = owner.user() {
            *self.open_of_users.entry(user).or_default() += 1;
        }
    }

    /// Takes back the count of [`Self::opened`].
    pub(super) fn closed(&mut self, owner: Owner) {
        self.open -= 1;
        if let Some(user) = owner.user()
            && let Entry::Occupied(mut open) = self.open_of_users.entry(user)
        {
            *open.get_mut() -= 1;
            if *open.get() == 0 {
                open.remove();
            }
        }
    }

    /// The first order that is being stored with that key: `id`, if there is no other.
    pub(super) fn first_of_key(&mut self, owner: Owner, key: &ClientKey, id: OrderId) -> OrderId {
        *self.unsettled_keys.entry((owner, key.clone())).or_insert(id)
    }

    /// Forgets the key of an order that was being stored.
    pub(super) fn settled_key(&mut self, owner: Owner, key: ClientKey, id: OrderId) {
        if let Entry::Occupied(first) = self.unsettled_keys.entry((owner, key))
            && *first.get() == id
        {
            first.remove();
        }
    }
}

/// An order that is to be stored.
pub(super) struct NewOrder {
    pub(super) order: Order,
    pub(super) write_id: Uuid,
    pub(super) key: Option<ClientKey>,
    /// The first order that is being stored with the same key; this one if there is no other.
    pub(super) first: OrderId,
    pub(super) reply: oneshot::Sender<SubmitAnswer>,
}

/// Stores a new order and answers the client.
///
/// `settled` is called with the order if it is stored, once that is certain, and before the client is answered.
pub(super) async fn accept(
    NewOrder { order, write_id, key, first, reply }: NewOrder,
    persistence: &PersistenceRecipients,
    settled: impl FnOnce(Option<Order>),
) {
    crash_point("accept.asked");
    let expires = Instant::now() + WRITE_WITHIN;
    let write = Write::accept(write_id, order.clone(), key.clone());
    let mut written = std::pin::pin!(persistence.record(write, Some(expires)));
    // The client may be gone when it is answered; a stored order is run anyway.
    let (written, reply) = match timeout(ANSWER_WITHIN, &mut written).await {
        Ok(written) => (written, Some(reply)),
        Err(_) => {
            let _ = reply.send(Err(SubmitError::OutcomeUnknown(first)));
            (written.await, None)
        }
    };
    crash_point("accept.recorded");
    settled((written == Ok(Written::Stored)).then(|| order.clone()));
    let Some(reply) = reply else { return };
    let id = order.id;
    let _ = reply.send(match written {
        Ok(Written::Stored) => Ok(Submission { order, created: true }),
        Ok(Written::Duplicate(known)) => {
            let found = timeout_at(expires, repeated(known, &order.request, persistence)).await;
            found.unwrap_or(Err(SubmitError::OutcomeUnknown(known)))
        }
        Ok(Written::DuplicateOfUnreadable) => Err(SubmitError::Unreadable(None)),
        Err(RecordError::Expired) if first != id => Err(SubmitError::OutcomeUnknown(first)),
        Err(RecordError::Expired) => {
            let deadline = expires + KEY_WITHIN;
            refuse(order.owner, &order.request, key, SubmitError::NotAccepted, deadline, persistence).await
        }
        Err(error @ (RecordError::Refused(_) | RecordError::LostRace { .. })) => {
            tracing::warn!(%error, "an order was not accepted");
            Err(SubmitError::NotAccepted)
        }
        Err(RecordError::Stopped) => Err(SubmitError::OutcomeUnknown(id)),
    });
}

/// The answer to a submit of which nothing is stored: the order of its key if it is a repeat, otherwise `refusal`.
///
/// Reads can work while writes do not, for example on a full disk. If they do not work either, an earlier submit with the
/// key may be stored, and no refusal is true.
pub(super) async fn refuse(
    owner: Owner,
    request: &OrderRequest,
    key: Option<ClientKey>,
    refusal: SubmitError,
    deadline: Instant,
    persistence: &PersistenceRecipients,
) -> SubmitAnswer {
    let Some(key) = key else { return Err(refusal) };
    let known = async {
        match persistence.find_key.send(FindKey { owner, key }).await {
            Ok(Ok(Some(id))) => repeated(id, request, persistence).await,
            Ok(Ok(None)) => Err(refusal),
            Ok(Err(ReadError::UnreadableRow(_))) => Err(SubmitError::Unreadable(None)),
            Ok(Err(_)) | Err(_) => Err(SubmitError::KeyUnknown),
        }
    };
    timeout_at(deadline, known).await.unwrap_or(Err(SubmitError::KeyUnknown))
}

/// The order of that id, if its request is the same.
async fn repeated(id: OrderId, request: &OrderRequest, persistence: &PersistenceRecipients) -> SubmitAnswer {
    match persistence.load_order.send(LoadOrder(id)).await {
        Ok(Ok(Some(StoredOrder { order, .. }))) if order.request.is_repeated_by(request) => {
            Ok(Submission { order, created: false })
        }
        Ok(Ok(Some(_))) => Err(SubmitError::KeyReused),
        Ok(Err(ReadError::UnreadableOrder(_))) => Err(SubmitError::Unreadable(Some(id))),
        // It is stored, but cannot be read now.
        Ok(Ok(None) | Err(_)) | Err(_) => Err(SubmitError::OutcomeUnknown(id)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn user(number: u128) -> Owner {
        Owner::User(UserId(Uuid::from_u128(number)))
    }

    #[test]
    fn a_book_is_closed_only_without_open_orders_and_then_takes_none() {
        let (alice, bob) = (UserId(Uuid::from_u128(1)), UserId(Uuid::from_u128(2)));
        let mut admission = Admission::new(10, 10);
        // It is being stored.
        admission.opened(Owner::User(alice));
        assert_eq!(admission.close_book(alice), Err(OpenOrders(1)));
        assert_eq!(admission.refusal(Owner::User(alice)), None, "nothing has changed");
        admission.closed(Owner::User(alice));
        assert_eq!(admission.close_book(alice), Ok(()));
        assert_eq!(admission.refusal(Owner::User(alice)), Some(SubmitError::NotAccepted));
        assert_eq!(admission.refusal(Owner::User(bob)), None);
        admission.reopen_book(alice);
        assert_eq!(admission.refusal(Owner::User(alice)), None);
    }

    #[test]
    fn an_order_is_refused_at_the_limit_of_its_user_or_of_all() {
        let mut admission = Admission::new(3, 2);
        admission.opened(user(1));
        admission.opened(user(1));
        assert_eq!(admission.refusal(user(1)), Some(SubmitError::UserFull));
        assert_eq!(admission.refusal(user(2)), None);
        admission.opened(Owner::Shared);
        assert_eq!(admission.refusal(user(2)), Some(SubmitError::Full));
        admission.closed(user(1));
        assert_eq!((admission.refusal(user(1)), admission.refusal(Owner::Shared)), (None, None));
        admission.closed(user(1));
        assert!(admission.open_of_users.is_empty());
    }

    #[test]
    fn a_key_belongs_to_the_first_order_until_that_is_settled() {
        let mut admission = Admission::new(9, 9);
        let (key, ids) = ("key".parse::<ClientKey>().unwrap(), [1, 2, 3].map(|id| OrderId(Uuid::from_u128(id))));
        assert_eq!(admission.first_of_key(Owner::Shared, &key, ids[0]), ids[0]);
        assert_eq!(admission.first_of_key(Owner::Shared, &key, ids[1]), ids[0]);
        assert_eq!(admission.first_of_key(user(1), &key, ids[1]), ids[1]);
        admission.settled_key(Owner::Shared, key.clone(), ids[1]);
        assert_eq!(admission.first_of_key(Owner::Shared, &key, ids[1]), ids[0]);
        admission.settled_key(Owner::Shared, key.clone(), ids[0]);
        assert_eq!(admission.first_of_key(Owner::Shared, &key, ids[2]), ids[2]);
    }
}
