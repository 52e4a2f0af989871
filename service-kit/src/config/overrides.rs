//! Settings of environment and command line: which key they mean, and how their text may be read.

use std::fs;

use serde_json::Value;

use super::{ConfigError, Loader, Origin, keys};

/// Separates the levels of a key in the name of an environment variable.
const LEVEL: &str = "__";

/// Marks a variable that names a file with the value.
const FILE_SUFFIX: &str = "_FILE";

/// One setting, as text.
#[derive(Debug)]
pub(super) struct Setting {
    pub(super) path: Vec<String>,
    pub(super) text: String,
    pub(super) origin: Origin,
}

/// The settings in the environment, in the order of their names.
pub(super) fn from_environment(
    loader: &Loader,
    shape: &Value,
) -> Result<Vec<Setting>, ConfigError> {
    let ours = loader
        .environment
        .iter()
        .filter(|(name, _)| !loader.reserved.contains(name));
    let mut settings = Vec::new();
    for (name, value) in ours {
        let Some(key) = name.strip_prefix(&loader.prefix) else {
            continue;
        };
        let origin = Origin::Environment(name.clone());
        let path = path_of(key);
        // A key that really ends in `_file` is meant as it stands.
        match name
            .strip_suffix(FILE_SUFFIX)
            .filter(|_| !keys::knows(shape, &path))
        {
            Some(direct) if loader.environment.contains_key(direct) => {
                return Err(ConfigError::DirectAndFile(direct.to_owned()));
            }
            Some(direct) => {
                let path = path_of(direct.strip_prefix(&loader.prefix).unwrap_or_default());
                keys::check(shape, &super::nest(&path, Value::Null), &origin)?;
                let text = fs::read_to_string(value).map_err(|source| ConfigError::Unreadable {
                    path: value.into(),
                    source,
                })?;
                settings.push(Setting {
                    path,
                    text: text.trim().to_owned(),
                    origin,
                });
            }
            None => settings.push(Setting {
                path,
                text: value.clone(),
                origin,
            }),
        }
    }
    Ok(settings)
}

/// The settings on the command line, in their order.
pub(super) fn from_flags(loader: &Loader) -> impl Iterator<Item = Setting> + use<'_> {
    loader.flags.iter().map(|(key, value)| Setting {
        path: key.split('.').map(str::to_owned).collect(),
        text: value.clone(),
        origin: Origin::Flag(key.clone()),
    })
}

/// What a text may stand for, the plainest first: itself, a JSON value, a list separated by commas.
pub(super) fn readings(text: &str) -> impl Iterator<Item = Value> {
    let scalar = |text: &str| serde_json::from_str(text).ok();
    let items: Vec<&str> = text
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .collect();
    let texts: Vec<Value> = items.iter().map(|item| Value::from(*item)).collect();
    let scalars: Vec<Value> = items.iter().filter_map(|item| scalar(item)).collect();
    [
        Some(Value::from(text)),
        scalar(text),
        Some(Value::Array(texts)),
        Some(Value::Array(scalars)),
    ]
    .into_iter()
    .flatten()
}

fn path_of(key: &str) -> Vec<String> {
    key.split(LEVEL).map(str::to_lowercase).collect()
}
