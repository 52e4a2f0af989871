//! One connection to a Redis, made when it is needed and made anew when it is lost.

use super::{
    address::Address, connection::Connection, message::Message, scripts, server::Info,
    trouble::Trouble,
};
use rand::RngExt;
use redis::{Cmd, FromRedisValue, Value, cmd, from_redis_value};
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::time::timeout;

/// How long making a connection may take, with everything that is asked on it at first.
const CONNECT: Duration = Duration::from_secs(3);

/// How long nobody tries after a connection could not be made: at first, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// How long a replica may take to confirm a seal.
const CONFIRM: Duration = Duration::from_secs(2);

/// What all connections of a cache share.
pub(super) struct Shared {
    pub(super) address: Address,
    is_away: AtomicBool,
    is_told: AtomicBool,
}

impl Shared {
    pub(super) fn new(address: Address) -> Self {
        Self {
            address,
            is_away: AtomicBool::new(false),
            is_told: AtomicBool::new(false),
        }
    }

    fn away(&self, trouble: &Trouble) {
        if !self.is_away.swap(true, Ordering::Relaxed) {
            let redis = self.address.shown();
            tracing::warn!(redis, reason = %trouble, "the chunk cache can't be reached; trying again and again");
        }
    }

    fn back(&self, info: &Info) {
        let redis = self.address.shown();
        if self.is_away.swap(false, Ordering::Relaxed) {
            tracing::info!(redis, "the chunk cache is reached again");
        }
        if !info.keeps_a_log() && !self.is_told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                redis,
                "this Redis keeps no append-only file: when it stops, uploads begin anew and files that are not stored yet are lost"
            );
        }
    }
}

/// A connection that is there when it is needed.
pub(super) struct Link {
    shared: Arc<Shared>,
    state: Mutex<State>,
    /// Held by the one who connects.
    connecting: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    live: Option<Live>,
    /// Connections made so far.
    made: u64,
    failed: Option<Failed>,
}

struct Failed {
    trouble: Trouble,
    wait: Duration,
    until: Instant,
}

/// A connection that worked when it was last used.
#[derive(Clone)]
struct Live {
    connection: Connection,
    number: u64,
}

/// What is sent, and how sure it must be.
pub(super) struct Request {
    message: Message,
    /// Whether a replica has to confirm it, if there are any.
    is_replicated: bool,
}

/// What Redis answers.
pub(super) struct Reply {
    /// To each command, none of them being refused.
    pub(super) values: Vec<Value>,
    /// Whether the first answer was lost with its connection, so that this one finds things as the first one left them.
    pub(super) is_repetition: bool,
}

impl Reply {
    /// The last answer.
    pub(super) fn last(&mut self) -> Value {
        self.values.pop().unwrap_or(Value::Nil)
    }
}

impl Request {
    /// A change that counts once a replica has it, if there are any.
    pub(super) fn replicated(command: Cmd) -> Self {
        let mut message = Message::from(command);
        // Asked in one go, since most have none.
        message.add(cmd("INFO").arg("replication"));
        Self {
            message,
            is_replicated: true,
        }
    }
}

impl<T: Into<Message>> From<T> for Request {
    fn from(message: T) -> Self {
        Self {
            message: message.into(),
            is_replicated: false,
        }
    }
}

impl Link {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: Arc::clone(shared),
            state: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
        }
    }

    /// Sends commands that may be repeated, and answers what Redis says to the last of them, none being refused. When the
    /// connection breaks, a second one is tried.
    pub(super) async fn call(
        &self,
        request: impl Into<Request>,
        limit: Duration,
    ) -> Result<Value, Trouble> {
        let mut reply = self.call_twice(request, limit).await?;
        Ok(reply.last())
    }

    /// As [`call`](Self::call), telling whether the answer is to a repetition.
    pub(super) async fn call_twice(
        &self,
        request: impl Into<Request>,
        limit: Duration,
    ) -> Result<Reply, Trouble> {
        let request = request.into();
        let mut used = None;
        let answer = timeout(limit, self.try_twice(&request, &mut used)).await;
        answer.unwrap_or_else(|_| {
            let trouble =
                Trouble::Away(format!("Redis gave no answer within {} s", limit.as_secs()));
            if let Some(number) = used {
                self.lose(number);
                self.shared.away(&trouble);
            }
            Err(trouble)
        })
    }

    async fn try_twice(&self, request: &Request, used: &mut Option<u64>) -> Result<Reply, Trouble> {
        let mut is_repetition = false;
        loop {
            let live = self.live().await?;
            *used = Some(live.number);
            match live.perform(request).await {
                Ok(values) => {
                    return Ok(Reply {
                        values,
                        is_repetition,
                    });
                }
                Err(trouble) if trouble.is_of_the_connection() => {
                    self.lose(live.number);
                    if is_repetition || !matches!(trouble, Trouble::Broken(_)) {
                        return Err(trouble);
                    }
                    is_repetition = true;
                }
                Err(trouble) => return Err(trouble),
            }
        }
    }

    /// The connection, made if there is none.
    async fn live(&self) -> Result<Live, Trouble> {
        if let Some(live) = self.ready()? {
            return Ok(live);
        }
        let _turn = self.connecting.lock().await;
        if let Some(live) = self.ready()? {
            return Ok(live);
        }
        let made = timeout(CONNECT, connect(&self.shared.address)).await;
        let made = made.unwrap_or_else(|_| {
            let limit = CONNECT.as_secs();
            Err(Trouble::Away(format!(
                "no connection to Redis within {limit} s"
            )))
        });
        match made {
            Ok((connection, info)) => {
                self.shared.back(&info);
                Ok(self.keep(connection))
            }
            Err(trouble) => {
                self.shared.away(&trouble);
                Err(self.fail(trouble))
            }
        }
    }

    /// The connection, if there is one; what was wrong, if it is too early to try again.
    fn ready(&self) -> Result<Option<Live>, Trouble> {
        let state = self.state();
        match (&state.live, &state.failed) {
            (Some(live), _) => Ok(Some(live.clone())),
            (None, Some(failed)) if Instant::now() < failed.until => Err(failed.trouble.clone()),
            (None, _) => Ok(None),
        }
    }

    fn keep(&self, connection: Connection) -> Live {
        let mut state = self.state();
        state.made += 1;
        let number = state.made;
        let live = Live { connection, number };
        state.live = Some(live.clone());
        state.failed = None;
        live
    }

    fn fail(&self, trouble: Trouble) -> Trouble {
        // That it was not done at all is known here.
        let trouble = match trouble {
            Trouble::Broken(reason) => Trouble::Away(reason),
            other => other,
        };
        let mut state = self.state();
        let before = state.failed.as_ref();
        let wait = before.map_or(BACKOFF.0, |failed| (failed.wait * 2).min(BACKOFF.1));
        let pause = wait.mul_f64(rand::rng().random_range(0.5..=1.0));
        state.failed = Some(Failed {
            trouble: trouble.clone(),
            wait,
            until: Instant::now() + pause,
        });
        trouble
    }

    /// Others may still wait for answers on it; it is closed when the last one is gone.
    fn lose(&self, number: u64) {
        let mut state = self.state();
        if state
            .live
            .as_ref()
            .is_some_and(|live| live.number == number)
        {
            state.live = None;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Live {
    async fn perform(&self, request: &Request) -> Result<Vec<Value>, Trouble> {
        let mut answers = match ask(&self.connection, request.message.clone()).await {
            Err(Trouble::Unknown) => {
                ask(&self.connection, scripts::load().into()).await?;
                ask(&self.connection, request.message.clone()).await?
            }
            other => other?,
        };
        if request.is_replicated
            && let Some(replication) = answers.pop()
        {
            let text: String = from_redis_value(replication)?;
            self.confirm(&Info::parse(&text)).await?;
        }
        Ok(answers)
    }

    /// Waits until a replica has everything that was sent on this connection, if there are any.
    async fn confirm(&self, replication: &Info) -> Result<(), Trouble> {
        if replication.replicas() == 0 {
            return Ok(());
        }
        let mut wait = cmd("WAIT");
        wait.arg(1)
            .arg(u64::try_from(CONFIRM.as_millis()).unwrap_or(0));
        let confirmed: u64 = query(&self.connection, wait).await?;
        if confirmed == 0 {
            let limit = CONFIRM.as_secs();
            return Err(Trouble::Other(format!(
                "no replica of Redis has confirmed within {limit} s"
            )));
        }
        Ok(())
    }
}

/// Sends commands; answers what Redis says to each, or its first refusal.
async fn ask(connection: &Connection, message: Message) -> Result<Vec<Value>, Trouble> {
    let answers = connection.send(message).await?;
    answers
        .into_iter()
        .map(|answer| Ok(answer.extract_error()?))
        .collect()
}

async fn query<T: FromRedisValue>(connection: &Connection, command: Cmd) -> Result<T, Trouble> {
    let answer = ask(connection, command.into()).await?.pop();
    Ok(from_redis_value(answer.unwrap_or(Value::Nil))?)
}

/// A connection to a Redis that may keep uploads, which knows the functions.
async fn connect(address: &Address) -> Result<(Connection, Info), Trouble> {
    let connection = Connection::open(&address.place).await?;
    if !address.login.is_empty() {
        let mut login = cmd("AUTH");
        login.arg(&address.login);
        let login: Result<Value, _> = query(&connection, login).await;
        login.map_err(login_refused)?;
    }
    let text: String = query(&connection, cmd("INFO")).await?;
    let info = Info::parse(&text);
    if let Some(objection) = info.objection() {
        return Err(Trouble::Denied(objection));
    }
    if info.is_replica() {
        return Err(Trouble::Away(
            "it is a replica, which takes no writes".to_owned(),
        ));
    }
    if address.database != 0 {
        let number = address.database;
        let mut select = cmd("SELECT");
        select.arg(number);
        let selected: Result<Value, _> = query(&connection, select).await;
        selected.map_err(|trouble| match trouble {
            Trouble::Other(reason) => Trouble::Denied(format!("database {number}: {reason}")),
            other => other,
        })?;
    }
    ask(&connection, scripts::load().into()).await?;
    Ok((connection, info))
}

/// A password where none is set is as wrong as a wrong one; that there are too many connections says nothing about it.
fn login_refused(trouble: Trouble) -> Trouble {
    match trouble {
        Trouble::Other(reason) if reason.contains("AUTH") => Trouble::Denied(reason),
        other => other,
    }
}
