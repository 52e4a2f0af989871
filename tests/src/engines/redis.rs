//! How Redis is set up.

use super::{
    Kind, Record,
    programs::{program, write_private},
};
use crate::{daemon::Daemon, ports, random};
use std::path::Path;

pub(super) const PROGRAMS: &[&str] = &["redis-server"];

pub(super) fn prepare(folder: &Path) -> Record {
    let address = ports::free();
    let password = random::hex(16);
    let configuration = folder.join("redis.conf");
    // Every write is synced before it is answered: a completed upload survives a power cut. No snapshots beside the log of
    // writes: they would only be a second copy.
    // What passes through here is soon gone again, so that the log would be rewritten all the time; and it has mostly been
    // compressed before.
    let text = format!(
        "bind {}\nport {}\nrequirepass {password}\ndir {}\nappendonly yes\nappendfsync always\nauto-aof-rewrite-min-size 1gb\nrdbcompression no\nsave \"\"\nmaxmemory 1gb\nmaxmemory-policy noeviction\n",
        address.ip(),
        address.port(),
        folder.display(),
    );
    write_private(&configuration, &text);
    Record {
        kind: Kind::Redis,
        daemon: Daemon {
            name: Kind::Redis.name().to_owned(),
            folder: folder.to_owned(),
            command: [program("redis-server"), configuration]
                .map(|path| path.display().to_string())
                .into(),
            environment: Vec::new(),
            programs: PROGRAMS.iter().map(|name| (*name).to_owned()).collect(),
            user: None,
        },
        address,
        url: format!("redis://default:{password}@{address}/0"),
    }
}

pub(super) async fn ask(url: &str) -> Result<(), String> {
    let asking = async {
        let client = redis::Client::open(url)?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        redis::cmd("PING").query_async::<()>(&mut connection).await
    };
    asking.await.map_err(|error| error.to_string())
}
