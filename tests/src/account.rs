//! Accounts of a server under test, and its HTTP surface with their tokens.

use protocol::http::Grant;
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use std::{sync::OnceLock, time::Duration};

/// The password of every account.
pub const PASSWORD: &str = "correct horse battery staple";

/// A client for plain HTTP, shared by all tests.
#[must_use]
pub fn http() -> Client {
    static READY: OnceLock<()> = OnceLock::new();
    READY.get_or_init(|| {
        // Another test may have been quicker.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    });
    // One client per call: each test has a runtime of its own, which its connections end with.
    Client::builder()
        .no_proxy()
        // A server ends connections that were idle for 30 s, which a test that waits for a command does not see.
        .pool_idle_timeout(Duration::from_secs(5))
        .build()
        .expect("a client can be built")
}

/// A user who is logged in.
#[derive(Clone)]
pub struct Account {
    /// The server's address, `http://host:port`.
    pub url: String,
    /// What signing up or logging in gave.
    pub grant: Grant,
    http: Client,
}

impl Account {
    /// Signs a new user up.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn signup(url: &str, name: &str) -> Self {
        let http = http();
        let answer = http
            .post(format!("{url}/auth/signup"))
            .json(&json!({"user_name": name, "password": PASSWORD}))
            .send()
            .await;
        let answer = answer.expect("the server answers");
        assert_eq!(answer.status(), 201, "signing {name} up");
        Self {
            url: url.to_owned(),
            grant: answer.json().await.expect("a grant"),
            http,
        }
    }

    /// Logs a user in.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn login(url: &str, name: &str) -> Self {
        let http = http();
        let answer = http
            .put(format!("{url}/auth/login/{name}"))
            .json(&json!({"password": PASSWORD}))
            .send()
            .await;
        let answer = answer.expect("the server answers");
        assert_eq!(answer.status(), 200, "logging {name} in");
        Self {
            url: url.to_owned(),
            grant: answer.json().await.expect("a grant"),
            http,
        }
    }

    /// The same account at another address, where the same data is served now.
    #[must_use]
    pub fn at(&self, url: &str) -> Self {
        Self {
            url: url.to_owned(),
            ..self.clone()
        }
    }

    /// The access token.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.grant.access_token
    }

    /// A request with the account's token.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.url))
            .bearer_auth(self.token())
    }

    /// `GET path`.
    ///
    /// # Panics
    /// When the server does not answer.
    pub async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path)
            .send()
            .await
            .expect("the server answers")
    }

    /// `GET path`, as JSON.
    ///
    /// # Panics
    /// When the answer is no success, or no JSON.
    pub async fn get_json(&self, path: &str) -> Value {
        let answer = self.get(path).await;
        assert!(
            answer.status().is_success(),
            "GET {path}: {}",
            answer.status()
        );
        answer.json().await.expect("JSON")
    }

    /// The content of a file.
    ///
    /// # Panics
    /// When it can't be downloaded.
    pub async fn content(&self, file_id: &str) -> Vec<u8> {
        let answer = self.get(&format!("/api/v1/files/{file_id}/content")).await;
        assert_eq!(answer.status(), 200, "the content of {file_id}");
        answer.bytes().await.expect("the whole content").to_vec()
    }

    /// The state of an upload.
    ///
    /// # Panics
    /// When the account may not see it.
    pub async fn upload(&self, upload_id: &Value) -> Value {
        let id = upload_id.as_str().expect("an upload's id is a text");
        self.get_json(&format!("/api/v1/uploads/{id}")).await
    }

    /// Every file of the account, newest first.
    ///
    /// # Panics
    /// When the list can't be had.
    pub async fn files(&self) -> Vec<Value> {
        let mut files = Vec::new();
        let mut path = "/api/v1/files?limit=1000".to_owned();
        loop {
            let page = self.get_json(&path).await;
            files.extend(page["files"].as_array().expect("a list").iter().cloned());
            match page["next_cursor"].as_str() {
                Some(cursor) => path = format!("/api/v1/files?limit=1000&cursor={cursor}"),
                None => return files,
            }
        }
    }
}
