use std::{
    io::Write,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};

use super::*;

#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What `work` logs.
fn logged(format: LogFormat, filter: &str, rust_log: Option<&str>, work: impl FnOnce()) -> String {
    let page = Page::default();
    let writer = page.clone();
    let config = TelemetryConfig {
        format,
        filter: filter.to_owned(),
    };
    let subscriber = subscriber("whole", &config, rust_log, move || writer.clone(), false).unwrap();
    tracing::subscriber::with_default(subscriber, work);
    String::from_utf8(page.0.lock().unwrap().clone()).unwrap()
}

fn objects(lines: &str) -> Vec<Value> {
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

#[test]
fn json_has_the_fields_of_event_and_spans_flat() {
    let lines = logged(LogFormat::Json, "info", None, || {
        let request =
            tracing::info_span!("request", service = "gateway", request_id = "r1", size = 1);
        let _request = request.enter();
        let session =
            tracing::info_span!("session", session_id = %"s1", user_id = tracing::field::Empty);
        session.record("user_id", "u1");
        let _session = session.enter();
        tracing::warn!(upload_id = "up1", size = 2, whole = true, ratio = 0.5, reason = ?Some("x"), "took \"long\"\nhere");
    });
    let lines = objects(&lines);
    assert_eq!(lines.len(), 1);
    let mut line = lines[0].as_object().unwrap().clone();
    let time = line.remove("timestamp").unwrap();
    let time = time.as_str().unwrap();
    assert!(
        time.parse::<jiff::Timestamp>().is_ok() && time.ends_with('Z') && time.len() == 27,
        "{time}"
    );
    assert_eq!(
        Value::Object(line),
        json!({
            "level": "WARN", "service": "gateway", "target": "service_kit::telemetry::tests",
            "message": "took \"long\"\nhere", "request_id": "r1", "session_id": "s1", "user_id": "u1",
            "upload_id": "up1", "size": 2, "whole": true, "ratio": 0.5, "reason": "Some(\"x\")",
        })
    );
}

#[test]
fn json_without_spans_names_the_process_and_bounds_its_texts() {
    let long = "ä".repeat(10_000);
    let lines = logged(LogFormat::Json, "info", None, || {
        tracing::info!(level = "forged", timestamp = "forged", "{long}");
        tracing::info_span!("bare").in_scope(|| tracing::info!(n = 1));
    });
    let lines = objects(&lines);
    assert_eq!(
        (&lines[0]["service"], &lines[0]["level"]),
        (&json!("whole"), &json!("INFO"))
    );
    assert_ne!(lines[0]["timestamp"], "forged");
    assert_eq!(lines[0]["message"].as_str().unwrap().len(), 8192);
    assert_eq!(
        (&lines[1]["message"], &lines[1]["n"]),
        (&json!(""), &json!(1))
    );
}

#[test]
fn text_is_one_readable_line_without_colour_codes() {
    let line = logged(LogFormat::Text, "info", None, || {
        tracing::info_span!("request", request_id = "r1")
            .in_scope(|| tracing::info!(n = 1, "hello"));
    });
    assert!(
        line.contains("INFO request{request_id=\"r1\"}") && line.contains("hello n=1"),
        "{line}"
    );
    assert!(!line.contains('\u{1b}'), "{line:?}");
}

#[test]
fn the_filter_decides_and_rust_log_replaces_it() {
    let work = || {
        tracing::debug!("fine");
        tracing::warn!("coarse");
    };
    for (filter, rust_log, lines) in [
        ("info", None, 1),
        ("info,service_kit=debug", None, 2),
        ("debug", Some("error"), 0),
        ("error", Some("service_kit=debug"), 2),
        ("info", Some(""), 1),
    ] {
        assert_eq!(
            logged(LogFormat::Json, filter, rust_log, work)
                .lines()
                .count(),
            lines,
            "{filter} {rust_log:?}"
        );
    }
}

#[test]
fn a_malformed_filter_is_an_error() {
    let config = TelemetryConfig {
        filter: "gateway=loud".to_owned(),
        ..TelemetryConfig::default()
    };
    let error = subscriber("s", &config, None, io::stderr, false)
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("`gateway=loud` is no log filter"), "{error}");
}
