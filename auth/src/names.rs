//! User names: what is allowed, and when two are the same.

/// The longest name, in characters.
const MAX_LEN: usize = 64;

/// A valid user name: 1 to 64 ASCII letters, digits, `.`, `_`, `-` or `@`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UserName(String);

/// A text that is no user name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a user name has 1 to {MAX_LEN} of the characters A-Z a-z 0-9 . _ - @, and is not `.` or `..`"
)]
pub struct InvalidName;

impl UserName {
    /// Takes over a name, if it is valid.
    ///
    /// # Errors
    /// [`InvalidName`] says what is allowed.
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidName> {
        let is_allowed =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'@');
        let valid = (1..=MAX_LEN).contains(&text.len()) && text.bytes().all(is_allowed);
        // Clients resolve a path segment of dots before they send it, so such a user could never log in.
        if !valid || text == "." || text == ".." {
            return Err(InvalidName);
        }
        Ok(Self(text.to_owned()))
    }

    /// The name as its owner wrote it.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// What makes names equal: the name in lower case.
    pub(crate) fn key(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_are_valid() {
        for name in [
            "a",
            "Ada.Lovelace",
            "device-0_7",
            "ada@example.org",
            "...",
            &"x".repeat(64),
        ] {
            assert!(UserName::parse(name).is_ok(), "{name} is refused");
        }
    }

    #[test]
    fn what_a_path_or_a_log_could_misread_is_invalid() {
        for name in [
            "",
            ".",
            "..",
            "a b",
            "a/b",
            "a%2f",
            "ä",
            "a\n",
            "a\0",
            &"x".repeat(65),
        ] {
            assert_eq!(
                UserName::parse(name),
                Err(InvalidName),
                "{name:?} is accepted"
            );
        }
    }

    #[test]
    fn case_makes_no_difference() {
        assert_eq!(
            UserName::parse("Ada").unwrap().key(),
            UserName::parse("aDA").unwrap().key()
        );
        assert_eq!(UserName::parse("Ada").unwrap().as_str(), "Ada");
    }
}
