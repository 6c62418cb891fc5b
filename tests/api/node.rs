//! What is asked of the process rather than of the registry.

use larder::store::Access;

use crate::registry::Larder;
use crate::registry::fixture;

#[tokio::test]
async fn a_writable_registry_is_ready_for_everything() {
    let larder = Larder::empty();
    for path in ["/healthz", "/readyz", "/readyz?write", "/readyz?write=true"] {
        assert_eq!(larder.get(path).await.is(200).bytes(), "ok\n", "{path}");
        larder.head(path).await.is(200);
    }
    let status = larder.get("/v2/_larder/status").await.is(200).json();
    assert_eq!((&status["readable"]["ok"], &status["writable"]["ok"]), (&true.into(), &true.into()));
    assert!(status["roots"].as_array().unwrap().len() == 1 && status["version"].is_string(), "{status}");
}

#[tokio::test]
async fn a_read_only_one_takes_no_writes() {
    let larder = Larder::at(&fixture("payload.iso"), Access::ReadOnly);
    larder.get("/readyz").await.is(200);
    assert_eq!(larder.get("/readyz?write").await.is(503).bytes(), "the registry is read-only\n");
    let status = larder.get("/v2/_larder/status").await.is(200).json();
    assert_eq!(status["writable"]["problem"], "the registry is read-only");
}
