//! One event as one line of JSON: time, level, service, message, and the fields of the event and of its spans, flat.

use std::fmt::{self, Debug};

use jiff::Timestamp;
use serde_json::{Map, Value};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields, format::Writer},
    registry::LookupSpan,
};

/// The longest text of one field, in bytes; the rest is cut off, so that no line grows without bound.
const MAX_TEXT: usize = 8 << 10;

/// Formats events as lines of JSON. Of fields with the same name the innermost counts.
pub(super) struct Lines {
    pub(super) service: &'static str,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields(Map::new());
        fields.0.insert("service".to_owned(), self.service.into());
        for span in context
            .event_scope()
            .into_iter()
            .flat_map(|scope| scope.from_root())
        {
            let extensions = span.extensions();
            let written = extensions
                .get::<FormattedFields<N>>()
                .map_or("", |written| &written.fields);
            // A span without fields has written nothing.
            fields
                .0
                .extend(serde_json::from_str::<Map<String, Value>>(written).unwrap_or_default());
        }
        event.record(&mut fields);

        let Fields(mut line) = fields;
        let metadata = event.metadata();
        line.insert(
            "timestamp".to_owned(),
            format!("{:.6}", Timestamp::now()).into(),
        );
        line.insert("level".to_owned(), metadata.level().as_str().into());
        line.insert("target".to_owned(), metadata.target().into());
        line.entry("message").or_insert_with(|| Value::from(""));
        writeln!(writer, "{}", Value::Object(line))
    }
}

/// The fields of an event, as JSON.
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn put_text(&mut self, field: &Field, text: &str) {
        self.put(field, &text[..text.floor_char_boundary(MAX_TEXT)]);
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put_text(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put_text(field, &format!("{value:?}"));
    }
}
