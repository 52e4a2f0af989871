//! The public HTTP surface: statuses, problems with stable codes, lists, and content by ranges.

use reqwest::{Method, RequestBuilder, Response, StatusCode, header};
use serde_json::{Value, json};
use tests::{Account, PASSWORD, Server, Socket, account::http, content, until};

/// A refusal must be a problem with this status and code, and must say for which request.
async fn problem(answer: Response, status: u16, code: &str) -> Value {
    let described = format!("{} {:?}", answer.url(), answer.status());
    assert_eq!(answer.status(), status, "{described}");
    let headers = answer.headers().clone();
    let media_type = headers[header::CONTENT_TYPE].to_str().unwrap();
    assert_eq!(media_type, "application/problem+json", "{described}");
    assert!(headers.contains_key("x-request-id"), "{described}");
    let problem: Value = answer.json().await.expect("JSON");
    assert_eq!(
        (&problem["code"], &problem["status"]),
        (&json!(code), &json!(status)),
        "{described}: {problem}"
    );
    assert!(
        problem["title"]
            .as_str()
            .is_some_and(|title| !title.is_empty()),
        "{problem}"
    );
    problem
}

async fn send(request: RequestBuilder) -> Response {
    request.send().await.expect("the server answers")
}

async fn get(url: &str) -> Response {
    send(http().get(url)).await
}

/// Uploads a file and waits until it is stored; answers its id.
async fn stored(
    socket: &mut Socket,
    account: &Account,
    name: &str,
    extra: Value,
    data: &[u8],
) -> String {
    let mut start =
        json!({"type": "start-transfer", "stream": 1, "name": name, "size": data.len()});
    let fields = extra.as_object().expect("an object").clone();
    start.as_object_mut().expect("an object").extend(fields);
    let started = socket.ask(start).await;
    assert_eq!(started["type"], "transfer-started", "{started}");
    socket.send_content(1, data, 0).await;
    let completed = socket.complete(1).await;
    let id = completed["file_id"]
        .as_str()
        .expect("a file's id")
        .to_owned();
    until("the file to be stored", async || {
        let file = account.get_json(&format!("/api/v1/files/{id}")).await;
        (file["status"] == "uploaded_successfully").then_some(())
    })
    .await;
    id
}

#[tokio::test]
async fn signing_up_and_logging_in() {
    let server = Server::start().await;
    let url = server.url();
    let ada = Account::signup(&url, "Ada").await;
    let signup = |body: Value| send(http().post(format!("{url}/auth/signup")).json(&body));
    let login = |name: &str, password: &str| {
        let body = json!({"password": password});
        send(http().put(format!("{url}/auth/login/{name}")).json(&body))
    };
    for (body, status, code) in [
        (
            json!({"user_name": "Ada", "password": PASSWORD}),
            409,
            "conflict",
        ),
        (
            json!({"user_name": "aDA", "password": PASSWORD}),
            409,
            "conflict",
        ),
        (
            json!({"user_name": "a b", "password": PASSWORD}),
            422,
            "name-invalid",
        ),
        (
            json!({"user_name": "", "password": PASSWORD}),
            422,
            "name-invalid",
        ),
        (
            json!({"user_name": "bob", "password": "short"}),
            400,
            "invalid-message",
        ),
        (json!({"user_name": "bob"}), 400, "invalid-message"),
        (json!([]), 400, "invalid-message"),
    ] {
        problem(signup(body).await, status, code).await;
    }
    // Whoever signs up is a user, whatever is asked for.
    let body =
        json!({"user_name": "eve", "password": PASSWORD, "role": "admin", "tenant": "other"});
    let eve = signup(body).await;
    assert_eq!(eve.status(), 201);
    assert_eq!(eve.json::<Value>().await.unwrap()["role"], "user");

    let again = login("ada", PASSWORD).await;
    assert_eq!(again.status(), 200);
    let again: Value = again.json().await.unwrap();
    assert_eq!(
        (&again["user_id"], &again["user_name"]),
        (&json!(ada.grant.user_id), &json!("Ada"))
    );
    assert!(again["expires_in"].as_u64() > Some(0));
    for (name, password) in [
        ("ada", "wrong password"),
        ("nobody", PASSWORD),
        ("a%20b", PASSWORD),
    ] {
        problem(login(name, password).await, 401, "unauthenticated").await;
    }
    let valid = ada.get_json("/auth/validate").await;
    assert_eq!(
        (&valid["user_id"], &valid["user_name"], &valid["role"]),
        (&json!(ada.grant.user_id), &json!("Ada"), &json!("user"))
    );
    assert!(valid["permissions"].is_array(), "{valid}");
    let jwks: Value = get(&format!("{url}/.well-known/jwks.json"))
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(
        (&jwks["keys"][0]["kty"], &jwks["keys"][0]["d"]),
        (&json!("OKP"), &Value::Null)
    );
}

#[tokio::test]
async fn refreshing_and_logging_out() {
    let server = Server::start().await;
    let url = server.url();
    let ada = Account::signup(&url, "ada").await;
    let refresh = |token: &str| {
        let body = json!({"refresh_token": token});
        send(http().post(format!("{url}/auth/refresh")).json(&body))
    };
    let fresh = refresh(&ada.grant.refresh_token).await;
    assert_eq!(fresh.status(), 200);
    let fresh: Value = fresh.json().await.unwrap();
    assert_ne!(fresh["refresh_token"], ada.grant.refresh_token);
    for token in ["", "x", ada.token()] {
        problem(refresh(token).await, 401, "unauthenticated").await;
    }
    let logout = |name: &str| send(ada.request(Method::PUT, &format!("/auth/logout/{name}")));
    problem(logout("bob").await, 403, "forbidden").await;
    problem(
        send(http().put(format!("{url}/auth/logout/ada"))).await,
        401,
        "unauthenticated",
    )
    .await;
    let out = logout("ada").await;
    assert_eq!(out.status(), 204);
    assert!(
        out.headers()
            .keys()
            .all(|name| !name.as_str().starts_with("x-sluice")),
        "what services tell each other stays inside: {:?}",
        out.headers()
    );
    problem(logout("ada").await, 401, "unauthenticated").await;
    problem(
        refresh(fresh["refresh_token"].as_str().unwrap()).await,
        401,
        "unauthenticated",
    )
    .await;
    // An admin can log others out.
    let root = server.admin("root").await;
    let bob = Account::signup(&url, "bob").await;
    let out = send(root.request(Method::PUT, "/auth/logout/bob")).await;
    assert_eq!(out.status(), 204);
    problem(bob.get("/auth/validate").await, 401, "unauthenticated").await;
    problem(
        send(root.request(Method::PUT, "/auth/logout/nobody")).await,
        404,
        "not-found",
    )
    .await;
}

#[tokio::test]
async fn refusals_are_problems_with_stable_codes() {
    let server = Server::start().await;
    let url = server.url();
    let ada = Account::signup(&url, "ada").await;
    let unknown = "01920000-0000-7000-8000-000000000000";
    for path in [
        "/auth/validate",
        "/api/v1/files",
        &format!("/api/v1/files/{unknown}"),
        &format!("/api/v1/files/{unknown}/content"),
        &format!("/api/v1/uploads/{unknown}"),
        &format!("/client/history/{unknown}"),
    ] {
        problem(get(&format!("{url}{path}")).await, 401, "unauthenticated").await;
        let bad = http().get(format!("{url}{path}"));
        problem(
            send(bad.bearer_auth("no.good.token")).await,
            401,
            "unauthenticated",
        )
        .await;
        let basic = http().get(format!("{url}{path}"));
        problem(
            send(basic.basic_auth("ada", Some(PASSWORD))).await,
            401,
            "unauthenticated",
        )
        .await;
    }
    for (path, status, code) in [
        ("/no/such/route", 404, "not-found"),
        ("/auth", 404, "not-found"),
        ("/file/upload", 404, "not-found"),
        ("/uploads", 404, "not-found"),
        ("/notifications/heads", 404, "not-found"),
        ("/auth/revocations?after=0", 404, "not-found"),
        ("/auth/signup", 405, "method-not-allowed"),
        ("/api/v1/files/x", 400, "invalid-message"),
        ("/api/v1/files/x/content", 400, "invalid-message"),
        ("/api/v1/uploads/x", 400, "invalid-message"),
        ("/client/history/x", 400, "invalid-message"),
        (&format!("/api/v1/files/{unknown}"), 404, "not-found"),
        (
            &format!("/api/v1/files/{unknown}/content"),
            404,
            "not-found",
        ),
        (&format!("/api/v1/uploads/{unknown}"), 404, "not-found"),
        (&format!("/client/history/{unknown}"), 403, "forbidden"),
        (&format!("/api/v1/files?owner={unknown}"), 403, "forbidden"),
        ("/api/v1/files?limit=0", 400, "invalid-message"),
        ("/api/v1/files?limit=1001", 400, "invalid-message"),
        ("/api/v1/files?limit=many", 400, "invalid-message"),
        ("/api/v1/files?cursor=nonsense", 400, "invalid-message"),
        ("/api/v1/files?status=lost", 400, "invalid-message"),
        ("/api/v1/files?from=yesterday", 400, "invalid-message"),
        ("/api/v1/files?owner=ada", 400, "invalid-message"),
    ] {
        problem(ada.get(path).await, status, code).await;
    }
    for (method, path) in [
        (Method::DELETE, "/auth/signup"),
        (Method::POST, "/auth/login/ada"),
        (Method::POST, "/api/v1/files"),
        (Method::PUT, "/healthz"),
    ] {
        let refused = send(ada.request(method, path)).await;
        assert!(refused.headers().contains_key(header::ALLOW));
        problem(refused, 405, "method-not-allowed").await;
    }
    let signup = || http().post(format!("{url}/auth/signup"));
    let json = (header::CONTENT_TYPE, "application/json");
    problem(
        send(signup().header(json.0, json.1).body("{")).await,
        400,
        "invalid-message",
    )
    .await;
    problem(
        send(signup().body("{}")).await,
        415,
        "unsupported-media-type",
    )
    .await;
    // Just above the limit, so that the server has read all of it when it refuses, and the answer is not lost in a reset.
    let mut large = json!({"user_name": "", "password": PASSWORD});
    let missing = (2 << 20) + 1 - large.to_string().len();
    large["user_name"] = json!("x".repeat(missing));
    problem(send(signup().json(&large)).await, 413, "body-too-large").await;
}

#[tokio::test]
async fn lists_are_filtered_and_paged() {
    let server = Server::start().await;
    let ada = Account::signup(&server.url(), "ada").await;
    let mut socket = Socket::connect(&ada).await;
    let mut ids = Vec::new();
    for (name, tags) in [
        ("one", json!(["a"])),
        ("two", json!(["a", "b"])),
        ("three", json!(null)),
    ] {
        let extra = json!({"tags": tags, "title": name, "captured_at": "2026-01-02T03:04:05Z", "content_type": "text/plain"});
        let data = content::bytes(ids.len() as u64, 100);
        ids.push(stored(&mut socket, &ada, name, extra, &data).await);
    }
    socket.start(9, "still-open", 10).await;
    let names = async |query: &str| {
        let page = ada.get_json(&format!("/api/v1/files?{query}")).await;
        let files = page["files"].as_array().unwrap().clone();
        files
            .iter()
            .map(|file| file["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let all = ada.files().await;
    let received = |number: usize| all[number]["received_at"].as_str().unwrap();
    let me = ada.grant.user_id;
    for (query, expected) in [
        (String::new(), vec!["three", "two", "one"]),
        (format!("owner={me}"), vec!["three", "two", "one"]),
        ("tag=a".to_owned(), vec!["two", "one"]),
        ("tag=b".to_owned(), vec!["two"]),
        ("tag=A".to_owned(), vec![]),
        (
            "status=uploaded_successfully".to_owned(),
            vec!["three", "two", "one"],
        ),
        ("status=upload_failed".to_owned(), vec![]),
        (format!("from={}", received(1)), vec!["three", "two"]),
        (format!("to={}", received(1)), vec!["one"]),
        (format!("from={0}&to={0}", received(1)), vec![]),
        ("tag=a&limit=1".to_owned(), vec!["two"]),
    ] {
        assert_eq!(names(&query).await, expected, "{query}");
    }
    let first = ada.get_json("/api/v1/files?limit=2").await;
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = ada
        .get_json(&format!("/api/v1/files?limit=2&cursor={cursor}"))
        .await;
    assert_eq!(
        (&second["files"][0]["name"], &second["next_cursor"]),
        (&json!("one"), &Value::Null)
    );
    // The same files wherever they are asked for.
    let history = ada.get_json(&format!("/client/history/{me}")).await;
    assert_eq!(history["files"], json!(all));
    let over_socket = socket.ask(json!({"type": "get-history"})).await;
    assert_eq!(over_socket["files"], json!(all));
    assert_eq!(
        ada.get_json(&format!("/api/v1/files/{}", ids[1])).await,
        all[1]
    );
    assert_eq!(
        (
            &all[2]["title"],
            &all[2]["tags"],
            &all[2]["captured_at"],
            &all[2]["content_type"],
            &all[2]["owner"]
        ),
        (
            &json!("one"),
            &json!(["a"]),
            &json!("2026-01-02T03:04:05Z"),
            &json!("text/plain"),
            &json!({"id": me, "name": "ada"})
        )
    );
}

#[tokio::test]
async fn content_is_served_whole_in_parts_or_not_again() {
    let server = Server::start().await;
    let ada = Account::signup(&server.url(), "ada").await;
    let mut socket = Socket::connect(&ada).await;
    let data = content::bytes(1, 300_000);
    let extra = json!({"content_type": "text/html"});
    let id = stored(&mut socket, &ada, "naïve page.html", extra, &data).await;
    let path = format!("/api/v1/files/{id}/content");
    let whole = ada.get(&path).await;
    let headers = whole.headers().clone();
    for (name, value) in [
        ("content-type", "text/html"),
        ("content-length", "300000"),
        ("accept-ranges", "bytes"),
        ("x-content-type-options", "nosniff"),
        (
            "content-disposition",
            "attachment; filename=\"na_ve page.html\"; filename*=UTF-8''na%C3%AFve%20page.html",
        ),
    ] {
        assert_eq!(headers[name], value);
    }
    assert!(
        headers["repr-digest"]
            .to_str()
            .unwrap()
            .starts_with("sha-256=:")
    );
    assert!(whole.bytes().await.unwrap() == data);
    let head = send(ada.request(Method::HEAD, &path)).await;
    assert_eq!(
        (head.status().as_u16(), &head.headers()["content-length"]),
        (200, &headers["content-length"])
    );

    let part = |range: &str| send(ada.request(Method::GET, &path).header(header::RANGE, range));
    for (range, start, end) in [
        ("bytes=0-0", 0, 1),
        ("bytes=1000-1999", 1000, 2000),
        ("bytes=299999-", 299_999, 300_000),
        ("bytes=-500", 299_500, 300_000),
        ("bytes=299000-999999", 299_000, 300_000),
    ] {
        let answer = part(range).await;
        assert_eq!(answer.status(), StatusCode::PARTIAL_CONTENT, "{range}");
        let says = format!("bytes {start}-{}/300000", end - 1);
        assert_eq!(answer.headers()["content-range"], says.as_str());
        assert!(answer.bytes().await.unwrap() == data[start..end], "{range}");
    }
    let beyond = part("bytes=300000-").await;
    assert_eq!(beyond.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(beyond.headers()["content-range"], "bytes */300000");

    let etag = headers["etag"].to_str().unwrap();
    let if_header = |name: header::HeaderName, value: &str| {
        send(
            ada.request(Method::GET, &path)
                .header(name, value)
                .header(header::RANGE, "bytes=0-9"),
        )
    };
    for (name, value, status) in [
        (header::IF_NONE_MATCH, etag, 304),
        (header::IF_NONE_MATCH, "*", 304),
        (header::IF_NONE_MATCH, "\"other\"", 206),
        (header::IF_MATCH, etag, 206),
        (header::IF_MATCH, "\"other\"", 412),
        (header::IF_RANGE, etag, 206),
        (header::IF_RANGE, "\"other\"", 200),
    ] {
        let answer = if_header(name.clone(), value).await;
        assert_eq!(answer.status(), status, "{name}: {value}");
    }
}

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

#[tokio::test]
async fn the_server_tells_how_it_is() {
    let server = Server::start().await;
    let url = server.url();
    let ada = Account::signup(&url, "ada").await;
    let status = async |path: &str| {
        get(&format!("{url}{path}"))
            .await
            .json::<Value>()
            .await
            .unwrap()["status"]
            .clone()
    };
    assert_eq!(status("/healthz").await, "alive");
    assert_eq!(status("/readyz").await, "ready");
    let mut socket = Socket::connect(&ada).await;
    stored(
        &mut socket,
        &ada,
        "a.dat",
        json!({}),
        &content::bytes(1, 5000),
    )
    .await;
    let metrics = get(&format!("{url}/metrics")).await;
    let media_type = metrics.headers()[header::CONTENT_TYPE].to_str().unwrap();
    assert!(media_type.starts_with("text/plain"), "{media_type}");
    assert_eq!(server.metric("sluice_sessions").await, 1.0);
    // No name of a user or file, and no id: time series must not grow with what clients do.
    let text = metrics.text().await.unwrap();
    assert!(!text.contains("a.dat") && !text.contains(&ada.grant.user_id.to_string()));
    get(&format!("{url}/no/such/route/{}", ada.grant.user_id)).await;
    let text = get(&format!("{url}/metrics")).await.text().await.unwrap();
    assert!(!text.contains(&ada.grant.user_id.to_string()));
    drop(socket);
    until("the session to be gone", async || {
        (server.metric("sluice_sessions").await == 0.0).then_some(())
    })
    .await;
    let traced = send(
        http()
            .get(format!("{url}/healthz"))
            .header("x-request-id", "trace-1"),
    )
    .await;
    assert_eq!(traced.headers()["x-request-id"], "trace-1");
}
