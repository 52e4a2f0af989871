//! The public HTTP surface: statuses, problems with stable codes, lists, and content by ranges.

mod accounts;
mod files;
mod identity;
mod problems;
mod state;

use reqwest::{RequestBuilder, Response, header};
use serde_json::{Value, json};
use tests::{Account, Socket, account::http, until};

/// A refusal must be a problem with this status and code, and must say for which request.
async fn problem(answer: Response, status: u16, code: &str) -> Value {
    let described = format!("{} {:?}", answer.url(), answer.status());
    assert_eq!(answer.status(), status, "{described}");
    let headers = answer.headers().clone();
    let media_type = headers[header::CONTENT_TYPE].to_str().unwrap();
    assert_eq!(media_type, "application/problem+json", "{described}");
    assert!(headers.contains_key("x-request-id"), "{described}");
    let problem: Value = answer.json().await.expect("JSON");
    assert_eq!(
        (&problem["code"], &problem["status"]),
        (&json!(code), &json!(status)),
        "{described}: {problem}"
    );
    assert!(
        problem["title"]
            .as_str()
            .is_some_and(|title| !title.is_empty()),
        "{problem}"
    );
    problem
}

async fn send(request: RequestBuilder) -> Response {
    request.send().await.expect("the server answers")
}

async fn get(url: &str) -> Response {
    send(http().get(url)).await
}

/// Uploads a file and waits until it is stored; answers its id.
async fn stored(
    socket: &mut Socket,
    account: &Account,
    name: &str,
    extra: Value,
    data: &[u8],
) -> String {
    let mut start =
        json!({"type": "start-transfer", "stream": 1, "name": name, "size": data.len()});
    let fields = extra.as_object().expect("an object").clone();
    start.as_object_mut().expect("an object").extend(fields);
    let started = socket.ask(start).await;
    assert_eq!(started["type"], "transfer-started", "{started}");
    socket.send_content(1, data, 0).await;
    let completed = socket.complete(1).await;
    let id = completed["file_id"]
        .as_str()
        .expect("a file's id")
        .to_owned();
    until("the file to be stored", async || {
        let file = account.get_json(&format!("/api/v1/files/{id}")).await;
        (file["status"] == "uploaded_successfully").then_some(())
    })
    .await;
    id
}
