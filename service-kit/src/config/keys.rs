//! Which keys a configuration has, and which one a mistyped key was probably meant to be.

use serde_json::Value;

use super::{ConfigError, Origin};

/// How alike two keys must be for one to be suggested for the other, from 0 to 1.
const ALIKE: f64 = 0.7;

/// Refuses the first key of `layer` that `shape` does not have.
///
/// Only tables with keys are judged: an empty one may be a map, and what an absent value may hold only the type knows.
pub(super) fn check(shape: &Value, layer: &Value, origin: &Origin) -> Result<(), ConfigError> {
    let Some(key) = first_unknown(shape, layer) else {
        return Ok(());
    };
    let key = key.join(".");
    let suggestion = suggest(shape, &key).map(|known| origin.spell(&known));
    Err(ConfigError::UnknownKey {
        key,
        origin: origin.clone(),
        suggestion,
    })
}

/// The default of this key, if `shape` has it.
pub(super) fn default_of<'a>(shape: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(shape, |table, key| table.get(key))
}

fn first_unknown(shape: &Value, layer: &Value) -> Option<Vec<String>> {
    let (Value::Object(shape), Value::Object(layer)) = (shape, layer) else {
        return None;
    };
    if shape.is_empty() {
        return None;
    }
    layer.iter().find_map(|(key, value)| match shape.get(key) {
        None => Some(vec![key.clone()]),
        Some(below) => first_unknown(below, value).map(|mut path| {
            path.insert(0, key.clone());
            path
        }),
    })
}

/// The known key that is most like this one; or the only one with the same last part, at another level.
fn suggest(shape: &Value, key: &str) -> Option<String> {
    let mut known = Vec::new();
    collect(shape, String::new(), &mut known);
    let likeness = |known: &str| strsim::normalized_damerau_levenshtein(known, key);
    let best = known
        .iter()
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    if likeness(best) >= ALIKE {
        return Some(best.clone());
    }
    let last = |key: &str| key.rsplit('.').next().map(str::to_owned);
    let mut same = known.iter().filter(|known| last(known) == last(key));
    same.next().filter(|_| same.next().is_none()).cloned()
}

fn collect(shape: &Value, prefix: String, into: &mut Vec<String>) {
    if let Value::Object(table) = shape {
        for (key, value) in table {
            let path = if prefix.is_empty() {
                key.clone()
            } else {
                format!("{prefix}.{key}")
            };
            into.push(path.clone());
            collect(value, path, into);
        }
    }
}

impl Origin {
    /// A key as it is written in this layer.
    fn spell(&self, key: &str) -> String {
        match self {
            Self::File(_) | Self::Flag(_) => key.to_owned(),
            Self::Environment(name) => {
                let prefix = name.split_inclusive('_').next().unwrap_or_default();
                format!("{prefix}{}", key.replace('.', "__").to_uppercase())
            }
        }
    }
}
