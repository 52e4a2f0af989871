//! From ids to names and back.

use crate::service::{Service, caller};
use axum::http::StatusCode;
use protocol::{
    identity::{Caller, Owner},
    ids::{TenantId, UserId},
};

#[tokio::test]
async fn admins_find_users_by_id_and_by_name() {
    let service = Service::start().await;
    let admin = service.admin("root").await;
    let ada = Owner {
        id: service.user("Ada").await.user_id,
        name: "Ada".to_owned(),
    };
    let bob = Owner {
        id: service.user("bob").await.user_id,
        name: "bob".to_owned(),
    };

    let path = format!("/auth/users?ids={},{},{}", ada.id, UserId::new(), bob.id);
    let found: Vec<Owner> = service
        .get(&path, Some(&admin))
        .await
        .expect(StatusCode::OK)
        .json();
    assert_eq!(found, [ada.clone(), bob]);
    let found: Vec<Owner> = service
        .get("/auth/users?name=ada", Some(&admin))
        .await
        .expect(StatusCode::OK)
        .json();
    assert_eq!(found, [ada]);
    let found: Vec<Owner> = service
        .get("/auth/users?name=eve", Some(&admin))
        .await
        .expect(StatusCode::OK)
        .json();
    assert!(found.is_empty());
}

#[tokio::test]
async fn other_tenants_are_not_seen() {
    let service = Service::start().await;
    let admin = service.admin("root").await;
    service.user("ada").await;
    let elsewhere = Caller {
        tenant: TenantId("other".to_owned()),
        ..admin
    };
    let found: Vec<Owner> = service
        .get("/auth/users?name=ada", Some(&elsewhere))
        .await
        .expect(StatusCode::OK)
        .json();
    assert!(found.is_empty());
}

#[tokio::test]
async fn users_may_not_look() {
    let service = Service::start().await;
    let ada = caller(&service.user("ada").await);
    service
        .get("/auth/users?name=ada", Some(&ada))
        .await
        .expect_problem(StatusCode::FORBIDDEN, "forbidden");
    service
        .get("/auth/users?name=ada", None)
        .await
        .expect_problem(StatusCode::UNAUTHORIZED, "unauthenticated");
}

#[tokio::test]
async fn a_query_that_makes_no_sense_is_refused() {
    let service = Service::start().await;
    let admin = service.admin("root").await;
    let many = vec![UserId::new().to_string(); 101].join(",");
    for query in [
        "",
        "ids=ada",
        "ids=",
        "name=ada&ids=",
        &format!("ids={many}"),
    ] {
        let reply = service
            .get(&format!("/auth/users?{query}"), Some(&admin))
            .await;
        reply.expect_problem(StatusCode::BAD_REQUEST, "invalid-message");
    }
}
