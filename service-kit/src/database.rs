//! Which database a URL names, and what its errors mean to whoever has to go on.

use std::path::PathBuf;

use sqlx::{error::DatabaseError, postgres::PgDatabaseError};

use crate::postgres::Server;

/// The database of a service.
#[derive(Clone, Debug)]
pub enum Database {
    /// A file, which need not be there yet: `sqlite:./relative.db`, `sqlite:/absolute.db`.
    Sqlite(PathBuf),
    /// A database of a server: `postgres://user:password@host:port/database`, also `postgresql://…`.
    Postgres(Server),
}

/// A URL that names no database. The text holds no password.
#[derive(Debug, thiserror::Error)]
pub enum InvalidUrl {
    /// Its scheme is another engine's, or it has none.
    #[error(
        "there is no database for `{0}:`, write sqlite:<path> or postgres://user:password@host:port/database"
    )]
    Scheme(String),
    /// It names no file.
    #[error("`{0}` names no file, write sqlite:./relative.db or sqlite:/absolute.db")]
    Path(String),
    /// It is no URL of a PostgreSQL server.
    #[error("the URL of the PostgreSQL server makes no sense: {0}")]
    Postgres(String),
}

impl Database {
    /// The database that a URL names. Nothing is opened.
    ///
    /// # Errors
    /// [`InvalidUrl`].
    pub fn parse(url: &str) -> Result<Self, InvalidUrl> {
        let (scheme, rest) = url.split_once(':').unwrap_or(("", url));
        match scheme {
            "sqlite" => file(rest)
                .map(Self::Sqlite)
                .ok_or_else(|| InvalidUrl::Path(url.to_owned())),
            "postgres" | "postgresql" => Server::parse(url).map(Self::Postgres),
            // Not more than the scheme is told: the rest may hold a password.
            other => Err(InvalidUrl::Scheme(other.to_owned())),
        }
    }
}

/// The path behind `sqlite:`. As in other URLs, `//` stands before a host, and a file has none.
fn file(path: &str) -> Option<PathBuf> {
    let path = match path.strip_prefix("//") {
        Some(absolute) if absolute.starts_with('/') => absolute,
        Some(_) => return None,
        None => path,
    };
    let is_file = !path.is_empty() && !path.ends_with('/') && path != ":memory:";
    is_file.then(|| PathBuf::from(path))
}

/// What an error of a database means to whoever has to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It can't be reached, is starting, stopping, busy or overloaded, or took too long: try again. If it happened while
    /// committing, it is not known whether the transaction took place.
    Unavailable,
    /// It has no room left. Nothing was changed.
    Full,
    /// It refuses for a reason that waiting does not change: wrong password, no such database, missing rights.
    Permanent,
    /// It answered, and the fault is in what was asked: a broken constraint, an unknown table, a row that can't be read.
    Other,
}

/// What this error means, of SQLite or PostgreSQL.
#[must_use]
pub fn fault(error: &sqlx::Error) -> Fault {
    match error {
        sqlx::Error::Database(refused) => refusal(&**refused),
        // A connection that is cut in the middle of a handshake or a message looks like a breach of the protocol.
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::BeginFailed => Fault::Unavailable,
        sqlx::Error::Configuration(_) => Fault::Permanent,
        sqlx::Error::Migrate(error) => match &**error {
            sqlx::migrate::MigrateError::Execute(error)
            | sqlx::migrate::MigrateError::ExecuteMigration(error, _) => fault(error),
            _ => Fault::Permanent,
        },
        _ => Fault::Other,
    }
}

fn refusal(error: &dyn DatabaseError) -> Fault {
    let code = error.code().unwrap_or_default();
    if error.try_downcast_ref::<PgDatabaseError>().is_some() {
        of_sqlstate(&code)
    } else {
        code.parse().map_or(Fault::Other, of_sqlite)
    }
}

/// The codes are those of <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn of_sqlstate(code: &str) -> Fault {
    match code {
        // The disk is full.
        "53100" => Fault::Full,
        // The database was dropped; the rights don't suffice; there is no such schema.
        "57P04" | "42501" | "3F000" => Fault::Permanent,
        // Serialisation failed, deadlock, a server that is (still) a standby, idle in a transaction for too long, a lock that
        // did not come, a statement that was cancelled for its time.
        "40001" | "40P01" | "25006" | "25P03" | "55P03" | "57014" => Fault::Unavailable,
        _ => match code.get(..2) {
            // Connections; resources; the operator stops, starts or restarts it; errors of the system around it.
            Some("08" | "53" | "57" | "58") => Fault::Unavailable,
            // Wrong password or user, no such database.
            Some("28" | "3D") => Fault::Permanent,
            _ => Fault::Other,
        },
    }
}

/// The primary code is the low byte; see <https://www.sqlite.org/rescode.html>.
fn of_sqlite(code: i32) -> Fault {
    match code & 0xff {
        // SQLITE_BUSY, SQLITE_LOCKED, SQLITE_IOERR, SQLITE_CANTOPEN
        5 | 6 | 10 | 14 => Fault::Unavailable,
        // SQLITE_FULL
        13 => Fault::Full,
        // SQLITE_PERM, SQLITE_READONLY, SQLITE_CORRUPT, SQLITE_AUTH, SQLITE_NOTADB
        3 | 8 | 11 | 23 | 26 => Fault::Permanent,
        _ => Fault::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_files_and_servers() {
        for (url, path) in [
            ("sqlite:./x.db", "./x.db"),
            ("sqlite:x.db", "x.db"),
            ("sqlite:/abs/x.db", "/abs/x.db"),
            ("sqlite:///abs/x.db", "/abs/x.db"),
        ] {
            let Ok(Database::Sqlite(found)) = Database::parse(url) else {
                panic!("{url} names a file")
            };
            assert_eq!(found, PathBuf::from(path), "{url}");
        }
        for url in ["postgres://ada:secret@db:1/x", "postgresql://db/x"] {
            assert!(
                matches!(Database::parse(url), Ok(Database::Postgres(_))),
                "{url}"
            );
        }
    }

    #[test]
    fn other_urls_are_refused_without_telling_a_password() {
        for url in [
            "",
            "x.db",
            "sqlite:",
            "sqlite://x.db",
            "sqlite::memory:",
            "sqlite:/a/folder/",
            "mysql://ada:secret@db/x",
            "postgres://ada:secret@db:port/x",
            "postgres:ada:secret",
        ] {
            let refused = Database::parse(url).expect_err(url);
            assert!(
                !format!("{refused} {refused:?}").contains("secret"),
                "{url}"
            );
        }
    }

    #[test]
    fn a_server_does_not_show_its_password() {
        let database = Database::parse("postgres://ada:secret@db:1/x").unwrap();
        let shown = format!("{database:?}");
        assert!(
            !shown.contains("secret") && shown.contains("db:1/x"),
            "{shown}"
        );
    }

    #[test]
    fn codes_say_whether_to_wait() {
        for (code, fault) in [
            ("08006", Fault::Unavailable),
            ("57P01", Fault::Unavailable),
            ("57P03", Fault::Unavailable),
            ("57014", Fault::Unavailable),
            ("53300", Fault::Unavailable),
            ("53100", Fault::Full),
            ("40001", Fault::Unavailable),
            ("55P03", Fault::Unavailable),
            ("25P03", Fault::Unavailable),
            ("28P01", Fault::Permanent),
            ("3D000", Fault::Permanent),
            ("42501", Fault::Permanent),
            ("23505", Fault::Other),
            ("42P01", Fault::Other),
            ("", Fault::Other),
        ] {
            assert_eq!(of_sqlstate(code), fault, "{code}");
        }
        for (code, fault) in [
            (5, Fault::Unavailable),
            (10 | 3 << 8, Fault::Unavailable),
            (13, Fault::Full),
            (26, Fault::Permanent),
            (19 | 8 << 8, Fault::Other),
        ] {
            assert_eq!(of_sqlite(code), fault, "{code}");
        }
    }
}
