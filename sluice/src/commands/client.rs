//! The commands that talk to a server, and how they end.

use super::{
    download::Download, history::History, login::Login, logout::Logout, signup::Signup,
    status::Status, upload::Upload,
};
use clap::Subcommand;
use std::{fmt::Display, io::Write, process::ExitCode};

/// What ends every client command's help.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  everything was done
  1  something was refused or failed; the others went on
  2  the command line is wrong
  3  not logged in
  4  the server can't be reached
  130  interrupted; the same command goes on where it stopped";

/// What to do at a server.
#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// Create an account and log in to it
    #[command(after_help = EXIT_CODES)]
    Signup(Signup),
    /// Log in
    #[command(after_help = EXIT_CODES)]
    Login(Login),
    /// Log out, everywhere
    #[command(after_help = EXIT_CODES)]
    Logout(Logout),
    /// Upload files and folders
    #[command(after_help = EXIT_CODES)]
    Upload(Upload),
    /// List files, newest first
    #[command(after_help = EXIT_CODES)]
    History(History),
    /// Download files and verify them
    #[command(after_help = EXIT_CODES)]
    Download(Download),
    /// Show who is logged in where
    #[command(visible_alias = "whoami", after_help = EXIT_CODES)]
    Status(Status),
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything was done.
    Fine,
    /// Something was refused or failed, and was reported.
    Incomplete,
    /// The command line is wrong.
    Usage,
    /// Nobody is logged in.
    NotLoggedIn,
    /// The server can't be reached.
    Unreachable,
    /// The user stopped it.
    Interrupted,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Fine => 0,
            Exit::Incomplete => 1,
            Exit::Usage => 2,
            Exit::NotLoggedIn => 3,
            Exit::Unreachable => 4,
            Exit::Interrupted => 130,
        })
    }
}

/// Why a command could not be carried out: what happened, what to do, and the exit code.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    message: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Display) -> Self {
        Self {
            exit,
            message: message.to_string(),
        }
    }
}

impl From<client::Error> for Failure {
    fn from(error: client::Error) -> Self {
        match &error {
            client::Error::Unauthenticated { server, .. } => Self::new(
                Exit::NotLoggedIn,
                format!("{error}; run `sluice login --server {server}`"),
            ),
            client::Error::Unreachable { .. } => {
                Self::new(Exit::Unreachable, format!("{error}; is it running there?"))
            }
            _ => Self::new(Exit::Incomplete, error),
        }
    }
}

impl ClientCommand {
    /// Does it.
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        match self {
            Self::Signup(command) => command.run().await,
            Self::Login(command) => command.run().await,
            Self::Logout(command) => command.run().await,
            Self::Upload(command) => command.run().await,
            Self::History(command) => command.run().await,
            Self::Download(command) => command.run().await,
            Self::Status(command) => command.run().await,
        }
    }
}

/// Prints a line that was asked for.
pub(crate) fn say(line: impl Display) {
    // A reader that has seen enough may close its end.
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Prints a remark.
pub(crate) fn remark(line: impl Display) {
    // If standard error is closed nobody is there to be told.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// A text from elsewhere as it may be shown on a terminal: without what would control it.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Command;

    fn commands() -> Command {
        ClientCommand::augment_subcommands(Command::new("sluice"))
    }

    #[test]
    fn the_command_line_is_consistent() {
        commands().debug_assert();
    }

    #[test]
    fn every_command_takes_a_server_and_none_a_password() {
        for command in commands().get_subcommands() {
            let flags: Vec<_> = command
                .get_arguments()
                .filter_map(|flag| flag.get_long())
                .collect();
            assert!(flags.contains(&"server"), "{}", command.get_name());
            assert!(!flags.contains(&"password"), "{}", command.get_name());
        }
    }

    #[test]
    fn what_can_be_done_about_a_failure_is_said() {
        let server = "http://h".to_owned();
        let reason = "the token is not accepted".to_owned();
        let failure = Failure::from(client::Error::Unauthenticated { server, reason });
        assert_eq!(failure.exit, Exit::NotLoggedIn);
        assert!(
            failure
                .to_string()
                .ends_with("run `sluice login --server http://h`"),
            "{failure}"
        );
    }
}
