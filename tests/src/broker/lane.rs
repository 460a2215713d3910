//! The shared machine with one kernel, and the queue of its borrowers.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::inside::for_tests;
use crate::{Kernel, Machine, MachineError};

/// Lends the machine with one kernel to one client at a time.
#[derive(Debug)]
pub(super) struct Lane {
    kernel: Kernel,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    machine: Option<Machine>,
    is_lent: bool,
    /// Tickets of the waiting borrowers, in the order of their arrival.
    waiting: VecDeque<u64>,
    came: u64,
}

impl Lane {
    pub(super) fn new(kernel: Kernel) -> Self {
        Self {
            kernel,
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Waits until the machine is free, and starts one if there is none.
    pub(super) fn borrow(&self) -> Result<Machine, MachineError> {
        let mut state = self.state();
        state.came += 1;
        let ticket = state.came;
        state.waiting.push_back(ticket);
        while state.is_lent || state.waiting.front() != Some(&ticket) {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting.pop_front();
        state.is_lent = true;
        let machine = state.machine.take();
        drop(state);
        match machine {
            Some(machine) => Ok(machine),
            None => for_tests(self.kernel, "shared")
                .boot()
                .inspect_err(|_| self.give_back(None)),
        }
    }

    /// Ends a loan. `machine` is the machine if it can be lent again.
    pub(super) fn give_back(&self, machine: Option<Machine>) {
        let mut state = self.state();
        state.machine = machine;
        state.is_lent = false;
        drop(state);
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
