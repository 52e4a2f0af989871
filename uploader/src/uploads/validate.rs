//! What may be said of a file when it is opened.

use crate::{
    config::Config,
    error::{invalid, not_found},
};
use protocol::{ErrorCode, Refusal, upload::FileMeta};

/// Longest file name, in bytes: what common file systems take.
const MAX_NAME_BYTES: usize = 255;

/// Longest media type, in bytes (RFC 6838 allows 127 for each half).
const MAX_CONTENT_TYPE_BYTES: usize = 255;

/// Longest title, in bytes.
const MAX_TITLE_BYTES: usize = 1_000;

/// Longest description, in bytes.
const MAX_DESCRIPTION_BYTES: usize = 10_000;

/// Most tags of one file.
const MAX_TAGS: usize = 50;

/// Longest tag, in bytes.
const MAX_TAG_BYTES: usize = 100;

/// Refuses what can't be accepted.
pub(super) fn check(meta: &FileMeta, config: &Config) -> Result<(), Refusal> {
    check_name(&meta.name)?;
    if meta.size == 0 {
        return Err(Refusal::bare(ErrorCode::EmptyFile));
    }
    // SQL's numbers end at 2^63 - 1, whatever was configured.
    let max = config.max_file_bytes.0.min(i64::MAX as u64);
    if meta.size > max {
        return Err(Refusal::new(
            ErrorCode::FileTooLarge,
            format!("a file may have {max} bytes"),
        ));
    }
    if meta.pool.is_some() {
        return Err(not_found());
    }
    check_texts(meta)
}

fn check_name(name: &str) -> Result<(), Refusal> {
    let problem = match name {
        "" => "a file needs a name",
        "." | ".." => "this name means a folder",
        _ if name.len() > MAX_NAME_BYTES => "a file name may have 255 bytes",
        _ if name.contains(['/', '\\']) => "a file name has no folders, leave out / and \\",
        _ if name.chars().any(char::is_control) => "a file name has no control characters",
        _ => return Ok(()),
    };
    Err(Refusal::new(ErrorCode::NameInvalid, problem))
}

fn check_texts(meta: &FileMeta) -> Result<(), Refusal> {
    let texts = [
        ("content_type", &meta.content_type, MAX_CONTENT_TYPE_BYTES),
        ("title", &meta.title, MAX_TITLE_BYTES),
        ("description", &meta.description, MAX_DESCRIPTION_BYTES),
    ];
    for (field, text, max) in texts {
        let Some(text) = text else { continue };
        if text.len() > max {
            return Err(invalid(format!("{field} may have {max} bytes")));
        }
        // PostgreSQL's text can't hold it.
        if text.contains('\0') {
            return Err(invalid(format!("{field} has no zero bytes")));
        }
    }
    if meta.tags.len() > MAX_TAGS {
        return Err(invalid(format!("a file may have {MAX_TAGS} tags")));
    }
    if meta
        .tags
        .iter()
        .any(|tag| tag.is_empty() || tag.len() > MAX_TAG_BYTES || tag.contains('\0'))
    {
        return Err(invalid(format!(
            "a tag has 1 to {MAX_TAG_BYTES} bytes, none of them zero"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(name: &str, size: u64) -> FileMeta {
        FileMeta {
            name: name.to_owned(),
            size,
            content_type: None,
            digest: None,
            pool: None,
            captured_at: None,
            batch: None,
            title: None,
            description: None,
            tags: Vec::new(),
        }
    }

    fn code(meta: &FileMeta) -> Option<ErrorCode> {
        check(meta, &Config::default())
            .err()
            .map(|refusal| refusal.code)
    }

    #[test]
    fn names_that_no_file_system_takes_are_refused() {
        let long = "x".repeat(256);
        for name in [
            "",
            ".",
            "..",
            "a/b",
            "a\\b",
            "a\0b",
            "line\nbreak",
            "\u{85}",
            &long,
        ] {
            assert_eq!(
                code(&meta(name, 1)),
                Some(ErrorCode::NameInvalid),
                "{name:?}"
            );
        }
        for name in ["a", "...", ".hidden", "två ord.txt", &long[..255]] {
            assert_eq!(code(&meta(name, 1)), None, "{name:?}");
        }
    }

    #[test]
    fn sizes_have_two_ends() {
        let max = Config::default().max_file_bytes.0;
        assert_eq!(code(&meta("a", 0)), Some(ErrorCode::EmptyFile));
        assert_eq!(code(&meta("a", 1)), None);
        assert_eq!(code(&meta("a", max)), None);
        assert_eq!(code(&meta("a", max + 1)), Some(ErrorCode::FileTooLarge));
        let unlimited = Config {
            max_file_bytes: service_kit::config::ByteSize(u64::MAX),
            ..Config::default()
        };
        assert!(
            check(&meta("a", u64::MAX), &unlimited).is_err(),
            "a size that SQL can't hold"
        );
    }

    #[test]
    fn texts_have_limits() {
        let long = || Some("x".repeat(10_001));
        for wrong in [
            FileMeta {
                title: long(),
                ..meta("a", 1)
            },
            FileMeta {
                description: long(),
                ..meta("a", 1)
            },
            FileMeta {
                content_type: long(),
                ..meta("a", 1)
            },
            FileMeta {
                tags: vec!["t".to_owned(); 51],
                ..meta("a", 1)
            },
            FileMeta {
                tags: vec![String::new()],
                ..meta("a", 1)
            },
            FileMeta {
                tags: vec!["t".repeat(101)],
                ..meta("a", 1)
            },
            FileMeta {
                tags: vec!["zero\0".to_owned()],
                ..meta("a", 1)
            },
            FileMeta {
                description: Some("\0".to_owned()),
                ..meta("a", 1)
            },
        ] {
            assert_eq!(code(&wrong), Some(ErrorCode::InvalidMessage), "{wrong:?}");
        }
    }

    #[test]
    fn there_are_no_pools_yet() {
        let pooled = FileMeta {
            pool: Some(protocol::PoolId::new()),
            ..meta("a", 1)
        };
        assert_eq!(code(&pooled), Some(ErrorCode::NotFound));
    }
}
