//! Finds and reads the configuration file.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use ::config::{FileFormat, Format};
use serde::Deserialize;
use serde_json::Value;

use super::ConfigError;

const EXTENSIONS: [&str; 4] = ["toml", "yaml", "yml", "json"];

/// The name of the file, without its extension, where `ENV` names none.
const DEFAULT_NAME: &str = "local";

/// The file to read: the one asked for, or the one that `APP_CONFIG_PATH` (a folder), `APP_CONFIG_FILENAME` and `ENV`
/// point to. A file that was named must exist; the default one need not.
pub(super) fn find(
    explicit: Option<&Path>,
    environment: &BTreeMap<String, String>,
) -> Result<Option<PathBuf>, ConfigError> {
    let variable = |name: &str| {
        environment
            .get(name)
            .filter(|value| !value.is_empty())
            .map(String::as_str)
    };
    if let Some(path) = explicit {
        return must_exist(path.to_owned()).map(Some);
    }
    let folder = Path::new(variable("APP_CONFIG_PATH").unwrap_or("."));
    if let Some(name) = variable("APP_CONFIG_FILENAME") {
        return match Path::new(name).extension() {
            Some(_) => must_exist(folder.join(name)).map(Some),
            None => the_one(folder, name)?.map_or_else(
                || Err(ConfigError::NoFile(folder.join(name))),
                |path| Ok(Some(path)),
            ),
        };
    }
    the_one(folder, variable("ENV").unwrap_or(DEFAULT_NAME))
}

/// Reads a file into a tree of values, by the format that its extension names.
pub(super) fn read(path: &Path) -> Result<Value, ConfigError> {
    let format = match path.extension().and_then(|extension| extension.to_str()) {
        Some("toml") => FileFormat::Toml,
        Some("yaml" | "yml") => FileFormat::Yaml,
        Some("json") => FileFormat::Json,
        _ => return Err(ConfigError::UnknownFormat(path.to_owned())),
    };
    let text = fs::read_to_string(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => ConfigError::NoFile(path.to_owned()),
        _ => ConfigError::Unreadable {
            path: path.to_owned(),
            source,
        },
    })?;
    let malformed = |reason: String| ConfigError::Malformed {
        path: path.to_owned(),
        reason,
    };
    let table = format
        .parse(None, &text)
        .map_err(|error| malformed(error.to_string()))?;
    Value::deserialize(::config::Value::from(table)).map_err(|error| malformed(error.to_string()))
}

fn must_exist(path: PathBuf) -> Result<PathBuf, ConfigError> {
    if path.is_file() {
        Ok(path)
    } else {
        Err(ConfigError::NoFile(path))
    }
}

/// The file `name` with any known extension. Two would be two truths.
fn the_one(folder: &Path, name: &str) -> Result<Option<PathBuf>, ConfigError> {
    let mut present = EXTENSIONS
        .iter()
        .map(|extension| folder.join(format!("{name}.{extension}")))
        .filter(|path| path.is_file());
    match (present.next(), present.next()) {
        (Some(first), Some(second)) => Err(ConfigError::TwoFiles(first, second)),
        (first, _) => Ok(first),
    }
}
