//! What only makes sense of one process on a disk: its memory, a small disk, a power cut, stores that fail to order.

mod disk_full;
mod draining;
mod endings;
mod memory;
mod power_cut;
mod pressure;
mod retries;
mod stores;
