//! How any service is configured, traced, measured, called, fails and stops. It knows no domain type.
//!
//! - [`problem`]: errors as RFC 9457 problem documents, and extractors that fail with them.
//! - [`peer`]: calls to another service, in process or over HTTP, by one wire path.
//! - [`request_id`]: one id per request in logs, replies and onward calls; metrics per request.
//! - [`lifecycle`]: background tasks, the accept loop and two-stage shutdown.

pub mod lifecycle;
pub mod peer;
pub mod problem;
pub mod request_id;
