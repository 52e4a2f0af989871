//! Downloads: the same content with the same headers, from the cache and from the blob store.

use crate::support::{Answer, World, owner_of};
use axum::http::Method;
use protocol::{
    TransferStatus,
    digest::{DigestAlgorithm, Hasher},
    identity::Caller,
    upload::Upload,
};
use storage::{
    chunks::ChunkError,
    faults::{BlobCall, ChunkCall},
};

/// Larger than any piece that a store reads at once.
fn content() -> Vec<u8> {
    (0..1_500_000_u32)
        .map(|number| (number % 251) as u8)
        .collect()
}

struct File {
    world: World,
    owner: Caller,
    upload: Upload,
    content: Vec<u8>,
}

impl File {
    async fn cached() -> Self {
        let (world, content) = (World::new().await, content());
        let upload = world.cached(&content).await;
        Self {
            owner: owner_of(&upload),
            world,
            upload,
            content,
        }
    }

    async fn stored() -> Self {
        let file = Self::cached().await;
        file.world.store(&file.upload).await;
        file
    }

    async fn ask(&self, method: Method, headers: &[(&str, &str)]) -> Answer {
        let path = format!("/files/{}/content", self.upload.file_id);
        self.world.call(method, &self.owner, &path, headers).await
    }

    async fn get(&self, headers: &[(&str, &str)]) -> Answer {
        self.ask(Method::GET, headers).await
    }

    fn etag(&self) -> String {
        format!("\"{}\"", self.upload.computed_digest.unwrap())
    }
}

#[tokio::test]
async fn the_same_from_the_cache_and_from_the_blob_store() {
    let file = File::cached().await;
    let from_cache = file.get(&[]).await;
    assert_eq!(file.world.blob_faults.calls(BlobCall::Read), 0);
    file.world.store(&file.upload).await;
    let from_blob = file.get(&[]).await;
    assert_eq!(file.world.blob_faults.calls(BlobCall::Read), 1);
    for mut answer in [from_cache, from_blob] {
        assert_eq!(answer.status, 200);
        assert!(answer.body == file.content);
        answer.headers.remove("x-request-id");
        assert_eq!(
            answer.header("content-length"),
            file.content.len().to_string()
        );
        assert_eq!(answer.header("etag"), file.etag());
        assert_eq!(answer.header("accept-ranges"), "bytes");
        assert_eq!(answer.header("content-type"), "text/plain");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(
            answer.header("content-disposition"),
            "attachment; filename=\"notes.txt\""
        );
        assert!(answer.header("last-modified").ends_with(" GMT"));
    }
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    for file in [File::cached().await, File::stored().await] {
        let (mut get, mut head) = (
            file.get(&[]).await,
            file.ask(Method::HEAD, &[("range", "bytes=0-9")]).await,
        );
        assert!(head.body.is_empty());
        assert_eq!(head.status, 200);
        get.headers.remove("x-request-id");
        head.headers.remove("x-request-id");
        assert_eq!(head.headers, get.headers);
    }
}

#[tokio::test]
async fn ranges() {
    let size = content().len();
    let last = size - 1;
    let table = [
        ("bytes=0-0", 0..1),
        ("bytes=0-", 0..size),
        ("bytes=100-1000099", 100..1_000_100),
        (&format!("bytes={last}-"), last..size),
        ("bytes=-5", size - 5..size),
        ("bytes=-99999999", 0..size),
        ("bytes=1499990-9999999", 1_499_990..size),
    ];
    for file in [File::cached().await, File::stored().await] {
        for (range, part) in &table {
            let answer = file.get(&[("range", range)]).await;
            assert_eq!(answer.status, 206, "{range}");
            assert!(answer.body == file.content[part.clone()], "{range}");
            let content_range = format!("bytes {}-{}/{size}", part.start, part.end - 1);
            assert_eq!(answer.header("content-range"), content_range);
            assert_eq!(answer.header("content-length"), part.len().to_string());
            assert_eq!(answer.header("etag"), file.etag());
        }
        for range in [format!("bytes={size}-"), "bytes=-0".to_owned()] {
            let answer = file.get(&[("range", &range)]).await;
            assert_eq!(
                (answer.status.as_u16(), answer.header("content-range")),
                (416, &*format!("bytes */{size}"))
            );
            assert_eq!(answer.header("content-type"), "application/problem+json");
        }
        for range in ["bytes=0-1,5-6", "bytes=5-1", "pages=1-2"] {
            let answer = file.get(&[("range", range)]).await;
            assert_eq!(
                (answer.status.as_u16(), answer.body.len()),
                (200, size),
                "{range}"
            );
        }
    }
}

#[tokio::test]
async fn conditions() {
    let file = File::stored().await;
    let (etag, modified) = (
        file.etag(),
        file.get(&[]).await.header("last-modified").to_owned(),
    );
    let part = ("range", "bytes=0-9");
    let table: [(&[(&str, &str)], u16); 8] = [
        (&[("if-none-match", &etag)], 304),
        (&[("if-none-match", "\"other\"")], 200),
        (&[("if-modified-since", &modified)], 304),
        (&[("if-match", "\"other\"")], 412),
        (&[("if-range", &etag), part], 206),
        (&[("if-range", &modified), part], 206),
        (&[("if-range", "\"other\""), part], 200),
        (&[("if-none-match", &etag), part], 304),
    ];
    for (headers, status) in table {
        let reads = file.world.blob_faults.calls(BlobCall::Read);
        let answer = file.get(headers).await;
        assert_eq!(answer.status, status, "{headers:?}");
        if status == 304 {
            assert!(answer.body.is_empty());
            assert_eq!(
                (answer.header("etag"), answer.header("last-modified")),
                (&*etag, &*modified)
            );
            assert_eq!(
                file.world.blob_faults.calls(BlobCall::Read),
                reads,
                "nothing is read for nothing"
            );
        }
    }
}

#[tokio::test]
async fn only_a_registered_algorithm_has_a_repr_digest() {
    // echo -n abc | openssl sha256 -binary | base64
    let abc = "sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=:";
    for (algorithm, expected) in [
        (DigestAlgorithm::Sha256, abc),
        (DigestAlgorithm::Blake3, ""),
    ] {
        let world = World::new().await;
        let mut hasher = Hasher::new(algorithm);
        hasher.update(b"abc");
        let mut upload = crate::support::upload(
            &crate::support::caller("ada", protocol::identity::Role::User),
            b"abc",
        );
        upload.computed_digest = Some(hasher.finish());
        world.cache(&upload, b"abc").await;
        world.store(&upload).await;
        let path = format!("/files/{}/content", upload.file_id);
        for headers in [&[][..], &[("range", "bytes=1-1")]] {
            let answer = world
                .call(Method::GET, &owner_of(&upload), &path, headers)
                .await;
            assert_eq!(answer.header("repr-digest"), expected, "{algorithm:?}");
        }
    }
}

#[tokio::test]
async fn what_a_client_declared_is_never_shown_in_our_name() {
    let world = World::new().await;
    let ada = crate::support::caller("ada", protocol::identity::Role::User);
    let table = [
        (Some("text/html"), "text/html"),
        (Some("x\r\ny"), "application/octet-stream"),
        (None, "application/octet-stream"),
    ];
    for (declared, served) in table {
        let mut upload = crate::support::upload(&ada, b"<script>");
        upload.meta.content_type = declared.map(str::to_owned);
        upload.meta.name = "ä\"b\".html".to_owned();
        world.cache(&upload, b"<script>").await;
        let answer = world
            .get(&ada, &format!("/files/{}/content", upload.file_id))
            .await;
        assert_eq!(answer.header("content-type"), served);
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        let disposition = "attachment; filename=\"__b_.html\"; filename*=UTF-8''%C3%A4%22b%22.html";
        assert_eq!(answer.header("content-disposition"), disposition);
    }
}

#[tokio::test]
async fn a_failed_file_has_no_content() {
    let file = File::cached().await;
    let mut failed = file.upload.clone();
    failed.status = TransferStatus::UploadFailed;
    failed.reason = Some("the disk is broken".to_owned());
    file.world.uploader.know(&failed);
    let answer = file.get(&[]).await;
    assert_eq!(
        (answer.status.as_u16(), &*answer.code()),
        (404, "not-found")
    );
    assert!(String::from_utf8_lossy(&answer.body).contains("the disk is broken"));
}

#[tokio::test]
async fn content_that_breaks_off_is_never_a_short_body() {
    let file = File::stored().await;
    file.world.blobs.cut_reads();
    let path = format!("/files/{}/content", file.upload.file_id);
    let answer = file
        .world
        .try_call(Method::GET, &file.owner, &path, &[])
        .await;
    assert!(answer.is_err());
}

#[tokio::test]
async fn an_unreachable_store_is_unavailable() {
    let stored = File::stored().await;
    stored.world.blob_faults.unreachable();
    let cached = File::cached().await;
    cached
        .world
        .chunk_faults
        .fail_everything(|| ChunkError::Unavailable("by order of the test".to_owned()));
    for file in [stored, cached] {
        let answer = file.get(&[]).await;
        assert_eq!(
            (answer.status.as_u16(), &*answer.code()),
            (503, "unavailable")
        );
        assert_eq!(answer.header("retry-after"), "1");
    }
}

/// The content moves from the cache to the blob store between the two looks of one download.
#[tokio::test]
async fn content_is_found_while_it_moves() {
    let file = File::cached().await;
    let gate = file.world.chunk_faults.gate(ChunkCall::Read);
    let moves = async {
        gate.reached(1).await;
        file.world.store(&file.upload).await;
        gate.open();
    };
    let (answer, ()) = tokio::join!(file.get(&[]), moves);
    assert_eq!(answer.status, 200);
    assert!(answer.body == file.content);
    assert_eq!(file.world.blob_faults.calls(BlobCall::Read), 1);
}

#[tokio::test]
async fn content_that_is_nowhere_is_an_error() {
    let file = File::cached().await;
    file.world
        .chunks
        .remove(file.upload.upload_id)
        .await
        .unwrap();
    assert_eq!(
        file.get(&[]).await.status,
        503,
        "the cache was freed, and nobody says why"
    );
}
