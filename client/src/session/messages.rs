//! Reads what the server says, also what this version of the client does not know.

use protocol::{
    ErrorCode, Refusal,
    message::{ErrorMessage, RequestId, ServerMessage},
};
use serde::Deserialize;

/// Reads a text frame; none for messages that this version does not know.
pub(super) fn parse(text: &str) -> Option<ServerMessage> {
    match serde_json::from_str(text) {
        Ok(message) => Some(message),
        Err(error) => {
            let refusal = unknown_refusal(text);
            if refusal.is_none() {
                tracing::debug!(%error, "skipping an unknown message");
            }
            refusal.map(ServerMessage::Error)
        }
    }
}

/// An error with a code that this version does not know: it counts as the general one of its kind.
fn unknown_refusal(text: &str) -> Option<ErrorMessage> {
    #[derive(Deserialize)]
    struct Loose {
        r#type: String,
        id: Option<RequestId>,
        stream: Option<u32>,
        upload_id: Option<protocol::UploadId>,
        code: String,
        #[serde(default)]
        title: String,
        detail: Option<String>,
        #[serde(default)]
        retryable: bool,
        expected: Option<u64>,
        retry_after_ms: Option<u64>,
    }
    let loose: Loose = serde_json::from_str(text)
        .ok()
        .filter(|loose: &Loose| loose.r#type == "error")?;
    let detail = loose
        .detail
        .map(|detail| format!(", {detail}"))
        .unwrap_or_default();
    Some(ErrorMessage {
        id: loose.id,
        stream: loose.stream,
        upload_id: loose.upload_id,
        retryable: loose.retryable,
        refusal: Refusal {
            code: if loose.retryable {
                ErrorCode::Unavailable
            } else {
                ErrorCode::Forbidden
            },
            detail: Some(format!("{} ({}{detail})", loose.code, loose.title)),
            expected: loose.expected,
            retry_after_ms: loose.retry_after_ms,
        },
        title: loose.title,
    })
}

/// The request that a message answers.
pub(super) fn reply_id(message: &ServerMessage) -> Option<RequestId> {
    match message {
        ServerMessage::Connected(reply) => Some(reply.id),
        ServerMessage::TransferStarted(reply) => Some(reply.id),
        ServerMessage::UploadCompleted(reply) => Some(reply.id),
        ServerMessage::UploadAborted(reply) => Some(reply.id),
        ServerMessage::History(reply) => Some(reply.id),
        ServerMessage::Subscribed(reply) => Some(reply.id),
        ServerMessage::Unsubscribed(reply) => Some(reply.id),
        ServerMessage::Refreshed(reply) => Some(reply.id),
        ServerMessage::Acknowledged(reply) => Some(reply.id),
        ServerMessage::Alive(reply) => reply.id,
        ServerMessage::Error(reply) => reply.id,
        ServerMessage::ChunkAcked(_)
        | ServerMessage::Notification(_)
        | ServerMessage::TokenExpiring(_)
        | ServerMessage::Draining(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_skipped() {
        for text in [
            "",
            "7",
            "{}",
            r#"{"type":"moon-phase","full":true}"#,
            r#"{"type":"error"}"#,
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn an_unknown_code_is_still_a_refusal() {
        let text = r#"{"type":"error","id":3,"code":"moon-full","title":"The moon","retryable":true,"retry_after_ms":9,"detail":"wait"}"#;
        let Some(ServerMessage::Error(error)) = parse(text) else {
            panic!("an error was sent")
        };
        assert_eq!(
            (error.id, error.retryable, error.refusal.code),
            (Some(3), true, ErrorCode::Unavailable)
        );
        assert_eq!(
            error.refusal.to_string(),
            "unavailable: moon-full (The moon, wait)"
        );
        assert_eq!(error.refusal.retry_after_ms, Some(9));
    }
}
