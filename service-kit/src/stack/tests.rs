use axum::{body::Body, routing::get};
use tower::ServiceExt;
use uuid::Uuid;

use super::*;

async fn call(path: &str, id: Option<&str>) -> (StatusCode, String) {
    let router = Router::new()
        .route(
            "/id",
            get(async || RequestId::current().unwrap().to_string()),
        )
        .route("/panic", get(async || -> StatusCode { panic!("a bug") }));
    let mut request = Request::get(path);
    if let Some(id) = id {
        request = request.header(HEADER, id);
    }
    let response = wrap("test", router)
        .oneshot(request.body(Body::empty()).unwrap())
        .await
        .unwrap();
    (
        response.status(),
        response.headers()[HEADER].to_str().unwrap().to_owned(),
    )
}

#[tokio::test]
async fn every_reply_carries_the_id_of_its_request() {
    for (path, status) in [("/id", 200), ("/nowhere", 404), ("/panic", 500)] {
        let (got, id) = call(path, Some("trace-1")).await;
        assert_eq!((got.as_u16(), &*id), (status, "trace-1"), "{path}");
    }
}

#[tokio::test]
async fn a_missing_or_dangerous_id_is_replaced() {
    for id in [None, Some(""), Some("two words"), Some("a\"b")] {
        let (_, made) = call("/id", id).await;
        assert_eq!(
            Uuid::parse_str(&made).map(|id| id.get_version_num()),
            Ok(7),
            "{id:?}"
        );
    }
}
