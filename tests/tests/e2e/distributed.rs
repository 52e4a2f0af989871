//! What only makes sense of several processes: one of them, or an engine, or a link between them fails.

mod engines_away;
mod internal;
mod links;
mod logout;
mod lost_cache;
mod processes;
mod resume;
mod site;
mod twice;

use site::{Site, harmed};
