//! The server side of a session.
