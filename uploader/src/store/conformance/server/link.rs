//! A link to a server that breaks when a commit is under way.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// A proxy in front of a server.
pub(super) struct Link {
    port: u16,
    armed: Arc<AtomicBool>,
}

impl Link {
    /// A link to the server of a URL.
    pub(super) async fn to(url: &str) -> Self {
        let (_, address) = url.rsplit_once('@').expect("a URL with a user");
        let (server, _) = address.split_once('/').expect("a URL with a database");
        let server = if server.contains(':') {
            server.to_owned()
        } else {
            format!("{server}:5432")
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let armed = Arc::new(AtomicBool::new(false));
        let link = Self {
            port,
            armed: Arc::clone(&armed),
        };
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&server).await.unwrap();
                tokio::spawn(pass(client, server, Arc::clone(&armed)));
            }
        });
        link
    }

    /// The URL that goes over this link.
    pub(super) fn url(&self, url: &str) -> String {
        let (user, address) = url.rsplit_once('@').expect("a URL with a user");
        let (_, database) = address.split_once('/').expect("a URL with a database");
        format!("{user}@127.0.0.1:{}/{database}", self.port)
    }

    /// The next commit reaches the server, and its answer does not come back.
    pub(super) fn break_at_commit(&self) {
        self.armed.store(true, Ordering::SeqCst);
    }
}

async fn pass(client: TcpStream, server: TcpStream, armed: Arc<AtomicBool>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let back = tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
    let mut message = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from_client.read(&mut message).await {
        let is_commit = message[..length].windows(6).any(|word| word == b"COMMIT");
        let breaks = is_commit && armed.swap(false, Ordering::SeqCst);
        if breaks {
            back.abort();
        }
        if to_server.write_all(&message[..length]).await.is_err() || breaks {
            break;
        }
    }
    back.abort();
}
