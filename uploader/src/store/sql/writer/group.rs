//! The transactions that share a commit, with the answers that wait for it.

use super::{
    super::{changes::Apply, log::Create, uploads::Open},
    Set, Tx,
};
use crate::store::StoreError;
use futures::future::BoxFuture;
use tokio::sync::oneshot;

/// A transaction that waits.
pub(in super::super) enum Waiting {
    Open(Asked<Open>),
    Apply(Asked<Apply>),
    Create(Asked<Create>),
    Other(Box<dyn Job>),
}

/// Those that share a commit, by kind. None of them was answered when the others were asked for: any order is right.
#[derive(Default)]
pub(super) struct Group {
    pub(super) opens: Vec<Asked<Open>>,
    pub(super) applies: Vec<Asked<Apply>>,
    pub(super) creates: Vec<Asked<Create>>,
    pub(super) others: Vec<Box<dyn Job>>,
}

impl FromIterator<Waiting> for Group {
    fn from_iter<I: IntoIterator<Item = Waiting>>(waiting: I) -> Self {
        let mut group = Self::default();
        for one in waiting {
            match one {
                Waiting::Open(open) => group.opens.push(open),
                Waiting::Apply(apply) => group.applies.push(apply),
                Waiting::Create(create) => group.creates.push(create),
                Waiting::Other(job) => group.others.push(job),
            }
        }
        group
    }
}

impl Group {
    /// Tells each caller the result, or why there is none.
    pub(super) fn answer(self, commit: &Result<(), StoreError>) {
        self.opens
            .into_iter()
            .for_each(|open| open.outcome.tell(commit));
        self.applies
            .into_iter()
            .for_each(|apply| apply.outcome.tell(commit));
        self.creates
            .into_iter()
            .for_each(|create| create.outcome.tell(commit));
        self.others.into_iter().for_each(|job| job.answer(commit));
    }
}

/// The result of a transaction, and who waits for it.
pub(super) struct Outcome<T> {
    pub(super) result: Result<T, StoreError>,
    answer: oneshot::Sender<Result<T, StoreError>>,
}

impl<T> Outcome<T> {
    pub(super) fn new(answer: oneshot::Sender<Result<T, StoreError>>) -> Self {
        Self {
            result: Err(StoreError::Closed),
            answer,
        }
    }

    fn tell(self, commit: &Result<(), StoreError>) {
        // Nobody listens if the caller has gone away; what it asked for is done all the same.
        let _ = self.answer.send(commit.clone().and(self.result));
    }
}

/// A transaction of a kind.
pub(in super::super) struct Asked<S: Set> {
    pub(super) what: S,
    pub(super) outcome: Outcome<S::Answer>,
}

impl From<Asked<Open>> for Waiting {
    fn from(open: Asked<Open>) -> Self {
        Self::Open(open)
    }
}

impl From<Asked<Apply>> for Waiting {
    fn from(apply: Asked<Apply>) -> Self {
        Self::Apply(apply)
    }
}

impl From<Asked<Create>> for Waiting {
    fn from(create: Asked<Create>) -> Self {
        Self::Create(create)
    }
}

impl From<Box<dyn Job>> for Waiting {
    fn from(job: Box<dyn Job>) -> Self {
        Self::Other(job)
    }
}

/// A transaction of which nothing is known but that it can be run.
pub(in super::super) trait Job: Send {
    /// Runs it; an error says that what it did is to be undone.
    fn run<'t>(&'t mut self, tx: &'t mut Tx) -> BoxFuture<'t, Result<(), StoreError>>;
    /// Tells the caller the result, or why there is none.
    fn answer(self: Box<Self>, commit: &Result<(), StoreError>);
}

/// A transaction that is the only one of its kind.
pub(super) struct Single<F, T> {
    pub(super) work: Option<F>,
    pub(super) outcome: Outcome<T>,
}

impl<F, T> Job for Single<F, T>
where
    T: Send + 'static,
    F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, StoreError>> + Send + 'static,
{
    fn run<'t>(&'t mut self, tx: &'t mut Tx) -> BoxFuture<'t, Result<(), StoreError>> {
        Box::pin(async move {
            if let Some(work) = self.work.take() {
                self.outcome.result = work(tx).await;
            }
            self.outcome
                .result
                .as_ref()
                .map(|_| ())
                .map_err(StoreError::clone)
        })
    }

    fn answer(self: Box<Self>, commit: &Result<(), StoreError>) {
        self.outcome.tell(commit);
    }
}
