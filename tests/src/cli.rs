//! The command line as a user has it: the binary, with a home of its own.

use crate::{account::PASSWORD, binary::binary};
use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

/// A user at a shell.
pub struct Cli {
    home: tempfile::TempDir,
}

impl Cli {
    /// A user who has signed up at the server as `name`.
    ///
    /// # Panics
    /// When that fails.
    #[must_use]
    pub fn signup(url: &str, name: &str) -> Self {
        let cli = Self {
            home: tempfile::tempdir().expect("a temporary folder can be made"),
        };
        std::fs::write(cli.password_file(), format!("{PASSWORD}\n"))
            .expect("the password can be written");
        let password = cli.password_file();
        let signup = cli.run(&[
            "signup",
            "--server",
            url,
            "--user",
            name,
            "--password-file",
            &password.display().to_string(),
        ]);
        assert!(
            signup.status.success(),
            "{}",
            String::from_utf8_lossy(&signup.stderr)
        );
        cli
    }

    /// A folder of this user, which goes with it.
    #[must_use]
    pub fn folder(&self, name: &str) -> PathBuf {
        let folder = self.home.path().join(name);
        std::fs::create_dir_all(&folder).expect("a folder can be made");
        folder
    }

    /// The file that holds the password.
    #[must_use]
    pub fn password_file(&self) -> PathBuf {
        self.home.path().join("password")
    }

    /// Runs a command to its end.
    ///
    /// # Panics
    /// When it can't be started.
    #[must_use]
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments)
            .output()
            .expect("the command can be run")
    }

    /// As [`run`](Self::run), with these variables in the environment.
    ///
    /// # Panics
    /// When it can't be started.
    #[must_use]
    pub fn run_with(&self, variables: &[(String, String)], arguments: &[&str]) -> Output {
        let mut command = self.command(arguments);
        command.envs(variables.iter().cloned());
        command.output().expect("the command can be run")
    }

    /// Runs a command with `--json`; answers whether it succeeded, and the objects that it printed.
    ///
    /// # Panics
    /// When it can't be started, or prints anything else.
    #[must_use]
    pub fn json(&self, arguments: &[&str]) -> (bool, Vec<Value>) {
        let output = self.run(&[arguments, &["--json"]].concat());
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let objects = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        (output.status.success(), objects)
    }

    /// Starts a command and leaves it running.
    ///
    /// # Panics
    /// When it can't be started.
    #[must_use]
    pub fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the command can be run")
    }

    /// Runs a command on a terminal, which changes what it shows; answers all that it showed.
    ///
    /// # Panics
    /// When it can't be started.
    #[must_use]
    pub fn run_on_terminal(&self, arguments: &[&str]) -> Output {
        let quoted: Vec<_> = arguments
            .iter()
            .map(|argument| format!("'{argument}'"))
            .collect();
        let line = format!(
            "stty cols 100 && '{}' {}",
            binary().display(),
            quoted.join(" ")
        );
        let mut script = Command::new("script");
        script.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
        self.at_home(&mut script)
            .output()
            .expect("script(1), of Debian's essential bsdutils, can be run")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(arguments);
        self.at_home(&mut command);
        command
    }

    fn at_home<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let home = self.home.path();
        command
            .env("XDG_CONFIG_HOME", home)
            .env("HOME", home)
            .env_remove("SLUICE_SERVER")
            .stdin(Stdio::null())
    }
}

/// The contents of every file beneath `folder`, by digest, sorted: what must be equal after a way there and back.
///
/// # Panics
/// When a file can't be read.
#[must_use]
pub fn digests(folder: &Path) -> Vec<String> {
    let mut digests = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("the folder can be read") {
            let path = entry.expect("the folder can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                digests.push(
                    crate::content::sha256(&std::fs::read(path).expect("the file can be read"))
                        .to_string(),
                );
            }
        }
    }
    digests.sort();
    digests
}
