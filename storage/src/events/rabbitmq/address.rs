//! The URL of a broker: what it says to the library, and what it says to us.

use lapin::uri::AMQPUri;

/// Seconds between heartbeats unless the URL says otherwise. A link that is silent for twice as long is taken for lost.
const HEARTBEAT: u16 = 10;

/// Bytes of a frame unless the URL says otherwise. The library keeps 64 frames of buffer per connection, and what goes
/// through here is small.
const FRAME_MAX: u32 = 16 * 1024;

/// How queues and exchanges begin unless the URL says otherwise.
const PREFIX: &str = "sluice";

/// What the library understands.
const LIBRARY_KEYS: [&str; 4] = ["auth_mechanism", "channel_max", "frame_max", "heartbeat"];

/// Where a broker is, and which of the installations that share it this is.
#[derive(Clone, Debug)]
pub(super) struct Address {
    /// For the library.
    pub(super) uri: AMQPUri,
    /// How the names of exchanges and queues begin.
    pub(super) prefix: String,
}

impl Address {
    /// Reads `amqp[s]://user:password@host:port/vhost?prefix=name`.
    ///
    /// # Errors
    /// What is wrong with it, without the password.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let mut prefix = PREFIX;
        let mut kept = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=').unwrap_or((pair, "")) {
                ("prefix", value) => prefix = value,
                (key, _) if LIBRARY_KEYS.contains(&key) => kept.push(pair),
                (key, _) => {
                    return Err(format!(
                        "{key:?} is no setting of a broker's URL: use prefix, {}",
                        LIBRARY_KEYS.join(", ")
                    ));
                }
            }
        }
        check_prefix(prefix)?;
        let uri = format!("{base}?{}", kept.join("&"));
        // The parser's own words may repeat the password.
        let mut uri: AMQPUri = uri.parse().map_err(|_| {
            "this is no URL of a broker: use amqp://user:password@host:port/%2f?prefix=sluice, with special \
             characters percent-encoded"
                .to_owned()
        })?;
        if let Some(host) = ipv6(base) {
            host.clone_into(&mut uri.authority.host);
        }
        if uri.query.heartbeat == Some(0) {
            return Err("heartbeat=0: without heartbeats a lost link is not noticed".to_owned());
        }
        uri.query.heartbeat.get_or_insert(HEARTBEAT);
        uri.query.frame_max.get_or_insert(FRAME_MAX);
        Ok(Self {
            uri,
            prefix: prefix.to_owned(),
        })
    }

    /// The broker as it may be shown: without user and password.
    pub(super) fn shown(&self) -> String {
        let authority = &self.uri.authority;
        format!(
            "{}://{}:{} (virtual host {:?})",
            self.uri.scheme, authority.host, authority.port, self.uri.vhost
        )
    }
}

fn check_prefix(prefix: &str) -> Result<(), String> {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if (1..=64).contains(&prefix.len()) && prefix.chars().all(is_fine) {
        return Ok(());
    }
    Err(format!(
        "prefix {prefix:?}: use 1 to 64 of the characters a-z, A-Z, 0-9, '.', '_' and '-'"
    ))
}

/// The host, if it is an IPv6 address: the library would take `localhost` instead.
fn ipv6(base: &str) -> Option<&str> {
    let (_, authority) = base.split_once("://")?;
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    host.strip_prefix('[')?
        .split_once(']')
        .map(|(host, _)| host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_read() {
        let address = Address::parse("amqp://ada:p%40ss@broker:1234/%2f?prefix=one&heartbeat=5")
            .expect("it is fine");
        assert_eq!(address.prefix, "one");
        assert_eq!(address.uri.vhost, "/");
        assert_eq!(address.uri.authority.userinfo.password, "p@ss");
        assert_eq!(address.uri.query.heartbeat, Some(5));
        assert_eq!(address.shown(), "amqp://broker:1234 (virtual host \"/\")");

        let address = Address::parse("amqps://[::1]/other").expect("it is fine");
        assert_eq!(
            (
                address.uri.authority.host.as_str(),
                address.uri.authority.port
            ),
            ("::1", 5671)
        );
        assert_eq!(
            (address.uri.vhost.as_str(), &*address.prefix),
            ("other", "sluice")
        );
        assert_eq!(address.uri.query.heartbeat, Some(HEARTBEAT));
    }

    #[test]
    fn a_url_that_is_wrong_is_not_repeated() {
        for url in [
            "amqp://ada:secret@host:port/",
            "amqp://ada:secret@host/?prefix=a%20b",
            "amqp://ada:secret@host/?prefix=",
            "amqp://ada:secret@host/?hartbeat=1",
            "amqp://ada:secret@host/?heartbeat=0",
            "amqp:ada:secret",
        ] {
            let error = Address::parse(url).expect_err(url);
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
