//! `messages.json`: every message, with every field that may be left out and without.

use super::read_json;
use protocol::{
    ErrorCode,
    message::{ClientMessage, ServerMessage},
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    name: String,
    direction: Direction,
    json: Value,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Direction {
    Client,
    Server,
}

fn vectors() -> Vec<Vector> {
    read_json("messages.json")
}

/// Reads a message and writes it again.
fn pass(direction: Direction, json: &Value) -> Result<Value, String> {
    let text = json.to_string();
    let written = match direction {
        Direction::Client => {
            let message =
                ClientMessage::parse(&text).map_err(|unreadable| unreadable.refusal.to_string())?;
            serde_json::to_string(&message)
        }
        Direction::Server => {
            serde_json::from_str::<ServerMessage>(&text).map(|message| message.to_json())
        }
    };
    serde_json::from_str(&written.map_err(|error| error.to_string())?)
        .map_err(|error| error.to_string())
}

#[test]
fn each_is_written_as_it_was_read() {
    for Vector {
        name,
        direction,
        json,
    } in vectors()
    {
        assert_eq!(pass(direction, &json), Ok(json), "{name}");
    }
}

#[test]
fn unknown_fields_are_ignored_in_each() {
    for Vector {
        name,
        direction,
        json,
    } in vectors()
    {
        let mut extended = json.clone();
        extended["a_field_of_the_future"] = json!({"type": "x", "deep": [1, 2, {"id": null}]});
        assert_eq!(pass(direction, &extended), Ok(json), "{name}");
    }
}

#[test]
fn an_absent_field_may_be_null() {
    let optional = [
        "access_token",
        "since",
        "client",
        "key",
        "upload_id",
        "digest",
        "tags",
        "cursor",
        "detail",
    ];
    for Vector {
        name,
        direction,
        json,
    } in vectors()
    {
        let mut extended = json.clone();
        for field in optional {
            if json.get(field).is_none() {
                extended[field] = Value::Null;
            }
        }
        assert_eq!(pass(direction, &extended), Ok(json), "{name}");
    }
}

#[test]
fn no_message_and_no_error_code_is_left_out() {
    let vectors = vectors();
    let types = |wanted: fn(Direction) -> bool| {
        let of = vectors.iter().filter(|vector| wanted(vector.direction));
        of.filter_map(|vector| vector.json["type"].as_str())
            .collect::<BTreeSet<_>>()
    };
    let client = types(|direction| matches!(direction, Direction::Client));
    let server = types(|direction| matches!(direction, Direction::Server));
    // A type that is unknown is answered with the list of those that are known.
    let known = ClientMessage::parse(r#"{"type":"?"}"#)
        .unwrap_err()
        .refusal
        .detail
        .unwrap();
    assert!(client.iter().all(|name| known.contains(name)));
    assert_eq!(client.len(), known.matches(", ").count() + 1, "{known}");
    assert_eq!(server.len(), 15);
    let codes: BTreeSet<_> = vectors
        .iter()
        .filter_map(|vector| vector.json["code"].as_str())
        .collect();
    assert_eq!(
        codes,
        ErrorCode::ALL.iter().map(|code| code.as_str()).collect()
    );
}

#[test]
fn names_are_unique() {
    let mut seen = BTreeSet::new();
    for Vector {
        name, direction, ..
    } in vectors()
    {
        assert!(
            seen.insert((matches!(direction, Direction::Client), name.clone())),
            "{name} is there twice"
        );
    }
}

#[test]
fn errors_say_what_the_table_of_codes_says() {
    for Vector { name, json, .. } in vectors() {
        let Some(code) = json["code"].as_str() else {
            continue;
        };
        let code: ErrorCode = code.parse().unwrap();
        assert_eq!(json["title"], code.title(), "{name}");
        assert_eq!(json["retryable"], code.is_retryable(), "{name}");
    }
}
