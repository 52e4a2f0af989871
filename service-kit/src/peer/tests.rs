use axum::{
    extract::Request as AxumRequest,
    routing::{get, post, put},
};
use http::{HeaderMap, HeaderName, StatusCode};
use tokio::net::TcpListener;

use super::*;
use crate::{
    config::Secret,
    internal::{InstanceId, Listener},
    lifecycle::{HttpLimits, Shutdown, serve},
    problem::{Json, Path},
};

fn router() -> Router {
    Router::new()
        .route("/double", post(async |Json(n): Json<u32>| Json(n * 2)))
        .route(
            "/name/{name}",
            get(async |request: AxumRequest| Json(request.uri().to_string())),
        )
        .route("/nothing", put(async || StatusCode::NO_CONTENT))
        .route("/text", get(async || "no json"))
        .route(
            "/echo",
            post(async |headers: HeaderMap, body: Body| (headers, body)),
        )
        .route(
            "/refuse",
            get(async || {
                Problem::new(StatusCode::CONFLICT, "conflict", "taken").with("expected", 7)
            }),
        )
        .route("/hang", get(std::future::pending::<StatusCode>))
        .route("/panic", get(async || -> StatusCode { panic!("a bug") }))
        .route(
            "/id",
            get(async || Json(RequestId::current().map(|id| id.to_string()))),
        )
}

fn keys() -> Arc<Keys> {
    let secret = Secret::from("test:0123456789abcdef0123456789abcdef");
    Arc::new(Keys::parse(&secret).unwrap())
}

/// The same service over both transports: what holds for one must hold for the other.
async fn peers() -> (Shutdown, [Peer; 2]) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let shutdown = Shutdown::new();
    let keys = keys();
    let internal = Listener::new(keys.clone(), InstanceId::random()).service("remote", router());
    tokio::spawn(serve(
        listener,
        internal.into_router(),
        HttpLimits::default(),
        shutdown.clone(),
    ));
    (
        shutdown,
        [
            Peer::local("local", router()),
            Peer::remote("remote", &[base], keys, &PeerConfig::default()).unwrap(),
        ],
    )
}

#[tokio::test]
async fn calls_give_the_same_over_both_transports() {
    let (_shutdown, peers) = peers().await;
    for peer in peers {
        assert_eq!(peer.post_json::<_, u32>("/double", &21).await.unwrap(), 42);
        assert_eq!(
            peer.get_json::<String>("/name/a%20b?x=1").await.unwrap(),
            "/name/a%20b?x=1",
            "{peer:?}"
        );
        peer.put_json::<_, ()>("/nothing", &()).await.unwrap();
    }
}

#[tokio::test]
async fn refusals_are_problems() {
    let (_shutdown, peers) = peers().await;
    for peer in peers {
        for (path, status, code) in [
            ("/refuse", 409, "conflict"),
            ("/nowhere", 404, "not-found"),
            ("/double", 405, "method-not-allowed"),
            ("/panic", 500, "internal"),
        ] {
            let error = peer.get_json::<()>(path).await.unwrap_err();
            assert!(error.has_code(code), "{peer:?} {path}: {error}");
            assert_eq!(error.problem().unwrap().status.as_u16(), status);
        }
        let error = peer.get_json::<()>("/refuse").await.unwrap_err();
        assert_eq!(
            Problem::from(error).extensions["expected"],
            7,
            "extension members come along"
        );
    }
}

#[tokio::test]
async fn a_reply_of_another_shape_is_no_problem_but_an_error() {
    let (_shutdown, peers) = peers().await;
    for peer in peers {
        let error = peer.get_json::<u32>("/text").await.unwrap_err();
        assert!(matches!(error, PeerError::InvalidReply { .. }), "{error}");
        assert_eq!(Problem::from(error).code, "internal");
    }
}

#[tokio::test]
async fn a_peer_that_does_not_answer_in_time_is_unavailable() {
    let (_shutdown, peers) = peers().await;
    for peer in peers {
        let call = peer
            .request(Method::GET, "/hang")
            .deadline(Duration::from_millis(20));
        let error = call.send().await.unwrap_err();
        assert!(matches!(error, PeerError::Unavailable { .. }), "{error}");
        let problem = Problem::from(error);
        assert_eq!(
            (problem.status, &*problem.code),
            (StatusCode::SERVICE_UNAVAILABLE, "unavailable")
        );
        assert!(problem.retry_after().is_some());
    }
}

#[tokio::test]
async fn a_peer_that_is_not_there_is_unavailable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = Peer::remote("gone", &[base], keys(), &PeerConfig::default())
        .unwrap()
        .get_json::<()>("/")
        .await
        .unwrap_err();
    assert!(matches!(error, PeerError::Unavailable { .. }), "{error}");
    assert!(
        error.to_string().contains("refused"),
        "the cause is told: {error}"
    );
}

#[tokio::test]
async fn bodies_and_headers_pass_through() {
    let (_shutdown, peers) = peers().await;
    let caller = HeaderName::from_static("x-caller");
    for peer in peers {
        let parts = futures::stream::iter([Ok::<_, std::io::Error>("one "), Ok("two")]);
        let call = peer
            .request(Method::POST, "/echo")
            .header(caller.clone(), "anna")
            .body(Body::from_stream(parts));
        let response = call.send().await.unwrap();
        assert_eq!(response.headers()[&caller], "anna");
        assert_eq!(to_bytes(response.into_body(), 64).await.unwrap(), "one two");
    }
}

#[tokio::test]
async fn the_request_id_goes_along() {
    let (_shutdown, peers) = peers().await;
    let id = RequestId::parse("trace-1").unwrap();
    for peer in peers {
        let seen = id
            .clone()
            .scope(peer.get_json::<String>("/id"))
            .await
            .unwrap();
        assert_eq!(seen, "trace-1", "{peer:?}");
        let made = peer.get_json::<String>("/id").await.unwrap();
        assert!(made != "trace-1" && RequestId::parse(&made).is_some());
    }
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_before_sending() {
    let (_shutdown, peers) = peers().await;
    for peer in peers {
        for call in [
            peer.request(Method::GET, "/a b"),
            peer.request(Method::GET, "/id")
                .header(request_id::HEADER, "line\nbreak"),
            peer.request(Method::POST, "/echo")
                .json(&std::collections::HashMap::from([((), 1)])),
        ] {
            let error = call.send().await.unwrap_err();
            assert!(
                matches!(error, PeerError::InvalidRequest { .. }),
                "{peer:?}: {error}"
            );
        }
    }
}

#[tokio::test]
async fn a_segment_stays_one_whatever_it_holds() {
    let router = Router::new().route(
        "/user/{name}",
        get(async |Path(name): Path<String>| Json(name)),
    );
    let peer = Peer::local("local", router);
    for name in ["anna", "a/b", "..", "a b?c#d", "größe", "100%"] {
        assert_eq!(
            peer.get_json::<String>(format!("/user/{}", segment(name)))
                .await
                .unwrap(),
            name
        );
    }
}
