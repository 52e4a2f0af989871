//! The uploader as other services see it: through its routes, over the ports' disk adapters.

mod end;
mod files;
mod notifications;
mod open;
mod ready;
mod relay;
mod replicas;
mod report;
mod submit;
mod support;
mod sweeper;
