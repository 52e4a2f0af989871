//! The server's memory does not grow with what passes through it.

use client::{Client, FixedToken, Keys, Source, Upload};
use futures::{StreamExt, future::join_all};
use reqwest::Method;
use tests::{Account, Server, content};

const CLIENTS: usize = 50;

/// What the server may have resident at most, bytes.
const MOST: u64 = 120 << 20;

/// Sizes of the files, 5 to 10 MB; each is that of several clients.
const SIZES: [usize; 5] = [5_000_000, 6_000_000, 7_500_000, 9_000_000, 10_000_000];

async fn upload(account: &Account, data: Vec<u8>) -> String {
    let client = Client::builder(account.url.parse().unwrap())
        .tokens(FixedToken::new(account.token()))
        .connect()
        .await
        .unwrap();
    let source = Source::bytes(data);
    let meta = source.meta("a.dat");
    let mut upload = client
        .upload(Upload::new(source, meta).keys(Keys::random()))
        .await
        .unwrap();
    let stored = upload.stored().await.unwrap();
    stored.file_id.unwrap().to_string()
}

/// Downloads a file and compares it piece by piece.
async fn download(account: &Account, file_id: &str, data: &[u8]) {
    let path = format!("/api/v1/files/{file_id}/content");
    let answer = account.request(Method::GET, &path).send().await.unwrap();
    let mut pieces = answer.bytes_stream();
    let mut at = 0;
    while let Some(piece) = pieces.next().await {
        let piece = piece.unwrap();
        assert!(
            data[at..].starts_with(&piece),
            "{file_id} differs after {at} bytes"
        );
        at += piece.len();
    }
    assert_eq!(at, data.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_clients_at_once_fit_into_a_little_memory() {
    let server = Server::start().await;
    let contents: Vec<_> = (0..)
        .zip(SIZES)
        .map(|(seed, size)| content::bytes(seed, size))
        .collect();
    let accounts =
        (0..CLIENTS).map(async |n| Account::signup(&server.url(), &format!("ada{n}")).await);
    let accounts = join_all(accounts).await;
    let content_of = |n: usize| &contents[n % contents.len()];
    let files = accounts
        .iter()
        .enumerate()
        .map(|(n, account)| upload(account, content_of(n).clone()));
    let files = join_all(files).await;
    let after_uploads = server.peak_memory();
    let downloads = accounts.iter().zip(&files).enumerate();
    join_all(downloads.map(|(n, (account, file))| download(account, file, content_of(n)))).await;
    let after_downloads = server.peak_memory();
    assert!(
        after_downloads < MOST,
        "{} MiB after the uploads, {} MiB after the downloads",
        after_uploads >> 20,
        after_downloads >> 20
    );
}
