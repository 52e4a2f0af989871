//! Ends processes with the one that started them, however that ends.

use std::{
    io::Write,
    path::Path,
    process::{Child, Command, Stdio},
};

/// Waits for its input to end, which nothing but the end of the one who started it can prevent, then kills what works in the
/// folder ($1) and is called like one of them ($2), until there is none left, and removes the folder. PostgreSQL is asked to quit
/// first, since only it can give back the shared memory that it has of the kernel.
const SCRIPT: &str = r#"
read -r word && [ "$word" = leave ] && exit
round=0 found=yes
while [ "$found" ]; do
    found= round=$((round + 1))
    for process in /proc/[0-9]*; do
        case $(readlink "$process/cwd") in "$1"/*) ;; *) continue ;; esac
        read -r name <"$process/comm" || continue
        case " $2 " in *" $name "*) ;; *) continue ;; esac
        found=yes signals=KILL
        [ "$name" = postgres ] && [ "$round" -lt 20 ] && signals='QUIT CONT'
        for signal in $signals; do kill -s "$signal" "${process#/proc/}"; done
    done
    [ -z "$found" ] || sleep 0.05
done
rm -rf -- "$1"
"#;

/// The one that waits.
pub(crate) struct Watcher(Child);

impl Watcher {
    /// Watches over what works in this folder and is called so.
    pub(crate) fn start(folder: &Path, names: &[&str]) -> Self {
        let names = names.join(" ");
        let mut command = Command::new("setsid");
        let command = command.args(["sh", "-c", SCRIPT, "watcher"]);
        let child = command
            .args([folder.as_os_str(), names.as_ref()])
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(child.expect("a shell can be started"))
    }

    /// Lets them be.
    pub(crate) fn leave(&mut self) {
        let input = self.0.stdin.as_mut();
        let told = input.map(|input| input.write_all(b"leave\n"));
        assert!(matches!(told, Some(Ok(()))), "the watcher listens");
        self.end();
    }

    fn end(&mut self) {
        // The end of its input is what it waits for.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.end();
    }
}
