//! Access tokens, verified by someone who knows nothing but the published keys.

use crate::service::{PASSWORD, Service, call, caller, request};
use axum::http::StatusCode;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, errors::ErrorKind};
use protocol::{
    http::Grant,
    identity::{Caller, Role},
    token::{Claims, Jwks},
};

fn verify(token: &str, jwks: &Jwks, audience: &str) -> Result<Claims, ErrorKind> {
    let kid = decode_header(token)
        .unwrap()
        .kid
        .expect("the header names the key");
    let jwk = jwks
        .keys
        .iter()
        .find(|jwk| jwk.kid == kid)
        .expect("the key is published");
    assert_eq!(
        (jwk.kty.as_str(), jwk.crv.as_str(), jwk.alg.as_str()),
        ("OKP", "Ed25519", "EdDSA")
    );
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_issuer(&["sluice"]);
    validation.set_audience(&[audience]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    let key = DecodingKey::from_ed_components(&jwk.x).unwrap();
    decode(token, &key, &validation)
        .map(|data| data.claims)
        .map_err(|error| error.into_kind())
}

#[tokio::test]
async fn they_verify_with_the_published_keys() {
    let service = Service::start().await;
    let grant = service.user("Ada").await;
    let claims = verify(&grant.access_token, &service.jwks().await, "sluice").unwrap();
    assert_eq!(
        (claims.sub, claims.role, claims.generation),
        (grant.user_id, Role::User, 1)
    );
    assert_eq!(claims.exp - claims.iat, grant.expires_in);
    assert_eq!(Caller::from(claims), caller(&grant));
}

#[tokio::test]
async fn they_are_for_their_audience_only() {
    let service = Service::start().await;
    let token = service.user("ada").await.access_token;
    assert_eq!(
        verify(&token, &service.jwks().await, "other"),
        Err(ErrorKind::InvalidAudience)
    );
}

#[tokio::test]
async fn a_changed_token_does_not_verify() {
    let service = Service::start().await;
    let token = service.user("ada").await.access_token;
    let other = service.user("bob").await.access_token;
    let (head, _) = token.rsplit_once('.').unwrap();
    let (_, signature) = other.rsplit_once('.').unwrap();
    let forged = format!("{head}.{signature}");
    assert_eq!(
        verify(&forged, &service.jwks().await, "sluice"),
        Err(ErrorKind::InvalidSignature)
    );
}

#[tokio::test]
async fn refreshing_keeps_the_login_and_another_login_is_another() {
    let service = Service::start().await;
    let jwks = service.jwks().await;
    let login = |grant: &Grant| verify(&grant.access_token, &jwks, "sluice").unwrap().sid;
    let first = service.user("ada").await;
    let refreshed: Grant = service
        .refresh(&first.refresh_token)
        .await
        .expect(StatusCode::OK)
        .json();
    let other: Grant = service
        .login("ada", PASSWORD)
        .await
        .expect(StatusCode::OK)
        .json();
    assert_eq!(login(&first), login(&refreshed));
    assert_ne!(login(&first), login(&other));
}

#[tokio::test]
async fn logging_out_ends_old_tokens_and_spares_new_ones() {
    let service = Service::start().await;
    let jwks = service.jwks().await;
    let old = service.user("ada").await;
    service
        .logout(Some(&caller(&old)), "ada")
        .await
        .expect(StatusCode::NO_CONTENT);
    let new: Grant = service
        .login("ada", PASSWORD)
        .await
        .expect(StatusCode::OK)
        .json();
    let revocation = service.revocations(0, 0).await.revoked[0];
    assert!(revocation.ends(&verify(&old.access_token, &jwks, "sluice").unwrap()));
    assert!(!revocation.ends(&verify(&new.access_token, &jwks, "sluice").unwrap()));
}

#[tokio::test]
async fn instances_share_their_keys() {
    let service = Service::start().await;
    let other = service.another_instance().await;
    let of_other: Jwks = call(&other, request("GET", "/.well-known/jwks.json", None, None))
        .await
        .json();
    assert_eq!(of_other, service.jwks().await);
    assert_eq!(of_other.keys.len(), 1);
}
