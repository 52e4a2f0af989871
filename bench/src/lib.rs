//! Measures Sluice beside other servers and beside floors, on one machine, in interleaved rounds.
//!
//! A **scenario** ([`scenario::Scenario`]) is a question, such as "64 clients send 8 files of 2 MiB each". It names its
//! **contenders** ([`scenario::Contender`]), one per row of the table: Sluice, its peers, and floors, which do nothing but what
//! can't be left out. The [`runner`] lets them take turns: one warm-up round that is not counted, then as many rounds as were asked
//! for, in alternating order, with a pause and a `sync` between. What a round yields is a [`scenario::Sample`]: figures, and points
//! of curves.
//!
//! A **target** ([`target::Target`]) is a server that a contender puts under load: it is started anew for each round in an empty
//! folder and ended afterwards. [`accounting`] reads what its processes cost from the kernel.
//!
//! # To add a target
//!
//! Write a file with a type that implements [`target::Target`]: `prepare` installs or finds what is needed (or says why it is
//! skipped), `start` spawns the processes with [`process::Servers`] and waits until they are ready with [`ready`]. If it can be
//! loaded by the upload scenarios, implement [`upload::Load`] too, and add a line to the list of its folder
//! (`peers::uploads()`), which [`catalog`] gathers.
//!
//! # To add a scenario
//!
//! Write a file with a type that implements [`scenario::Scenario`], and add it to `scenarios()` of its folder (`sessions`, `peers`,
//! `distributed`). A contender's round usually goes like this:
//!
//! ```text
//! let mut running = target.start(lab, scratch.path()).await?;
//! // connect, log in, send a few files: whatever is not measured
//! let meter = running.servers.meter()?;          // resets the peak of memory, reads the clock and the CPU time
//! // the measured stretch
//! let cost = meter.stop()?;                      // wall clock, CPU seconds, peak RSS, RSS now
//! running.servers.end().await;
//! Ok(Sample::default().with(figures::MB_PER_S, …).cost(&cost))
//! ```
//!
//! A floor that is a server of our own runs as a subcommand in a process of its own: see [`floors`].

pub mod accounting;
pub mod catalog;
pub mod cli;
pub mod distributed;
pub mod figures;
pub mod floors;
pub mod lab;
pub mod machine;
pub mod peers;
pub mod process;
pub mod ready;
pub mod report;
pub mod runner;
pub mod scenario;
pub mod sessions;
pub mod stats;
pub mod target;
pub mod targets;
pub mod upload;

/// Why something could not be measured, in words.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// What can be measured, or why it could not be.
pub type Result<T, E = Error> = std::result::Result<T, E>;
