//! Calls that are not let in.

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    response::Response,
    routing::{any, get},
};
use http::{HeaderValue, Request, StatusCode, request};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::Value;
use service_kit::{
    internal::{
        InstanceId, Keys, Listener,
        signature::{self, content_hash, now_ms, sign_at},
    },
    lifecycle::{HttpLimits, Shutdown, serve},
    peer::{Peer, PeerError},
};
use tokio::net::TcpListener;

use super::support::{Replica, answering, config, free, is_logged, keys, metric, peer, unique};

/// A signed call as it goes over the wire, to be forged and sent again.
#[derive(Clone)]
struct Call {
    parts: request::Parts,
    body: &'static [u8],
}

impl Call {
    fn new(to: (&str, &str), with: &Keys, time_ms: u64) -> Self {
        let request = Request::put("/thing?x=1")
            .header("x-sluice-caller", r#"{"name":"ada"}"#)
            .body(());
        let (mut parts, ()) = request.unwrap().into_parts();
        sign_at(
            with,
            to,
            &content_hash(b"body"),
            time_ms,
            &rand::random(),
            &mut parts,
        );
        Self {
            parts,
            body: b"body",
        }
    }

    fn to(replica: &Replica, service: &str) -> Self {
        Self::new(
            (service, replica.instance.as_str()),
            &keys(&["a"]),
            now_ms(),
        )
    }

    fn with(mut self, header: &'static str, value: &str) -> Self {
        self.parts.headers.insert(header, value.parse().unwrap());
        self
    }

    async fn send(self, replica: &Replica) -> Response {
        let mut parts = self.parts;
        let path = parts.uri.path_and_query().unwrap().clone();
        parts.uri = format!("http://{}{path}", replica.address).parse().unwrap();
        let client = Client::builder(TokioExecutor::new()).build_http();
        let request = Request::from_parts(parts, Body::from(self.body));
        client.request(request).await.unwrap().map(Body::new)
    }
}

async fn code(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let cause = response.headers().get("x-sluice-refused").cloned();
    let body = to_bytes(response.into_body(), 1 << 16).await.unwrap();
    let code = serde_json::from_slice::<Value>(&body).map_or(String::new(), |problem| {
        problem["code"].as_str().unwrap_or_default().to_owned()
    });
    assert_eq!(
        cause,
        (!code.is_empty()).then(|| HeaderValue::from_str(&code).unwrap())
    );
    (status, code)
}

/// Every cause, each seen by the sender, in the log with where it came from, and in the metrics; the service sees none.
#[tokio::test]
async fn each_cause_is_refused_logged_and_counted() {
    let service = unique("files");
    let replica = Replica::echo(&service).await;
    let good = || Call::to(&replica, &service);
    let instance = replica.instance.as_str();
    let signed = |to: (&str, &str), with: &[&str], ago: i64| {
        Call::new(to, &keys(with), now_ms().saturating_add_signed(-ago))
    };
    let mut unsigned = good();
    unsigned.parts.headers.remove(signature::SIGNATURE);
    let mut bare = good();
    bare.parts.headers.clear();
    let mut other_path = good();
    other_path.parts.uri = "/thing?x=2".parse().unwrap();
    let mut other_method = good();
    other_method.parts.method = http::Method::POST;
    let other_body = Call {
        body: b"else",
        ..good()
    };
    let no_body = Call {
        body: b"",
        ..good()
    };
    let once = good();
    assert_eq!(once.clone().send(&replica).await.status(), 200);
    let zeros = "0".repeat(64);

    let refusals = [
        ("unsigned", unsigned),
        ("unsigned", bare),
        ("unsigned", good().with("x-sluice-nonce", "short")),
        ("bad-signature", signed((&service, instance), &["b"], 0)),
        ("bad-signature", good().with("x-sluice-signature", &zeros)),
        ("bad-signature", good().with("x-sluice-key", "b")),
        (
            "bad-signature",
            good().with("x-sluice-caller", r#"{"name":"eve"}"#),
        ),
        ("bad-signature", good().with("x-sluice-to", "auth/x")),
        ("bad-signature", other_path),
        ("bad-signature", other_method),
        ("bad-signature", other_body),
        ("bad-signature", no_body),
        (
            "misaddressed",
            signed((&service, InstanceId::random().as_str()), &["a"], 0),
        ),
        ("misaddressed", signed(("auth", instance), &["a"], 0)),
        ("stale", signed((&service, instance), &["a"], 31_000)),
        ("stale", signed((&service, instance), &["a"], -35_000)),
        ("replayed", once.clone()),
        (
            "replayed",
            Call {
                body: b"else",
                ..once
            },
        ),
    ];
    for (number, (cause, call)) in refusals.into_iter().enumerate() {
        let before = metric("internal_calls_refused_total", &[("cause", cause)]);
        let id = format!("{service}.{number}");
        let answer = call.with("x-request-id", &id).send(&replica).await;
        assert_eq!(code(answer).await, (401, cause.to_owned()), "{number}");
        assert!(metric("internal_calls_refused_total", &[("cause", cause)]) > before);
        let words = [
            "WARN",
            &format!("cause=\"{cause}\""),
            "remote=\"127.0.0.1:",
            &id,
        ];
        assert!(is_logged(&words), "{number} {cause}");
    }
    assert_eq!(replica.calls(), 1, "none of them has come to the service");
    assert_eq!(good().send(&replica).await.status(), 200);
}

#[tokio::test]
async fn a_call_is_good_for_one_instance_only() {
    let service = unique("files");
    let [first, second] = [Replica::echo(&service).await, Replica::echo(&service).await];
    let call = Call::to(&first, &service);
    assert_eq!(call.clone().send(&first).await.status(), 200);
    assert_eq!(
        code(call.clone().send(&second).await).await.1,
        "misaddressed"
    );

    // A process that has forgotten what it saw is another instance.
    let at = first.address;
    first.stop().await;
    let again = Replica::start(&service, at, keys(&["a"]), Router::new()).await;
    assert_eq!(code(call.send(&again).await).await.1, "misaddressed");
    assert_eq!((second.calls(), again.calls()), (0, 0));
}

/// Two services of a process may have the same paths; health and metrics are for everyone, the rest for nobody unsigned.
#[tokio::test]
async fn the_addressee_chooses_the_service() {
    let names = [unique("one"), unique("two")];
    let says = |text: &'static str| Router::new().route("/who", get(async move || text));
    let listener = TcpListener::bind(free()).await.unwrap();
    let at = listener.local_addr().unwrap();
    let router = Listener::new(keys(&["a"]), InstanceId::random())
        .service(&*names[0], says("\"one\""))
        .service(&*names[1], says("\"two\""))
        .public(Router::new().route("/healthz", any(async || "alive")))
        .into_router();
    let shutdown = Shutdown::new();
    tokio::spawn(serve(
        listener,
        router,
        HttpLimits::default(),
        shutdown.clone(),
    ));
    for (name, answer) in names.iter().zip(["one", "two"]) {
        let peer = peer(name, &[at], &config());
        assert_eq!(peer.get_json::<String>("/who").await.unwrap(), answer);
        assert!(
            peer.get_json::<String>("/nowhere")
                .await
                .unwrap_err()
                .has_code("not-found")
        );
    }
    let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
    for (path, status) in [
        ("/healthz", 200),
        ("/instance", 200),
        ("/who", 401),
        ("/nowhere", 401),
    ] {
        let answer = client
            .get(format!("http://{at}{path}").parse().unwrap())
            .await
            .unwrap();
        assert_eq!(answer.status(), status, "{path}");
        if path == "/instance" {
            let body = to_bytes(Body::new(answer.into_body()), 4096).await.unwrap();
            let told: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(told["services"], serde_json::json!(names));
        }
    }
    shutdown.drain();
}

/// That our own call was refused is our own trouble: the caller's caller is not told to log in again.
#[tokio::test]
async fn a_caller_without_the_right_key_says_that_the_service_is_unavailable() {
    let service = unique("files");
    let replica = Replica::echo(&service).await;
    let address = [format!("http://{}", replica.address)];
    let stranger = Peer::remote(&*service, &address, keys(&["b"]), &config()).unwrap();
    let error = stranger.get_json::<()>("/thing").await.unwrap_err();
    assert!(matches!(error, PeerError::Unavailable { .. }), "{error}");
    assert!(error.to_string().contains("bad-signature"), "{error}");
    let problem = service_kit::problem::Problem::from(error);
    assert_eq!(problem.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(is_logged(&["ERROR", "refuses our calls", &service]));
}

#[tokio::test]
async fn a_body_has_a_bound() {
    let service = unique("files");
    let takes = answering(any(async |body: Body| body));
    let replica = Replica::start(&service, free(), keys(&["a"]), takes).await;
    let peer = peer(&service, &[replica.address], &config());
    for (mib, fits) in [(15, true), (17, false)] {
        let body = Body::from(Bytes::from(vec![0; mib << 20]));
        let sent = peer
            .request(http::Method::POST, "/thing")
            .body(body)
            .send()
            .await;
        match sent {
            Ok(_) => assert!(fits),
            Err(error) => {
                assert!(matches!(error, PeerError::InvalidRequest { .. }), "{error}");
                assert!(!fits, "{error}");
            }
        }
    }
}
