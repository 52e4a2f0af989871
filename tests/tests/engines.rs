//! The engines that the other tests stand on: what is done to them happens, and they keep what they should.

use futures::future::join_all;
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties,
    options::{BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use mongodb::bson::{Document, doc};
use sqlx::{Connection as _, PgConnection};
use std::{
    path::{Path, PathBuf},
    process::Command,
};
use tests::{
    Proxy,
    daemon::State,
    engines::{Engines, Kind, Namespace, Urls},
    until,
};

#[tokio::test(flavor = "multi_thread")]
async fn engines_keep_what_they_answered_for_and_can_be_frozen() {
    let engines = Engines::start().await;
    let urls = engines.urls();
    write(&urls).await;
    until_registered(engines.rabbitmq.folder()).await;

    for engine in engines.all() {
        engine.kill();
        assert_eq!(engine.state(), State::Ended);
        assert!(engine.ask().await.is_err());
    }
    join_all(engines.all().map(|engine| engine.restart())).await;
    assert_eq!(engines.urls(), urls);
    read(&urls).await;

    for engine in engines.all() {
        engine.freeze();
        assert_eq!(engine.state(), State::Frozen);
    }
    let answers = join_all(engines.all().map(|engine| engine.ask())).await;
    assert!(answers.iter().all(Result::is_err), "{answers:?}");
    for engine in engines.all() {
        engine.thaw();
        engine.until_ready().await;
        assert_eq!(engine.state(), State::Running);
    }

    let mongodb = Proxy::before(engines.mongodb.address()).await;
    let through = urls.clone().via(Kind::MongoDb, mongodb.address());
    assert!(document(&through.mongodb).await.is_some());

    let folder = engines
        .redis
        .folder()
        .parent()
        .expect("they share one")
        .to_owned();
    let records = engines.all().map(|engine| engine.record().daemon.clone());
    drop(engines);
    assert!(!folder.exists());
    for daemon in records {
        assert_eq!(daemon.state(), State::Ended, "{}", daemon.name);
    }
}

/// Set for a process that starts engines and waits to be killed: where it writes down their folder.
const HOLDER: &str = "TEST_ENGINES_HOLDER";

#[tokio::test(flavor = "multi_thread")]
async fn engines_end_with_the_process_that_is_killed() {
    let place = tempfile::tempdir().unwrap().path().with_extension("folder");
    let name = "holds_engines_until_it_is_killed";
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", name])
        .env(HOLDER, &place)
        .spawn()
        .unwrap();
    let folder = until("the engines to be there", async || {
        std::fs::read_to_string(&place)
            .ok()
            .filter(|text| !text.is_empty())
    });
    let folder = PathBuf::from(folder.await);
    assert!(!working_in(&folder).is_empty());

    holder.kill().unwrap();
    holder.wait().unwrap();
    until("the engines to be gone", async || {
        (!folder.exists() && working_in(&folder).is_empty()).then_some(())
    })
    .await;
    std::fs::remove_file(place).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the other process of another test"]
async fn holds_engines_until_it_is_killed() {
    let Some(place) = std::env::var_os(HOLDER) else {
        return;
    };
    let engines = Engines::start().await;
    // Stopped processes must go, too.
    engines.postgres.freeze();
    let folder = engines.redis.folder().parent().expect("they share one");
    std::fs::write(place, folder.display().to_string()).unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn namespaces_do_not_meet() {
    let urls = Urls::shared();
    let [one, other] = <[Namespace; 2]>::try_from(
        join_all([Namespace::create(&urls), Namespace::create(&urls)]).await,
    )
    .expect("two were made");
    let (ones, others) = (one.stores(&urls), other.stores(&urls));
    for ((name, mine), (_, theirs)) in ones.settings().iter().zip(others.settings()) {
        assert!(mine.contains(one.name()) && *mine != theirs, "{name}");
    }
    let mut connection = PgConnection::connect(&ones.users).await.unwrap();
    let database: String = sqlx::query_scalar("SELECT current_database()")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(database, one.name());
}

/// The processes that work in this folder, or did until it was removed.
fn working_in(folder: &Path) -> Vec<PathBuf> {
    let processes = std::fs::read_dir("/proc").unwrap();
    let places =
        processes.filter_map(|entry| std::fs::read_link(entry.ok()?.path().join("cwd")).ok());
    places.filter(|place| place.starts_with(folder)).collect()
}

const QUEUE: &str = "kept";

async fn write(urls: &Urls) {
    let client = redis::Client::open(&*urls.redis).unwrap();
    let mut redis = client.get_multiplexed_async_connection().await.unwrap();
    redis::cmd("SET")
        .arg("kept")
        .arg(1)
        .exec_async(&mut redis)
        .await
        .unwrap();

    let mut postgres = PgConnection::connect(&urls.postgres).await.unwrap();
    sqlx::raw_sql("CREATE TABLE kept AS SELECT 1 AS n")
        .execute(&mut postgres)
        .await
        .unwrap();

    let mongodb = mongodb::Client::with_uri_str(&urls.mongodb).await.unwrap();
    let kept = mongodb.database("kept").collection::<Document>("kept");
    kept.insert_one(doc! { "n": 1 }).await.unwrap();

    let channel = queue(&urls.amqp).await;
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await
        .unwrap();
    let properties = BasicProperties::default().with_delivery_mode(2);
    let options = BasicPublishOptions::default();
    let published = channel
        .basic_publish("".into(), QUEUE.into(), options, b"1", properties)
        .await;
    assert!(published.unwrap().await.unwrap().is_ack());
}

/// RabbitMQ 3.10 confirms what it has synced, but writes down half a second later which log a new quorum queue has; killed in
/// between, it has the queue without a leader for ever.
async fn until_registered(rabbitmq: &Path) {
    let nodes = std::fs::read_dir(rabbitmq.join("data")).unwrap();
    let names = nodes
        .map(|node| node.unwrap().file_name())
        .collect::<Vec<_>>();
    let known = names
        .iter()
        .map(|node| rabbitmq.join("data").join(node).join("quorum").join(node));
    let known: Vec<PathBuf> = known.map(|folder| folder.join("names.dets")).collect();
    let name = format!("%2F_{QUEUE}");
    until("the queue to be registered", async || {
        let mut content = known.iter().filter_map(|file| std::fs::read(file).ok());
        let has = |content: Vec<u8>| {
            content
                .windows(name.len())
                .any(|part| part == name.as_bytes())
        };
        content.any(has).then_some(())
    })
    .await;
}

async fn read(urls: &Urls) {
    let client = redis::Client::open(&*urls.redis).unwrap();
    let mut redis = client.get_multiplexed_async_connection().await.unwrap();
    let kept: Option<i32> = redis::cmd("GET")
        .arg("kept")
        .query_async(&mut redis)
        .await
        .unwrap();
    assert_eq!(kept, Some(1));

    let mut postgres = PgConnection::connect(&urls.postgres).await.unwrap();
    let kept: i32 = sqlx::query_scalar("SELECT n FROM kept")
        .fetch_one(&mut postgres)
        .await
        .unwrap();
    assert_eq!(kept, 1);

    assert!(document(&urls.mongodb).await.is_some());

    // A queue whose leader is not there yet refuses, and that ends the connection.
    let got = until("the queue to have its leader", async || {
        let connection = Connection::connect(&urls.amqp, ConnectionProperties::default()).await;
        let channel = connection.ok()?.create_channel().await.ok()?;
        let options = BasicGetOptions { no_ack: true };
        channel.basic_get(QUEUE.into(), options).await.ok()?
    });
    assert_eq!(got.await.data, b"1");
}

async fn document(url: &str) -> Option<Document> {
    let mongodb = mongodb::Client::with_uri_str(url).await.unwrap();
    let kept = mongodb.database("kept").collection::<Document>("kept");
    kept.find_one(doc! {}).await.unwrap()
}

async fn queue(url: &str) -> Channel {
    let connection = Connection::connect(url, ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    let mut arguments = FieldTable::default();
    arguments.insert(
        "x-queue-type".into(),
        AMQPValue::LongString("quorum".into()),
    );
    let options = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    channel
        .queue_declare(QUEUE.into(), options, arguments)
        .await
        .unwrap();
    channel
}
