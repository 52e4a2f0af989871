//! Error codes of the socket and of HTTP problems, and what each means for the one who gets it.

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident => $text:literal, $retryable:literal, $status:literal, $title:literal;)*) => {
        /// A stable code of a refusal, the same on the socket and in HTTP problems.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum ErrorCode {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
        }

        impl ErrorCode {
            /// Every code there is.
            pub const ALL: &[ErrorCode] = &[$(ErrorCode::$name,)*];

            /// The code as written on the wire.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(ErrorCode::$name => $text,)* }
            }

            /// Whether the same request can succeed later.
            #[must_use]
            pub fn is_retryable(self) -> bool {
                match self { $(ErrorCode::$name => $retryable,)* }
            }

            /// The HTTP status of a problem with this code.
            #[must_use]
            pub fn http_status(self) -> u16 {
                match self { $(ErrorCode::$name => $status,)* }
            }

            /// A short title for people.
            #[must_use]
            pub fn title(self) -> &'static str {
                match self { $(ErrorCode::$name => $title,)* }
            }
        }
    };
}

codes! {
    /// The message is not valid: bad JSON, a missing or wrong field, an empty chunk.
    InvalidMessage => "invalid-message", false, 400, "The message is not valid";
    /// No message of this `type` exists.
    UnknownType => "unknown-type", false, 400, "Unknown message type";
    /// No valid token.
    Unauthenticated => "unauthenticated", false, 401, "Not authenticated";
    /// The caller may not do this.
    Forbidden => "forbidden", false, 403, "Not allowed";
    /// It does not exist, or the caller may not see it.
    NotFound => "not-found", false, 404, "Not found";
    /// The file has no bytes.
    EmptyFile => "empty-file", false, 422, "The file is empty";
    /// The file's name, declared type or first bytes are of a forbidden type.
    TypeForbidden => "type-forbidden", false, 415, "This type of file is not accepted";
    /// The file's name can't be used.
    NameInvalid => "name-invalid", false, 422, "The file name is not valid";
    /// The file is larger than accepted.
    FileTooLarge => "file-too-large", false, 413, "The file is too large";
    /// The owner's quota does not allow it.
    QuotaExceeded => "quota-exceeded", false, 403, "The quota is used up";
    /// The server has no room now.
    StorageFull => "storage-full", true, 507, "The server's storage is full";
    /// The session has as many open uploads as it may.
    TooManyUploads => "too-many-uploads", true, 429, "Too many open uploads";
    /// A chunk does not continue the upload; `expected` says where it stands.
    OffsetMismatch => "offset-mismatch", true, 409, "The chunk does not continue the upload";
    /// A chunk's CRC-32C does not fit its payload; `expected` says where to go on.
    ChecksumMismatch => "checksum-mismatch", true, 400, "The chunk is damaged";
    /// More bytes than announced.
    SizeExceeded => "size-exceeded", false, 413, "More bytes than announced";
    /// Bytes are missing; `expected` says from where.
    Incomplete => "incomplete", true, 409, "The upload is not complete";
    /// The file's digest is not the announced one.
    DigestMismatch => "digest-mismatch", false, 422, "The digest does not match";
    /// Another stream has taken over this upload.
    Superseded => "superseded", false, 409, "Another stream has taken over the upload";
    /// The upload's lifetime is over.
    Expired => "expired", false, 410, "The upload has expired";
    /// The upload was aborted.
    Aborted => "aborted", false, 410, "The upload was aborted";
    /// The same key, name or file exists already with other data.
    Conflict => "conflict", false, 409, "It conflicts with what is there";
    /// Too many requests; `retry_after_ms` says when to come back.
    RateLimited => "rate-limited", true, 429, "Too many requests";
    /// Something needed can't be reached now; `retry_after_ms` says when to come back.
    Unavailable => "unavailable", true, 503, "Not available at the moment";
    /// The server has failed; its log has the request's id.
    Internal => "internal", true, 500, "The server has failed";
}

impl ErrorCode {
    /// Whether an upload is over when completing it is refused with this code: not when the same request can succeed later, nor
    /// when only the request was wrong.
    #[must_use]
    pub fn ends_upload(self) -> bool {
        !self.is_retryable() && self != Self::InvalidMessage
    }
}

impl ErrorCode {
    /// Whether nothing is wrong with the request, only with the moment: such an error carries `retry_after_ms`.
    #[must_use]
    pub fn asks_to_wait(self) -> bool {
        matches!(
            self,
            Self::Unavailable | Self::StorageFull | Self::RateLimited
        )
    }
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for ErrorCode {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .copied()
            .find(|code| code.as_str() == text)
            .ok_or(())
    }
}

/// Why a request was refused: the body of an `error` message and of an HTTP problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}{}", detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default())]
pub struct Refusal {
    /// What went wrong.
    pub code: ErrorCode,
    /// What happened and what to do, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The offset at which the upload stands, with `offset-mismatch`, `checksum-mismatch` and `incomplete`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<u64>,
    /// When to try again, milliseconds from now, with `unavailable`, `storage-full` and `rate-limited`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl Refusal {
    /// A refusal with a text for people.
    #[must_use]
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self {
            detail: Some(detail.into()),
            ..Self::bare(code)
        }
    }

    /// A refusal that its code says all of.
    #[must_use]
    pub fn bare(code: ErrorCode) -> Self {
        Self {
            code,
            detail: None,
            expected: None,
            retry_after_ms: None,
        }
    }

    /// The same with the offset at which the upload stands.
    #[must_use]
    pub fn expecting(mut self, offset: u64) -> Self {
        self.expected = Some(offset);
        self
    }

    /// The same with the time after which to try again.
    #[must_use]
    pub fn retry_after_ms(mut self, ms: u64) -> Self {
        self.retry_after_ms = Some(ms);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn codes_are_read_as_they_are_written() {
        for code in ErrorCode::ALL {
            assert_eq!(code.as_str().parse(), Ok(*code));
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
            assert_eq!(
                serde_json::from_value::<ErrorCode>(code.as_str().into()).unwrap(),
                *code
            );
        }
        assert_eq!("no-such-code".parse::<ErrorCode>(), Err(()));
    }

    #[test]
    fn the_table_of_codes_is_consistent() {
        let texts: BTreeSet<_> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(texts.len(), ErrorCode::ALL.len());
        for code in ErrorCode::ALL {
            assert!(
                code.as_str()
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'-'),
                "{code}"
            );
            assert!((400..600).contains(&code.http_status()), "{code}");
            assert!(!code.title().ends_with('.'), "{code}");
            let server_side = code.http_status() >= 500;
            assert!(
                !server_side || code.is_retryable(),
                "{code}: what fails on the server's side can succeed later"
            );
        }
    }

    #[test]
    fn a_refusal_says_its_code_and_detail() {
        let refusal = Refusal::new(ErrorCode::StorageFull, "free some space")
            .expecting(5)
            .retry_after_ms(10);
        assert_eq!(refusal.to_string(), "storage-full: free some space");
        assert_eq!(Refusal::bare(ErrorCode::Internal).to_string(), "internal");
        let json = serde_json::json!({"code": "storage-full", "detail": "free some space", "expected": 5, "retry_after_ms": 10});
        assert_eq!(serde_json::to_value(&refusal).unwrap(), json);
        assert_eq!(
            serde_json::to_value(Refusal::bare(ErrorCode::Internal)).unwrap(),
            serde_json::json!({"code": "internal"})
        );
    }
}
