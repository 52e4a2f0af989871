//! `./dev stack`: the engines and two processes of each role, which run on when the command that started them has ended.

mod part;
mod state;
mod up;

pub use up::up;

use crate::engines::{Kind, find, watcher::Watcher};
use part::{Health, Part};
use state::{Lock, Stack};
use std::{
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, ExitCode},
};

/// Why a command was not carried out, for people.
pub type Refusal = String;

/// Ends everything and removes its data.
///
/// # Errors
/// When something can't be ended.
pub fn down(place: &Path) -> Result<String, Refusal> {
    let _lock = Lock::take(place)?;
    let Some(stack) = Stack::read(place)? else {
        return Ok("nothing was up".to_owned());
    };
    let parts = stack.parts();
    let names: Vec<&str> = parts
        .iter()
        .flat_map(|part| part.daemon().names())
        .collect();
    drop(Watcher::start(&stack.folder, &names));
    if let Some(part) = parts.iter().find(|part| !part.daemon().pids().is_empty()) {
        return Err(format!("{} can't be ended", part.name()));
    }
    Stack::forget(place)?;
    Ok("everything is down, its data removed".to_owned())
}

/// A line about each part, and whether all are ready.
///
/// # Errors
/// When nothing is up.
pub async fn status(place: &Path) -> Result<(String, bool), Refusal> {
    let parts = Stack::running(place)?.parts();
    let health = futures::future::join_all(parts.iter().map(Part::health)).await;
    let mut all_ready = true;
    let mut text = String::new();
    for (part, health) in parts.iter().zip(health) {
        all_ready &= health == Health::Ready;
        let pid = part.daemon().pids().first().map(ToString::to_string);
        text += &format!(
            "{:<15} {:<22} {:<8} {health}\n",
            part.name(),
            part.address().to_string(),
            pid.unwrap_or_else(|| "-".to_owned()),
        );
    }
    Ok((text, all_ready))
}

/// What a shell needs to know to use the engines and the gateways, as `export` commands.
///
/// # Errors
/// When nothing is up.
pub fn env(place: &Path) -> Result<String, Refusal> {
    let stack = Stack::running(place)?;
    let urls = stack.urls();
    let mut variables: Vec<(&str, String)> = Kind::ALL
        .map(|kind| (kind.variable(), urls.get(kind).to_owned()))
        .into();
    if let Some(mongofiles) = find("mongofiles") {
        variables.push(("TEST_MONGOFILES", mongofiles.display().to_string()));
    }
    if let Some(roles) = &stack.roles {
        variables.push(("SLUICE_SERVER", roles.gateways[0].clone()));
        variables.push(("STACK_BLOBS_URL", roles.stores.blobs.clone()));
    }
    let lines = variables
        .iter()
        .map(|(name, value)| format!("export {name}='{}'\n", value.replace('\'', r"'\''")));
    Ok(lines.collect())
}

/// The last line that `up` prints.
fn gateways(stack: &Stack) -> String {
    match &stack.roles {
        Some(roles) => format!("gateways: {}", roles.gateways.join(" ")),
        None => "gateways: none (./dev stack up starts them)".to_owned(),
    }
}

/// Harm that can be done to a part, and its remedy.
#[derive(Clone, Copy, Debug)]
pub enum Deed {
    /// `kill -9`.
    Kill,
    /// Connected, and silent.
    Freeze,
    /// As it was before it was frozen.
    Thaw,
    /// Killed, if it runs, then started again.
    Restart,
}

/// Does this to the part of this name.
///
/// # Errors
/// When nothing is up, there is no such part, or it does not become ready again.
pub async fn does(place: &Path, deed: Deed, name: &str) -> Result<String, Refusal> {
    let parts = Stack::running(place)?.parts();
    let Some(part) = parts.iter().find(|part| part.name() == name) else {
        let names: Vec<&str> = parts.iter().map(Part::name).collect();
        return Err(format!(
            "there is no {name}; there are {}",
            names.join(", ")
        ));
    };
    let done = match deed {
        Deed::Kill => {
            part.daemon().kill();
            "is dead"
        }
        Deed::Freeze => {
            part.daemon().freeze();
            "is frozen"
        }
        Deed::Thaw => {
            part.daemon().thaw();
            "goes on"
        }
        Deed::Restart => {
            part.daemon().kill();
            part.start();
            part.until_ready().await;
            "is ready"
        }
    };
    Ok(format!("{name} {done}"))
}

/// Becomes the server's binary, told about the stores of the stack; answers only if that can't be.
pub fn sluice(place: &Path, arguments: &[String]) -> Result<ExitCode, Refusal> {
    let roles = Stack::running(place)?
        .roles
        .ok_or("only the engines are up")?;
    let error = Command::new(&roles.binary)
        .args(arguments)
        .envs(roles.stores.settings())
        .env("SLUICE_SERVER", &roles.gateways[0])
        .exec();
    Err(format!(
        "{} can't be started: {error}",
        roles.binary.display()
    ))
}
