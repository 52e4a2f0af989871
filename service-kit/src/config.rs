//! Configuration in layers: defaults < file < environment < flags, each checked for keys that nobody knows.
//!
//! Any type that serialises, deserialises and has a default can be a configuration. Its structs should carry
//! `#[serde(default, deny_unknown_fields)]`, and fields must not be skipped when serialised: the serialised default
//! is what the known keys are learnt from.

mod file;
mod keys;
mod overrides;
mod secret;
mod units;
mod url;

use std::{
    collections::BTreeMap,
    fmt, io,
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

pub use secret::Secret;
pub use units::{ByteSize, InvalidUnit, Millis};
pub use url::EngineUrl;

/// Where a configuration is loaded from. Nothing is read from the process itself, so tests stay apart.
#[derive(Debug, Clone, Default)]
pub struct Loader {
    prefix: String,
    file: Option<PathBuf>,
    environment: BTreeMap<String, String>,
    reserved: Vec<String>,
    flags: Vec<(String, String)>,
}

/// A configuration and the file that had a part in it.
#[derive(Debug, Clone)]
pub struct Loaded<T> {
    /// The effective configuration.
    pub config: T,
    /// The file that was read, if there was one.
    pub file: Option<PathBuf>,
}

/// The layer that a setting comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A configuration file.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
    /// The command line.
    Flag(String),
}

/// Why a configuration could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file that was asked for is not there.
    #[error("there is no config file {}, name one that exists", .0.display())]
    NoFile(PathBuf),
    /// Two files claim to be the configuration.
    #[error("{} and {} both exist, keep one of them", .0.display(), .1.display())]
    TwoFiles(PathBuf, PathBuf),
    /// The name of the file does not tell its format.
    #[error("the format of {} is not known, use the extension toml, yaml, yml or json", .0.display())]
    UnknownFormat(PathBuf),
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file is not written in its format.
    #[error("{} is malformed: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the place where known.
        reason: String,
    },
    /// A key that the configuration does not have.
    #[error("unknown key `{key}` in {origin}{}", did_you_mean(suggestion.as_deref()))]
    UnknownKey {
        /// The key, levels separated by dots.
        key: String,
        /// Where it stands.
        origin: Origin,
        /// What was probably meant, written as `origin` writes keys.
        suggestion: Option<String>,
    },
    /// A value that does not fit its key.
    #[error("`{key}` in {origin} is not valid: {reason}")]
    Invalid {
        /// The key, levels separated by dots.
        key: String,
        /// Where it stands.
        origin: Origin,
        /// What is wrong with the value.
        reason: String,
    },
    /// A setting is given both directly and by a file.
    #[error("{0} and {0}_FILE are both set, keep one of them")]
    DirectAndFile(String),
    /// The configuration cannot be written down.
    #[error("the configuration cannot be written: {0}")]
    Unwritable(String),
}

impl Loader {
    /// A loader for environment variables that begin with `prefix` and an underscore.
    pub fn new(prefix: impl Into<String>) -> Self {
        Self {
            prefix: prefix.into() + "_",
            ..Self::default()
        }
    }

    /// The file to read, which must exist. Without one, `APP_CONFIG_PATH`, `APP_CONFIG_FILENAME` and `ENV` say where to
    /// look.
    #[must_use]
    pub fn file(mut self, path: Option<impl Into<PathBuf>>) -> Self {
        self.file = path.map(Into::into);
        self
    }

    /// The environment, usually `std::env::vars_os()`; variables that are not text are left out.
    #[must_use]
    pub fn environment<N, V>(mut self, variables: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: Into<std::ffi::OsString>,
        V: Into<std::ffi::OsString>,
    {
        let text = variables.into_iter().filter_map(|(name, value)| {
            Some((
                name.into().into_string().ok()?,
                value.into().into_string().ok()?,
            ))
        });
        self.environment.extend(text);
        self
    }

    /// Variables with the prefix that belong to something else, such as the client commands.
    #[must_use]
    pub fn reserved(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.reserved.extend(names.into_iter().map(Into::into));
        self
    }

    /// Settings from the command line: dotted keys and values, written as in the environment.
    #[must_use]
    pub fn flags<K: Into<String>, V: Into<String>>(
        mut self,
        flags: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        self.flags.extend(
            flags
                .into_iter()
                .map(|(key, value)| (key.into(), value.into())),
        );
        self
    }

    /// Reads all layers.
    ///
    /// # Errors
    /// See [`ConfigError`]; each names the key and the layer at fault.
    pub fn load<T: DeserializeOwned + Serialize + Default>(
        &self,
    ) -> Result<Loaded<T>, ConfigError> {
        let mut stack = Stack::new()?;
        let file = file::find(self.file.as_deref(), &self.environment)?;
        if let Some(path) = &file {
            stack.add_file(path)?;
        }
        let known = stack.shape.clone();
        for setting in overrides::from_environment(self, &known)?
            .into_iter()
            .chain(overrides::from_flags(self))
        {
            stack.add(setting)?;
        }
        Ok(Loaded {
            config: stack.config,
            file,
        })
    }
}

/// Writes the effective configuration as TOML, with secrets redacted.
///
/// # Errors
/// If `config` has values that TOML does not know.
pub fn render<T: Serialize>(config: &T) -> Result<String, ConfigError> {
    toml::to_string_pretty(config).map_err(|error| ConfigError::Unwritable(error.to_string()))
}

/// The layers merged so far, and what they amount to.
struct Stack<T> {
    /// The serialised default, which shows the known keys.
    shape: Value,
    merged: Value,
    config: T,
}

impl<T: DeserializeOwned + Serialize + Default> Stack<T> {
    fn new() -> Result<Self, ConfigError> {
        let config = T::default();
        let shape = serde_json::to_value(&config)
            .map_err(|error| ConfigError::Unwritable(error.to_string()))?;
        Ok(Self {
            merged: shape.clone(),
            shape,
            config,
        })
    }

    fn add_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let layer = file::read(path)?;
        let origin = Origin::File(path.to_owned());
        keys::check(&self.shape, &layer, &origin)?;
        let mut merged = self.merged.clone();
        merge(&mut merged, layer);
        (self.config, self.merged) = (
            parse(&merged).map_err(|fault| fault.in_file(origin))?,
            merged,
        );
        Ok(())
    }

    /// Adds one setting of environment or command line.
    ///
    /// Text does not say whether `8080` is a number, so the readings are tried on the configuration itself: the first
    /// one that it takes is the one that was meant.
    fn add(&mut self, setting: overrides::Setting) -> Result<(), ConfigError> {
        let overrides::Setting { path, text, origin } = setting;
        keys::check(&self.shape, &nest(&path, Value::Null), &origin)?;
        let default = keys::default_of(&self.shape, &path).unwrap_or(&Value::Null);
        let mut fault = None;
        for reading in overrides::readings(&text, default) {
            let is_list = reading.is_array();
            let mut merged = self.merged.clone();
            put(&mut merged, &path, reading);
            match parse(&merged) {
                Ok(config) => {
                    (self.config, self.merged) = (config, merged);
                    return Ok(());
                }
                // "expected a number" helps more than what is said of the last, least likely reading, a list.
                Err(next) if fault.is_none() || !is_list => fault = Some(next),
                Err(_) => {}
            }
        }
        let reason = fault.map_or_else(String::new, |fault| fault.reason);
        Err(ConfigError::Invalid {
            key: path.join("."),
            origin,
            reason,
        })
    }
}

/// What a configuration does not take, and where.
struct Fault {
    key: String,
    reason: String,
}

impl Fault {
    fn in_file(self, origin: Origin) -> ConfigError {
        ConfigError::Invalid {
            key: self.key,
            origin,
            reason: self.reason,
        }
    }
}

fn parse<T: DeserializeOwned>(merged: &Value) -> Result<T, Fault> {
    serde_path_to_error::deserialize(merged).map_err(|error| Fault {
        key: error.path().to_string(),
        reason: error.into_inner().to_string(),
    })
}

/// Lays `layer` over `base`: tables key by key, anything else as a whole.
fn merge(base: &mut Value, layer: Value) {
    match (base, layer) {
        (Value::Object(base), Value::Object(layer)) => {
            for (key, value) in layer {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, layer) => *base = layer,
    }
}

fn put(base: &mut Value, path: &[String], value: Value) {
    merge(base, nest(path, value));
}

/// `value` below the tables named by `path`.
fn nest(path: &[String], value: Value) -> Value {
    path.iter().rev().fold(value, |inner, key| {
        Value::Object([(key.clone(), inner)].into_iter().collect())
    })
}

fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(String::new, |key| format!(", did you mean `{key}`?"))
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Flag(key) => write!(f, "flag {key}"),
        }
    }
}

#[cfg(test)]
mod tests;
