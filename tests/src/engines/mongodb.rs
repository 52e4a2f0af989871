//! How MongoDB is set up: a replica set of one member, with a user.

use super::{
    Kind, Record,
    programs::{libraries, program, write_private},
    urls,
};
use crate::{daemon::Daemon, ports, random};
use mongodb::{
    Client,
    bson::{Document, doc},
    error::{Error, ErrorKind},
    options::ClientOptions,
};
use std::{path::Path, time::Duration};

pub(super) const PROGRAMS: &[&str] = &["mongod"];

/// A command to a set that was initiated before, and a user that is there already: nothing is left to do.
const ALREADY_DONE: [i32; 2] = [23, 51003];

pub(super) fn prepare(folder: &Path) -> Record {
    let address = ports::free();
    let password = random::hex(16);
    // Members of a set with users know each other by a key, also when there is only one.
    let key = folder.join("key");
    write_private(&key, &random::hex(32));
    let data = folder.join("data");
    std::fs::create_dir(&data).expect("the folder is ours");
    let mongod = program("mongod");
    let command = format!(
        "--replSet rs0 --bind_ip {} --port {} --nounixsocket --wiredTigerCacheSizeGB 0.25 --oplogSize 256 \
         --setParameter diagnosticDataCollectionEnabled=false",
        address.ip(),
        address.port()
    );
    let mut command: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
    for (flag, path) in [("--dbpath", &data), ("--keyFile", &key)] {
        command.extend([flag.to_owned(), path.display().to_string()]);
    }
    command.insert(0, mongod.display().to_string());
    Record {
        kind: Kind::MongoDb,
        daemon: Daemon {
            name: Kind::MongoDb.name().to_owned(),
            folder: folder.to_owned(),
            command,
            environment: libraries(&mongod),
            programs: PROGRAMS.iter().map(|name| (*name).to_owned()).collect(),
            user: None,
        },
        address,
        url: format!("mongodb://sluice:{password}@{address}/test?replicaSet=rs0&authSource=admin"),
    }
}

/// Initiates the set and makes the user, as someone who is at the machine itself may as long as there is none. Can be repeated.
pub(super) async fn set_up(record: &Record) -> Result<(), String> {
    let setting_up = async {
        let address = record.address.to_string();
        let client = connect(&format!("mongodb://{address}/?directConnection=true")).await?;
        let members = vec![doc! { "_id": 0, "host": &address }];
        let set = doc! { "_id": "rs0", "members": members };
        command(&client, doc! { "replSetInitiate": set }).await?;
        is_primary(&client).await?;
        let url = urls::parse(&record.url);
        let password = url.password().expect("it has one");
        let roles = vec!["root"];
        command(
            &client,
            doc! { "createUser": url.username(), "pwd": password, "roles": roles },
        )
        .await
    };
    setting_up.await.map_err(|error| error.to_string())
}

pub(super) async fn ask(url: &str) -> Result<(), String> {
    let asking = async { is_primary(&connect(url).await?).await };
    asking.await.map_err(|error: Error| error.to_string())
}

async fn connect(url: &str) -> Result<Client, Error> {
    let mut options = ClientOptions::parse(url).await?;
    options.server_selection_timeout = Some(Duration::from_secs(2));
    Client::with_options(options)
}

async fn is_primary(client: &Client) -> Result<(), Error> {
    let answer = client
        .database("admin")
        .run_command(doc! { "hello": 1 })
        .await?;
    match answer.get_bool("isWritablePrimary") {
        Ok(true) => Ok(()),
        _ => Err(Error::custom("it takes no writes yet")),
    }
}

async fn command(client: &Client, command: Document) -> Result<(), Error> {
    match client.database("admin").run_command(command).await {
        Ok(_) => Ok(()),
        Err(error) => match &*error.kind {
            ErrorKind::Command(refusal) if ALREADY_DONE.contains(&refusal.code) => Ok(()),
            _ => Err(error),
        },
    }
}
