//! A service on a fresh database, and calls to it.

use auth::{Auth, Config, PasswordConfig};
use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Request, StatusCode, header::CONTENT_TYPE},
};
use protocol::{
    http::Grant,
    identity::{CALLER_HEADER, Caller, Role},
    ids::TenantId,
    token::{Jwks, Revocations},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use service_kit::config::ByteSize;
use tempfile::TempDir;
use tower::ServiceExt;

/// The password of everybody.
pub(crate) const PASSWORD: &str = "correct horse";

/// A service whose data goes away with it.
pub(crate) struct Service {
    config: Config,
    folder: TempDir,
    router: Router,
}

/// What a call answered.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// A configuration whose hashes cost next to nothing.
pub(crate) fn cheap() -> Config {
    let passwords = PasswordConfig {
        memory: ByteSize::kib(8),
        iterations: 1,
        ..PasswordConfig::default()
    };
    Config {
        passwords,
        ..Config::default()
    }
}

impl Service {
    pub(crate) async fn start() -> Self {
        Self::with(cheap()).await
    }

    pub(crate) async fn with(config: Config) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let router = instance(&config, &url(&folder)).await;
        Self {
            config,
            folder,
            router,
        }
    }

    /// Another instance on the same database.
    pub(crate) async fn another_instance(&self) -> Router {
        instance(&self.config, &url(&self.folder)).await
    }

    /// Creates an admin, and says how it calls.
    pub(crate) async fn admin(&self, name: &str) -> Caller {
        let user_id = auth::admin::create(&self.config, &url(&self.folder), name, PASSWORD.into())
            .await
            .unwrap();
        Caller {
            user_id,
            name: name.to_owned(),
            role: Role::Admin,
            tenant: TenantId::default(),
        }
    }

    pub(crate) async fn signup(&self, name: &str) -> Reply {
        self.post(
            "/auth/signup",
            json!({"user_name": name, "password": PASSWORD}),
        )
        .await
    }

    /// Signs up someone for whom nothing stands in the way.
    pub(crate) async fn user(&self, name: &str) -> Grant {
        self.signup(name).await.expect(StatusCode::CREATED).json()
    }

    pub(crate) async fn login(&self, name: &str, password: &str) -> Reply {
        let body = json!({"password": password});
        self.call(request(
            "PUT",
            &format!("/auth/login/{name}"),
            None,
            Some(&body),
        ))
        .await
    }

    pub(crate) async fn refresh(&self, token: &str) -> Reply {
        self.post("/auth/refresh", json!({"refresh_token": token}))
            .await
    }

    pub(crate) async fn logout(&self, caller: Option<&Caller>, name: &str) -> Reply {
        self.call(request(
            "PUT",
            &format!("/auth/logout/{name}"),
            caller,
            None,
        ))
        .await
    }

    pub(crate) async fn revocations(&self, after: u64, wait_ms: u64) -> Revocations {
        let path = format!("/auth/revocations?after={after}&wait_ms={wait_ms}");
        self.get(&path, None).await.expect(StatusCode::OK).json()
    }

    pub(crate) async fn jwks(&self) -> Jwks {
        self.get("/.well-known/jwks.json", None)
            .await
            .expect(StatusCode::OK)
            .json()
    }

    pub(crate) async fn get(&self, path: &str, caller: Option<&Caller>) -> Reply {
        self.call(request("GET", path, caller, None)).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Reply {
        self.call(request("POST", path, None, Some(&body))).await
    }

    async fn call(&self, request: Request<Body>) -> Reply {
        call(&self.router, request).await
    }
}

impl Reply {
    #[track_caller]
    pub(crate) fn expect(self, status: StatusCode) -> Self {
        assert_eq!(
            self.status,
            status,
            "{}",
            String::from_utf8_lossy(&self.body)
        );
        self
    }

    #[track_caller]
    pub(crate) fn expect_problem(&self, status: StatusCode, code: &str) {
        assert_eq!(
            self.status,
            status,
            "{}",
            String::from_utf8_lossy(&self.body)
        );
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.json::<Value>()["code"], code);
    }

    #[track_caller]
    pub(crate) fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body).unwrap()
    }

    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .unwrap_or_else(|| panic!("no header {name}"))
            .to_str()
            .unwrap()
    }
}

/// How the owner of a grant calls.
pub(crate) fn caller(grant: &Grant) -> Caller {
    Caller {
        user_id: grant.user_id,
        name: grant.user_name.clone(),
        role: grant.role,
        tenant: TenantId::default(),
    }
}

pub(crate) fn request(
    method: &str,
    path: &str,
    caller: Option<&Caller>,
    body: Option<&Value>,
) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(caller) = caller {
        request = request.header(CALLER_HEADER, serde_json::to_string(caller).unwrap());
    }
    match body {
        Some(body) => request
            .header(CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_string())),
        None => request.body(Body::empty()),
    }
    .unwrap()
}

pub(crate) async fn call(router: &Router, request: Request<Body>) -> Reply {
    let response = router.clone().oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap().to_vec();
    Reply {
        status: head.status,
        headers: head.headers,
        body,
    }
}

fn url(folder: &TempDir) -> String {
    format!("sqlite:{}", folder.path().join("auth.db").display())
}

async fn instance(config: &Config, database_url: &str) -> Router {
    auth::router(Auth::open(config.clone(), database_url).await.unwrap())
}
