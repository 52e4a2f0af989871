//! What only makes sense of several processes: one of them, or an engine, or a link between them fails.
