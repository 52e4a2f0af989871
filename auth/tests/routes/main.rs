//! The service through its routes, as the gateway sees it.

mod access_tokens;
mod login;
mod logout;
mod logs;
mod lookup;
mod refresh;
mod revocations;
mod service;
mod signup;
