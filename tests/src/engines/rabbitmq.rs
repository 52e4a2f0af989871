//! How RabbitMQ is set up: a node of its own, known to a directory of Erlang nodes (`epmd`) of its own.

use super::{
    Kind, Record,
    programs::{program, write_private},
};
use crate::{daemon::Daemon, ports, random};
use lapin::{Connection, ConnectionProperties, options::QueueDeclareOptions, types::FieldTable};
use std::{net::SocketAddr, path::Path};

/// The script that starts it, what that becomes, and the helpers of Erlang.
pub(super) const PROGRAMS: &[&str] = &[
    "beam.smp",
    "epmd",
    "erl",
    "erl_child_setup",
    "erlexec",
    "inet_gethost",
    "rabbitmq-server",
    "sh",
];

/// One thread of each sort, none of which waits by spinning: several sets run on a small machine, and mostly wait.
const ERLANG: &str = "+S 1:1 +SDcpu 1:1 +SDio 2 +sbwt none +sbwtdcpu none +sbwtdio none \
    -noinput -start_epmd false -kernel inet_dist_use_interface {127,0,0,1}";

pub(super) fn prepare(folder: &Path) -> Record {
    let address = ports::free();
    let directory = ports::free();
    let password = random::hex(16);
    for part in ["home", "data", "configuration"] {
        std::fs::create_dir(folder.join(part)).expect("the folder is ours");
    }
    let text = format!(
        "listeners.tcp.local = {address}\ndefault_user = sluice\ndefault_pass = {password}\n\
         vm_memory_high_watermark.absolute = 400MB\ndisk_free_limit.absolute = 50MB\n\
         log.file = false\nlog.console = true\nlog.console.level = info\n"
    );
    write_private(&folder.join("configuration/rabbitmq.conf"), &text);
    write_private(&folder.join("configuration/plugins"), "[].\n");
    Record {
        kind: Kind::RabbitMq,
        daemon: Daemon {
            name: Kind::RabbitMq.name().to_owned(),
            folder: folder.to_owned(),
            command: command(directory),
            environment: environment(folder, address, directory),
            programs: PROGRAMS.iter().map(|name| (*name).to_owned()).collect(),
            user: None,
        },
        address,
        url: format!("amqp://sluice:{password}@{address}/%2f"),
    }
}

/// The directory must be there before the node. As a daemon of its own it would outlive it.
fn command(directory: SocketAddr) -> Vec<String> {
    let script = r#""$1" -port "$2" -address 127.0.0.1 & exec "$3""#;
    let arguments = [
        "sh".to_owned(),
        "-c".to_owned(),
        script.to_owned(),
        "rabbitmq".to_owned(),
        program("epmd").display().to_string(),
        directory.port().to_string(),
        program("rabbitmq-server").display().to_string(),
    ];
    arguments.into()
}

fn environment(folder: &Path, address: SocketAddr, directory: SocketAddr) -> Vec<(String, String)> {
    let path = |name: &str| folder.join(name).display().to_string();
    let variables = [
        // The node's secret is kept here.
        ("HOME", path("home")),
        ("ERL_EPMD_ADDRESS", directory.ip().to_string()),
        ("ERL_EPMD_PORT", directory.port().to_string()),
        (
            "RABBITMQ_NODENAME",
            format!("sluice-{}@localhost", address.port()),
        ),
        ("RABBITMQ_DIST_PORT", ports::free().port().to_string()),
        ("RABBITMQ_MNESIA_BASE", path("data")),
        ("RABBITMQ_LOG_BASE", path("data")),
        ("RABBITMQ_CONFIG_FILE", path("configuration/rabbitmq.conf")),
        (
            "RABBITMQ_ENABLED_PLUGINS_FILE",
            path("configuration/plugins"),
        ),
        // Nothing of the system's own configuration.
        ("RABBITMQ_CONF_ENV_FILE", path("configuration/none")),
        (
            "RABBITMQ_ADVANCED_CONFIG_FILE",
            path("configuration/none.config"),
        ),
        // Without a shell before it that waits for it.
        ("RABBITMQ_ALLOW_INPUT", "1".to_owned()),
        ("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", ERLANG.to_owned()),
    ];
    variables
        .map(|(name, value)| (name.to_owned(), value))
        .into()
}

pub(super) async fn ask(url: &str) -> Result<(), String> {
    let asking = async {
        let connection = Connection::connect(url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        let options = QueueDeclareOptions {
            exclusive: true,
            auto_delete: true,
            ..QueueDeclareOptions::default()
        };
        channel
            .queue_declare("".into(), options, FieldTable::default())
            .await?;
        connection.close(200, "".into()).await
    };
    asking
        .await
        .map_err(|error: lapin::Error| error.to_string())
}
