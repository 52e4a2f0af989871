//! Between services: who is let in, and a replica that is away is left out until it is back.

use super::Site;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sluice::Role;
use tests::{Socket, account::http, signed::Call, until};

/// A status report that changes nothing, wherever it comes from.
fn report() -> Value {
    json!({
        "upload_id": "01920000-0000-7000-8000-000000000000", "attempt": 1,
        "outcome": {"status": "upload_failed", "reason": "none", "permanent": false},
    })
}

#[tokio::test]
async fn only_signed_calls_are_let_in() {
    let mut site = Site::new().await;
    let uploader = site.cluster.plan().internal(Role::Uploader, 0);
    let keys = site.cluster.plan().keys().to_owned();
    let put = (Method::PUT, "/file/update/status");
    let right = Call::new(uploader, "uploader", &keys, put, report()).await;
    let (status, answer) = right.make().await;
    assert_eq!(
        status, 404,
        "it is let in, and there is no such upload: {answer}"
    );

    let wrong_key = format!("cluster:{}", "0".repeat(64));
    let minutes = 5 * 60 * 1000;
    let other = ("uploader".to_owned(), "0".repeat(32));
    let role = ("auth".to_owned(), right.addressee.1.clone());
    let mut cases = vec![("replayed", right.clone())];
    let mut add = |cause, change: &dyn Fn(&mut Call)| {
        let mut call = right.clone();
        call.nonce = rand_nonce();
        change(&mut call);
        cases.push((cause, call));
    };
    add("bad-signature", &|call| call.keys.clone_from(&wrong_key));
    add("misaddressed", &|call| call.addressee.clone_from(&other));
    add("misaddressed", &|call| call.addressee.clone_from(&role));
    add("stale", &|call| call.time_ms -= minutes);
    add("stale", &|call| call.time_ms += minutes);
    for (cause, call) in cases {
        let (status, answer) = call.make().await;
        assert_eq!((status, &answer["code"]), (401, &json!(cause)), "{answer}");
    }
    let unsigned = http().put(format!("http://{uploader}/file/update/status"));
    let unsigned = unsigned.json(&report()).send().await.unwrap();
    assert_eq!(unsigned.status(), StatusCode::UNAUTHORIZED);

    let process = site.process(Role::Uploader, 0);
    for (cause, times) in [
        ("unsigned", 1.0),
        ("bad-signature", 1.0),
        ("replayed", 1.0),
        ("misaddressed", 2.0),
        ("stale", 2.0),
    ] {
        let name = format!("internal_calls_refused_total{{cause=\"{cause}\"}}");
        assert_eq!(process.metric(&name).await.unwrap(), times, "{cause}");
        assert!(process.log().contains(cause), "{cause} is in the log");
    }
    // What the services have is on no public listener.
    let public = http().put(format!("{}/file/update/status", site.url(0)));
    let public = public.json(&report()).send().await.unwrap();
    assert_eq!(public.status(), StatusCode::NOT_FOUND);
}

fn rand_nonce() -> [u8; 16] {
    let mut nonce = [0; 16];
    nonce.copy_from_slice(tests::random::hex(8).as_bytes());
    nonce
}

/// What the first gateway thinks of the first uploader: 0 is closed, 1 half open, 2 open.
async fn breaker(site: &mut Site) -> f64 {
    let endpoint = site.cluster.plan().internal(Role::Uploader, 0);
    let name = format!("peer_breaker_state{{peer=\"uploader\",endpoint=\"{endpoint}\"}}");
    let gateway = site.process(Role::Gateway, 0);
    gateway.metric(&name).await.unwrap()
}

#[tokio::test]
async fn a_replica_that_is_away_is_left_out_until_it_is_back() {
    let mut site = Site::new().await;
    let ada = site.account("ada").await;
    let mut socket = Socket::connect(&ada).await;
    socket.upload(1, "a.dat", b"with both").await;
    assert_eq!(breaker(&mut site).await, 0.0);
    site.process(Role::Uploader, 0).kill();
    let mut stream = 1;
    until("the breaker to open", async || {
        stream += 1;
        socket.upload(stream, "a.dat", b"with one").await;
        (breaker(&mut site).await == 2.0).then_some(())
    })
    .await;
    site.restart(Role::Uploader, 0).await;
    until("the breaker to close", async || {
        (breaker(&mut site).await == 0.0).then_some(())
    })
    .await;
    let endpoint = site.cluster.plan().internal(Role::Uploader, 0);
    for to in ["open", "half-open", "closed"] {
        let name = format!(
            "peer_breaker_transitions_total{{peer=\"uploader\",endpoint=\"{endpoint}\",to=\"{to}\"}}"
        );
        let times = site.process(Role::Gateway, 0).metric(&name).await.unwrap();
        assert!(times >= 1.0, "{to}: {times}");
    }
    socket.upload(stream + 1, "a.dat", b"with both again").await;
}
