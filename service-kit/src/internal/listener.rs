//! What is behind the listener for other services.

use std::{collections::HashMap, convert::Infallible, fmt, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::Request,
    response::{IntoResponse, Response},
    routing::get,
};
use http::StatusCode;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::{Deserialize, Serialize};
use tower::{ServiceExt, service_fn};
use uuid::Uuid;

use super::{
    guard::{Guard, refuse},
    keys::Keys,
};
use crate::{
    problem::{Json, Problem},
    stack,
};

/// The largest body of a call, in bytes. Calls are small: content goes through the stores.
pub(crate) const MAX_BODY_BYTES: usize = 16 << 20;

/// How long a body may take to arrive.
const BODY_DEADLINE: Duration = Duration::from_secs(30);

/// Where an instance says who it is.
pub(crate) const INSTANCE_PATH: &str = "/instance";

/// The name of this process, as long as it lives. A call is signed for one instance, so that it can be let in once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceId(Arc<str>);

/// Who answers at an address: what `GET /instance` tells anyone.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Instance {
    /// Its name.
    pub instance: String,
    /// The services that it has.
    pub services: Vec<String>,
}

/// The routes of a listener for other services: each service's are for signed calls only, the others for anyone.
pub struct Listener {
    keys: Arc<Keys>,
    instance: InstanceId,
    services: HashMap<Arc<str>, Router>,
    public: Router,
}

impl InstanceId {
    /// A name that no other instance has.
    pub fn random() -> Self {
        Self(Uuid::new_v4().simple().to_string().into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Listener {
    /// A listener without services.
    pub fn new(keys: Arc<Keys>, instance: InstanceId) -> Self {
        Self {
            keys,
            instance,
            services: HashMap::new(),
            public: Router::new(),
        }
    }

    /// Adds a service. Its router gets what [`stack::wrap`] gives; the addressee of a call names it, so routers may have the
    /// same paths.
    #[must_use]
    pub fn service(mut self, name: impl Into<Arc<str>>, router: Router) -> Self {
        let name = name.into();
        self.services
            .insert(name.clone(), stack::wrap(name, router));
        self
    }

    /// Adds routes that need no signature: health and metrics. No service can have the same paths.
    #[must_use]
    pub fn public(mut self, router: Router) -> Self {
        self.public = self.public.merge(router);
        self
    }

    /// The finished routes, for [`serve`](crate::lifecycle::serve). They have the layers of [`stack::wrap`].
    pub fn into_router(self) -> Router {
        let mut services: Vec<_> = self.services.keys().map(ToString::to_string).collect();
        services.sort();
        let instance = Instance {
            instance: self.instance.to_string(),
            services,
        };
        let inside = Arc::new(Inside {
            guard: Guard::new(self.keys, self.instance),
            services: self.services,
        });
        let calls = service_fn(move |request| {
            let inside = inside.clone();
            async move { Ok::<_, Infallible>(inside.answer(request).await) }
        });
        let public = self
            .public
            .route(INSTANCE_PATH, get(move || async move { Json(instance) }));
        // After the layers: a service's router has its own.
        stack::wrap("internal", public).fallback_service(calls)
    }
}

/// What is behind the signature.
struct Inside {
    guard: Guard,
    services: HashMap<Arc<str>, Router>,
}

impl Inside {
    async fn answer(&self, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let admitted = self
            .guard
            .admit(&parts, |service| self.services.contains_key(service));
        let claims = match admitted {
            Ok(claims) => claims,
            Err(refused) => return refuse(refused, &parts),
        };
        let body = match collect(body).await {
            Ok(body) => body,
            Err(problem) => return problem.into_response(),
        };
        if let Err(refused) = Guard::check_body(&claims, &body) {
            return refuse(refused, &parts);
        }
        let Some(router) = self.services.get(claims.service.as_str()).cloned() else {
            return Problem::internal().into_response();
        };
        let request = Request::from_parts(parts, Body::from(body));
        router
            .oneshot(request)
            .await
            .unwrap_or_else(|never| match never {})
    }
}

async fn collect(body: Body) -> Result<Bytes, Problem> {
    let body = Limited::new(body, MAX_BODY_BYTES).collect();
    match tokio::time::timeout(BODY_DEADLINE, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(Problem::of_status(StatusCode::PAYLOAD_TOO_LARGE))
        }
        Ok(Err(error)) => Err(Problem::invalid_message(error.to_string())),
        Err(_) => Err(Problem::of_status(StatusCode::REQUEST_TIMEOUT)),
    }
}
