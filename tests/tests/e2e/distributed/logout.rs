//! What happens at one gateway is known at the other: logouts, and what is told.

use super::Site;
use reqwest::{Method, StatusCode};
use std::time::{Duration, Instant};
use tests::{Account, Socket};

#[tokio::test]
async fn logging_out_at_one_gateway_closes_the_sockets_at_the_other_within_a_second() {
    let site = Site::new().await;
    let ada = site.account("ada").await;
    let elsewhere = Account::login(&site.url(1), "ada").await;
    let (mut here, mut there) = (
        Socket::connect(&ada).await,
        Socket::connect(&elsewhere).await,
    );
    let begun = Instant::now();
    let out = ada.request(Method::PUT, "/auth/logout/ada").send().await;
    assert_eq!(out.unwrap().status(), StatusCode::NO_CONTENT);
    assert_eq!(there.closed().await.code, Some(4401));
    assert_eq!(here.closed().await.code, Some(4401));
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
    for account in [&ada, &elsewhere] {
        let answer = account.get("/auth/validate").await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{}", account.url);
    }
}

#[tokio::test]
async fn what_happens_at_one_gateway_is_told_at_both_once_and_in_order() {
    const FILES: u64 = 20;
    let site = Site::new().await;
    let ada = site.account("ada").await;
    let elsewhere = ada.at(&site.url(1));
    let mut here = Socket::connect(&ada).await;
    let mut there = Socket::connect(&elsewhere).await;
    let (mut first, mut second) = (
        Socket::connect(&ada).await,
        Socket::connect(&elsewhere).await,
    );
    for number in 1..=FILES as u32 {
        let socket = if number % 2 == 0 {
            &mut first
        } else {
            &mut second
        };
        socket
            .upload(number, "a.dat", format!("file {number}").as_bytes())
            .await;
    }
    for socket in [&mut here, &mut there] {
        for offset in 1..=2 * FILES {
            let told = socket.receive_notification().await;
            assert_eq!(told["offset"], offset, "{told}");
        }
        let rest = socket.settle().await;
        assert!(rest.is_empty(), "{rest:?}");
    }
}
