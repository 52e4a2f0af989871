//! Addresses of engines, which may hold a password.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// What is shown in place of a password.
const REDACTED: &str = "[redacted]";

/// The URL of an engine, such as `postgres://user:password@host/database`. It is shown without the password.
#[derive(Clone, PartialEq, Eq)]
pub struct EngineUrl(String);

impl EngineUrl {
    /// The URL as it was given, with its password. Whoever calls this answers for where it goes.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is before the first colon.
    pub fn scheme(&self) -> &str {
        self.0.split(':').next().unwrap_or_default()
    }
}

impl From<String> for EngineUrl {
    fn from(url: String) -> Self {
        Self(url)
    }
}

impl fmt::Display for EngineUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match password(&self.0) {
            Some((before, after)) => write!(f, "{before}{REDACTED}{}", parameters(after)),
            None => f.write_str(&parameters(&self.0)),
        }
    }
}

impl fmt::Debug for EngineUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What is before and after the password, if there is one: between the first colon and the last `@` of the authority.
fn password(url: &str) -> Option<(&str, &str)> {
    let authority = url.find("://")? + 3;
    // A password that was not encoded may itself hold a slash, so the last `@` of all decides.
    let at = url.rfind('@').filter(|at| *at > authority)?;
    let colon = authority + url[authority..at].find(':')?;
    Some((&url[..=colon], &url[at..]))
}

/// The end of a URL, without the passwords that some drivers take as parameters.
fn parameters(url: &str) -> String {
    let Some((place, query)) = url.split_once('?') else {
        return url.to_owned();
    };
    let shown = query
        .split('&')
        .map(|parameter| match parameter.split_once('=') {
            Some((name, _)) if name.to_lowercase().contains("password") => {
                format!("{name}={REDACTED}")
            }
            _ => parameter.to_owned(),
        });
    format!("{place}?{}", shown.collect::<Vec<_>>().join("&"))
}

impl Serialize for EngineUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EngineUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let url = String::deserialize(deserializer)?;
        // A rendered configuration that is used again would make a public word the password.
        if url.contains(REDACTED) {
            return Err(D::Error::custom(
                "`[redacted]` stands for a password and cannot be one, set the URL itself",
            ));
        }
        Ok(Self(url))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown() {
        for (url, shown) in [
            ("disk:/var/lib/x", "disk:/var/lib/x"),
            ("local:", "local:"),
            (
                "redis://localhost:6379/0?prefix=x",
                "redis://localhost:6379/0?prefix=x",
            ),
            ("redis://:secret@host:1/0", "redis://:[redacted]@host:1/0"),
            (
                "amqp://ada:a/b@c:d@host/%2f",
                "amqp://ada:[redacted]@host/%2f",
            ),
            ("postgres://ada@host/x", "postgres://ada@host/x"),
            (
                "postgres://u:one@host/x?sslmode=require&password=two",
                "postgres://u:[redacted]@host/x?sslmode=require&password=[redacted]",
            ),
            (
                "mongodb://host/x?tlsCertificateKeyFilePassword=two&w=1",
                "mongodb://host/x?tlsCertificateKeyFilePassword=[redacted]&w=1",
            ),
        ] {
            assert_eq!(EngineUrl::from(url.to_owned()).to_string(), shown);
        }
    }

    #[test]
    fn what_was_shown_is_no_url() {
        let shown =
            serde_json::to_string(&EngineUrl::from("redis://:secret@host".to_owned())).unwrap();
        assert!(!shown.contains("secret"));
        assert!(serde_json::from_str::<EngineUrl>(&shown).is_err());
        let plain = serde_json::to_string(&EngineUrl::from("redis://host".to_owned())).unwrap();
        assert_eq!(
            serde_json::from_str::<EngineUrl>(&plain).unwrap().scheme(),
            "redis"
        );
    }
}
