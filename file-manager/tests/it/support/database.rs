//! A test's own database in the MongoDB that all tests share.

use mongodb::Client;
use protocol::FileId;

pub(crate) struct Database {
    pub(crate) url: String,
    name: String,
}

impl Database {
    pub(crate) fn new() -> Self {
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

    pub(crate) async fn drop(self) {
        let client = Client::with_uri_str(&self.url).await.unwrap();
        client.database(&self.name).drop().await.unwrap();
    }
}
