//! What belongs to others: their uploads do not exist, their topics neither; and a stream that another one took over.

use super::Desk;
use serde_json::json;
use tests::{Account, Socket, content};

const NOBODY: &str = "01920000-0000-7000-8000-000000000000";

#[tokio::test]
async fn the_upload_of_another_user_does_not_exist() {
    let mut desk = Desk::new().await;
    let data = content::bytes(1, 3000);
    let upload = desk.open(1, &data).await;
    desk.socket.send_content(1, &data[..1000], 0).await;
    let eve = Account::signup(&desk.server.url(), "eve").await;
    let root = desk.server.admin("root").await;
    for other in [&eve, &root] {
        let mut theirs = Socket::connect(other).await;
        let unknown = json!(NOBODY);
        for id in [&upload, &unknown] {
            for request in [
                json!({"type": "start-transfer", "stream": 1, "upload_id": id}),
                json!({"type": "complete-upload", "upload_id": id}),
                json!({"type": "abort-upload", "upload_id": id}),
            ] {
                theirs.ask_refused(request, "not-found").await;
            }
        }
        // What was sent behind the refused resume is dropped.
        theirs.send_chunk(1, 1000, &data[1000..]).await;
        let complete = json!({"type": "complete-upload", "stream": 1});
        theirs.ask_refused(complete, "not-found").await;
        assert!(theirs.settle().await.is_empty());
    }
    let path = format!("/api/v1/uploads/{}", upload.as_str().unwrap());
    assert_eq!(eve.get(&path).await.status(), 404);
    assert_eq!(root.get(&path).await.status(), 200, "admins may look");
    // Nothing has happened to it: the stream was not taken over, the bytes are there.
    assert_eq!(desk.ada.upload(&upload).await["offset"], 1000);
    desk.finish(1, &data, 1000).await;
}

#[tokio::test]
async fn the_file_of_another_user_does_not_exist() {
    let mut desk = Desk::new().await;
    let eve = Account::signup(&desk.server.url(), "eve").await;
    let completed = desk
        .socket
        .upload(1, "a.dat", &content::bytes(2, 3000))
        .await;
    let (file, upload) = (
        completed["file_id"].as_str().unwrap(),
        completed["upload_id"].as_str().unwrap(),
    );
    let mut answers = Vec::new();
    for file in [file, NOBODY] {
        for path in [
            format!("/api/v1/files/{file}"),
            format!("/api/v1/files/{file}/content"),
        ] {
            let answer = eve.get(&path).await;
            assert_eq!(answer.status(), 404, "{path}");
            answers.push(answer.json::<serde_json::Value>().await.unwrap()["code"].clone());
        }
    }
    assert!(
        answers.iter().all(|code| code == "not-found"),
        "{answers:?}"
    );
    assert_eq!(
        eve.get(&format!("/api/v1/uploads/{upload}")).await.status(),
        404
    );
    let mut theirs = Socket::connect(&eve).await;
    let repeat = json!({"type": "complete-upload", "upload_id": upload});
    theirs.ask_refused(repeat, "not-found").await;
    let abort = json!({"type": "abort-upload", "upload_id": upload});
    theirs.ask_refused(abort, "not-found").await;
    assert_eq!(eve.files().await.len(), 0);
}

#[tokio::test]
async fn topics_and_history_of_others_are_closed() {
    let mut desk = Desk::new().await;
    let eve = Account::signup(&desk.server.url(), "eve").await;
    desk.socket
        .upload(1, "a.dat", &content::bytes(3, 300))
        .await;
    let mut theirs = Socket::connect(&eve).await;
    let ada = desk.ada.grant.user_id;
    for (topic, code) in [
        ("admin".to_owned(), "forbidden"),
        (format!("user:{ada}"), "not-found"),
        (format!("user:{NOBODY}"), "not-found"),
        (format!("pool:{NOBODY}"), "not-found"),
        ("all".to_owned(), "invalid-message"),
    ] {
        let request = json!({"type": "subscribe", "topic": topic});
        theirs.ask_refused(request, code).await;
    }
    for user in [ada.to_string(), NOBODY.to_owned()] {
        let request = json!({"type": "get-history", "user": user});
        theirs.ask_refused(request, "forbidden").await;
        let path = format!("/client/history/{user}");
        assert_eq!(eve.get(&path).await.status(), 403);
    }
    let own = format!("user:{}", eve.grant.user_id);
    let request = json!({"type": "unsubscribe", "topic": own});
    theirs.ask_refused(request, "forbidden").await;
    // Nothing of another user's files is heard.
    desk.socket
        .upload(2, "b.dat", &content::bytes(4, 300))
        .await;
    theirs.upload(1, "mine.dat", &content::bytes(5, 300)).await;
    let first = theirs.receive_notification().await;
    assert_eq!(
        (&first["topic"], &first["data"]["name"]),
        (&json!(own), &json!("mine.dat"))
    );
}

#[tokio::test]
async fn the_token_of_another_user_does_not_refresh_a_session() {
    let mut desk = Desk::new().await;
    let eve = Account::signup(&desk.server.url(), "eve").await;
    for (token, code) in [
        (eve.token(), "forbidden"),
        ("", "unauthenticated"),
        ("no.such.token", "unauthenticated"),
        (&eve.grant.refresh_token, "unauthenticated"),
    ] {
        let request = json!({"type": "refresh", "access_token": token});
        desk.socket.ask_refused(request, code).await;
    }
    // The session goes on as who it was.
    let completed = desk
        .socket
        .upload(1, "a.dat", &content::bytes(6, 300))
        .await;
    let file = completed["file_id"].as_str().unwrap();
    assert_eq!(desk.ada.content(file).await.len(), 300);
    assert_eq!(eve.files().await.len(), 0);
}

#[tokio::test]
async fn a_stream_that_was_taken_over_changes_nothing_any_more() {
    let mut desk = Desk::new().await;
    let data = content::bytes(7, 3000);
    let upload = desk.open(1, &data).await;
    desk.socket.send_content(1, &data[..1000], 0).await;
    let mut second = Socket::connect(&desk.ada).await;
    let resumed = second.resume(5, &upload).await;
    assert_eq!(resumed["offset"], 1000, "{resumed}");
    let error = desk.socket.receive_refusal("superseded").await;
    assert_eq!(
        (&error["stream"], &error["upload_id"]),
        (&json!(1), &upload)
    );
    // Right and wrong chunks, completing: all too late. The upload itself goes on elsewhere.
    let wrong = content::bytes(8, 2000);
    desk.socket.send_chunk(1, 1000, &wrong).await;
    desk.socket.send_chunk(1, 0, &data).await;
    desk.silence().await;
    let complete = json!({"type": "complete-upload", "stream": 1});
    desk.socket.ask_refused(complete, "superseded").await;
    assert_eq!(desk.ada.upload(&upload).await["offset"], 1000);
    second.send_content(5, &data[..2000], 1000).await;
    // Within one session the older stream gives way too.
    let again = second.resume(6, &upload).await;
    assert_eq!(again["offset"], 2000, "{again}");
    let error = second.receive_refusal("superseded").await;
    assert_eq!(error["stream"], 5);
    desk.socket = second;
    desk.finish(6, &data, 2000).await;
    assert_eq!(desk.ada.files().await.len(), 1);
    desk.server.until_cached(&[]).await;
}
