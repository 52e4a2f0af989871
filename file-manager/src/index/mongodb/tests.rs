use super::*;
use crate::{index::conformance, sample};
use mongodb::{Client, bson::Document, options::ClientOptions};
use protocol::{PoolId, TransferStatus, UserId, file::Cursor};

/// A database of this test's own, dropped when it passes.
struct Database {
    url: String,
    name: String,
}

impl Database {
    fn new() -> Self {
        let server = std::env::var("TEST_MONGODB_URL").expect(
            "TEST_MONGODB_URL is set by `./dev test`; by hand: eval \"$(./dev stack env)\"",
        );
        let name = format!("test_{}", FileId::new().0.simple());
        let (address, options) = server.split_once('?').unwrap_or((&server, ""));
        let authority = address.find("://").expect("it has a scheme") + 3;
        let end = address[authority..]
            .find('/')
            .map_or(address.len(), |at| authority + at);
        Self {
            url: format!("{}/{name}?{options}", &address[..end]),
            name,
        }
    }

    async fn open(&self) -> MongoIndex {
        MongoIndex::open(&self.url).await.unwrap()
    }

    async fn handle(&self) -> mongodb::Database {
        let options = ClientOptions::parse(&self.url).await.unwrap();
        Client::with_options(options).unwrap().database(&self.name)
    }

    async fn drop(self) {
        self.handle().await.drop().await.unwrap();
    }
}

fn entry(received_at: i64) -> IndexedFile {
    IndexedFile {
        tenant: TenantId::default(),
        info: sample::file(UserId::new(), received_at),
    }
}

#[tokio::test]
async fn conforms() {
    let database = Database::new();
    conformance::suite(&database.open().await).await;
    database.drop().await;
}

#[tokio::test]
async fn several_open_it_and_insert_one_file_at_once() {
    let database = Database::new();
    let file = entry(1);
    let attempts = (1..=8).map(|attempts| {
        let (database, mut file) = (&database, file.clone());
        async move {
            file.info.attempts = attempts;
            database.open().await.insert(&file).await.unwrap()
        }
    });
    let inserted = futures::future::join_all(attempts).await;
    assert!(
        inserted.iter().all(|entry| *entry == inserted[0]),
        "{inserted:?}"
    );
    let files = database.handle().await.collection::<Document>(FILES);
    assert_eq!(files.count_documents(doc! {}).await.unwrap(), 1);
    database.drop().await;
}

/// Whoever asks is told to try again, and need not wait for long.
#[tokio::test]
async fn one_that_is_away_is_unavailable() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!(
        "mongodb://{}/x?replicaSet=rs0",
        nobody.local_addr().unwrap()
    );
    drop(nobody);
    let index = MongoIndex::open(&url).await.unwrap();
    let begun = std::time::Instant::now();
    let (found, pinged) = tokio::join!(index.get(FileId::new()), index.ping());
    assert!(
        matches!(found, Err(IndexError::Unavailable(_))),
        "{found:?}"
    );
    assert!(
        matches!(pinged, Err(IndexError::Unavailable(_))),
        "{pinged:?}"
    );
    assert!(begun.elapsed() < LARGE);
}

#[tokio::test]
async fn an_entry_that_makes_no_sense_is_damaged() {
    let database = Database::new();
    let (index, file) = (database.open().await, entry(1));
    index.insert(&file).await.unwrap();
    let files = database.handle().await.collection::<Document>(FILES);
    let change = doc! { "$set": { "digest": "none" } };
    files.update_one(doc! {}, change).await.unwrap();
    let found = index.get(file.info.file_id).await;
    assert!(matches!(found, Err(IndexError::Damaged(_))), "{found:?}");
    database.drop().await;
}

/// Every way to list reads one stretch of one index: nothing is scanned, nothing is sorted, and no key is read in vain.
#[tokio::test]
async fn a_page_is_one_stretch_of_an_index() {
    let database = Database::new();
    let index = database.open().await;
    let (owner, pool) = (UserId::new(), PoolId::new());
    for number in 0..200 {
        let mut file = entry(number / 3);
        file.info.owner.id = owner;
        file.info.pool = Some(pool);
        file.info.tags = vec!["x".to_owned(), format!("tag {number}")];
        index.insert(&file).await.unwrap();
    }
    let all = Selection {
        tenant: TenantId::default(),
        owner: None,
        pool: None,
        status: None,
        tag: None,
        from: None,
        to: None,
        after: Some(Cursor {
            received_at: 50,
            file_id: FileId::new(),
        }),
        limit: 20,
    };
    let tagged = Selection {
        tag: Some("x".to_owned()),
        ..all.clone()
    };
    let owned = Selection {
        owner: Some(owner),
        ..all.clone()
    };
    let time = |time| jiff::Timestamp::from_microsecond(time).ok();
    let table = [
        ("files_by_tenant", all.clone()),
        (
            "files_by_tenant",
            Selection {
                after: None,
                ..all.clone()
            },
        ),
        (
            "files_by_tenant",
            Selection {
                from: time(10),
                to: time(30),
                ..all.clone()
            },
        ),
        (
            "files_by_pool",
            Selection {
                pool: Some(pool),
                ..all
            },
        ),
        ("files_by_tag", tagged.clone()),
        ("files_by_owner", owned.clone()),
        (
            "files_by_owner_status",
            Selection {
                status: Some(TransferStatus::UploadedSuccessfully),
                ..owned.clone()
            },
        ),
        (
            "files_by_owner_tag",
            Selection {
                owner: Some(owner),
                ..tagged
            },
        ),
    ];
    for (name, selection) in table {
        assert_eq!(index.page(&selection).await.unwrap().len(), 20, "{name}");
        let stats = explain(&index, &selection).await;
        let plan = stats.to_string();
        assert!(
            plan.contains(&format!("\"indexName\": \"{name}\"")),
            "{name}: {plan}"
        );
        for stage in ["COLLSCAN", "\"SORT\"", "SORT_MERGE", "\"OR\""] {
            assert!(!plan.contains(stage), "{name}: {plan}");
        }
        let keys = stats.get_i32("totalKeysExamined").unwrap();
        // The page, what has the cursor's own microsecond, and one key to see the end.
        assert!(keys <= 20 + 3 + 1, "{name}: {keys} keys: {plan}");
    }
    database.drop().await;
}

/// How MongoDB carries the page's query out, taken from the command as the driver sends it.
async fn explain(index: &MongoIndex, selection: &Selection) -> Document {
    let database = index.mongo.database().await.unwrap();
    let explain =
        doc! { "explain": page::command(FILES, selection), "verbosity": "executionStats" };
    let explained = database.run_command(explain).await.unwrap();
    explained.get_document("executionStats").unwrap().clone()
}
