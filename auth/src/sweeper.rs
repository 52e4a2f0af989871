//! Background work: reaches the database, deletes what no longer matters, renews the signing key in time and keeps memory small.

use crate::{error::OpenError, service::Auth};
use jiff::Timestamp;
use service_kit::postgres::pause;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// Works until `shutdown`. First it reaches the database, however long that takes. A sweep that fails is logged and done
/// again later: nothing depends on its hour.
///
/// # Errors
/// If the database refuses for a reason that waiting does not change.
pub async fn run(auth: Auth, shutdown: CancellationToken) -> Result<(), OpenError> {
    tokio::select! {
        () = shutdown.cancelled() => return Ok(()),
        prepared = auth.until_prepared() => prepared?,
    }
    let mut ticks = interval(SWEEP_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = auth.passwords.keep_small() => {}
            _ = ticks.tick() => {}
        }
        if let Err(error) = auth.sweep(Timestamp::now()).await {
            tracing::warn!(%error, "old logins could not be swept, trying again in a minute");
        }
    }
}

impl Auth {
    async fn until_prepared(&self) -> Result<(), OpenError> {
        let mut attempt = 0;
        while self.tokens.age().is_none() {
            match self.prepare(Timestamp::now()).await {
                Ok(()) => tracing::info!("the accounts are available"),
                Err(error) if error.may_pass() => {
                    tracing::warn!(%error, "the accounts are still not available, trying again");
                    sleep(pause(attempt)).await;
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn sweep(&self, now: Timestamp) -> Result<(), OpenError> {
        let swept = self.users.sweep(now, self.outdated(now)).await?;
        tracing::debug!(?swept, "swept the accounts");
        self.renew_keys(now).await?;
        self.reload_keys(now).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{service::later, users::UsersError};

    const DAY: Duration = Duration::from_secs(86_400);

    fn kids(auth: &Auth) -> Vec<String> {
        auth.tokens
            .published()
            .keys
            .into_iter()
            .map(|key| key.kid)
            .collect()
    }

    #[tokio::test]
    async fn the_key_is_renewed_and_the_old_one_published_while_its_tokens_live() {
        let folder = tempfile::tempdir().unwrap();
        let auth = Auth::for_tests(&folder).await;
        let start = Timestamp::now();
        let first = kids(&auth);
        assert_eq!(first.len(), 1);

        auth.sweep(later(start, 89 * DAY)).await.unwrap();
        assert_eq!(kids(&auth), first);

        let renewed = later(start, 91 * DAY);
        auth.sweep(renewed).await.unwrap();
        let both = kids(&auth);
        assert_eq!((both.len(), &both[1..]), (2, &first[..]));

        auth.sweep(later(renewed, Duration::from_secs(15 * 60)))
            .await
            .unwrap();
        assert_eq!(kids(&auth), both);
        auth.sweep(later(renewed, Duration::from_secs(20 * 60)))
            .await
            .unwrap();
        assert_eq!(kids(&auth), &both[..1]);
    }

    #[tokio::test]
    async fn revocations_are_kept_while_they_matter() -> Result<(), UsersError> {
        let folder = tempfile::tempdir().unwrap();
        let auth = Auth::for_tests(&folder).await;
        let start = Timestamp::now();
        let user_id = auth
            .sign_up("ada", "correct horse".into())
            .await
            .unwrap()
            .user_id;
        auth.users.end_sessions(user_id, start).await?;
        let kept = async || {
            auth.users
                .revocations_after(0, Timestamp::MIN)
                .await
                .map(|all| all.revoked.len())
        };

        auth.sweep(later(start, Duration::from_secs(15 * 60)))
            .await
            .unwrap();
        assert_eq!(kept().await?, 1);
        auth.sweep(later(start, Duration::from_secs(20 * 60)))
            .await
            .unwrap();
        assert_eq!(kept().await?, 0);
        Ok(())
    }

    #[tokio::test]
    async fn it_ends_with_the_service() {
        let folder = tempfile::tempdir().unwrap();
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(run(Auth::for_tests(&folder).await, shutdown.clone()));
        shutdown.cancel();
        tokio::time::timeout(Duration::from_secs(10), running)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }
}
