//! The address of a server, and the addresses of what it offers.

use reqwest::Url;
use std::{fmt, str::FromStr};

/// Where a server is: `http://host:port` or `https://host`, perhaps with a path that a proxy serves it under.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ServerUrl {
    base: Url,
}

/// A text that is no server's address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a server's address; write it like http://127.0.0.1:8080 or https://files.example.org"
)]
pub struct InvalidServerUrl(String);

impl FromStr for ServerUrl {
    type Err = InvalidServerUrl;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidServerUrl(text.to_owned());
        let mut base = Url::parse(text.trim()).map_err(|_| invalid())?;
        let scheme = match base.scheme() {
            "http" | "ws" => "http",
            "https" | "wss" => "https",
            _ => return Err(invalid()),
        };
        let plain =
            base.username().is_empty() && base.password().is_none() && base.query().is_none();
        if !plain || base.fragment().is_some() || base.host_str().is_none_or(str::is_empty) {
            return Err(invalid());
        }
        base.set_scheme(scheme).map_err(|()| invalid())?;
        let path = format!("{}/", base.path().trim_end_matches('/'));
        base.set_path(&path);
        Ok(Self { base })
    }
}

impl ServerUrl {
    /// The address of one of the server's resources; the segments are escaped.
    pub(crate) fn at<'a>(&self, segments: impl IntoIterator<Item = &'a str>) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    /// The address of the socket.
    pub(crate) fn socket(&self) -> Url {
        let mut url = self.at(["ws"]);
        // Both schemes are of the kind that may replace each other, so this can't fail.
        let _ = url.set_scheme(if self.is_tls() { "wss" } else { "ws" });
        url
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.base.scheme() == "https"
    }

    /// Host and port to connect to.
    pub(crate) fn host_and_port(&self) -> (&str, u16) {
        let host = self.base.host_str().unwrap_or_default();
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        (host, self.base.port_or_known_default().unwrap_or(80))
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.base.as_str().trim_end_matches('/'))
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(text: &str) -> ServerUrl {
        text.parse().unwrap()
    }

    #[test]
    fn one_server_has_one_spelling() {
        for text in ["http://h:80", "http://h/", "ws://h", "  HTTP://H "] {
            assert_eq!(server(text).to_string(), "http://h", "{text}");
        }
        assert_eq!(server("wss://h/a/b/").to_string(), "https://h/a/b");
    }

    #[test]
    fn resources_are_beneath_the_base() {
        let server = server("https://[::1]:9/base");
        assert_eq!(server.socket().as_str(), "wss://[::1]:9/base/ws");
        assert_eq!(
            server.at(["auth", "login", "a b/c"]).as_str(),
            "https://[::1]:9/base/auth/login/a%20b%2Fc"
        );
        assert_eq!(server.host_and_port(), ("::1", 9));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "h:80",
            "localhost",
            "ftp://h",
            "http://",
            "http://u:p@h",
            "http://h/?q",
            "http://h/#f",
        ] {
            assert!(text.parse::<ServerUrl>().is_err(), "{text}");
        }
    }
}
