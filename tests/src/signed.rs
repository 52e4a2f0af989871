//! Calls to a service as another service makes them: signed, or wrong in some way.

use crate::account::http;
use serde_json::Value;
use service_kit::internal::{Instance, Keys, signature};
use std::net::SocketAddr;

/// A call, and what it is signed with.
#[derive(Clone, Debug)]
pub struct Call {
    /// The internal listener.
    pub to: SocketAddr,
    /// The service and the instance that the signature names.
    pub addressee: (String, String),
    /// As the setting `internal.keys` has them.
    pub keys: String,
    /// The method and the path.
    pub request: (::http::Method, String),
    /// The body.
    pub body: Value,
    /// When it says that it was signed, in milliseconds since 1970.
    pub time_ms: u64,
    /// What makes it unlike any other.
    pub nonce: signature::Nonce,
}

impl Call {
    /// A call that is right in every way.
    ///
    /// # Panics
    /// When nobody answers there.
    pub async fn new(
        to: SocketAddr,
        service: &str,
        keys: &str,
        (method, path): (::http::Method, &str),
        body: Value,
    ) -> Self {
        let instance = http().get(format!("http://{to}/instance")).send().await;
        let instance = instance.expect("the instance answers").json::<Instance>();
        let instance = instance.await.expect("it says who it is").instance;
        let mut nonce = signature::Nonce::default();
        nonce.copy_from_slice(&crate::random::hex(8).as_bytes()[..16]);
        Self {
            to,
            addressee: (service.to_owned(), instance),
            keys: keys.to_owned(),
            request: (method, path.to_owned()),
            body,
            time_ms: signature::now_ms(),
            nonce,
        }
    }

    /// Makes the call; answers the status and the body of the answer.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn make(&self) -> (u16, Value) {
        let (method, path) = &self.request;
        let body = self.body.to_string();
        let request = ::http::Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json")
            .body(())
            .expect("a request");
        let (mut parts, ()) = request.into_parts();
        let keys = Keys::parse(&self.keys.as_str().into()).expect("keys");
        signature::sign_at(
            &keys,
            (&self.addressee.0, &self.addressee.1),
            &signature::content_hash(body.as_bytes()),
            self.time_ms,
            &self.nonce,
            &mut parts,
        );
        let url = format!("http://{}{path}", self.to);
        let answer = http().request(method.clone(), url);
        let answer = answer.headers(parts.headers).body(body).send().await;
        let answer = answer.expect("the instance answers");
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or_default())
    }
}
