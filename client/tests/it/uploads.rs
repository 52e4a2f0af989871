//! Uploads: in one go, resumed, gone back, waited for, refused.

use crate::script::{
    FILE, Got, Peer, Script, UPLOAD, content, key_of, soon, unavailable, user_topic,
};
use client::{Client, FileOutcome, Keys, Source, Upload, UploadError, UploadHandle, UploadState};
use protocol::{
    ErrorCode, Refusal, TransferStatus,
    message::{ClientMessage, UploadRef},
    upload::UploadView,
};
use std::time::Instant;

async fn upload(client: &Client, content: &[u8]) -> UploadHandle {
    let source = Source::bytes(content.to_vec());
    let meta = source.meta("a");
    client.upload(Upload::new(source, meta)).await.unwrap()
}

/// Takes a file that is sent without waiting for the reply to its start.
async fn take_pipelined(peer: &mut Peer, content: &[u8]) {
    let start = peer.start().await;
    peer.started(&start, 0, TransferStatus::Open).await;
    peer.take_rest(start.stream, 0, content).await;
}

#[tokio::test]
async fn a_small_file_needs_no_reply_until_its_end() {
    let script = Script::new().await;
    let (client, mut peer) = script.connected().await;
    let content = content(2500);
    let mut handle = upload(&client, &content).await;
    let start = peer.start().await;
    for (offset, len) in [(0, 1000), (1000, 1000), (2000, 500)] {
        let chunk = peer.chunk().await;
        assert_eq!((chunk.offset, chunk.len()), (offset, len));
    }
    let complete = peer.complete().await;
    assert_eq!(complete.upload, UploadRef::Stream(start.stream));
    peer.started(&start, 0, TransferStatus::Open).await;
    peer.completed(complete.id, &content).await;
    let outcome = soon(handle.cached()).await.unwrap();
    let expected = FileOutcome {
        upload_id: UPLOAD,
        file_id: Some(FILE),
        size: 2500,
        digest: complete.digest,
        status: TransferStatus::Cached,
        already: false,
    };
    assert_eq!(outcome, expected);
}

#[tokio::test]
async fn a_large_file_keeps_to_the_window_and_is_read_from_disk() {
    let script = Script::new().await;
    let (client, mut peer) = script.connected().await;
    let content = content(10_500);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a"), &content).unwrap();
    let source = Source::file(dir.path().join("a")).await.unwrap();
    let meta = source.meta("a");
    let mut handle = client.upload(Upload::new(source, meta)).await.unwrap();
    let start = peer.start().await;
    peer.started(&start, 0, TransferStatus::Open).await;
    for n in 0..4 {
        assert_eq!(peer.chunk().await.offset, n * 1000);
    }
    // The window is full: what comes next is the answer to a question, not a chunk.
    let query = client.clone();
    let asking = tokio::spawn(async move { query.history(Default::default()).await });
    assert!(matches!(peer.other().await, ClientMessage::GetHistory(_)));
    asking.abort();
    peer.acked(start.stream, 4000).await;
    peer.take_rest(start.stream, 4000, &content).await;
    soon(handle.cached()).await.unwrap();
    let progress = handle.progress().borrow().clone();
    assert_eq!((progress.sent, progress.acked), (10_500, 10_500));
}

#[tokio::test]
async fn a_broken_upload_goes_on_where_the_server_says() {
    for told in [2000, 1000, 3000] {
        let script = Script::new().await;
        let (client, mut peer) = script.connected().await;
        let content = content(9000);
        let mut handle = upload(&client, &content).await;
        let start = peer.start().await;
        peer.started(&start, 0, TransferStatus::Open).await;
        for _ in 0..3 {
            peer.chunk().await;
        }
        peer.acked(start.stream, 2000).await;
        peer.vanish();
        let mut peer = script.welcome(&[]).await;
        let again = peer.start().await;
        assert_eq!(key_of(&again), key_of(&start));
        peer.started(&again, told, TransferStatus::Open).await;
        peer.take_rest(again.stream, told as usize, &content).await;
        soon(handle.cached()).await.unwrap();
    }
}

#[tokio::test]
async fn it_goes_back_to_what_the_server_expects() {
    let script = Script::new().await;
    let (client, mut peer) = script.connected().await;
    let content = content(9000);
    let mut handle = upload(&client, &content).await;
    let start = peer.start().await;
    peer.started(&start, 0, TransferStatus::Open).await;
    for _ in 0..4 {
        peer.chunk().await;
    }
    let refusal = Refusal::bare(ErrorCode::ChecksumMismatch).expecting(1000);
    peer.refuse(None, Some(start.stream), refusal).await;
    peer.take_rest(start.stream, 1000, &content).await;
    soon(handle.cached()).await.unwrap();
}

#[tokio::test]
async fn a_busy_server_is_given_the_time_it_asks_for() {
    let script = Script::new().await;
    let (client, mut peer) = script.connected().await;
    let content = content(9000);
    let mut handle = upload(&client, &content).await;
    let start = peer.start().await;
    let told_at = Instant::now();
    peer.refuse(Some(start.id), Some(start.stream), unavailable(300))
        .await;
    let mut progress = handle.progress();
    let waiting = progress.wait_for(|progress| matches!(progress.state, UploadState::Waiting(_)));
    soon(waiting).await.unwrap();
    take_pipelined(&mut peer, &content).await;
    assert!(told_at.elapsed().as_millis() >= 300);
    soon(handle.cached()).await.unwrap();
}

#[tokio::test]
async fn a_refused_file_does_not_hold_up_the_next() {
    let script = Script::new().await;
    let (client, mut peer) = script.connected().await;
    let mut refused = upload(&client, b"").await;
    let mut fine = upload(&client, b"fine").await;
    let start = peer.start().await;
    peer.refuse(
        Some(start.id),
        Some(start.stream),
        Refusal::bare(ErrorCode::EmptyFile),
    )
    .await;
    take_pipelined(&mut peer, b"fine").await;
    let error = soon(refused.stored()).await.unwrap_err();
    assert!(matches!(error, UploadError::Refused(refusal) if refusal.code == ErrorCode::EmptyFile));
    soon(fine.cached()).await.unwrap();
}

#[tokio::test]
async fn a_code_that_nobody_knew_is_still_a_refusal() {
    let script = Script::new().await;
    let (client, mut peer) = script.connected().await;
    let mut handle = upload(&client, b"abc").await;
    let start = peer.start().await;
    let text = format!(
        r#"{{"type":"error","id":{},"code":"moon-full","title":"The moon","retryable":false}}"#,
        start.id
    );
    futures::SinkExt::send(
        &mut peer.socket,
        tokio_tungstenite::tungstenite::Message::text(text),
    )
    .await
    .unwrap();
    let error = soon(handle.cached()).await.unwrap_err();
    assert!(error.to_string().contains("moon-full"), "{error}");
}

#[tokio::test]
async fn a_file_that_changes_meanwhile_is_given_up() {
    let script = Script::new().await;
    let (client, mut peer) = script.connected().await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    std::fs::write(&path, content(9000)).unwrap();
    let source = Source::file(&path).await.unwrap();
    let meta = source.meta("a");
    let mut handle = client.upload(Upload::new(source, meta)).await.unwrap();
    let start = peer.start().await;
    peer.started(&start, 0, TransferStatus::Open).await;
    for _ in 0..4 {
        peer.chunk().await;
    }
    std::fs::write(&path, b"short").unwrap();
    peer.acked(start.stream, 4000).await;
    let ClientMessage::AbortUpload(abort) = peer.other().await else {
        panic!("the server is told")
    };
    assert_eq!(abort.upload, UploadRef::Stream(start.stream));
    let error = soon(handle.cached()).await.unwrap_err();
    assert!(matches!(error, UploadError::Changed), "{error}");
}

#[tokio::test]
async fn a_cancelled_upload_is_aborted() {
    let script = Script::new().await;
    let (client, mut peer) = script.connected().await;
    let mut handle = upload(&client, &content(9000)).await;
    let start = peer.start().await;
    handle.cancel().await;
    assert!(
        matches!(peer.other().await, ClientMessage::AbortUpload(abort) if abort.upload == UploadRef::Stream(start.stream))
    );
    assert!(matches!(
        soon(handle.cached()).await,
        Err(UploadError::Cancelled)
    ));
}

#[tokio::test]
async fn an_upload_that_was_aborted_before_gives_way_to_a_new_one() {
    let script = Script::new().await;
    let (client, mut peer) = script.connected().await;
    let content = content(9000);
    let keys = Keys::derived(["facts"]);
    let source = Source::bytes(content.clone());
    let meta = source.meta("a");
    let mut handle = client
        .upload(Upload::new(source, meta).keys(keys.clone()))
        .await
        .unwrap();
    let first = peer.start().await;
    assert_eq!(key_of(&first), keys.current());
    peer.started(&first, 0, TransferStatus::Aborted).await;
    let asked = peer.complete().await;
    peer.refuse(Some(asked.id), None, Refusal::bare(ErrorCode::Aborted))
        .await;
    let second = peer.start().await;
    assert_ne!(key_of(&second), keys.current());
    peer.started(&second, 0, TransferStatus::Open).await;
    peer.take_rest(second.stream, 0, &content).await;
    assert!(!soon(handle.cached()).await.unwrap().already);
}

#[tokio::test]
async fn what_is_there_is_sent_once_more_only_if_asked_for() {
    for again in [false, true] {
        let script = Script::new().await;
        let (client, mut peer) = script.connected().await;
        let content = content(9000);
        let source = Source::bytes(content.clone());
        let meta = source.meta("a");
        let mut handle = client
            .upload(Upload::new(source, meta).again(again))
            .await
            .unwrap();
        let start = peer.start().await;
        peer.started(&start, 9000, TransferStatus::UploadedSuccessfully)
            .await;
        let asked = peer.complete().await;
        assert_eq!(asked.upload, UploadRef::Upload(UPLOAD));
        peer.completed(asked.id, &content).await;
        if again {
            take_pipelined(&mut peer, &content).await;
        }
        let outcome = soon(handle.cached()).await.unwrap();
        assert_eq!(outcome.already, !again);
    }
}

#[tokio::test]
async fn stored_is_heard_of_by_notification() {
    for (status, stored) in [
        (TransferStatus::UploadedSuccessfully, true),
        (TransferStatus::UploadFailed, false),
    ] {
        let script = Script::new().await;
        let (client, mut peer) = script.connected().await;
        let mut handle = upload(&client, b"abc").await;
        take_pipelined(&mut peer, b"abc").await;
        assert_eq!(
            soon(handle.cached()).await.unwrap().status,
            TransferStatus::Cached
        );
        peer.notify(1, TransferStatus::Cached).await;
        peer.notify(2, TransferStatus::Storing).await;
        peer.notify(3, status).await;
        match soon(handle.stored()).await {
            Ok(outcome) => assert!(stored && outcome.status == status),
            Err(error) => assert!(
                !stored && error.to_string().contains("the disk is broken"),
                "{error}"
            ),
        }
    }
}

#[tokio::test]
async fn what_became_of_a_file_is_asked_if_news_were_missed() {
    let script = Script::new().await;
    let (client, mut peer) = script.connected_with(&[user_topic(0, false)]).await;
    let mut handle = upload(&client, b"abc").await;
    take_pipelined(&mut peer, b"abc").await;
    soon(handle.cached()).await.unwrap();
    peer.vanish();
    let _peer = script.welcome(&[user_topic(3, false)]).await;
    let view = UploadView {
        upload_id: UPLOAD,
        file_id: FILE,
        name: "a".to_owned(),
        size: 3,
        offset: 3,
        status: TransferStatus::UploadedSuccessfully,
        digest: None,
        attempts: 1,
        reason: None,
        opened_at: jiff::Timestamp::UNIX_EPOCH,
        expires_at: jiff::Timestamp::MAX,
    };
    let body = serde_json::to_vec(&view).unwrap();
    let head = script.http("200 OK", body.len(), &body).await;
    assert!(
        head.starts_with(&format!("get /api/v1/uploads/{UPLOAD} ")),
        "{head}"
    );
    soon(handle.stored()).await.unwrap();
}

#[tokio::test]
async fn news_that_overtake_the_reply_count() {
    let script = Script::new().await;
    let (client, mut peer) = script.connected().await;
    let mut handle = upload(&client, b"abc").await;
    let start = peer.start().await;
    peer.chunk().await;
    let complete = peer.complete().await;
    peer.notify(1, TransferStatus::UploadedSuccessfully).await;
    peer.started(&start, 0, TransferStatus::Open).await;
    peer.completed(complete.id, b"abc").await;
    soon(handle.stored()).await.unwrap();
}

#[tokio::test]
async fn uploads_end_when_the_client_is_closed() {
    let script = Script::new().await;
    let (client, mut peer) = script.connected().await;
    let mut handle = upload(&client, &content(9000)).await;
    peer.start().await;
    let closing = tokio::spawn(async move { client.close().await });
    assert_eq!(peer.got().await, Got::Close);
    peer.vanish();
    soon(closing).await.unwrap();
    assert!(matches!(
        soon(handle.cached()).await,
        Err(UploadError::Session(client::Error::Closed))
    ));
}
