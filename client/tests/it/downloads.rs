//! Downloads: continued, verified, and given up with a reason.

use crate::script::{FILE, Numbered, Script, UPLOAD, USER, content, sha256, soon};
use client::{DownloadError, Error, HttpApi};
use jiff::Timestamp;
use protocol::{
    DigestAlgorithm, ErrorCode, Hasher, TransferStatus, file::FileInfo, identity::Owner,
};
use std::{path::PathBuf, sync::Arc};

fn info(content: &[u8]) -> FileInfo {
    FileInfo {
        file_id: FILE,
        upload_id: UPLOAD,
        name: "a".to_owned(),
        size: content.len() as u64,
        content_type: None,
        digest: Some(sha256(content)),
        status: TransferStatus::UploadedSuccessfully,
        owner: Owner {
            id: USER,
            name: "anna".to_owned(),
        },
        pool: None,
        batch: None,
        captured_at: None,
        received_at: Timestamp::UNIX_EPOCH,
        stored_at: None,
        attempts: 1,
        reason: None,
        title: None,
        description: None,
        tags: Vec::new(),
    }
}

/// A download under way.
struct Bench {
    script: Script,
    _dir: tempfile::TempDir,
    part: PathBuf,
    info: FileInfo,
}

impl Bench {
    async fn new(content: &[u8]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let part = dir.path().join("part");
        Self {
            script: Script::new().await,
            _dir: dir,
            part,
            info: info(content),
        }
    }

    async fn download(&self) -> Result<(), DownloadError> {
        let api = HttpApi::new(self.script.url.clone()).with_tokens(Arc::new(Numbered::default()));
        soon(api.download(&self.info, &self.part, |_| {})).await
    }

    fn held(&self) -> Vec<u8> {
        std::fs::read(&self.part).unwrap()
    }
}

#[tokio::test]
async fn it_goes_on_where_the_answer_broke_off() {
    let content = content(10_000);
    let bench = Bench::new(&content).await;
    let serve = async {
        let head = bench
            .script
            .http("200 OK", content.len(), &content[..4000])
            .await;
        assert!(
            head.starts_with(&format!("get /api/v1/files/{FILE}/content ")),
            "{head}"
        );
        assert!(
            head.contains("authorization: bearer token-0") && !head.contains("range:"),
            "{head}"
        );
        bench.script.http("503 Service Unavailable", 0, b"").await;
        let head = bench
            .script
            .http(
                "206 Partial Content",
                content[4000..].len(),
                &content[4000..],
            )
            .await;
        assert!(head.contains("range: bytes=4000-"), "{head}");
    };
    let (result, ()) = tokio::join!(bench.download(), serve);
    result.unwrap();
    assert_eq!(bench.held(), content);
}

#[tokio::test]
async fn a_part_from_before_is_used() {
    let content = content(10_000);
    let bench = Bench::new(&content).await;
    std::fs::write(&bench.part, &content[..9999]).unwrap();
    let serve = bench.script.http(
        "206 Partial Content",
        content[9999..].len(),
        &content[9999..],
    );
    let (result, head) = tokio::join!(bench.download(), serve);
    result.unwrap();
    assert!(head.contains("range: bytes=9999-"), "{head}");
    assert_eq!(bench.held(), content);
    bench
        .download()
        .await
        .expect("a whole part needs no server");
}

#[tokio::test]
async fn a_server_that_ignores_the_range_sends_it_all() {
    let content = content(10_000);
    let bench = Bench::new(&content).await;
    std::fs::write(&bench.part, &content[..5000]).unwrap();
    let serve = bench.script.http("200 OK", content.len(), &content);
    let (result, _) = tokio::join!(bench.download(), serve);
    result.unwrap();
    assert_eq!(bench.held(), content);
}

#[tokio::test]
async fn a_wrong_part_from_before_gets_a_second_chance() {
    let content = content(10_000);
    let bench = Bench::new(&content).await;
    std::fs::write(&bench.part, vec![7; 5000]).unwrap();
    let serve = async {
        bench
            .script
            .http(
                "206 Partial Content",
                content[5000..].len(),
                &content[5000..],
            )
            .await;
        let head = bench.script.http("200 OK", content.len(), &content).await;
        assert!(!head.contains("range:"), "{head}");
    };
    let (result, ()) = tokio::join!(bench.download(), serve);
    result.unwrap();
    assert_eq!(bench.held(), content);
}

#[tokio::test]
async fn damaged_content_never_counts() {
    let content = content(10_000);
    for damaged in [vec![7; 10_000], vec![7; 10_001]] {
        let bench = Bench::new(&content).await;
        let serve = bench.script.http("200 OK", damaged.len(), &damaged);
        let (result, _) = tokio::join!(bench.download(), serve);
        assert!(matches!(result, Err(DownloadError::Damaged)), "{result:?}");
        assert!(!bench.part.exists());
    }
}

#[tokio::test]
async fn blake3_is_verified_too() {
    let content = content(5000);
    let mut bench = Bench::new(&content).await;
    let mut hasher = Hasher::new(DigestAlgorithm::Blake3);
    hasher.update(&content);
    bench.info.digest = Some(hasher.finish());
    let serve = bench.script.http("200 OK", content.len(), &content);
    let (result, _) = tokio::join!(bench.download(), serve);
    result.unwrap();
}

#[tokio::test]
async fn a_refusal_is_told_and_a_refused_token_exchanged() {
    let bench = Bench::new(b"abc").await;
    let problem = br#"{"code":"not-found","title":"Not found","detail":"no such file"}"#;
    let serve = async {
        bench.script.http("401 Unauthorized", 0, b"").await;
        let head = bench
            .script
            .http("404 Not Found", problem.len(), problem)
            .await;
        assert!(head.contains("authorization: bearer token-1"), "{head}");
    };
    let (result, ()) = tokio::join!(bench.download(), serve);
    let error = result.unwrap_err();
    assert!(
        matches!(&error, DownloadError::Server(Error::Refused(refusal)) if refusal.code == ErrorCode::NotFound)
    );
    assert!(error.to_string().contains("no such file"), "{error}");
}

#[tokio::test]
async fn one_part_has_one_writer() {
    let bench = Bench::new(b"abc").await;
    let other = std::fs::File::create(&bench.part).unwrap();
    other.lock().unwrap();
    let error = bench.download().await.unwrap_err();
    assert!(error.to_string().contains("under way"), "{error}");
}
