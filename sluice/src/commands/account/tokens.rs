//! Tokens from the file with the logins, renewed for all commands that run at the same time.

use super::credentials::Credentials;
use client::{Error, HttpApi, Tokens};
use jiff::{SignedDuration, Timestamp};
use std::io;

/// A token with less life than this is renewed before it is used.
const TOO_SHORT: SignedDuration = SignedDuration::from_secs(5);

/// The tokens of one server's login.
pub(crate) struct StoredTokens {
    api: HttpApi,
    credentials: Credentials,
}

impl StoredTokens {
    /// The tokens of the login at `api`'s server.
    pub(crate) fn new(api: HttpApi, credentials: Credentials) -> Self {
        Self { api, credentials }
    }

    fn not_logged_in(&self, reason: &str) -> Error {
        Error::Unauthenticated {
            server: self.api.server().to_string(),
            reason: reason.to_owned(),
        }
    }

    fn unusable(&self, error: &io::Error) -> Error {
        self.not_logged_in(&format!("can't use the file with the logins: {error}"))
    }
}

#[async_trait::async_trait]
impl Tokens for StoredTokens {
    async fn access(&self) -> Result<String, Error> {
        let known = self
            .credentials
            .load()
            .map_err(|error| self.unusable(&error))?;
        let login = known.servers.get(&self.api.server().to_string());
        let login = login.ok_or_else(|| self.not_logged_in("logged out"))?;
        if login.expires_at.duration_since(Timestamp::now()) < TOO_SHORT {
            return self.refresh(&login.access_token).await;
        }
        Ok(login.access_token.clone())
    }

    async fn refresh(&self, stale: &str) -> Result<String, Error> {
        // A refresh token works once. Whoever holds the lock exchanges it; the others find the new one in the file.
        let credentials = self.credentials.clone();
        let waited = tokio::task::spawn_blocking(move || credentials.lock()).await;
        let lock = waited
            .map_err(io::Error::other)
            .flatten()
            .map_err(|error| self.unusable(&error))?;
        let mut known = self
            .credentials
            .load()
            .map_err(|error| self.unusable(&error))?;
        let login = known.servers.get_mut(&self.api.server().to_string());
        let login = login.ok_or_else(|| self.not_logged_in("logged out"))?;
        if login.access_token != stale {
            return Ok(login.access_token.clone());
        }
        *login = self.api.refresh(&login.refresh_token).await?.into();
        let token = login.access_token.clone();
        lock.save(&known).map_err(|error| self.unusable(&error))?;
        Ok(token)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::credentials::Known, *};
    use protocol::{UserId, http::Grant, identity::Role};
    use std::sync::Arc;
    use tokio::{
        io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
        net::TcpListener,
    };

    fn grant(serial: u32) -> Grant {
        Grant {
            user_id: UserId::new(),
            user_name: "anna".to_owned(),
            role: Role::User,
            access_token: format!("access-{serial}"),
            refresh_token: format!("refresh-{serial}"),
            expires_in: 900,
        }
    }

    /// Exchanges each refresh token once, as the server does.
    async fn exchange_tokens(listener: TcpListener) {
        let mut serial = 0;
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::new(stream);
            let (mut line, mut length) = (String::new(), 0);
            while line != "\r\n" {
                line.clear();
                stream.read_line(&mut line).await.unwrap();
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).await.unwrap();
            let fits = String::from_utf8(body)
                .unwrap()
                .contains(&format!("\"refresh-{serial}\""));
            let (status, body) = if fits {
                serial += 1;
                ("200 OK", serde_json::to_string(&grant(serial)).unwrap())
            } else {
                ("401 Unauthorized", String::new())
            };
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
            );
            stream.get_mut().write_all(answer.as_bytes()).await.unwrap();
        }
    }

    #[tokio::test]
    async fn commands_at_the_same_time_share_one_exchange() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(exchange_tokens(listener));
        let dir = tempfile::tempdir().unwrap();
        let credentials = Credentials::in_folder(dir.path());
        let insert =
            |known: &mut Known| drop(known.servers.insert(server.clone(), grant(0).into()));
        credentials.update(insert).unwrap();
        // Each command has its own.
        let tokens = || {
            Arc::new(StoredTokens::new(
                HttpApi::new(server.parse().unwrap()),
                credentials.clone(),
            ))
        };
        for (stale, fresh) in [("access-0", "access-1"), ("access-1", "access-2")] {
            let commands = (0..8).map(|_| {
                let tokens = tokens();
                tokio::spawn(async move { tokens.refresh(stale).await.unwrap() })
            });
            for command in commands.collect::<Vec<_>>() {
                assert_eq!(command.await.unwrap(), fresh);
            }
        }
        assert_eq!(tokens().access().await.unwrap(), "access-2");
        assert_eq!(
            tokens().refresh("access-0").await.unwrap(),
            "access-2",
            "a token from long ago"
        );
    }

    #[tokio::test]
    async fn an_expired_token_is_renewed_before_it_is_used() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(exchange_tokens(listener));
        let dir = tempfile::tempdir().unwrap();
        let credentials = Credentials::in_folder(dir.path());
        let expired = Grant {
            expires_in: 0,
            ..grant(0)
        };
        credentials
            .update(|known| drop(known.servers.insert(server.clone(), expired.into())))
            .unwrap();
        let tokens = StoredTokens::new(HttpApi::new(server.parse().unwrap()), credentials.clone());
        assert_eq!(tokens.access().await.unwrap(), "access-1");
        credentials.update(|known| known.servers.clear()).unwrap();
        let error = tokens.access().await.unwrap_err();
        assert!(matches!(error, Error::Unauthenticated { .. }), "{error}");
    }
}
