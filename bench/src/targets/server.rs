//! How Sluice is started in one process, and how its accounts are made.

use crate::{Result, lab::Lab, process::Servers, ready, scenario::Skip, target::Running};
use client::{HttpApi, ServerUrl};
use futures::{StreamExt, TryStreamExt};
use protocol::http::Grant;
use std::{net::SocketAddr, path::Path, process::Command};

/// The password of every account.
pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// Of the server that accounts are made on, before anything is measured: hashing a password as it ships takes long on purpose.
pub(crate) const QUICK_SIGNUPS: [(&str, &str); 2] = [
    ("auth.passwords.memory", "64 KiB"),
    ("auth.passwords.iterations", "1"),
];

/// Calls under way at once.
pub(crate) const AT_ONCE: usize = 8;

/// The version of the binary to measure, if there is one.
pub(crate) fn version(lab: &Lab) -> Result<String, Skip> {
    let binary = &lab.options.sluice;
    let output = Command::new(binary).arg("--version").output();
    let output = output.map_err(|error| {
        Skip(format!(
            "{}: {error}; `./dev bench` builds it, --sluice names another",
            binary.display()
        ))
    })?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Starts `sluice serve` on a folder of data, with these settings beside those it ships with, and waits until it is ready. What
/// it logs is beside the data.
pub(crate) async fn serve(lab: &Lab, data: &Path, settings: &[(&str, &str)]) -> Result<Running> {
    let address = ready::free_address()?;
    let mut command = Command::new(&lab.options.sluice);
    command.args(["serve", "--listen", &address.to_string(), "--data"]);
    command.arg(data);
    for (key, value) in settings {
        let name = key.replace('.', "__").to_uppercase();
        command.env(format!("SLUICE_{name}"), value);
    }
    let mut servers = Servers::new();
    servers.spawn("sluice", &command, &data.with_extension("log"))?;
    ready::answers(&mut servers, address, "/readyz").await?;
    Ok(Running::new(servers, address))
}

/// What calls the server there.
pub(crate) fn api(address: SocketAddr) -> Result<HttpApi> {
    let url: ServerUrl = format!("http://{address}").parse()?;
    Ok(HttpApi::new(url))
}

/// Makes so many accounts, `user-0` and so on.
pub(crate) async fn sign_up(address: SocketAddr, accounts: usize) -> Result<Vec<Grant>> {
    let api = api(address)?;
    let signup = |number| {
        let api = api.clone();
        async move { api.signup(&format!("user-{number}"), PASSWORD).await }
    };
    let grants = futures::stream::iter(0..accounts).map(signup);
    Ok(grants.buffered(AT_ONCE).try_collect().await?)
}
