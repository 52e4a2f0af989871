//! How any service is configured, traced, measured, called, fails and stops. It knows no domain type.
//!
//! - [`config`]: defaults, file, environment and flags, in layers; secrets and human units.
//! - [`telemetry`]: logs, as text for people or as JSON for machines.
//! - [`metrics`]: the Prometheus page, with facts about process and build.
//! - [`health`]: is the process alive, and may it be given work.
//! - [`problem`]: errors as RFC 9457 problem documents, and extractors that fail with them.
//! - [`request_id`]: one id per request in logs, replies and onward calls.
//! - [`stack`]: the layers around every router.
//! - [`database`]: which database a URL names (`sqlite:<path>`, `postgres://…`), and what its errors mean.
//! - [`sqlite`]: how a service opens its database file.
//! - [`postgres`]: how it uses a PostgreSQL server: options and pools for a schema, deadlines, the lock of writers.
//! - [`migrations`]: brings the tables up to date, once.
//! - [`open_files`]: as many open files as the system grants.
//! - [`pace`]: when a writer that commits for many at once begins its next commit.
//! - [`peer`]: calls to another service, in process or over HTTP, by one wire path.
//! - [`internal`]: calls from other processes: signed, verified, refused.
//! - [`lifecycle`]: background tasks, the accept loop and two-stage shutdown.

pub mod config;
pub mod database;
pub mod health;
pub mod internal;
pub mod lifecycle;
pub mod metrics;
pub mod migrations;
pub mod open_files;
pub mod pace;
pub mod peer;
pub mod postgres;
pub mod problem;
pub mod request_id;
pub mod sqlite;
pub mod stack;
pub mod telemetry;
