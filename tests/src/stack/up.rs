//! Starting everything.

use super::{
    Refusal, gateways,
    part::{Health, Part},
    state::{Lock, Replica, Roles, Stack},
};
use crate::{
    cluster::Plan,
    daemon::Daemon,
    engines::{Engines, Namespace, watcher::Watcher},
};
use futures::future::join_all;
use sluice::Role;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Processes of each role.
const EACH: usize = 2;

/// What is kept in the engines is called this.
const NAME: &str = "sluice";

/// Starts what does not run yet: the engines, and the roles if their binary is given. Answers, when all are ready, the line that
/// tells where the gateways are.
///
/// # Errors
/// When something was up and has been harmed since.
///
/// # Panics
/// When something does not become ready.
pub async fn up(
    place: &Path,
    binary: Option<PathBuf>,
    say: impl Fn(&str),
) -> Result<String, Refusal> {
    let _lock = Lock::take(place)?;
    let mut stack = match standing(place).await? {
        Some(stack) => stack,
        None => {
            say("starting Redis, RabbitMQ, PostgreSQL and MongoDB");
            Box::pin(start_engines(place)).await
        }
    };
    match binary {
        Some(binary) if stack.roles.is_none() => {
            say("starting two of each: gateway, auth, uploader, file-manager");
            start_roles(&mut stack, place, binary).await?;
        }
        _ => say("all is up"),
    }
    Ok(gateways(&stack))
}

/// What was up before and still is. What has ended altogether, as when the machine was started again, is forgotten.
async fn standing(place: &Path) -> Result<Option<Stack>, Refusal> {
    let Some(stack) = Stack::read(place)? else {
        return Ok(None);
    };
    let parts = stack.parts();
    let health = join_all(parts.iter().map(Part::health)).await;
    if health.iter().all(|health| *health == Health::Ended) {
        // It may be gone already.
        let _ = std::fs::remove_dir_all(&stack.folder);
        Stack::forget(place)?;
        return Ok(None);
    }
    match health.iter().position(|health| *health != Health::Ready) {
        None => Ok(Some(stack)),
        Some(at) => Err(format!(
            "{} is up, but {}; ./dev stack thaw or restart helps it, ./dev stack down ends everything",
            parts[at].name(),
            health[at]
        )),
    }
}

async fn start_engines(place: &Path) -> Stack {
    let folder = TempDir::with_prefix("sluice-stack-").expect("a temporary folder can be made");
    let folder = folder.keep();
    let engines = Box::pin(Engines::start_in(&folder)).await;
    let stack = Stack {
        folder,
        engines: engines.all().map(|engine| engine.record().clone()).into(),
        roles: None,
    };
    stack.write(place);
    // From here on `down` finds them.
    let _ = engines.leave();
    stack
}

async fn start_roles(stack: &mut Stack, place: &Path, binary: PathBuf) -> Result<(), Refusal> {
    let binary = binary
        .canonicalize()
        .map_err(|error| format!("{}: {error}", binary.display()))?;
    let urls = stack.urls();
    let namespace = Namespace::named(&urls, NAME).await;
    let plan = Plan::new(namespace.stores(&urls), EACH, stack.folder.join("roles"));
    let roles = roles(&plan, binary);
    let watched = stack.folder.join("roles");
    std::fs::create_dir_all(&watched).expect("the folder is ours");
    let names: Vec<&str> = roles
        .replicas
        .iter()
        .flat_map(|replica| replica.daemon.names())
        .collect();
    let mut watcher = Watcher::start(&watched, &names);
    let parts: Vec<Part> = roles.replicas.iter().cloned().map(Part::Replica).collect();
    for part in &parts {
        std::fs::create_dir(&part.daemon().folder).expect("the folder is ours");
        part.start();
    }
    join_all(parts.iter().map(Part::until_ready)).await;
    stack.roles = Some(roles);
    stack.write(place);
    watcher.leave();
    Ok(())
}

fn roles(plan: &Plan, binary: PathBuf) -> Roles {
    let replicas = plan.places().map(|(role, number)| {
        let launch = plan.launch(role, number);
        let address = match role {
            Role::Gateway => plan.gateways()[number],
            _ => plan.internal(role, number),
        };
        let mut command = vec![binary.display().to_string()];
        command.extend(launch.arguments);
        let daemon = Daemon {
            folder: plan.folder().join(&launch.name),
            name: launch.name,
            command,
            environment: launch.environment,
            programs: vec![process_name(&binary)],
            user: None,
        };
        Replica {
            daemon,
            address,
            about: launch.about,
        }
    });
    Roles {
        replicas: replicas.collect(),
        stores: plan.stores().clone(),
        gateways: plan
            .gateways()
            .iter()
            .map(|at| format!("http://{at}"))
            .collect(),
        binary,
    }
}

/// What the kernel calls a process of this binary: at most 15 bytes of its name.
fn process_name(binary: &Path) -> String {
    let name = binary.file_name().unwrap_or_default().to_string_lossy();
    name.chars().take(15).collect()
}
