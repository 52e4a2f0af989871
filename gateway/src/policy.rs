//! Which types of files are refused: by name, by declared type, by first bytes.

use crate::config::Forbidden;
use protocol::{ErrorCode, Refusal};
use std::collections::HashSet;

/// How much of a file's beginning is looked at, bytes.
pub(crate) const HEAD_BYTES: usize = 8 << 10;

/// The configured list, ready to be asked.
pub(crate) struct Policy {
    extensions: HashSet<String>,
    content_types: HashSet<String>,
}

impl Policy {
    pub(crate) fn new(forbidden: &Forbidden) -> Self {
        let lower = |list: &[String]| list.iter().map(|text| text.to_ascii_lowercase()).collect();
        Self {
            extensions: lower(&forbidden.extensions),
            content_types: lower(&forbidden.content_types),
        }
    }

    /// Judges what the client says of a file. The last extension counts; dots and spaces behind it don't, since some systems drop
    /// them.
    pub(crate) fn check_declared(
        &self,
        name: &str,
        content_type: Option<&str>,
    ) -> Result<(), Refusal> {
        let trimmed = name.trim_end_matches(['.', ' ']);
        let extension = trimmed
            .rsplit_once('.')
            .map(|(_, extension)| extension.to_ascii_lowercase());
        let forbidden = extension.filter(|extension| self.extensions.contains(extension));
        if let Some(extension) = forbidden {
            return Err(refusal(format!(
                "files named .{extension} are not accepted"
            )));
        }
        let essence = content_type
            .unwrap_or_default()
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        if self.content_types.contains(&essence) {
            return Err(refusal(format!("files of type {essence} are not accepted")));
        }
        Ok(())
    }

    /// Judges the first bytes of a file, at most [`HEAD_BYTES`] of them.
    pub(crate) fn check_head(&self, head: &[u8]) -> Result<(), Refusal> {
        let Some(kind) = infer::get(head) else {
            return Ok(());
        };
        if self.extensions.contains(kind.extension())
            || self.content_types.contains(kind.mime_type())
        {
            return Err(refusal(format!(
                "the content is of a type that is not accepted: {}",
                kind.mime_type()
            )));
        }
        Ok(())
    }
}

fn refusal(detail: String) -> Refusal {
    Refusal::new(ErrorCode::TypeForbidden, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        Policy::new(&Forbidden::default())
    }

    #[test]
    fn names_are_judged_by_their_last_extension() {
        for (name, accepted) in [
            ("photo.jpg", true),
            ("exe", true),
            ("my.executive.summary.pdf", true),
            ("setup.exe", false),
            ("SETUP.EXE", false),
            ("setup.exe. .", false),
            ("setup.exe.gz", true),
            (".exe", false),
            ("run.sh", false),
        ] {
            assert_eq!(
                policy().check_declared(name, None).is_ok(),
                accepted,
                "{name}"
            );
        }
    }

    #[test]
    fn declared_types_are_judged_without_their_parameters() {
        for (content_type, accepted) in [
            ("image/png", true),
            ("application/x-msdownload", false),
            ("Application/X-MsDownload; charset=binary", false),
        ] {
            assert_eq!(
                policy().check_declared("x", Some(content_type)).is_ok(),
                accepted,
                "{content_type}"
            );
        }
    }

    #[test]
    fn first_bytes_are_judged_whatever_the_name_says() {
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".as_slice();
        let mut pe = b"MZ".to_vec();
        pe.resize(128, 0);
        let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
        elf.resize(64, 0);
        for (head, accepted) in [
            (png, true),
            (b"plain text", true),
            (b"", true),
            (&pe, false),
            (&elf, false),
            (b"#!/bin/sh\necho", false),
        ] {
            assert_eq!(policy().check_head(head).is_ok(), accepted, "{head:?}");
        }
    }

    #[test]
    fn the_list_can_be_changed() {
        let policy = Policy::new(&Forbidden {
            extensions: vec!["PNG".into()],
            content_types: vec![],
        });
        assert!(policy.check_declared("a.exe", None).is_ok());
        assert!(policy.check_declared("a.png", None).is_err());
        assert!(policy.check_head(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR").is_err());
    }
}
