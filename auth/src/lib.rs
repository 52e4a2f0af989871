//! Users, passwords, tokens and roles: who may come in, what they may do, and since when they no longer may.
//!
//! [`router`] answers other services only; the gateway stands before it. Access tokens are verified by whoever gets
//! them, with the published keys and the feed of revocations, without asking here.

pub mod admin;
mod audit;
mod caller;
mod config;
mod error;
mod grant;
mod jwks;
mod login;
mod logout;
mod lookup;
mod names;
mod passwords;
mod refresh;
mod refresh_token;
mod revocations;
mod router;
mod service;
mod signup;
mod sweeper;
mod throttle;
mod tokens;
mod users;
mod validate;

pub use config::{Config, LoginLimits, PasswordConfig};
pub use error::{AuthError, OpenError};
pub use names::InvalidName;
pub use passwords::PasswordError;
pub use router::router;
pub use service::Auth;
pub use sweeper::run;
pub use tokens::KeyError;
pub use users::UsersError;
