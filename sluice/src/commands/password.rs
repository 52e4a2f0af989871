//! Passwords: from a file or typed without echo, never from the command line.

use std::{io, path::Path};

/// How to ask for a password that is not in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Once: it exists already.
    Once,
    /// Twice: a new one, so that a slip of the finger is noticed.
    Twice,
}

/// Reads a password from `file` (its first line), or asks for it on the terminal.
///
/// # Errors
/// When the file can't be read or is empty, when there is no terminal, or when two entries differ.
pub(crate) fn read(file: Option<&Path>, ask: Ask) -> io::Result<String> {
    let password = match file {
        Some(file) => first_line(file)?,
        None => type_in(ask)?,
    };
    if password.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the password is empty",
        ));
    }
    Ok(password)
}

fn first_line(file: &Path) -> io::Result<String> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", file.display())))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

fn type_in(ask: Ask) -> io::Result<String> {
    let prompt = |text: &str| {
        rpassword::prompt_password(text).map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("{error}; without a terminal, use --password-file"),
            )
        })
    };
    let password = prompt("Password: ")?;
    if ask == Ask::Twice && prompt("The same again: ")? != password {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the two entries differ",
        ));
    }
    Ok(password)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_the_file_is_the_password() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        for (text, password) in [
            ("secret words\n", Some("secret words")),
            ("secret\r\nmore", Some("secret")),
            ("", None),
            ("\nx", None),
        ] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(
                read(Some(&file), Ask::Twice).ok().as_deref(),
                password,
                "{text:?}"
            );
        }
        assert!(
            read(Some(&dir.path().join("none")), Ask::Once)
                .unwrap_err()
                .to_string()
                .contains("none")
        );
    }
}
