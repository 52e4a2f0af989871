//! Admins made by other processes while the server runs: one wins, and the server knows it at once.

use auth::{Auth, AuthError, Config, PasswordConfig, admin};
use axum::{
    body::Body,
    http::{Request, StatusCode, header::CONTENT_TYPE},
};
use service_kit::{config::ByteSize, postgres::testing::Scratch};
use std::{
    env,
    process::{Child, Command, ExitCode},
};
use tower::ServiceExt;

/// The first argument of the processes that this one starts.
const CHILD: &str = "create-admin";

/// The exit code of a child that finds the name taken.
const TAKEN: u8 = 9;

const RIVALS: usize = 4;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let arguments: Vec<_> = env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some(CHILD) => runtime.block_on(create_admin(&arguments[2])),
        _ => {
            runtime.block_on(over_both_engines());
            ExitCode::SUCCESS
        }
    }
}

fn config() -> Config {
    let passwords = PasswordConfig {
        memory: ByteSize::kib(8),
        iterations: 1,
        ..PasswordConfig::default()
    };
    Config {
        passwords,
        ..Config::default()
    }
}

async fn create_admin(database_url: &str) -> ExitCode {
    match admin::create(&config(), database_url, "root", "correct horse".into()).await {
        Ok(_) => ExitCode::SUCCESS,
        Err(admin::CreateError::Refused(AuthError::NameTaken)) => ExitCode::from(TAKEN),
        Err(error) => panic!("{error}"),
    }
}

async fn over_both_engines() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("auth.db");
    one_of_many_processes_makes_the_admin(&format!("sqlite:{}", file.display())).await;
    let server = Scratch::new().await;
    one_of_many_processes_makes_the_admin(server.url()).await;
}

async fn one_of_many_processes_makes_the_admin(database_url: &str) {
    let server = auth::router(
        Auth::open(config(), database_url)
            .await
            .expect("the server opens"),
    );

    let children: Vec<_> = (0..RIVALS).map(|_| start(database_url)).collect();
    let mut codes: Vec<_> = children.into_iter().map(exit_code).collect();
    codes.sort_unstable();
    let mut expected = vec![i32::from(TAKEN); RIVALS];
    expected[0] = 0;
    assert_eq!(codes, expected);

    let login = Request::put("/auth/login/root")
        .header(CONTENT_TYPE, "application/json")
        .body(Body::from(r#"{"password": "correct horse"}"#))
        .expect("a request");
    let response = server.oneshot(login).await.expect("a response");
    assert_eq!(response.status(), StatusCode::OK);
}

fn start(database_url: &str) -> Child {
    let program = env::current_exe().expect("this program");
    Command::new(program)
        .arg(CHILD)
        .arg(database_url)
        .spawn()
        .expect("a child")
}

fn exit_code(mut child: Child) -> i32 {
    child
        .wait()
        .expect("the child ends")
        .code()
        .expect("by itself")
}
