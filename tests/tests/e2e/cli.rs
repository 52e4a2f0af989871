//! The command line from end to end: a folder there and back, and going on after a kill.

use serde_json::Value;
use std::{collections::BTreeMap, path::Path, process::Child};
use tests::{Account, Cli, Server, cli::digests, content, until};

/// Writes `count` files of these sizes, one after another, all different.
fn write_files(folder: &Path, sizes: &[usize], count: usize) {
    for number in 0..count {
        let folder = folder.join(format!("{:02}", number % 7));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(
            folder.join(format!("{number:03}.dat")),
            content::bytes(number as u64, sizes[number % sizes.len()]),
        )
        .unwrap();
    }
}

fn summary(objects: &[Value]) -> &Value {
    objects
        .iter()
        .find(|object| object["type"] == "summary")
        .expect("a summary")
}

/// How often each content is in the account's history.
async fn stored(account: &Account) -> BTreeMap<String, usize> {
    let mut digests = BTreeMap::new();
    for file in account.files().await {
        assert_eq!(file["status"], "uploaded_successfully", "{file}");
        *digests
            .entry(file["digest"].as_str().unwrap().to_owned())
            .or_default() += 1;
    }
    digests
}

/// Waits until the account has something stored or under way: the command is in the middle of its work.
async fn until_midway(account: &Account) {
    until("the first files to arrive", async || {
        (account.files().await.len() > 3).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_folder_of_three_hundred_files_goes_there_and_back() {
    let server = Server::start().await;
    let cli = Cli::signup(&server.url(), "ada");
    let sent = cli.folder("sent");
    write_files(&sent, &[1, 100, 100_000, 5_000, 70_001, 262_144], 300);
    std::fs::write(sent.join("large.dat"), content::bytes(1001, 40 << 20)).unwrap();

    let (ok, objects) = cli.json(&["upload", sent.to_str().unwrap()]);
    assert!(ok, "{objects:?}");
    assert_eq!(summary(&objects)["uploaded"], 301);
    let (ok, history) = cli.json(&["history", "--all"]);
    assert!(ok);
    assert_eq!(history.len(), 301);

    let back = cli.folder("back");
    let (ok, objects) = cli.json(&["download", "--all", "-o", back.to_str().unwrap()]);
    assert!(ok, "{objects:?}");
    assert_eq!(digests(&back), digests(&sent));
    assert!(
        server.peak_memory() < 120 << 20,
        "the server took {} MiB",
        server.peak_memory() >> 20
    );
}

#[tokio::test]
async fn a_terminal_shows_bars_and_the_same_end() {
    let server = Server::start().await;
    let cli = Cli::signup(&server.url(), "ada");
    let folder = cli.folder("files");
    write_files(&folder, &[1, 300_000, 2_000], 120);
    let output = cli.run_on_terminal(&["upload", folder.to_str().unwrap()]);
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{shown}");
    assert!(
        shown.contains("120 uploaded") && shown.contains('█'),
        "{shown}"
    );
}

#[tokio::test]
async fn what_is_refused_is_told_and_the_rest_goes_on() {
    let server = Server::start().await;
    let cli = Cli::signup(&server.url(), "ada");
    let folder = cli.folder("files");
    for (name, content) in [
        ("empty.dat", &b""[..]),
        ("setup.exe", b"x"),
        ("hidden.dat", b"#!/bin/sh\nexit"),
        ("fine.dat", b"fine"),
    ] {
        std::fs::write(folder.join(name), content).unwrap();
    }
    let (ok, objects) = cli.json(&["upload", folder.to_str().unwrap()]);
    assert!(!ok);
    let codes: BTreeMap<_, _> = objects
        .iter()
        .filter(|object| object["type"] == "file")
        .map(|object| {
            let name = Path::new(object["path"].as_str().unwrap())
                .file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            (name, object["code"].as_str().unwrap_or("stored").to_owned())
        })
        .collect();
    let expected = [
        ("empty.dat", "empty-file"),
        ("fine.dat", "stored"),
        ("hidden.dat", "type-forbidden"),
        ("setup.exe", "type-forbidden"),
    ];
    assert_eq!(
        codes,
        expected
            .map(|(name, code)| (name.to_owned(), code.to_owned()))
            .into()
    );
    assert_eq!(
        (
            &summary(&objects)["uploaded"],
            &summary(&objects)["refused"]
        ),
        (&1.into(), &3.into())
    );
}

/// Starts an upload of many files, ends it by `end` when it is in the middle, and lets the same command do the rest.
async fn interrupted(name: &str, end: impl FnOnce(&mut Child)) {
    let server = Server::start().await;
    let cli = Cli::signup(&server.url(), name);
    let account = Account::login(&server.url(), name).await;
    let folder = cli.folder("files");
    write_files(&folder, &[3_000_000, 200_000, 1_500_000], 60);
    let command = ["upload", folder.to_str().unwrap(), "--json"];

    let mut running = cli.start(&command);
    until_midway(&account).await;
    end(&mut running);
    let ended = running.wait_with_output().unwrap();
    assert!(
        !ended.status.success(),
        "the command was over before it was ended"
    );

    let (ok, objects) = cli.json(&command[..2]);
    assert!(ok, "{objects:?}");
    let counted = stored(&account).await;
    let mut expected = BTreeMap::new();
    digests(&folder)
        .into_iter()
        .for_each(|digest| *expected.entry(digest).or_default() += 1);
    assert_eq!(counted, expected, "every file exactly once");
}

#[tokio::test]
async fn after_a_kill_the_same_command_goes_on() {
    interrupted("killed", |child| child.kill().unwrap()).await;
}

#[tokio::test]
async fn after_an_interrupt_the_same_command_goes_on() {
    interrupted("interrupted", |child| {
        let pid = rustix::process::Pid::from_child(child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_killed_server_is_waited_for() {
    let mut server = Server::start().await;
    let cli = Cli::signup(&server.url(), "ada");
    let account = Account::login(&server.url(), "ada").await;
    let folder = cli.folder("files");
    write_files(&folder, &[3_000_000, 200_000, 1_500_000], 50);
    let running = cli.start(&[
        "upload",
        folder.to_str().unwrap(),
        "--parallel",
        "50",
        "--json",
    ]);
    until_midway(&account).await;
    server.kill();
    server.restart().await;
    let ended = tokio::task::spawn_blocking(|| running.wait_with_output())
        .await
        .unwrap()
        .unwrap();
    assert!(
        ended.status.success(),
        "{}",
        String::from_utf8_lossy(&ended.stderr)
    );
    let counted = stored(&account).await;
    assert_eq!(counted.len(), 50);
    assert!(
        counted.values().all(|&count| count == 1),
        "every file exactly once"
    );
}

#[tokio::test]
async fn an_admin_is_made_on_a_running_server_and_sees_everything() {
    let server = Server::start().await;
    let user = Cli::signup(&server.url(), "ada");
    let file = user.folder("files").join("a.dat");
    std::fs::write(&file, b"content").unwrap();
    assert!(user.json(&["upload", file.to_str().unwrap()]).0);

    let password = user.password_file();
    let create = ["admin", "create", "--user", "root", "--password-file"];
    let create = [&create[..], &[password.to_str().unwrap()]].concat();
    let created = user.run_with(&server.operators_settings(), &create);
    assert!(
        created.status.success(),
        "{}",
        String::from_utf8_lossy(&created.stderr)
    );
    let root = Account::login(&server.url(), "root").await;
    assert_eq!(root.get_json("/auth/validate").await["role"], "admin");
    assert_eq!(root.files().await[0]["owner"]["name"], "ada");
}

#[tokio::test]
async fn without_a_server_or_a_login_the_command_says_what_to_do() {
    let server = Server::start().await;
    let cli = Cli::signup(&server.url(), "ada");
    let url = server.url();
    drop(server);
    let unreachable = cli.run(&["history"]);
    assert_eq!(unreachable.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&unreachable.stderr).contains(&url));
    let elsewhere = cli.run(&["history", "--server", "http://127.0.0.1:1"]);
    assert_eq!(elsewhere.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&elsewhere.stderr).contains("sluice login"));
}
