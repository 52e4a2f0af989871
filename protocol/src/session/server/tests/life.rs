//! Heartbeats, silence and the token's life.

use super::rig::{Rig, refusal, shown};
use crate::{ErrorCode, session::server::Input};
use serde_json::json;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn it_pings_at_every_heartbeat_as_long_as_it_hears_something() {
    let mut rig = Rig::connected();
    let mut lines = Vec::new();
    for _ in 0..12 {
        lines.extend(rig.wait(10 * SECOND));
        rig.say(Input::Life);
    }
    assert_eq!(lines, ["30s ping", "60s ping", "90s ping", "120s ping"]);
}

#[test]
fn two_heartbeats_of_silence_close() {
    let mut rig = Rig::connected();
    assert_eq!(rig.wait(300 * SECOND), ["30s ping", "60s close 4408"]);
}

#[test]
fn anything_received_is_a_sign_of_life() {
    type Send = fn(&mut Rig) -> Vec<String>;
    let signs: [(&str, Send); 4] = [
        ("a pong", |rig| rig.say(Input::Life)),
        ("a text", |rig| rig.text(json!({"type": "alive"}))),
        ("nonsense", |rig| rig.raw("nonsense")),
        ("a binary message", |rig| rig.chunk(9, 0, "x")),
    ];
    for (case, send) in signs {
        let mut rig = Rig::connected();
        rig.wait(59 * SECOND);
        send(&mut rig);
        assert_eq!(rig.wait(59 * SECOND), ["60s ping", "90s ping"], "{case}");
        assert_eq!(rig.wait(2 * SECOND), ["119s close 4408"], "{case}");
    }
}

#[test]
fn the_drivers_answers_are_no_sign_of_life() {
    let mut rig = Rig::uploading(20);
    rig.chunk(1, 0, "01234");
    rig.wait(50 * SECOND);
    rig.stored(1, 5);
    assert_eq!(rig.wait(20 * SECOND), ["60s close 4408"]);
}

#[test]
fn time_without_reading_is_not_silence() {
    let mut rig = Rig::uploading(100);
    for offset in [0, 10, 20, 30] {
        rig.chunk(1, offset, "0123456789");
    }
    assert!(!rig.session.wants_input());
    let pings: Vec<_> = (1..=10)
        .map(|count| format!("{}s ping", count * 30))
        .collect();
    assert_eq!(rig.wait(310 * SECOND), pings);
    rig.stored(1, 40);
    assert!(rig.session.wants_input());
    assert_eq!(
        rig.wait(100 * SECOND),
        ["330s ping", "360s ping", "370s close 4408"],
        "silence counts from the resumption"
    );
}

#[test]
fn a_pause_between_two_ticks_is_not_silence_either() {
    let mut rig = Rig::uploading(100);
    rig.wait(31 * SECOND);
    for offset in [0, 10, 20, 30] {
        rig.chunk(1, offset, "0123456789");
    }
    rig.wait(20 * SECOND);
    rig.stored(1, 40);
    assert_eq!(
        rig.wait(61 * SECOND),
        ["60s ping", "90s ping", "111s close 4408"]
    );
}

#[test]
fn a_token_is_announced_to_expire_and_then_expires() {
    let mut rig = Rig::fresh();
    rig.text(json!({"type": "connect", "id": 1}));
    rig.admitted(Duration::from_secs(150));
    rig.wait(55 * SECOND);
    rig.say(Input::Life);
    assert_eq!(
        rig.wait(50 * SECOND),
        [
            "60s ping",
            "90s > token-expiring 1970-01-01T00:02:30Z",
            "90s ping"
        ]
    );
    rig.say(Input::Life);
    assert_eq!(rig.wait(60 * SECOND), ["120s ping", "150s close 4401"]);
}

#[test]
fn a_short_lived_token_is_announced_at_half_of_its_life() {
    let mut rig = Rig::fresh();
    rig.text(json!({"type": "connect", "id": 1}));
    rig.admitted(20 * SECOND);
    assert_eq!(
        rig.wait(30 * SECOND),
        [
            "10s > token-expiring 1970-01-01T00:00:20Z",
            "20s close 4401"
        ]
    );
}

#[test]
fn a_refreshed_token_lets_the_session_go_on() {
    let mut rig = Rig::fresh();
    rig.text(json!({"type": "connect", "id": 1}));
    rig.admitted(20 * SECOND);
    rig.wait(15 * SECOND);
    assert_eq!(
        rig.text(json!({"type": "refresh", "id": 2, "access_token": "fresh"})),
        ["refresh #2 fresh"]
    );
    let expires_at = rig.expiry(20 * SECOND);
    assert_eq!(
        rig.say(Input::Refreshed(2, Ok(expires_at))),
        ["> refreshed #2 1970-01-01T00:00:35Z"]
    );
    assert_eq!(
        rig.wait(30 * SECOND),
        [
            "25s > token-expiring 1970-01-01T00:00:35Z",
            "30s ping",
            "35s close 4401"
        ]
    );
}

#[test]
fn a_refused_refresh_leaves_the_old_token_in_force() {
    for code in [
        ErrorCode::Unauthenticated,
        ErrorCode::Forbidden,
        ErrorCode::Unavailable,
    ] {
        let mut rig = Rig::fresh();
        rig.text(json!({"type": "connect", "id": 1}));
        rig.admitted(20 * SECOND);
        rig.text(json!({"type": "refresh", "id": 2, "access_token": "bad"}));
        assert_eq!(
            rig.say(Input::Refreshed(2, Err(refusal(code)))),
            [format!("> error #2 {}", shown(code))]
        );
        assert_eq!(rig.wait(30 * SECOND).last().unwrap(), "20s close 4401");
    }
}

#[test]
fn a_token_that_has_already_expired_closes_at_once() {
    let mut rig = Rig::fresh();
    rig.wait(5 * SECOND);
    rig.text(json!({"type": "connect", "id": 1}));
    rig.admitted(Duration::ZERO);
    assert_eq!(rig.wait(Duration::ZERO), ["5s close 4401"]);
}

#[test]
fn logging_out_closes() {
    let mut rig = Rig::uploading(5);
    rig.chunk(1, 0, "01234");
    assert_eq!(rig.say(Input::Revoked), ["close 4401"]);
    assert_eq!(rig.stored(1, 5), [""; 0], "nothing follows the close");
    assert_eq!(rig.wait(100 * SECOND), [""; 0]);
}
