//! The service as others see it: over its queue, its stores and its HTTP.

mod content;
mod lists;
mod persist;
mod redelivery;
mod support;
mod sweep;
