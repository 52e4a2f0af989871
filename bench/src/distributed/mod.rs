//! Sluice over Redis, RabbitMQ, PostgreSQL and MongoDB, beside what these do alone.
//!
//! A `Site` has the engines and one process of each role, all with the settings that they ship with, on this machine. It is
//! brought up once per scenario: to start it anew for each round would take longer than the rounds. The floors ask the engines of the
//! same site, whose roles have nothing to do then.

mod bill;
mod events;
mod gridfs;
mod redis;
mod site;
mod uploads;

use crate::scenario::Scenario;
use uploads::{Until, Uploads};

/// The scenarios of this folder.
#[must_use]
pub fn scenarios() -> Vec<Box<dyn Scenario>> {
    let uploads = |name, about, until, sizes| Uploads {
        name,
        about,
        until,
        sizes,
        connecting: false,
    };
    vec![
        Box::new(uploads(
            "distributed-cached-one-256m",
            "one client sends one file of 256 MiB",
            Until::Cached,
            (1, 1, 256 << 20),
        )),
        Box::new(uploads(
            "distributed-cached-64x8x2m",
            "64 clients send 8 files of 2 MiB each",
            Until::Cached,
            (64, 8, 2 << 20),
        )),
        Box::new(Uploads {
            connecting: true,
            ..uploads(
                "distributed-cached-500x512k",
                "500 clients connect and send one file of 512 KiB each, connecting included",
                Until::Cached,
                (500, 1, 512 << 10),
            )
        }),
        Box::new(uploads(
            "distributed-stored-64x8x2m",
            "64 clients send 8 files of 2 MiB each",
            Until::Stored,
            (64, 8, 2 << 20),
        )),
        Box::new(events::Events),
    ]
}
