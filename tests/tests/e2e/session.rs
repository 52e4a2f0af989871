//! A session from the upgrade to the close.

mod draining;
mod life;
mod opening;
mod pressure;
mod uploads;
