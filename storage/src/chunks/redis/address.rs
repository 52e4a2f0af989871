//! The URL of a Redis: what it says to the library, and what it says to us.

use redis::{ConnectionAddr, IntoConnectionInfo};

/// How keys begin unless the URL says otherwise.
const PREFIX: &str = "sluice";

/// Where a Redis is, who we are there, and which of the installations that share it this is.
pub(super) struct Address {
    /// What to connect to.
    pub(super) place: ConnectionAddr,
    /// For `AUTH`: the password, with the user's name before it if there is one.
    pub(super) login: Vec<String>,
    /// For `SELECT`.
    pub(super) database: i64,
    /// How the names of keys begin.
    pub(super) prefix: String,
    shown: String,
}

impl Address {
    /// Reads `redis[s]://[[user]:password@]host[:port][/database][?prefix=name]`.
    ///
    /// # Errors
    /// What is wrong with it, without the password.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let mut prefix = PREFIX;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=').unwrap_or((pair, "")) {
                ("prefix", value) => prefix = value,
                (key, _) => {
                    return Err(format!("{key:?} is no setting of a Redis URL: use prefix"));
                }
            }
        }
        check_prefix(prefix)?;
        // The parser's own words may repeat the password.
        let wrong = || {
            "this is no URL of a Redis: use redis://user:password@host:port/0?prefix=sluice, with special characters \
             percent-encoded"
                .to_owned()
        };
        if base.contains('#') {
            return Err(wrong());
        }
        let info = base.into_connection_info().map_err(|_| wrong())?;
        let given = info.redis_settings();
        let login = match (given.username(), given.password()) {
            (Some(user), Some(password)) => vec![user.to_owned(), password.to_owned()],
            (None, Some(password)) => vec![password.to_owned()],
            (_, None) => Vec::new(),
        };
        let database = given.db();
        let shown = format!("{}/{database}", host(info.addr()));
        Ok(Self {
            place: info.addr().clone(),
            login,
            database,
            prefix: prefix.to_owned(),
            shown,
        })
    }

    /// Where it is, as it may be shown: without user and password.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }
}

fn host(address: &ConnectionAddr) -> String {
    match address {
        ConnectionAddr::Tcp(host, port) => format!("redis://{host}:{port}"),
        ConnectionAddr::TcpTls { host, port, .. } => format!("rediss://{host}:{port}"),
        other => other.to_string(),
    }
}

/// No braces above all: what is in braces decides in which slot a key is.
fn check_prefix(prefix: &str) -> Result<(), String> {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if (1..=64).contains(&prefix.len()) && prefix.chars().all(is_fine) {
        return Ok(());
    }
    Err(format!(
        "prefix {prefix:?}: use 1 to 64 of the characters a-z, A-Z, 0-9, '.', '_' and '-'"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_read() {
        let address =
            Address::parse("redis://ada:p%40ss@cache:1234/3?prefix=one").expect("it is fine");
        assert_eq!(address.login, ["ada", "p@ss"]);
        assert_eq!((address.database, &*address.prefix), (3, "one"));
        assert_eq!(address.shown(), "redis://cache:1234/3");

        let address = Address::parse("rediss://:secret@[::1]").expect("it is fine");
        assert_eq!(address.login, ["secret"]);
        assert_eq!((address.database, &*address.prefix), (0, "sluice"));
        assert!(
            Address::parse("redis://cache")
                .expect("it is fine")
                .login
                .is_empty()
        );
    }

    #[test]
    fn a_url_that_is_wrong_is_not_repeated() {
        for url in [
            "redis://ada:secret@host:port/",
            "redis://ada:secret@host/first",
            "redis://ada:secret@host/0?prefix=a%20b",
            "redis://ada:secret@host/0?prefix=%7Ba%7D",
            "redis://ada:secret@host/0?prefix=",
            "redis://ada:secret@host/0?prefiks=a",
            "redis://ada:sec#secret@host/",
            "rediss://ada:secret@host/#insecure",
            "redis:ada:secret",
        ] {
            let error = Address::parse(url).err().expect(url);
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
