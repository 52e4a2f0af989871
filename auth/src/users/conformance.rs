//! conformance
pub(crate) async fn run_all(_users: &dyn super::Users) {}
