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
            .filter(|_| keys::default_of(shape, &path).is_none())
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

/// What a text may stand for, the plainest first: itself, a JSON value, and where `default` may be a list, a list of
/// texts or of JSON values.
///
/// Elsewhere lists are not tried, because a struct could be read from one.
pub(super) fn readings(text: &str, default: &Value) -> Vec<Value> {
    let json = |text: &str| serde_json::from_str(text).ok();
    let mut readings = vec![text.into()];
    readings.extend(json(text));
    if default.is_array() || default.is_null() {
        let items = || {
            text.split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
        };
        readings.push(items().collect());
        readings.push(
            items()
                .map(|item| json(item).unwrap_or_else(|| item.into()))
                .collect(),
        );
    }
    readings
}

fn path_of(key: &str) -> Vec<String> {
    key.split(LEVEL).map(str::to_lowercase).collect()
}
