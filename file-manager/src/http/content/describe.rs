//! The headers that describe a content.

use super::selection::Validators;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use jiff::Timestamp;
use protocol::{DigestAlgorithm, file::FileInfo};

/// RFC 9530; its registry knows SHA-256 and not BLAKE3.
const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

/// Validators of a file. The time is the one at which it was received, which does not change when it is stored.
pub(super) fn validators(file: &FileInfo) -> Validators {
    let etag = match &file.digest {
        Some(digest) => format!("\"{digest}\""),
        // A file id names one content for ever.
        None => format!("\"{}\"", file.file_id),
    };
    let modified =
        Timestamp::from_second(file.received_at.as_second()).unwrap_or(Timestamp::UNIX_EPOCH);
    Validators { etag, modified }
}

/// The headers of every answer about a content, 304 among them.
pub(super) fn of_any(validators: &Validators) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    // Whether the reader may still see the file is asked each time; that it is the same one costs no bytes then.
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("private, no-cache"),
    );
    insert(&mut headers, header::ETAG, &validators.etag);
    if let Ok(date) =
        jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&validators.modified)
    {
        insert(&mut headers, header::LAST_MODIFIED, &date);
    }
    headers
}

/// Adds the headers of answers that bring content. What a client declared is passed on, but never so that a browser
/// would show or run it in our name.
pub(super) fn add_content(headers: &mut HeaderMap, file: &FileInfo) {
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("sandbox; default-src 'none'"),
    );
    let declared = file
        .content_type
        .as_deref()
        .filter(|declared| is_media_type(declared));
    insert(
        headers,
        header::CONTENT_TYPE,
        declared.unwrap_or("application/octet-stream"),
    );
    insert(
        headers,
        header::CONTENT_DISPOSITION,
        &disposition(&file.name),
    );
    if let Some(digest) = file
        .digest
        .filter(|digest| digest.algorithm == DigestAlgorithm::Sha256)
    {
        insert(
            headers,
            REPR_DIGEST,
            &format!("sha-256=:{}:", BASE64.encode(digest.bytes)),
        );
    }
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = value.parse() {
        headers.insert(name, value);
    }
}

/// Whether a text can stand as a media type: `type/subtype`, parameters after `;`, all of it printable ASCII.
fn is_media_type(text: &str) -> bool {
    let is_token = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
    };
    let essence = text.split(';').next().unwrap_or_default().trim();
    text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
        && essence
            .split_once('/')
            .is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype))
}

/// `attachment` with the file's name (RFC 6266): in ASCII for old clients, and as it is (RFC 8187) where that differs.
fn disposition(name: &str) -> String {
    let plain: String = name
        .chars()
        .map(|c| if is_plain(c) { c } else { '_' })
        .collect();
    if plain == name {
        return format!("attachment; filename=\"{plain}\"");
    }
    let mut value = format!("attachment; filename=\"{plain}\"; filename*=UTF-8''");
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte) {
            value.push(char::from(byte));
        } else {
            value.push_str(&format!("%{byte:02X}"));
        }
    }
    value
}

/// Whether a character can stand in a quoted `filename`. Some clients unescape `%` there.
fn is_plain(c: char) -> bool {
    matches!(c, ' '..='~') && !matches!(c, '"' | '\\' | '%')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_dispositions() {
        let table = [
            ("report.pdf", r#"attachment; filename="report.pdf""#),
            (
                "two words; x=1.txt",
                r#"attachment; filename="two words; x=1.txt""#,
            ),
            (
                "naïve €.txt",
                r#"attachment; filename="na_ve _.txt"; filename*=UTF-8''na%C3%AFve%20%E2%82%AC.txt"#,
            ),
            (
                "a\"b\\c.txt",
                r#"attachment; filename="a_b_c.txt"; filename*=UTF-8''a%22b%5Cc.txt"#,
            ),
            (
                "100%.txt",
                r#"attachment; filename="100_.txt"; filename*=UTF-8''100%25.txt"#,
            ),
            (
                "a\r\nSet-Cookie: x",
                r#"attachment; filename="a__Set-Cookie: x"; filename*=UTF-8''a%0D%0ASet-Cookie%3A%20x"#,
            ),
        ];
        for (name, value) in table {
            assert_eq!(disposition(name), value);
            assert!(value.parse::<HeaderValue>().is_ok(), "{name:?}");
        }
    }

    #[test]
    fn media_types() {
        for good in [
            "text/plain",
            "image/svg+xml",
            "text/html; charset=utf-8",
            "application/vnd.a.b-c",
        ] {
            assert!(is_media_type(good), "{good}");
        }
        for bad in [
            "",
            "text",
            "text/",
            "/plain",
            "te xt/plain",
            "text/plain\r\nx: y",
            "text/plain; n=é",
            "a/b/c",
        ] {
            assert!(!is_media_type(bad), "{bad:?}");
        }
    }
}
