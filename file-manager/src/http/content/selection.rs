//! What of a content is sent: the conditional headers and `Range`, in the order of RFC 9110, 13.2.2.

use super::range::{self, Asked};
use axum::http::{HeaderMap, HeaderName, Method, header};
use jiff::Timestamp;
use std::ops::Range;

/// By what a client tells whether it has a content already. Content never changes, so both are strong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Validators {
    /// The entity tag, with its quotes.
    pub(super) etag: String,
    /// The time of the last change, in whole seconds.
    pub(super) modified: Timestamp,
}

/// What to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Selected {
    /// 200 with everything.
    Whole,
    /// 206 with these bytes.
    Part(Range<u64>),
    /// 304: the client has it.
    NotModified,
    /// 412: the client wants another one.
    PreconditionFailed,
    /// 416: there are no such bytes.
    Unsatisfiable,
}

/// Decides what to answer to a GET or HEAD for a content of `size` bytes.
pub(super) fn select(
    method: &Method,
    headers: &HeaderMap,
    validators: &Validators,
    size: u64,
) -> Selected {
    if let Some(tags) = text(headers, header::IF_MATCH) {
        if !names(&tags, &validators.etag) {
            return Selected::PreconditionFailed;
        }
    } else if date(headers, header::IF_UNMODIFIED_SINCE)
        .is_some_and(|date| validators.modified > date)
    {
        return Selected::PreconditionFailed;
    }
    if let Some(tags) = text(headers, header::IF_NONE_MATCH) {
        if names_weakly(&tags, &validators.etag) {
            return Selected::NotModified;
        }
    } else if date(headers, header::IF_MODIFIED_SINCE)
        .is_some_and(|date| validators.modified <= date)
    {
        return Selected::NotModified;
    }
    // A range is defined for GET alone.
    let range = headers
        .get(header::RANGE)
        .and_then(|value| value.to_str().ok());
    match range.filter(|_| *method == Method::GET && is_range_wanted(headers, validators)) {
        None => Selected::Whole,
        Some(range) => match range::read(range, size) {
            Asked::Whole => Selected::Whole,
            Asked::Part(part) => Selected::Part(part),
            Asked::Unsatisfiable => Selected::Unsatisfiable,
        },
    }
}

/// `If-Range`: the range is wanted only if the content is still the one that the client has a part of.
fn is_range_wanted(headers: &HeaderMap, validators: &Validators) -> bool {
    match text(headers, header::IF_RANGE) {
        None => true,
        Some(tag) if tag.trim_end().ends_with('"') => tag.trim() == validators.etag,
        Some(_) => date(headers, header::IF_RANGE) == Some(validators.modified),
    }
}

/// Whether a list of entity tags names this one. Ours has no comma, so cutting at commas can't make it out of others.
fn names(tags: &str, etag: &str) -> bool {
    tags.split(',')
        .map(str::trim)
        .any(|tag| tag == etag || tag == "*")
}

/// The same by the weak comparison, for which `W/` does not matter.
fn names_weakly(tags: &str, etag: &str) -> bool {
    tags.split(',')
        .map(str::trim)
        .any(|tag| tag.strip_prefix("W/").unwrap_or(tag) == etag || tag == "*")
}

/// The value of a header that may be split over several lines.
fn text(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    let lines: Vec<_> = headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    (!lines.is_empty()).then(|| lines.join(","))
}

/// The date in a header; one that is not valid counts as none.
fn date(headers: &HeaderMap, name: HeaderName) -> Option<Timestamp> {
    let value = headers.get(name)?.to_str().ok()?;
    jiff::fmt::rfc2822::DateTimeParser::new()
        .parse_timestamp(value)
        .ok()
}

#[cfg(test)]
mod tests {
    use super::{
        Selected::{NotModified, Part, PreconditionFailed, Unsatisfiable, Whole},
        *,
    };

    const TAG: &str = "\"sha256:00\"";
    const DATE: &str = "Sat, 01 Jan 2022 00:00:00 GMT";
    const DAY_BEFORE: &str = "Fri, 31 Dec 2021 00:00:00 GMT";
    const DAY_AFTER: &str = "Sun, 02 Jan 2022 00:00:00 GMT";

    fn selected(method: &Method, headers: &[(HeaderName, &str)]) -> Selected {
        let validators = Validators {
            etag: TAG.to_owned(),
            modified: "2022-01-01T00:00:00Z".parse().unwrap(),
        };
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value.parse().unwrap());
        }
        select(method, &map, &validators, 100)
    }

    #[test]
    fn conditions_of_get() {
        use header::{
            IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE,
        };
        let weak = format!("W/{TAG}");
        let several = format!("\"a,b\", {TAG}");
        let table: &[(&[(HeaderName, &str)], Selected)] = &[
            (&[], Whole),
            (&[(RANGE, "bytes=0-9")], Part(0..10)),
            (&[(RANGE, "bytes=100-")], Unsatisfiable),
            (&[(RANGE, "bytes=0-1,3-4")], Whole),
            (&[(IF_NONE_MATCH, TAG)], NotModified),
            (&[(IF_NONE_MATCH, &weak)], NotModified),
            (&[(IF_NONE_MATCH, &several)], NotModified),
            (
                &[(IF_NONE_MATCH, "\"x\""), (IF_NONE_MATCH, TAG)],
                NotModified,
            ),
            (&[(IF_NONE_MATCH, "*")], NotModified),
            (&[(IF_NONE_MATCH, "\"x\"")], Whole),
            (&[(IF_NONE_MATCH, TAG), (RANGE, "bytes=100-")], NotModified),
            (
                &[(IF_NONE_MATCH, "\"x\""), (IF_MODIFIED_SINCE, DAY_AFTER)],
                Whole,
            ),
            (&[(IF_MODIFIED_SINCE, DATE)], NotModified),
            (&[(IF_MODIFIED_SINCE, DAY_AFTER)], NotModified),
            (&[(IF_MODIFIED_SINCE, DAY_BEFORE)], Whole),
            (&[(IF_MODIFIED_SINCE, "yesterday")], Whole),
            (&[(IF_MATCH, TAG)], Whole),
            (&[(IF_MATCH, "*"), (RANGE, "bytes=-1")], Part(99..100)),
            (&[(IF_MATCH, "\"x\"")], PreconditionFailed),
            (&[(IF_MATCH, &weak)], PreconditionFailed),
            (&[(IF_UNMODIFIED_SINCE, DATE)], Whole),
            (&[(IF_UNMODIFIED_SINCE, DAY_BEFORE)], PreconditionFailed),
            (&[(IF_RANGE, TAG), (RANGE, "bytes=0-9")], Part(0..10)),
            (&[(IF_RANGE, &weak), (RANGE, "bytes=0-9")], Whole),
            (&[(IF_RANGE, "\"x\""), (RANGE, "bytes=0-9")], Whole),
            (&[(IF_RANGE, "\"x\""), (RANGE, "bytes=100-")], Whole),
            (&[(IF_RANGE, DATE), (RANGE, "bytes=0-9")], Part(0..10)),
            (&[(IF_RANGE, DAY_AFTER), (RANGE, "bytes=0-9")], Whole),
            (&[(IF_RANGE, "nonsense"), (RANGE, "bytes=0-9")], Whole),
            (&[(IF_RANGE, TAG)], Whole),
        ];
        for (headers, expected) in table {
            assert_eq!(selected(&Method::GET, headers), *expected, "{headers:?}");
        }
    }

    #[test]
    fn head_has_conditions_and_no_range() {
        assert_eq!(
            selected(&Method::HEAD, &[(header::RANGE, "bytes=0-9")]),
            Whole
        );
        assert_eq!(
            selected(&Method::HEAD, &[(header::RANGE, "bytes=100-")]),
            Whole
        );
        assert_eq!(
            selected(&Method::HEAD, &[(header::IF_NONE_MATCH, TAG)]),
            NotModified
        );
    }
}
