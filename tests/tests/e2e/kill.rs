//! The server is killed again and again in the middle of many uploads; the clients finish by themselves.

use client::{Client, FixedToken, Keys, Source, Upload};
use futures::future::try_join_all;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use tests::{
    Account, Server,
    case::{Case, Chance},
    content,
    wiretap::{Heard, Said, Wiretap},
};

/// Kills per round: few enough for clients not to wait long before they come back.
const KILLS: usize = 4;
const ROUNDS: usize = 5;

/// Messages of the server after its start, by which it is killed at the latest.
const WITHIN: u64 = 60;

/// Sizes of the files of a round; it has each of them five times.
const SIZES: [usize; 10] = [
    1, 100, 5_000, 65_536, 100_000, 262_145, 400_000, 700_000, 1_000_000, 3_000_000,
];
const FILES: usize = 50;

/// Clients that share them, each sending all of its own at once.
const CLIENTS: usize = 5;

/// What was said on all sockets of a client about its uploads, which are known by their keys.
#[derive(Default)]
struct Ledger {
    /// The key of each stream.
    streams: HashMap<(u64, u64), String>,
    /// Bytes acknowledged, as the server said at most.
    acked: HashMap<String, u64>,
    /// Bytes that were acknowledged on connections before this one.
    acked_before: HashMap<(u64, String), u64>,
    server_messages: u64,
    chunks: u64,
}

impl Ledger {
    fn hear(&mut self, Heard { connection, said }: &Heard) {
        match said {
            Said::Client(message) if message["type"] == "start-transfer" => {
                let key = message["key"]
                    .as_str()
                    .expect("this client uses keys")
                    .to_owned();
                let before = self.acked.get(&key).copied().unwrap_or_default();
                self.acked_before.insert((*connection, key.clone()), before);
                self.streams
                    .insert((*connection, number(&message["stream"])), key);
            }
            Said::Client(_) => {}
            Said::Chunk(chunk) => {
                let key = &self.streams[&(*connection, u64::from(chunk.stream))];
                let acked = self.acked_before[&(*connection, key.clone())];
                let offset = chunk.offset;
                assert!(
                    offset >= acked,
                    "{key} had {acked} bytes acknowledged and is sent again from {offset}"
                );
                self.chunks += 1;
            }
            Said::Server(message) => self.hear_server(*connection, message),
        }
    }

    fn hear_server(&mut self, connection: u64, message: &Value) {
        self.server_messages += 1;
        if message["type"] != "transfer-started" && message["type"] != "chunk-acked" {
            return;
        }
        let key = &self.streams[&(connection, number(&message["stream"]))];
        let acked = self.acked.entry(key.clone()).or_default();
        let offset = number(&message["offset"]);
        assert!(
            offset >= *acked,
            "{key} had {acked} bytes acknowledged: {message}"
        );
        *acked = offset;
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_finish_by_themselves_whenever_the_server_is_killed() {
    let seed = Chance::seed();
    let _case = Case::begin(format!("TEST_SEED={seed}"));
    let mut chance = Chance::new(seed);
    let mut server = Server::start().await;
    let mut kills = 0;
    for round in 0..ROUNDS {
        kills += a_round(&mut server, &mut chance, round).await;
    }
    assert!(kills >= 20, "the uploads were over after {kills} kills");
    assert!(!server.log().contains(" ERROR "), "a kill is no error");
}

/// Fifty uploads at once, with the server being killed; answers how often.
async fn a_round(server: &mut Server, chance: &mut Chance, round: usize) -> usize {
    let account = Account::signup(&server.url(), &format!("ada{round}")).await;
    let mut tap = Wiretap::start(server.address()).await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let client = Client::builder(tap.url().parse().unwrap())
            .tokens(FixedToken::new(account.token()))
            .parallel(FILES as u32);
        clients.push(client.connect().await.unwrap());
    }
    let content = |n| content::bytes((round * FILES + n) as u64, SIZES[n % SIZES.len()]);
    let files: Vec<_> = (0..FILES)
        .map(|n| (format!("{n}.dat"), content(n)))
        .collect();
    let mut uploads = Vec::new();
    for (n, (name, data)) in files.iter().enumerate() {
        let source = Source::bytes(data.clone());
        let meta = source.meta(name);
        let upload = Upload::new(source, meta).keys(Keys::random());
        uploads.push(clients[n % CLIENTS].upload(upload).await.unwrap());
    }

    let mut ledger = Ledger::default();
    let mut kills = 0;
    let all_stored = try_join_all(uploads.iter_mut().map(|upload| upload.stored()));
    tokio::pin!(all_stored);
    let mut kill_after = chance.below(WITHIN);
    let stored = loop {
        tokio::select! {
            biased;
            heard = tap.next() => ledger.hear(&heard),
            stored = &mut all_stored => break stored.expect("every upload succeeds"),
        }
        if kills < KILLS && ledger.server_messages >= kill_after {
            server.kill();
            server.restart().await;
            kills += 1;
            kill_after = ledger.server_messages + chance.below(WITHIN);
        }
    };
    assert_eq!(stored.len(), FILES);
    check(&account, &files).await;
    kills
}

/// Every file is there once, and equal.
async fn check(account: &Account, files: &[(String, Vec<u8>)]) {
    let listed = account.files().await;
    assert_eq!(listed.len(), files.len());
    let by_name: BTreeMap<&str, &Value> = listed
        .iter()
        .map(|file| (file["name"].as_str().unwrap(), file))
        .collect();
    for (name, data) in files {
        let file = by_name[&**name];
        assert_eq!(file["status"], "uploaded_successfully", "{file}");
        assert_eq!(file["digest"], content::sha256(data).to_string(), "{file}");
        let found = account.content(file["file_id"].as_str().unwrap()).await;
        assert!(found == *data, "{name} has another content");
    }
}
