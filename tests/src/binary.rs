//! The binary under test.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// The `sluice` binary: the one that `TESTED_BINARY` names, or else the workspace's own, built if need be.
///
/// # Panics
/// When it can't be built.
#[must_use]
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(path) = std::env::var_os("TESTED_BINARY") {
            return path.into();
        }
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
        let built = Command::new(cargo)
            .args(["build", "--quiet", "--package", "sluice", "--bin", "sluice"])
            .status();
        assert!(
            built.is_ok_and(|status| status.success()),
            "the sluice binary can't be built"
        );
        let test = std::env::current_exe().expect("a test knows its own path");
        let folder = test
            .ancestors()
            .skip(1)
            .find(|folder| folder.join("deps").is_dir());
        folder
            .expect("tests lie in <target>/<profile>/deps")
            .join("sluice")
    })
}
