//! A server in the test's own process, on stores that the test can make fail.

use crate::account::{Account, PASSWORD};
use service_kit::lifecycle::{LifecycleError, Shutdown};
use sluice::{Server, Settings, Stores};
use std::path::Path;
use tokio::task::JoinHandle;

/// A running server.
pub struct Embedded {
    url: String,
    shutdown: Shutdown,
    running: JoinHandle<Result<(), LifecycleError>>,
}

impl Embedded {
    /// Settings for tests: any free port, this data folder, and quick passwords and retries.
    #[must_use]
    pub fn settings(data: &Path) -> Settings {
        let mut settings = Settings {
            data: data.to_owned(),
            listen: ([127, 0, 0, 1], 0).into(),
            ..Settings::default()
        };
        settings.auth.passwords.memory = service_kit::config::ByteSize::kib(64);
        settings.auth.passwords.iterations = 1;
        settings.uploader.retry_backoff = service_kit::config::Millis(20);
        settings
    }

    /// Starts a server on these stores.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(settings: Settings, stores: Stores) -> Self {
        let server = Box::pin(Server::start(settings, stores, None))
            .await
            .expect("the server starts");
        let address = server.address().expect("it has every role");
        let url = format!("http://{address}");
        let shutdown = server.shutdown();
        Self {
            url,
            shutdown,
            running: tokio::spawn(server.run()),
        }
    }

    /// The address as a URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Stops the server in order and waits for its end.
    ///
    /// # Panics
    /// When a part of it failed.
    pub async fn stop(self) {
        self.shutdown.drain();
        self.running
            .await
            .expect("the server does not panic")
            .expect("no part of the server fails");
    }

    /// Stops the server without finishing anything.
    pub async fn abort(self) {
        self.shutdown.abort().cancel();
        self.shutdown.drain();
        // Otherwise it would wait a moment for what does not want to end.
        self.running.abort();
        // How it ends does not matter any more.
        let _ = self.running.await;
    }

    /// Creates an admin in the data of a server with these settings, as its operator does, and logs in.
    ///
    /// # Panics
    /// When the admin can't be created.
    pub async fn admin(&self, settings: &Settings, name: &str) -> Account {
        let stores = Stores::new(settings);
        let database = stores.users().expect("the data folder is there");
        auth::admin::create(&settings.auth, database, name, PASSWORD.into())
            .await
            .expect("an admin can be created");
        Account::login(&self.url, name).await
    }
}
