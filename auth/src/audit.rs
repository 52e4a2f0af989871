//! Counts what people try and what came of it.

use crate::error::AuthError;

/// Counts one attempt at `operation` by its outcome: `ok` or the code of the refusal.
pub(crate) fn count<T>(operation: &'static str, result: &Result<T, AuthError>) {
    let outcome = result
        .as_ref()
        .map_or_else(|error| error.code().as_str(), |_| "ok");
    metrics::counter!("sluice_auth_attempts_total", "operation" => operation, "outcome" => outcome)
        .increment(1);
}
