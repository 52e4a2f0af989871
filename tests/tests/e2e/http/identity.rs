//! Who is calling is for the token to say, not for a header of the client.

use super::{problem, send, stored};
use reqwest::Method;
use serde_json::{Value, json};
use tests::{Account, Server, Socket, account::http};

#[tokio::test]
async fn nobody_can_say_who_they_are_by_themselves() {
    let server = Server::start().await;
    let url = server.url();
    let ada = Account::signup(&url, "ada").await;
    let eve = Account::signup(&url, "eve").await;
    let root = server.admin("root").await;
    let mut socket = Socket::connect(&ada).await;
    let id = stored(&mut socket, &ada, "secret", json!({}), b"for ada's eyes").await;
    let claims = [
        json!({"user_id": ada.grant.user_id, "name": "ada", "role": "user", "tenant": "default"}),
        json!({"user_id": root.grant.user_id, "name": "root", "role": "admin", "tenant": "default"}),
    ];
    for claim in claims.map(|claim| claim.to_string()) {
        for path in [
            format!("/api/v1/files/{id}"),
            format!("/api/v1/files/{id}/content"),
        ] {
            let lie = eve
                .request(Method::GET, &path)
                .header("x-sluice-caller", &claim);
            problem(send(lie).await, 404, "not-found").await;
            let bare = http()
                .get(format!("{url}{path}"))
                .header("x-sluice-caller", &claim);
            problem(send(bare).await, 401, "unauthenticated").await;
        }
        let list = eve
            .request(Method::GET, "/api/v1/files")
            .header("x-sluice-caller", &claim);
        let list: Value = send(list).await.json().await.unwrap();
        assert_eq!(list["files"], json!([]));
        let who = eve
            .request(Method::GET, "/auth/validate")
            .header("x-sluice-caller", &claim);
        let who: Value = send(who).await.json().await.unwrap();
        assert_eq!(who["user_name"], "eve");
        let out = eve
            .request(Method::PUT, "/auth/logout/ada")
            .header("x-sluice-caller", &claim);
        problem(send(out).await, 403, "forbidden").await;
    }
    assert_eq!(ada.content(&id).await, b"for ada's eyes");
}
