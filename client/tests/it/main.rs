//! The client against a server that follows a script, over real sockets.

mod connection;
mod downloads;
mod events;
mod script;
mod uploads;
