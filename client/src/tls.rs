//! TLS: one crypto provider for the whole process, and the trust store of the operating system.

use rustls::ClientConfig;
use rustls_platform_verifier::ConfigVerifierExt;
use std::sync::{Arc, OnceLock};

/// Makes aws-lc the process's crypto provider, unless the program has chosen one already.
pub(crate) fn install_provider() {
    // An error only says that there is one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// The configuration of outgoing connections.
pub(crate) fn config() -> Result<Arc<ClientConfig>, rustls::Error> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(config.clone());
    }
    install_provider();
    let config = Arc::new(ClientConfig::with_platform_verifier()?);
    Ok(CONFIG.get_or_init(|| config).clone())
}
