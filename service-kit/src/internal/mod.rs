//! Calls between processes, where they arrive: signed for one instance, once, now, or refused.
//!
//! - [`Keys`]: the secrets that sign and verify; several at a time, so that they can be exchanged without a failing call.
//! - [`signature`]: what is signed, and how.
//! - [`Listener`]: verifies each call and hands it to the service that it is addressed to.

mod guard;
mod keys;
mod listener;
mod nonces;
pub mod signature;

pub use guard::Refused;
pub use keys::{InvalidKeys, Keys, MIN_SECRET_CHARS};
pub use listener::{Instance, InstanceId, Listener};

pub(crate) use guard::REFUSED;
pub(crate) use listener::{INSTANCE_PATH, MAX_BODY_BYTES};
