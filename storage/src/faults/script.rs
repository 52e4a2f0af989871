//! What is to fail, what is to wait, and what was called.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;

/// The script of one decorated port, whose calls are named by `C` and fail with `E`. Clones are the same script.
pub struct Script<C, E> {
    plan: Arc<Mutex<Plan<C, E>>>,
}

type Make<E> = Arc<dyn Fn() -> E + Send + Sync>;

struct Plan<C, E> {
    /// How every call fails.
    unreachable: Option<Make<E>>,
    faults: HashMap<C, Fault<E>>,
    gates: HashMap<C, Gate>,
    calls: HashMap<C, usize>,
}

struct Fault<E> {
    /// Calls that pass before the first that fails.
    passes: usize,
    /// Calls that fail then.
    left: usize,
    make: Make<E>,
}

impl<C, E> Clone for Script<C, E> {
    fn clone(&self) -> Self {
        Self {
            plan: Arc::clone(&self.plan),
        }
    }
}

impl<C, E> Default for Script<C, E> {
    fn default() -> Self {
        let plan = Plan {
            unreachable: None,
            faults: HashMap::new(),
            gates: HashMap::new(),
            calls: HashMap::new(),
        };
        Self {
            plan: Arc::new(Mutex::new(plan)),
        }
    }
}

impl<C: Copy + Eq + Hash, E> Script<C, E> {
    /// Makes the next `n` of these calls fail.
    pub fn fail_next(&self, call: C, n: usize, error: impl Fn() -> E + Send + Sync + 'static) {
        self.fail_after(call, 0, n, error);
    }

    /// Lets the next `passes` of these calls pass and makes the `n` after them fail.
    pub fn fail_after(
        &self,
        call: C,
        passes: usize,
        n: usize,
        error: impl Fn() -> E + Send + Sync + 'static,
    ) {
        self.plan().faults.insert(
            call,
            Fault {
                passes,
                left: n,
                make: Arc::new(error),
            },
        );
    }

    /// Makes these calls fail until [`heal`](Self::heal).
    pub fn fail_always(&self, call: C, error: impl Fn() -> E + Send + Sync + 'static) {
        self.fail_after(call, 0, usize::MAX, error);
    }

    /// Makes every call fail until [`heal`](Self::heal).
    pub fn fail_everything(&self, error: impl Fn() -> E + Send + Sync + 'static) {
        self.plan().unreachable = Some(Arc::new(error));
    }

    /// Ends all faults. Gates stay as they are.
    pub fn heal(&self) {
        let mut plan = self.plan();
        plan.unreachable = None;
        plan.faults.clear();
    }

    /// Makes these calls wait, before anything else happens to them, until the gate is opened.
    pub fn gate(&self, call: C) -> Gate {
        let gate = Gate::closed();
        self.plan().gates.insert(call, gate.clone());
        gate
    }

    /// How often this was called, failed calls and those at a gate included.
    #[must_use]
    pub fn calls(&self, call: C) -> usize {
        self.plan().calls.get(&call).copied().unwrap_or(0)
    }

    /// Counts a call, lets it wait at its gate, and says how it fails if it is to fail.
    pub(super) async fn enter(&self, call: C) -> Result<(), E> {
        let gate = {
            let mut plan = self.plan();
            *plan.calls.entry(call).or_default() += 1;
            plan.gates.get(&call).cloned()
        };
        if let Some(gate) = gate {
            gate.pass().await;
        }
        self.outcome(call)
    }

    /// Counts a call that can't wait, and says how it fails if it is to fail.
    pub(super) fn count(&self, call: C) -> Result<(), E> {
        *self.plan().calls.entry(call).or_default() += 1;
        self.outcome(call)
    }

    fn outcome(&self, call: C) -> Result<(), E> {
        let make = self.plan().fault(call);
        make.map_or(Ok(()), |make| Err(make()))
    }

    fn plan(&self) -> MutexGuard<'_, Plan<C, E>> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: Eq + Hash, E> Plan<C, E> {
    fn fault(&mut self, call: C) -> Option<Make<E>> {
        if let Some(make) = &self.unreachable {
            return Some(Arc::clone(make));
        }
        let fault = self.faults.get_mut(&call)?;
        if fault.passes > 0 {
            fault.passes -= 1;
            return None;
        }
        fault.left = fault.left.checked_sub(1)?;
        Some(Arc::clone(&fault.make))
    }
}

/// Holds calls back until it is opened. Clones are the same gate.
#[derive(Clone)]
pub struct Gate {
    state: Arc<watch::Sender<GateState>>,
}

#[derive(Clone, Copy)]
struct GateState {
    is_open: bool,
    reached: usize,
}

impl Gate {
    fn closed() -> Self {
        Self {
            state: Arc::new(watch::Sender::new(GateState {
                is_open: false,
                reached: 0,
            })),
        }
    }

    /// Waits until `n` calls have come to the gate, those that passed included.
    pub async fn reached(&self, n: usize) {
        self.wait(|state| state.reached >= n).await;
    }

    /// Lets all calls pass from now on.
    pub fn open(&self) {
        self.state.send_modify(|state| state.is_open = true);
    }

    async fn pass(&self) {
        self.state.send_modify(|state| state.reached += 1);
        self.wait(|state| state.is_open).await;
    }

    async fn wait(&self, until: impl Fn(&GateState) -> bool) {
        // The sender lives as long as this gate, so the wait can't fail.
        let _ = self.state.subscribe().wait_for(until).await;
    }
}
