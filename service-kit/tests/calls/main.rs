//! Calls between processes, over real sockets: what is refused, and how a caller gets along with replicas that fail.

mod breaker;
mod refusals;
mod replicas;
mod rotation;
mod support;
