//! Clients that were written from docs/protocol.md alone, on WebSocket libraries that nobody here wrote.

use std::{
    path::{Path, PathBuf},
    process::Command,
};
use tests::{Account, Server, content};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("stock-clients")
}

/// Uploads a small file, which is pipelined, and one beyond the window.
async fn upload_with(program: &Path, script: &str) {
    let server = Server::start().await;
    let files = tempfile::tempdir().unwrap();
    let contents = [
        content::bytes(1, 1),
        content::bytes(2, 70_000),
        content::bytes(3, 5_000_000),
    ];
    for (number, content) in contents.iter().enumerate() {
        let path = files.path().join(format!("{number}.dat"));
        std::fs::write(&path, content).unwrap();
        let output = Command::new(program)
            .arg(folder().join(script))
            .args([&server.url(), "stock", tests::PASSWORD])
            .arg(&path)
            .output()
            .unwrap_or_else(|error| {
                panic!(
                    "{} can't be run ({error}); `./dev test` installs it",
                    program.display()
                )
            });
        assert!(
            output.status.success(),
            "{script} with {} bytes: {}{}",
            content.len(),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let account = Account::login(&server.url(), "stock").await;
    let mut stored: Vec<_> = account
        .files()
        .await
        .iter()
        .map(|file| file["digest"].as_str().unwrap().to_owned())
        .collect();
    let mut expected: Vec<_> = contents
        .iter()
        .map(|content| content::sha256(content).to_string())
        .collect();
    stored.sort();
    expected.sort();
    assert_eq!(stored, expected);
}

#[tokio::test]
async fn node_with_ws() {
    assert!(
        folder().join("node_modules/ws").exists(),
        "npm's ws is not installed; `./dev test` does it"
    );
    upload_with(Path::new("node"), "upload.mjs").await;
}

#[tokio::test]
async fn python_with_websockets() {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/stock-clients/bin/python");
    upload_with(&python, "upload.py").await;
}
