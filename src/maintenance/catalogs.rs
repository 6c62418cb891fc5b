//! The operator catalogs that a store holds.
//!
//! Knows where an image's labels are read. Does not know which labels make a catalog: that is `release`'s.

use std::sync::Arc;

use storage_layout::Digest;

use crate::maintenance::tree::Tree;
use crate::oci::Manifest;
use crate::oci::Role;
use crate::oci::children;
use crate::release;
use crate::release::Catalog;
use crate::release::CatalogFormat;
use crate::store::Error;
use crate::store::Source;

/// The catalogs that are tagged in a store, in the order of their names. What cannot be read is none. Waits
/// for the disk.
///
/// # Errors
/// A root cannot be read.
pub fn catalogs(sources: &[Arc<dyn Source>]) -> Result<Vec<Catalog>, Error> {
    let tree = Tree(sources);
    let mut catalogs = Vec::new();
    let (repositories, _) = tree.repositories();
    let of_releases = [release::BUNDLES, release::IMAGES, release::COMPONENTS];
    for repository in repositories.into_iter().filter(|it| !of_releases.contains(&it.as_str())) {
        for tagged in tree.tags(&repository)? {
            // oc-mirror tags an image that was named by its digest with that digest, as others tag what is
            // attached to it.
            if release::attached_to(&tagged.tag).is_some_and(|it| it != tagged.digest) {
                continue;
            }
            let (repository, tag) = (repository.clone(), tagged.tag);
            let format = format(tree, &tagged.digest);
            catalogs.extend(format.map(|format| Catalog { repository, tag, format }));
        }
    }
    Ok(catalogs)
}

/// What an image holds; of one for several platforms, the first that is here.
fn format(tree: Tree<'_>, digest: &Digest) -> Option<CatalogFormat> {
    let (manifest, platforms) = image(tree, digest)?;
    let manifest = match platforms.is_empty() {
        true => manifest,
        false => platforms.iter().find_map(|it| image(tree, it))?.0,
    };
    let config = children(&manifest).find(|it| it.role == Role::Config)?.descriptor.digest;
    CatalogFormat::of_config(&tree.manifest(&config).ok()??)
}

/// A manifest, and those that it lists.
fn image(tree: Tree<'_>, digest: &Digest) -> Option<(Manifest, Vec<Digest>)> {
    let manifest = Manifest::parse(&tree.manifest(digest).ok()??, None).ok()?;
    let listed = children(&manifest).filter(|it| it.role == Role::Manifest).map(|it| it.descriptor.digest);
    let listed = listed.collect();
    Some((manifest, listed))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use serde_json::Value;
    use serde_json::json;
    use sha2::Digest as _;
    use sha2::Sha256;
    use storage_layout::Algorithm;
    use storage_layout::Entry;
    use storage_layout::RepositoryName;
    use storage_layout::Tag;

    use super::*;
    use crate::maintenance::fixture::Root;

    const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";

    fn write(path: &Path, content: &[u8]) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn store(root: &Root, content: &Value) -> (Digest, usize) {
        let content = content.to_string();
        let hex: String = Sha256::digest(&content).iter().map(|it| format!("{it:02x}")).collect();
        let digest = Digest::from_hex(Algorithm::Sha256, &hex).unwrap();
        write(&root.at(&Entry::Blob(digest)), content.as_bytes());
        (digest, content.len())
    }

    fn image(root: &Root, labels: &Value) -> (Digest, usize) {
        let (config, size) = store(root, &json!({ "config": { "Labels": labels } }));
        let config = json!({ "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": config.to_string(), "size": size });
        store(root, &json!({ "schemaVersion": 2, "mediaType": IMAGE, "config": config, "layers": [] }))
    }

    fn tag(root: &Root, repository: &str, tag: &str, digest: Digest) {
        let (repository, tag) = (RepositoryName::parse(repository).unwrap(), Tag::parse(tag).unwrap());
        let link = Entry::RevisionLink(repository.clone(), digest);
        write(&root.at(&link), digest.to_string().as_bytes());
        write(&root.at(&Entry::TagCurrent(repository, tag)), digest.to_string().as_bytes());
    }

    #[test]
    fn catalogs_are_known_by_their_labels() {
        let root = Root::payload();
        let label = json!({ "operators.operatorframework.io.index.configs.v1": "/configs" });
        let (catalog, size) = image(&root, &label);
        let (plain, _) = image(&root, &json!({ "a": "b" }));
        tag(&root, "redhat/index", "v4.21", catalog);
        tag(&root, "redhat/index", "other", plain);
        tag(&root, "redhat/index", &catalog.to_string().replace(':', "-"), catalog);
        tag(&root, "redhat/index", &plain.to_string().replace(':', "-"), catalog);
        let absent = json!({ "mediaType": IMAGE, "digest": format!("sha256:{}", "0".repeat(64)), "size": 9 });
        let listed = json!([absent, { "mediaType": IMAGE, "digest": catalog.to_string(), "size": size }]);
        let index = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": listed });
        tag(&root, "redhat/many", "v1", store(&root, &index).0);
        let found = catalogs(&root.sources()).unwrap();
        let found: Vec<_> = found.iter().map(|it| format!("{}:{}", it.repository, it.tag)).collect();
        let digest = format!("redhat/index:{}", catalog.to_string().replace(':', "-"));
        assert_eq!(found, [digest, "redhat/index:v4.21".to_owned(), "redhat/many:v1".to_owned()]);
    }

    #[test]
    fn a_release_alone_has_none() {
        assert_eq!(catalogs(&Root::payload().sources()).unwrap(), []);
    }
}
