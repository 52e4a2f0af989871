use axum::body::{Body, to_bytes};
use http::Request;
use tower::ServiceExt;

use super::*;
use crate::stack;

const BUILD: BuildInfo = BuildInfo {
    name: "test",
    version: "1.2.3",
    revision: "abc",
};

/// One test, since a process has one recorder.
#[tokio::test]
async fn the_page_shows_requests_process_and_build() {
    let metrics = Metrics::install(BUILD).unwrap();
    assert!(
        matches!(Metrics::install(BUILD), Err(MetricsError::Installed(_))),
        "a second one is refused"
    );

    let router = stack::wrap(
        "edge",
        metrics.router().route("/item/{id}", get(async || "")),
    );
    for path in ["/item/1", "/item/2", "/nowhere"] {
        let request = Request::get(path).body(Body::empty()).unwrap();
        router.clone().oneshot(request).await.unwrap();
    }
    let response = router
        .oneshot(Request::get("/metrics").body(Body::empty()).unwrap())
        .await
        .unwrap();
    assert_eq!(
        response.headers()[header::CONTENT_TYPE],
        "text/plain; version=0.0.4; charset=utf-8"
    );
    let page = String::from_utf8(
        to_bytes(response.into_body(), 1 << 20)
            .await
            .unwrap()
            .to_vec(),
    )
    .unwrap();

    for line in [
        r#"http_requests_total{service="edge",method="GET",route="/item/{id}",status="200"} 2"#,
        r#"http_requests_total{service="edge",method="GET",route="unmatched",status="404"} 1"#,
        r#"http_request_duration_seconds_bucket{service="edge",method="GET",route="/item/{id}",status="200",le="+Inf"} 2"#,
        r#"test_build_info{version="1.2.3",revision="abc"} 1"#,
        "# TYPE process_cpu_seconds_total counter",
    ] {
        assert!(page.contains(line), "{line} is missing in:\n{page}");
    }
    for (name, least) in [
        ("process_resident_memory_bytes", 1e6),
        ("process_open_fds", 3.0),
    ] {
        let value: f64 = page
            .lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
            .unwrap();
        assert!(value >= least, "{name} is {value}");
    }
}

#[tokio::test(start_paused = true)]
async fn upkeep_ends_with_the_process() {
    let metrics = Metrics {
        handle: recorder().unwrap().handle(),
    };
    let shutdown = CancellationToken::new();
    let upkeep = tokio::spawn(metrics.run_upkeep(shutdown.clone()));
    tokio::time::advance(UPKEEP_PERIOD * 3).await;
    assert!(!upkeep.is_finished());
    shutdown.cancel();
    upkeep.await.unwrap();
}
