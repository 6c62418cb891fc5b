//! The releases of the payload fixture, whole and not.

use std::fs;

use storage_layout::Algorithm;

use super::*;
use crate::maintenance::fixture::Root;

fn sha256(hex: &str) -> Digest {
    Digest::from_hex(Algorithm::Sha256, hex).unwrap()
}

fn only(root: &Root) -> ReleaseStatus {
    let mut all = releases(&root.sources()).unwrap();
    assert_eq!(all.len(), 1);
    all.remove(0)
}

/// The last layer of the release image, which holds the payload's list.
const LIST: &str = "80030eea5f6e7bcd76edd48274753510f1c773aae1447496f423cf25e4c55a3a";
const BUNDLE: &str = "ocp-release-bundle-4.22.1-x86_64";

#[test]
fn a_whole_release() {
    let status = only(&Root::payload());
    assert!(status.is_complete());
    assert_eq!(status.version.as_deref(), Some("4.22.1"));
    assert_eq!(status.bundle.as_ref().map(Tag::as_str), Some(BUNDLE));
    assert_eq!((status.images, status.present, status.bytes), (10, 10, 261_930));
    assert_eq!(status.sources, ["quay.io/openshift-release-dev/ocp-v4.0-art-dev"]);
    for name in ["4.22.1", BUNDLE, status.image.tag.as_str(), &status.image.digest.to_string()] {
        assert!(status.is_called(name), "{name}");
    }
    assert!(!status.is_called("4.22"));
}

#[test]
fn no_release_at_all() {
    assert_eq!(releases(&Root::empty().sources()).unwrap(), []);
}

#[test]
fn without_the_list_the_tags_are_gone_by() {
    let root = Root::payload();
    fs::remove_file(root.at(&Entry::Blob(sha256(LIST)))).unwrap();
    let status = only(&root);
    assert!(!status.is_complete());
    assert_eq!(status.unread, Some(format!("layer sha256:{LIST} is not stored")));
    assert_eq!((status.images, status.present, status.version.clone()), (10, 9, None));
    assert_eq!(status.missing.len(), 1);
    assert_eq!(status.missing[0].part, Part::Image);
    assert_eq!(status.name(), status.image.tag.to_string());
}

#[test]
fn a_cut_blob_is_missing_without_being_hashed() {
    let root = Root::payload();
    let config = sha256("6346f52d9a2dccde341f76dbe2be580877addd20aad297a5d76710b5fc322116");
    let path = root.at(&Entry::Blob(config));
    let content = fs::read(&path).unwrap();
    fs::write(&path, &content[..content.len() - 1]).unwrap();
    let missing: Vec<_> = only(&root).missing.iter().map(|it| it.lacks).collect();
    assert_eq!(missing, [config]);
}
