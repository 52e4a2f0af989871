//! Accounts, made ahead.

use crate::Result;
use futures::{StreamExt, TryStreamExt, stream};
use protocol::http::Grant;
use reqwest::Client;
use serde_json::json;

/// The password of every account.
pub(super) const PASSWORD: &str = "correct horse battery staple";

/// Signed up side by side.
const AT_ONCE: usize = 32;

/// Signs so many users up; answers their access tokens.
pub(super) async fn sign_up(url: &str, users: usize) -> Result<Vec<String>> {
    let client = Client::builder().no_proxy().build()?;
    let grants = stream::iter(0..users).map(|number| grant(&client, url, number));
    grants.buffered(AT_ONCE).try_collect().await
}

async fn grant(client: &Client, url: &str, number: usize) -> Result<String> {
    let body = json!({"user_name": format!("user-{number}"), "password": PASSWORD});
    let answer = client.post(format!("{url}/auth/signup")).json(&body).send();
    let grant: Grant = answer.await?.error_for_status()?.json().await?;
    Ok(grant.access_token)
}

/// Logs a user in; answers the access token.
pub(super) async fn log_in(url: &str, name: &str) -> Result<String> {
    let client = Client::builder().no_proxy().build()?;
    let body = json!({"password": PASSWORD});
    let answer = client.put(format!("{url}/auth/login/{name}")).json(&body);
    let grant: Grant = answer.send().await?.error_for_status()?.json().await?;
    Ok(grant.access_token)
}
