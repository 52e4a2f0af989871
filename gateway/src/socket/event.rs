//! What a session's driver hears beside the wire: answers to work, and what others tell the session.

use crate::{registry::Place, tokens::Verified, topics::Cursor, uploads::Started};
use protocol::{
    Refusal,
    message::{RequestId, ServerMessage},
    session::server::{Admission, Input, StreamUse},
    upload::LogPage,
};
use service_kit::peer::PeerError;
use std::sync::Arc;

pub(crate) use super::mailbox::Feed;

/// Something that a driver hears.
pub(crate) enum Event {
    /// For the session's state machine, as it is.
    Input(Input),
    /// The token that came with the upgrade is no good.
    BadToken,
    /// The `connect` is good.
    Connected(Box<Connected>),
    /// An upload was opened, or not.
    Started(StreamUse, Box<Result<Started, Refusal>>),
    /// A topic is heard from now on.
    Subscribed(Cursor, Box<ServerMessage>),
    /// A fresh token is good, or not.
    Refreshed(RequestId, Result<Verified, Refusal>),
    /// Something was missed in a topic: the log is to be read.
    Behind,
    /// A stretch of a log.
    Read(Arc<str>, Box<Result<LogPage, PeerError>>),
}

/// A session that is admitted.
pub(crate) struct Connected {
    pub(crate) admission: Box<Admission>,
    pub(crate) place: Place,
    pub(crate) cursors: Vec<Cursor>,
}
