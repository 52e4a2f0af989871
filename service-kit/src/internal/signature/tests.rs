use http::Request;

use super::*;
use crate::config::Secret;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const TIME_MS: u64 = 1_800_000_000_123;

fn keys(ids: &str) -> Keys {
    let keys: Vec<_> = ids
        .split(',')
        .map(|id| format!("{id}:{SECRET}{id}"))
        .collect();
    Keys::parse(&Secret::from(keys.join(","))).unwrap()
}

fn call(method: &str, path: &str, body: &[u8]) -> request::Parts {
    let mut parts = parts(method, path);
    let to = ("uploader", "1f");
    sign_at(
        &keys("a"),
        to,
        &content_hash(body),
        TIME_MS,
        &[0xab; 16],
        &mut parts,
    );
    parts
}

fn parts(method: &str, path: &str) -> request::Parts {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("x-sluice-caller", r#"{"name":"ada"}"#)
        .header("x-request-id", "any")
        .body(())
        .unwrap();
    request.into_parts().0
}

/// What the text and the signature of a call are. Another implementation can be checked against it.
#[test]
fn golden() {
    let parts = call("PUT", "/file/update/status?x=%20y", b"{}");
    let text = "sluice-v1\n\
        PUT\n\
        /file/update/status?x=%20y\n\
        x-sluice-caller:{\"name\":\"ada\"}\n\
        x-sluice-content-sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a\n\
        x-sluice-key:a\n\
        x-sluice-nonce:abababababababababababababababab\n\
        x-sluice-time:1800000000123\n\
        x-sluice-to:uploader/1f\n";
    let canonical = canonical(&parts.method, &parts.uri, &parts.headers);
    assert_eq!(String::from_utf8(canonical).unwrap(), text);
    // printf '<the text>' | openssl dgst -sha256 -hmac 0123456789abcdef0123456789abcdefa
    assert_eq!(parts.headers[SIGNATURE], GOLDEN_SIGNATURE);

    let claims = Claims::read(&parts.headers).unwrap();
    assert_eq!(
        (
            &*claims.service,
            &*claims.instance,
            &*claims.key,
            claims.time_ms
        ),
        ("uploader", "1f", "a", TIME_MS)
    );
    assert_eq!(
        (claims.nonce, claims.content),
        ([0xab; 16], content_hash(b"{}"))
    );
}

const GOLDEN_SIGNATURE: &str = "68d2cdb0f4344c9a90ff50f53c1fb8576ce8a93203a56eb88734420f3f4ecac4";

#[test]
fn every_part_of_a_call_is_signed() {
    let good = call("POST", "/uploads?x=1", b"body");
    let is_signed = |parts: &request::Parts| {
        Claims::read(&parts.headers)
            .unwrap()
            .is_signed(&keys("a"), parts)
    };
    assert!(is_signed(&good));

    let mut forgeries = Vec::new();
    for (method, path) in [
        ("PUT", "/uploads?x=1"),
        ("POST", "/uploads?x=2"),
        ("POST", "/upload"),
        ("POST", "/uploads"),
    ] {
        let mut parts = good.clone();
        (parts.method, parts.uri) = (method.parse().unwrap(), path.parse().unwrap());
        forgeries.push(parts);
    }
    for (name, value) in [
        ("x-sluice-to", "uploader/2f"),
        ("x-sluice-to", "auth/1f"),
        ("x-sluice-time", "1800000000124"),
        ("x-sluice-nonce", "abababababababababababababababac"),
        (
            "x-sluice-content-sha256",
            "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
        ),
        ("x-sluice-caller", r#"{"name":"eve"}"#),
        (
            "x-sluice-signature",
            "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
        ),
        ("x-sluice-key", "b"),
    ] {
        let mut parts = good.clone();
        parts.headers.insert(name, value.parse().unwrap());
        forgeries.push(parts);
    }
    let mut added = good.clone();
    added
        .headers
        .append("x-sluice-caller", HeaderValue::from_static("{}"));
    let mut other = good.clone();
    other
        .headers
        .insert("x-sluice-other", HeaderValue::from_static(""));
    let mut removed = good.clone();
    removed.headers.remove("x-sluice-caller");
    forgeries.extend([added, other, removed]);
    for forged in forgeries {
        assert!(!is_signed(&forged), "{forged:?}");
    }

    let mut on_the_way = good;
    on_the_way
        .headers
        .insert("x-request-id", HeaderValue::from_static("other"));
    on_the_way
        .headers
        .insert("via", HeaderValue::from_static("1.1 proxy"));
    assert!(
        is_signed(&on_the_way),
        "other headers may change on the way"
    );
}

#[test]
fn a_call_is_verified_with_the_key_that_it_names() {
    let parts = call("GET", "/", b"");
    let claims = Claims::read(&parts.headers).unwrap();
    for (ids, known) in [("a", true), ("a,b", true), ("b,a", true), ("b", false)] {
        assert_eq!(claims.is_signed(&keys(ids), &parts), known, "{ids}");
    }
    let other = Keys::parse(&Secret::from(format!("a:{SECRET}other"))).unwrap();
    assert!(
        !claims.is_signed(&other, &parts),
        "the same name, another secret"
    );
}

#[test]
fn a_call_is_signed_anew() {
    let mut parts = call("GET", "/", b"");
    let first = Claims::read(&parts.headers).unwrap();
    sign(&keys("b,a"), ("auth", "2f"), &content_hash(b""), &mut parts);
    let second = Claims::read(&parts.headers).unwrap();
    assert!(second.is_signed(&keys("b"), &parts));
    assert_eq!(parts.headers.get_all(SIGNATURE).iter().count(), 1);
    assert_ne!(first.nonce, second.nonce);
    assert!(second.time_ms.abs_diff(now_ms()) < 60_000);
}

#[test]
fn what_lacks_a_part_is_no_signed_call() {
    let parts = call("GET", "/", b"");
    for name in [TO, KEY, TIME, NONCE, CONTENT, SIGNATURE] {
        let mut headers = parts.headers.clone();
        headers.remove(&name);
        assert_eq!(Claims::read(&headers), None, "{name}");
        headers.insert(&name, HeaderValue::from_static("?"));
        let claims = Claims::read(&headers);
        assert_eq!(claims.is_some(), name == KEY, "{name}");
    }
}

#[test]
fn a_value_may_hold_any_bytes_a_header_may() {
    let mut parts = parts("GET", "/");
    let value = HeaderValue::from_bytes("  größe\t".as_bytes()).unwrap();
    parts.headers.insert("x-sluice-caller", value);
    sign(&keys("a"), ("auth", "1"), &content_hash(b""), &mut parts);
    // As it arrives: without the spaces around it.
    let value = HeaderValue::from_bytes("größe".as_bytes()).unwrap();
    parts.headers.insert("x-sluice-caller", value);
    assert!(
        Claims::read(&parts.headers)
            .unwrap()
            .is_signed(&keys("a"), &parts)
    );
}
