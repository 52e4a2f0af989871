//! The contract of Sluice: ids, socket messages, chunk frames, the session state machine, events and HTTP bodies.
//!
//! Pure: no I/O, no clocks, no runtime. Everything a server and a client must agree on is here, once; both sides, the
//! tests and the golden vectors under `vectors/` read the same types.

pub mod digest;
pub mod error;
pub mod event;
pub mod file;
pub mod frame;
pub mod http;
pub mod identity;
pub mod ids;
pub mod message;
pub mod session;
pub mod state;
pub mod token;
pub mod topic;
pub mod upload;

pub use digest::{Digest, DigestAlgorithm, Hasher};
pub use error::{ErrorCode, Refusal};
pub use ids::{BatchId, FileId, PoolId, SessionId, TenantId, UploadId, UploadKey, UserId};
pub use state::{TransferStatus, UnknownStatus};
pub use topic::Topic;

/// Name of the WebSocket subprotocol, echoed by the server.
pub const SUBPROTOCOL: &str = "sluice.v1";

/// Prefix of the second subprotocol by which a browser passes its token; never echoed.
pub const BEARER_SUBPROTOCOL_PREFIX: &str = "bearer.";
