//! Whether it says that it can work.

use crate::support::Harness;

#[tokio::test]
async fn without_the_chunk_cache_it_is_not_ready() {
    let h = Harness::new().await;
    assert_eq!(h.uploader.ready().await, Ok(()));
    h.faults.unavailable();
    let missing = h.uploader.ready().await.unwrap_err();
    assert!(missing.contains("chunk cache"), "{missing}");
    h.faults.heal();
    assert_eq!(h.uploader.ready().await, Ok(()));
}
