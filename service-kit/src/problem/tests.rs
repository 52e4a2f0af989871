use axum::{body::to_bytes, routing::post};
use http::Request;
use serde_json::json;
use tower::ServiceExt;

use super::*;

async fn send(router: Router, request: Request<Body>) -> (StatusCode, HeaderMap, Vec<u8>) {
    let response = router.oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    (
        parts.status,
        parts.headers,
        to_bytes(body, 1 << 16).await.unwrap().to_vec(),
    )
}

fn router() -> Router {
    let router = Router::new()
        .route(
            "/sum",
            post(|Json(numbers): Json<Vec<u32>>| async move { Json(numbers.iter().sum::<u32>()) }),
        )
        .route(
            "/square/{n}",
            axum::routing::get(|Path(n): Path<u32>| async move { Json(n * n) }),
        )
        .route(
            "/limit",
            axum::routing::get(
                |Query(map): Query<BTreeMap<String, u8>>| async move { Json(map.len()) },
            ),
        )
        .route(
            "/panic",
            axum::routing::get(async || -> StatusCode { panic!("a bug") }),
        );
    with_fallbacks(router).layer(axum::middleware::from_fn(catch_panics))
}

fn request(method: &str, path: &str, content_type: &str, body: &'static str) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::CONTENT_TYPE, content_type)
        .body(Body::from(body))
        .unwrap()
}

#[test]
fn stays_small_enough_to_be_returned_as_an_error_by_value() {
    assert!(size_of::<Problem>() < 128, "{}", size_of::<Problem>());
}

#[test]
fn is_written_as_the_document_of_rfc_9457() {
    let problem = Problem::new(StatusCode::CONFLICT, "conflict", "already there")
        .with_detail("the name is taken")
        .with_instance("/auth/signup")
        .with("name", "anna");
    assert_eq!(
        serde_json::to_value(&problem).unwrap(),
        json!({
            "type": "about:blank", "title": "already there", "status": 409, "code": "conflict",
            "detail": "the name is taken", "instance": "/auth/signup", "name": "anna",
        })
    );
    assert_eq!(
        problem.to_string(),
        "conflict: already there (the name is taken)"
    );
}

#[tokio::test]
async fn survives_the_way_over_the_wire() {
    let sent = Problem::unavailable(Duration::from_millis(1500))
        .with_detail("the disk is full")
        .with("expected", 7);
    let (parts, body) = sent.clone().into_response().into_parts();
    assert_eq!(
        parts.headers[header::RETRY_AFTER],
        "2",
        "whole seconds, rounded up"
    );
    let body = to_bytes(body, 1 << 16).await.unwrap();
    let received = Problem::from_response(parts.status, &parts.headers, &body);
    assert_eq!(received, sent);
    assert_eq!(received.retry_after(), Some(Duration::from_millis(1500)));
}

#[test]
fn a_foreign_error_page_becomes_the_general_problem_of_its_status() {
    for (status, content_type, body, code) in [
        (
            StatusCode::BAD_GATEWAY,
            "text/html",
            "<h1>nginx</h1>",
            "unavailable",
        ),
        (StatusCode::NOT_FOUND, MEDIA_TYPE, "not json", "not-found"),
        (
            StatusCode::UNAUTHORIZED,
            "application/json",
            r#"{"code":"x"}"#,
            "unauthenticated",
        ),
        (StatusCode::IM_A_TEAPOT, "", "", "invalid-message"),
    ] {
        let headers =
            HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))]);
        let problem = Problem::from_response(status, &headers, body.as_bytes());
        assert_eq!((problem.status, &*problem.code), (status, code));
    }
}

#[test]
fn the_status_of_the_response_outranks_the_one_in_the_document() {
    let headers = HeaderMap::from_iter([(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json; charset=utf-8"),
    )]);
    let body = r#"{"type":"/x","title":"t","status":200,"code":"c"}"#;
    let problem = Problem::from_response(StatusCode::CONFLICT, &headers, body.as_bytes());
    assert_eq!(problem.status, StatusCode::CONFLICT);
    assert_eq!(problem.kind.as_deref(), Some("/x"));
}

#[tokio::test]
async fn every_rejection_is_a_problem() {
    let json = "application/json";
    for (sent, status, code) in [
        (request("POST", "/sum", json, "[1,"), 400, "invalid-message"),
        (
            request("POST", "/sum", json, r#"{"a":1}"#),
            400,
            "invalid-message",
        ),
        (
            request("POST", "/sum", "text/plain", "[1]"),
            415,
            "unsupported-media-type",
        ),
        (
            request("GET", "/square/x", json, ""),
            400,
            "invalid-message",
        ),
        (
            request("GET", "/limit?a=300", json, ""),
            400,
            "invalid-message",
        ),
        (request("GET", "/nowhere", json, ""), 404, "not-found"),
        (request("GET", "/sum", json, ""), 405, "method-not-allowed"),
        (request("GET", "/panic", json, ""), 500, "internal"),
    ] {
        let name = format!("{} {}", sent.method(), sent.uri());
        let (got, headers, body) = send(router(), sent).await;
        assert_eq!(headers[header::CONTENT_TYPE], MEDIA_TYPE, "{name}");
        let problem: Problem = serde_json::from_slice(&body).unwrap();
        assert_eq!((got.as_u16(), &*problem.code), (status, code), "{name}");
        assert_eq!(problem.status, got, "{name}");
    }
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones() {
    let (_, headers, _) = send(router(), request("GET", "/sum", "application/json", "")).await;
    assert_eq!(headers[header::ALLOW], "POST");
}

#[tokio::test]
async fn good_requests_pass() {
    for (sent, body) in [
        (request("POST", "/sum", "application/json", "[1,2,3]"), "6"),
        (request("GET", "/square/5", "", ""), "25"),
        (request("GET", "/limit?a=1&b=2", "", ""), "2"),
    ] {
        assert_eq!(send(router(), sent).await.2, body.as_bytes());
    }
}
