//! Releases as they are told, removed and added; and who may.

use larder::store::Access;
use serde_json::Value;

use crate::registry::Larder;
use crate::registry::fixture;
use crate::registry::unpacked;

const PATH: &str = "/v2/_larder/releases";
const BUNDLE: &str = "ocp-release-bundle-4.22.1-x86_64";

/// The statuses of a release's conditions, by type.
fn holding(release: &Value) -> Vec<String> {
    let conditions = release["conditions"].as_array().unwrap();
    assert!(conditions.iter().all(|it| it["lastTransitionTime"].as_str().unwrap().ends_with('Z')));
    let holding = conditions.iter().filter(|it| it["status"] == "True");
    holding.map(|it| it["type"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_release_is_told_in_the_words_of_the_cluster() {
    let root = unpacked("payload-store.tar.gz");
    let larder = Larder::at(root.path(), Access::ReadWrite);
    let list = larder.get(PATH).await.is(200).json();
    let release = &list["releases"][0];
    assert_eq!((&release["name"], &release["version"]), (&BUNDLE.into(), &"4.22.1".into()));
    assert_eq!((&release["images"], &release["present"]), (&10.into(), &10.into()));
    assert!(release["image"].as_str().unwrap().starts_with("openshift/release-images@sha256:48b44cb7"));
    let types: Vec<_> =
        release["conditions"].as_array().unwrap().iter().map(|it| it["type"].clone()).collect();
    assert_eq!(types, ["Mounted", "Installing", "Available", "Removing", "Degraded"]);
    assert_eq!(holding(release), ["Available"]);
    assert_eq!(release["conditions"][2]["reason"], "ReleaseImageAvailable");
    for name in ["4.22.1", BUNDLE] {
        assert_eq!(larder.get(&format!("{PATH}/{name}")).await.is(200).json(), *release);
    }
    larder.get(&format!("{PATH}/4.23.0")).await.is(404);
    let list = larder.get(&format!("{PATH}?peers")).await.is(200).json();
    assert_eq!(list["peers"], Value::Array(vec![]));
}

#[tokio::test]
async fn a_release_on_a_medium_is_mounted() {
    let larder = Larder::at(&fixture("payload.iso"), Access::ReadOnly);
    let list = larder.get(PATH).await.is(200).json();
    assert_eq!(holding(&list["releases"][0]), ["Mounted", "Available"]);
    larder.delete(&format!("{PATH}/4.22.1")).await.is(405);
    larder.delete(&format!("{PATH}/4.22.1?dry-run")).await.is(405);
}

#[tokio::test]
async fn a_release_is_removed_unless_it_is_in_use() {
    let root = unpacked("payload-store.tar.gz");
    let larder = Larder::at(root.path(), Access::ReadWrite);
    let path = |rest: &str| format!("{PATH}/4.22.1{rest}");
    let planned = larder.delete(&path("?dry-run")).await.is(200).json();
    assert_eq!((&planned["dry_run"], &planned["digest"]), (&true.into(), &planned["digest"]));
    let refused = larder.delete(&path(&format!("?in-use={BUNDLE}"))).await.is(409);
    assert!(refused.json()["errors"][0]["message"].as_str().unwrap().contains("in use"));
    larder.get("/v2/openshift/release/tags/list").await.is(200);
    let removed = larder.delete(&path(&format!("?in-use={BUNDLE}&force"))).await.is(200).json();
    for member in ["bytes", "blobs", "links", "tags"] {
        assert_eq!(removed[member], planned[member], "{member}");
    }
    assert!(removed["bytes"].as_u64().unwrap() > 200_000 && removed["spared_bytes"] == 0, "{removed}");
    assert_eq!(larder.get(PATH).await.is(200).json()["releases"], Value::Array(vec![]));
    larder.delete(&path("")).await.is(404);
    larder.get("/v2/tools/multi/manifests/v1").await.is(200);
}

#[tokio::test]
async fn without_a_medium_there_is_nothing_to_add() {
    let root = unpacked("payload-store.tar.gz");
    let larder = Larder::at(root.path(), Access::ReadWrite);
    let asked = larder.ask("POST", PATH).body(r#"{"release":"4.22.1"}"#).send().await.is(404);
    assert!(asked.json()["errors"][0]["message"].as_str().unwrap().contains("no medium"));
}
