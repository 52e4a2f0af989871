//! The server's HTTP surface: accounts, files and the state of uploads.

mod download;
mod problem;

use crate::{Error, ServerUrl, Tokens, tls};
pub use download::DownloadError;
use protocol::{
    FileId, UploadId,
    file::{FileInfo, FilePage, FileQuery},
    http::{Grant, Login, Refresh, Signup, Validated},
    upload::UploadView,
};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url, header::ACCEPT};
use serde::{Serialize, de::DeserializeOwned};
use std::{sync::Arc, time::Duration};

/// Time to connect.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// Time without a byte after which an answer counts as lost.
const READ_DEADLINE: Duration = Duration::from_secs(60);

/// How long a connection is kept without a request: less than the 30 s of a server, so that a request rarely meets a closing one.
const IDLE: Duration = Duration::from_secs(20);

/// A server by HTTP. Cheap to clone.
#[derive(Clone)]
pub struct HttpApi {
    server: ServerUrl,
    http: reqwest::Client,
    tokens: Option<Arc<dyn Tokens>>,
}

impl HttpApi {
    /// This server, without tokens: good for signing up and logging in.
    ///
    /// # Panics
    /// If the operating system has no usable trust store or random numbers: then nothing can be done at all.
    #[must_use]
    #[allow(clippy::expect_used, reason = "as std does when it can't start")]
    pub fn new(server: ServerUrl) -> Self {
        tls::install_provider();
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_DEADLINE)
            .read_timeout(READ_DEADLINE)
            .pool_idle_timeout(IDLE)
            // The socket knows no proxy; half a client behind one would only confuse.
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("sluice-client/", env!("CARGO_PKG_VERSION")))
            .build()
            .expect("TLS is usable");
        Self {
            server,
            http,
            tokens: None,
        }
    }

    /// The same with tokens; one that is refused is exchanged once.
    #[must_use]
    pub fn with_tokens(mut self, tokens: Arc<dyn Tokens>) -> Self {
        self.tokens = Some(tokens);
        self
    }

    /// The server's address.
    #[must_use]
    pub fn server(&self) -> &ServerUrl {
        &self.server
    }

    /// Makes an account and logs in to it.
    ///
    /// # Errors
    /// `conflict` if the name is taken, `invalid-message` if name or password are not acceptable.
    pub async fn signup(&self, user_name: &str, password: &str) -> Result<Grant, Error> {
        let body = Signup {
            user_name: user_name.to_owned(),
            password: password.to_owned(),
        };
        self.plain(Method::POST, self.server.at(["auth", "signup"]), &body)
            .await
    }

    /// Logs in.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] if name and password do not fit.
    pub async fn login(&self, user_name: &str, password: &str) -> Result<Grant, Error> {
        let body = Login {
            password: password.to_owned(),
        };
        self.plain(
            Method::PUT,
            self.server.at(["auth", "login", user_name]),
            &body,
        )
        .await
    }

    /// Exchanges a refresh token, which works once.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] if it is used, expired or revoked.
    pub async fn refresh(&self, refresh_token: &str) -> Result<Grant, Error> {
        let body = Refresh {
            refresh_token: refresh_token.to_owned(),
        };
        self.plain(Method::POST, self.server.at(["auth", "refresh"]), &body)
            .await
    }

    /// Ends every session of this user.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] if the user is not logged in.
    pub async fn logout(&self, user_name: &str) -> Result<(), Error> {
        let url = self.server.at(["auth", "logout", user_name]);
        self.authenticated(|| self.http.request(Method::PUT, url.clone()))
            .await
            .map(drop)
    }

    /// Who the token belongs to.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] if it is not accepted.
    pub async fn validate(&self) -> Result<Validated, Error> {
        self.get(self.server.at(["auth", "validate"]), &()).await
    }

    /// A page of files, newest first: one's own, or for an admin all of the tenant that the query lets through.
    ///
    /// # Errors
    /// If the server refuses it.
    pub async fn files(&self, query: &FileQuery) -> Result<FilePage, Error> {
        self.get(self.server.at(["api", "v1", "files"]), query)
            .await
    }

    /// One file.
    ///
    /// # Errors
    /// `not-found` if there is none that the caller may see.
    pub async fn file(&self, id: FileId) -> Result<FileInfo, Error> {
        self.get(self.server.at(["api", "v1", "files", &id.to_string()]), &())
            .await
    }

    /// The state of an upload, also after it ended.
    ///
    /// # Errors
    /// `not-found` if there is none that the caller may see.
    pub async fn upload(&self, id: UploadId) -> Result<UploadView, Error> {
        self.get(
            self.server.at(["api", "v1", "uploads", &id.to_string()]),
            &(),
        )
        .await
    }

    async fn plain<T: DeserializeOwned>(
        &self,
        method: Method,
        url: Url,
        body: &impl Serialize,
    ) -> Result<T, Error> {
        let request = self
            .http
            .request(method, url)
            .json(body)
            .header(ACCEPT, "application/json");
        self.read(self.send(request).await?).await
    }

    async fn get<T: DeserializeOwned>(&self, url: Url, query: &impl Serialize) -> Result<T, Error> {
        let make = || {
            self.http
                .get(url.clone())
                .query(query)
                .header(ACCEPT, "application/json")
        };
        self.read(self.authenticated(make).await?).await
    }

    /// Sends with the present token, and once more with a fresh one if that is refused.
    async fn authenticated(&self, make: impl Fn() -> RequestBuilder) -> Result<Response, Error> {
        let Some(tokens) = &self.tokens else {
            return self.send(make()).await;
        };
        let token = tokens.access().await?;
        match self.send(make().bearer_auth(&token)).await {
            Err(Error::Unauthenticated { .. }) => {
                let token = tokens.refresh(&token).await?;
                self.send(make().bearer_auth(&token)).await
            }
            answered => answered,
        }
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, Error> {
        let response = request
            .send()
            .await
            .map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        if status.is_redirection() {
            let reason = format!("it answers {status}; use the address it redirects to");
            return Err(Error::Incompatible {
                server: self.server.to_string(),
                reason,
            });
        }
        let body = response.text().await.unwrap_or_default();
        let refusal = problem::read(status, &body);
        if status == StatusCode::UNAUTHORIZED {
            let reason = refusal
                .detail
                .unwrap_or_else(|| refusal.code.title().to_lowercase());
            return Err(Error::Unauthenticated {
                server: self.server.to_string(),
                reason,
            });
        }
        Err(Error::Refused(refusal))
    }

    async fn read<T: DeserializeOwned>(&self, response: Response) -> Result<T, Error> {
        let body = response
            .bytes()
            .await
            .map_err(|error| self.unreachable(&error))?;
        serde_json::from_slice(&body).map_err(|error| Error::Incompatible {
            server: self.server.to_string(),
            reason: format!("its answer is not what was asked for: {error}"),
        })
    }

    fn unreachable(&self, error: &reqwest::Error) -> Error {
        Error::Unreachable {
            server: self.server.to_string(),
            reason: root_cause(error),
        }
    }
}

/// The innermost cause, which says most: reqwest's own text only repeats the address.
fn root_cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
