//! Chunks that are damaged, misplaced or not chunks at all.

use super::{Desk, damaged, frame};
use serde_json::json;
use tests::content;

#[tokio::test]
async fn a_damaged_chunk_is_refused_and_can_be_sent_again() {
    let mut desk = Desk::new().await;
    let data = content::bytes(1, 3000);
    let upload = desk.open(1, &data).await;
    for _ in 0..2 {
        desk.socket.send_binary(damaged(1, 0, &data[..1000])).await;
        desk.refused_at("checksum-mismatch", 1, &upload, 0).await;
    }
    desk.socket.send_chunk(1, 0, &data[..1000]).await;
    desk.socket.acked(1, 1000).await;
    desk.socket
        .send_binary(damaged(1, 1000, &data[1000..]))
        .await;
    desk.refused_at("checksum-mismatch", 1, &upload, 1000).await;
    desk.finish(1, &data, 1000).await;
}

#[tokio::test]
async fn a_gap_and_an_overlap_are_refused_with_where_the_upload_stands() {
    let mut desk = Desk::new().await;
    let data = content::bytes(2, 3000);
    let upload = desk.open(1, &data).await;
    desk.socket.send_chunk(1, 1, &data[1..1000]).await;
    desk.refused_at("offset-mismatch", 1, &upload, 0).await;
    desk.socket.send_chunk(1, 0, &data[..1000]).await;
    desk.socket.acked(1, 1000).await;
    desk.socket.send_chunk(1, 2000, &data[2000..]).await;
    desk.refused_at("offset-mismatch", 1, &upload, 1000).await;
    desk.socket.send_chunk(1, 1000, &data[1000..1500]).await;
    desk.socket.acked(1, 1500).await;
    desk.socket.send_chunk(1, 1000, &data[1000..2000]).await;
    desk.refused_at("offset-mismatch", 1, &upload, 1500).await;
    desk.finish(1, &data, 1500).await;
}

#[tokio::test]
async fn after_an_error_chunks_beyond_it_are_dropped_silently() {
    let mut desk = Desk::new().await;
    let data = content::bytes(3, 10_000);
    let upload = desk.open(1, &data).await;
    let pieces: Vec<_> = data.chunks(1000).enumerate().collect();
    for (number, piece) in &pieces {
        let frame = if *number == 3 {
            damaged(1, number * 1000, piece)
        } else {
            frame(1, number * 1000, piece)
        };
        desk.socket.send_binary(frame).await;
    }
    desk.socket.acked(1, 3000).await;
    desk.refused_at("checksum-mismatch", 1, &upload, 3000).await;
    let said = desk.socket.settle().await;
    assert!(
        !said.iter().any(|message| message["type"] == "error"),
        "{said:?}"
    );
    for (number, piece) in &pieces[3..] {
        desk.socket.send_chunk(1, number * 1000, piece).await;
    }
    desk.socket.acked(1, 10_000).await;
    desk.finish(1, &data, 10_000).await;
}

#[tokio::test]
async fn a_chunk_sent_twice_is_acknowledged_again_and_not_stored() {
    let mut desk = Desk::new().await;
    let data = content::bytes(4, 3000);
    let upload = desk.open(1, &data).await;
    desk.socket.send_chunk(1, 0, &data[..2000]).await;
    desk.socket.acked(1, 2000).await;
    let other = content::bytes(5, 700);
    for again in [
        frame(1, 0, &data[..2000]),
        frame(1, 500, &data[500..1000]),
        frame(1, 1300, &other),
        damaged(1, 0, &data[..1]),
    ] {
        desk.socket.send_binary(again).await;
        desk.socket.acked(1, 2000).await;
    }
    assert_eq!(desk.ada.upload(&upload).await["offset"], 2000);
    desk.finish(1, &data, 2000).await;
    // Also when the file is whole.
    desk.socket.send_chunk(1, 0, &data).await;
    desk.socket.acked(1, 3000).await;
    desk.silence().await;
}

#[tokio::test]
async fn a_frame_that_is_no_chunk_is_an_invalid_message() {
    let mut desk = Desk::new().await;
    let data = content::bytes(6, 500);
    let upload = desk.open(1, &data).await;
    let whole = frame(1, 0, &data);
    let flagged = [&whole[..1], &[1], &whole[2..]].concat();
    let reserved = [&whole[..3], &[1], &whole[4..]].concat();
    for (no_chunk, stream) in [
        (frame(1, 0, &[]), json!(1)),
        (frame(7, 0, &[]), json!(7)),
        (flagged, json!(1)),
        (reserved, json!(1)),
        (whole[..19].to_vec(), json!(1)),
        (vec![1], json!(null)),
        (vec![], json!(null)),
        ([&[2], &whole[1..]].concat(), json!(null)),
    ] {
        let described = format!("{no_chunk:?}");
        desk.socket.send_binary(no_chunk).await;
        let error = desk.socket.receive_refusal("invalid-message").await;
        assert_eq!(error["stream"], stream, "{described}");
        let named = if stream == 1 {
            upload.clone()
        } else {
            json!(null)
        };
        assert_eq!(error["upload_id"], named, "{described}");
    }
    desk.finish(1, &data, 0).await;
}

#[tokio::test]
async fn a_chunk_of_a_stream_that_was_never_opened_is_not_found() {
    let mut desk = Desk::new().await;
    let data = content::bytes(7, 500);
    let upload = desk.open(1, &data).await;
    for stream in [0, 2, u32::MAX] {
        desk.socket.send_chunk(stream, 0, &data).await;
        let error = desk.socket.receive_refusal("not-found").await;
        assert_eq!(error["stream"], stream);
    }
    let of_stream = json!({"type": "complete-upload", "stream": 2});
    desk.socket.ask_refused(of_stream, "not-found").await;
    assert_eq!(desk.ada.upload(&upload).await["offset"], 0);
    desk.finish(1, &data, 0).await;
    // A number that is free again can be used again.
    let again = desk.open(1, &data).await;
    assert_ne!(again, upload);
    desk.finish(1, &data, 0).await;
}

#[tokio::test]
async fn a_chunk_larger_than_allowed_closes_the_socket_and_the_upload_can_be_resumed() {
    let mut desk = Desk::new().await;
    let data = content::bytes(8, 600 << 10);
    let upload = desk.open(1, &data).await;
    desk.socket.send_chunk(1, 0, &data[..256 << 10]).await;
    desk.socket.acked(1, 256 << 10).await;
    let beyond = (512 << 10) + 1;
    desk.socket
        .send_chunk(1, 256 << 10, &data[256 << 10..beyond])
        .await;
    let closed = desk.socket.closed().await;
    assert_eq!(closed.code, Some(1009));
    desk.socket = tests::Socket::connect(&desk.ada).await;
    let resumed = desk.socket.resume(9, &upload).await;
    assert_eq!(resumed["offset"], 256 << 10, "{resumed}");
    desk.finish(9, &data, 256 << 10).await;
}
