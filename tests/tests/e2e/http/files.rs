//! Lists of files, and their content whole or in parts.

use super::{send, stored};
use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};
use tests::{Account, Server, Socket, content};

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
