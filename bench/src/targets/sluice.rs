//! Sluice as `sluice serve`, with the settings it ships with.

use super::server;
use crate::{
    Result,
    lab::Lab,
    scenario::Skip,
    target::{Running, Target},
    upload::{
        Load, Plan, Volley,
        generator::{Clients, Kept},
    },
};
use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use protocol::{UserId, http::Grant};
use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::{Mutex, OnceCell};

/// An account of the server that runs.
#[derive(Clone, Debug)]
pub struct Account {
    /// Its id.
    pub user_id: UserId,
    /// Its name: `user-0` and so on.
    pub name: String,
    /// An access token, made when the server was started.
    pub token: String,
}

/// Sluice in one process, every role and every store in it.
///
/// Accounts are made once, since hashing passwords takes long, and kept as a data folder that each start gets a copy of.
pub struct Sluice {
    name: String,
    accounts: usize,
    template: OnceCell<Template>,
    /// Of the server that runs.
    present: Mutex<Vec<Account>>,
}

/// A data folder with accounts, and what signing them up gave.
struct Template {
    folder: PathBuf,
    grants: Vec<Grant>,
}

impl Sluice {
    /// With the settings it ships with, and no accounts.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            accounts: 0,
            template: OnceCell::new(),
            present: Mutex::default(),
        }
    }

    /// With so many accounts.
    #[must_use]
    pub fn with_accounts(mut self, accounts: usize) -> Self {
        self.accounts = accounts;
        self
    }

    /// The accounts of the server that was started last, with tokens that last for a quarter of an hour.
    pub async fn accounts(&self) -> Vec<Account> {
        self.present.lock().await.clone()
    }

    /// Makes the accounts on a server of their own, and keeps its data.
    async fn make_template(&self, lab: &Lab) -> Result<Template> {
        let folder = lab.scratch()?.keep();
        let data = folder.join("data");
        let mut running = server::serve(lab, &data, &server::QUICK_SIGNUPS).await?;
        let grants = server::sign_up(running.address(), self.accounts).await?;
        running.servers.end().await;
        Ok(Template { folder, grants })
    }
}

/// Fresh tokens: exchanging costs the server little, and the template's own would have expired in a long run. Each start finds
/// the template's refresh tokens unused.
async fn refresh(address: SocketAddr, grants: &[Grant]) -> Result<Vec<Account>> {
    let api = server::api(address)?;
    let tokens: Vec<String> = grants
        .iter()
        .map(|grant| grant.refresh_token.clone())
        .collect();
    let exchange = |token: String| {
        let api = api.clone();
        async move { api.refresh(&token).await }
    };
    let fresh = futures::stream::iter(tokens)
        .map(exchange)
        .buffered(server::AT_ONCE);
    let accounts = fresh.map_ok(|grant| Account {
        user_id: grant.user_id,
        name: grant.user_name,
        token: grant.access_token,
    });
    Ok(accounts.try_collect().await?)
}

#[async_trait]
impl Target for Sluice {
    fn name(&self) -> String {
        self.name.clone()
    }

    async fn prepare(&self, lab: &Lab) -> Result<String, Skip> {
        server::version(lab)
    }

    async fn start(&self, lab: &Lab, folder: &Path) -> Result<Running> {
        let template = self.template.get_or_try_init(|| self.make_template(lab));
        let template = template.await?;
        copy(&template.folder.join("data"), &folder.join("data"))?;
        let running = server::serve(lab, &folder.join("data"), &[]).await?;
        *self.present.lock().await = refresh(running.address(), &template.grants).await?;
        Ok(running)
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

#[async_trait]
impl Load for Sluice {
    async fn ready(&self, running: &Running, plan: &Arc<Plan>) -> Result<Box<dyn Volley>> {
        let accounts = self.accounts().await;
        if accounts.len() < plan.clients {
            return Err("there are fewer accounts than clients".into());
        }
        let tokens = accounts.into_iter().map(|account| account.token);
        let tokens = tokens.take(plan.clients).collect();
        let kept = Kept::Server(running.url());
        let clients = Clients::ready(running.address(), plan, tokens, kept).await?;
        Ok(Box::new(clients))
    }
}
