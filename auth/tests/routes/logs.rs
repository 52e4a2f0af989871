//! What is logged of people's attempts, and what never is.

use crate::service::{PASSWORD, Service, caller};
use axum::http::StatusCode;
use protocol::http::Grant;
use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

/// The log of this process, at its most talkative. Other tests write to it too.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn capture() -> Self {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
        log
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn attempts_are_logged_with_the_user_and_without_secrets() {
    let log = Log::capture();
    let service = Service::start().await;
    let first = service.user("ada").await;
    let second: Grant = service
        .login("ada", PASSWORD)
        .await
        .expect(StatusCode::OK)
        .json();
    service
        .login("ada", "incorrect horse")
        .await
        .expect(StatusCode::UNAUTHORIZED);
    let third: Grant = service
        .refresh(&first.refresh_token)
        .await
        .expect(StatusCode::OK)
        .json();
    let fourth: Grant = service
        .refresh(&third.refresh_token)
        .await
        .expect(StatusCode::OK)
        .json();
    service
        .refresh(&first.refresh_token)
        .await
        .expect(StatusCode::UNAUTHORIZED);
    service
        .logout(Some(&caller(&first)), "ada")
        .await
        .expect(StatusCode::NO_CONTENT);

    let text = log.text();
    let user_id = first.user_id.to_string();
    for event in [
        "signed up",
        "logged in",
        "the password is wrong",
        "used twice",
        "logged out",
    ] {
        let tells = |line: &str| line.contains(event) && line.contains(&user_id);
        assert!(
            text.lines().any(tells),
            "no line tells that the user {event}"
        );
    }
    for grant in [&first, &second, &third, &fourth] {
        for secret in [&grant.access_token, &grant.refresh_token] {
            assert!(!text.contains(&**secret));
        }
    }
    for secret in [PASSWORD, "incorrect horse", "$argon2id$"] {
        assert!(!text.contains(secret), "the log holds {secret}");
    }
}
