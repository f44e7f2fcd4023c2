//! The accounts at the end of earlier blocks, for observers who are behind and for forks.

use std::collections::VecDeque;

use litesvm::LiteSVM;
use litesvm::error::LiteSVMError;
use solana_account::Account;
use solana_address::Address;

/// How many earlier states are kept. A block without transactions needs none.
const KEPT: usize = 128;

/// Earlier states, oldest first. Copies share the content of accounts.
#[derive(Default)]
pub struct Past {
    states: VecDeque<State>,
}

struct State {
    /// The first slot at whose end the accounts were different.
    until: u64,
    svm: LiteSVM,
}

impl Past {
    /// Keeps the state before the block of a slot.
    pub fn keep(&mut self, slot: u64, svm: &LiteSVM) {
        self.states.push_back(State { until: slot, svm: svm.clone() });
        if self.states.len() > KEPT {
            self.states.pop_front();
        }
    }

    /// The state at the end of a slot; `None` if it is the present one. If the slot is too long ago, the oldest known
    /// state.
    pub fn state_at(&self, slot: u64) -> Option<&LiteSVM> {
        self.states.get(self.index_at(slot)).map(|state| &state.svm)
    }

    /// Goes back to the end of a slot: returns its state and forgets the later ones.
    pub fn go_back_to(&mut self, slot: u64) -> Option<LiteSVM> {
        let mut later = self.states.drain(self.index_at(slot)..);
        later.next().map(|state| state.svm)
    }

    /// Changes an account in all of them.
    pub fn set_account(&mut self, address: Address, account: &Account) -> Result<(), LiteSVMError> {
        self.states.iter_mut().try_for_each(|state| state.svm.set_account(address, account.clone()))
    }

    fn index_at(&self, slot: u64) -> usize {
        self.states.partition_point(|state| state.until <= slot)
    }
}
