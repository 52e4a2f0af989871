//! The client side of a session: what to send next.
