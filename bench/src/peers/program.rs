//! Where a peer's program is: installed by the script in `bench/peers`, when it is first asked for.

use crate::scenario::Skip;
use std::{
    path::{Path, PathBuf},
    process::Stdio,
};
use tokio::process::Command;

/// The script and the settings of the peers.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers");

/// Installs it unless it is there. What the script can't do is the reason to skip the peer.
pub(crate) async fn find(name: &str) -> Result<PathBuf, Skip> {
    let script = Path::new(FOLDER).join("install");
    let done = Command::new(&script)
        .arg(name)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| format!("{}: {error}", script.display()))?;
    if done.status.success() {
        let path = String::from_utf8_lossy(&done.stdout);
        return Ok(PathBuf::from(path.trim()));
    }
    Err(Skip(reason(&String::from_utf8_lossy(&done.stderr))))
}

/// What a program says of its version, if it is asked like this.
pub(crate) async fn version(program: &Path, argument: &str) -> Result<String, Skip> {
    let said = Command::new(program)
        .arg(argument)
        .stdin(Stdio::null())
        .output()
        .await
        .map_err(|error| format!("{}: {error}", program.display()))?;
    // Some say it to those who read errors.
    let said = [said.stdout, said.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    Ok(said.lines().next().unwrap_or_default().trim().to_owned())
}

/// The last lines of what the script said: of the one that failed, and of the script itself.
fn reason(said: &str) -> String {
    let lines: Vec<&str> = said.lines().filter(|line| !line.is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(3)..];
    if last.is_empty() {
        return "the installation failed and said nothing".to_owned();
    }
    last.join(" / ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_cannot_be_installed_is_skipped_with_a_reason() {
        let Skip(reason) = find("no-such-peer").await.unwrap_err();
        assert!(reason.contains("usage"), "{reason}");
    }

    #[test]
    fn the_reason_is_what_was_said_last() {
        assert_eq!(reason("a\nb\n\nc\nd\n"), "b / c / d");
        assert_eq!(reason("a"), "a");
        assert!(reason("").contains("nothing"));
    }
}
