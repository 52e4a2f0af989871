//! The end of every login of a user.

use crate::service::{PASSWORD, Service, caller};
use axum::http::StatusCode;
use protocol::{
    http::Grant,
    identity::{Caller, Role},
    ids::TenantId,
    token::{REVOCATION_HEADER, Revocation},
};

#[tokio::test]
async fn every_login_ends_and_others_go_on() {
    let service = Service::start().await;
    let first = service.user("ada").await;
    let second: Grant = service
        .login("ada", PASSWORD)
        .await
        .expect(StatusCode::OK)
        .json();
    let bob = service.user("bob").await;

    let reply = service
        .logout(Some(&caller(&first)), "Ada")
        .await
        .expect(StatusCode::NO_CONTENT);
    assert_eq!(reply.header(REVOCATION_HEADER), "1");
    for grant in [&first, &second] {
        let refused = service.refresh(&grant.refresh_token).await;
        refused.expect_problem(StatusCode::UNAUTHORIZED, "unauthenticated");
    }
    service
        .refresh(&bob.refresh_token)
        .await
        .expect(StatusCode::OK);
    let known = service.revocations(0, 0).await;
    assert_eq!(
        (known.seq, known.revoked),
        (
            1,
            vec![Revocation {
                user_id: first.user_id,
                generation: 2
            }]
        )
    );
}

#[tokio::test]
async fn admins_log_out_others() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    let admin = service.admin("root").await;
    service
        .logout(Some(&admin), "ada")
        .await
        .expect(StatusCode::NO_CONTENT);
    service
        .refresh(&ada.refresh_token)
        .await
        .expect(StatusCode::UNAUTHORIZED);
    service
        .logout(Some(&admin), "nobody")
        .await
        .expect_problem(StatusCode::NOT_FOUND, "not-found");
    service
        .logout(Some(&admin), "no%20name")
        .await
        .expect_problem(StatusCode::NOT_FOUND, "not-found");
}

#[tokio::test]
async fn nobody_else_may() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    let bob = caller(&service.user("bob").await);
    let elsewhere = Caller {
        role: Role::Admin,
        tenant: TenantId("other".to_owned()),
        ..bob.clone()
    };

    service
        .logout(None, "ada")
        .await
        .expect_problem(StatusCode::UNAUTHORIZED, "unauthenticated");
    for name in ["ada", "nobody"] {
        service
            .logout(Some(&bob), name)
            .await
            .expect_problem(StatusCode::FORBIDDEN, "forbidden");
    }
    service
        .logout(Some(&elsewhere), "ada")
        .await
        .expect_problem(StatusCode::NOT_FOUND, "not-found");
    assert_eq!(service.revocations(0, 0).await.seq, 0);
    service
        .refresh(&ada.refresh_token)
        .await
        .expect(StatusCode::OK);
}
