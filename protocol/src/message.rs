//! The text messages of the socket, as JSON.

mod client;
mod server;

pub use client::{
    AbortUpload, Acknowledge, Alive, ClientInfo, ClientMessage, CompleteUpload, Connect,
    GetHistory, Receipt, Refresh, Start, StartTransfer, Subscribe, Unreadable, Unsubscribe,
    UploadRef,
};
pub use server::{
    Acknowledged, AliveReply, ChunkAcked, CloseCode, Connected, ConnectedUser, Draining,
    ErrorMessage, History, Limits, Refreshed, ServerMessage, Subscribed, TokenExpiring,
    TransferStarted, Unsubscribed, UploadAborted, UploadCompleted,
};

/// The client's number of a request; its reply repeats it.
pub type RequestId = i64;

/// The client's number of a stream, unique among its open uploads.
pub type StreamId = u32;
