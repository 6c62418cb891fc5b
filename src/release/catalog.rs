//! Operator catalogs: how an image is known to be one, and what a cluster must be told to use it from here.
//!
//! Knows the labels that opm gives a catalog's image (operator-registry, `pkg/containertools/labels.go`), and
//! CatalogSource (OLM v0) and ClusterCatalog (OLM v1) under the names that oc-mirror v2 gives its own, so
//! that these take their place. Does not know where an image's config is read from, or who applies them.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Deserialize;
use storage_layout::RepositoryName;
use storage_layout::Tag;

use crate::release::Host;

/// An operator catalog as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Catalog {
    /// Where it lies.
    pub repository: RepositoryName,
    /// Under which tag.
    pub tag: Tag,
    /// What is in it.
    pub format: CatalogFormat,
}

/// What a catalog's image holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CatalogFormat {
    /// Declarative configurations, which either OLM reads.
    Files,
    /// A database, which only CatalogSource reads.
    Database,
}

impl CatalogFormat {
    /// What an image with this config holds; `None` where it is no catalog.
    pub fn of_config(config: &[u8]) -> Option<Self> {
        let Config { config: Some(Section { labels: Some(labels) }) } =
            serde_json::from_slice(config).ok()?
        else {
            return None;
        };
        if labels.contains_key("operators.operatorframework.io.index.configs.v1") {
            Some(Self::Files)
        } else {
            labels.contains_key("operators.operatorframework.io.index.database.v1").then_some(Self::Database)
        }
    }
}

/// The part of an image's config that counts here.
#[derive(Deserialize)]
struct Config {
    config: Option<Section>,
}

#[derive(Deserialize)]
struct Section {
    #[serde(rename = "Labels")]
    labels: Option<BTreeMap<String, serde::de::IgnoredAny>>,
}

/// The CatalogSources, as YAML documents. Their pods run on any node, so of `hosts` the first is named that
/// means this registry everywhere.
pub fn catalog_sources(catalogs: &[Catalog], hosts: &[Host]) -> String {
    let Some(host) = reached_from_everywhere(hosts) else { return String::new() };
    let mut text = String::new();
    for (name, Catalog { repository, tag, .. }) in named("cs", catalogs.iter()) {
        let _ = write!(
            text,
            "---\napiVersion: operators.coreos.com/v1alpha1\nkind: CatalogSource\nmetadata:\n  name: {name}\n  \
             namespace: openshift-marketplace\nspec:\n  image: \"{}/{repository}:{tag}\"\n  sourceType: grpc\n",
            host.as_str()
        );
    }
    text
}

/// The ClusterCatalogs, as YAML documents: of those catalogs that they can be made of.
pub fn cluster_catalogs(catalogs: &[Catalog], hosts: &[Host]) -> String {
    let Some(host) = reached_from_everywhere(hosts) else { return String::new() };
    let mut text = String::new();
    let of_files = catalogs.iter().filter(|it| it.format == CatalogFormat::Files);
    for (name, Catalog { repository, tag, .. }) in named("cc", of_files) {
        let _ = write!(
            text,
            "---\napiVersion: olm.operatorframework.io/v1\nkind: ClusterCatalog\nmetadata:\n  name: {name}\nspec:\n  \
             priority: 0\n  source:\n    image:\n      ref: \"{}/{repository}:{tag}\"\n    type: Image\n",
            host.as_str()
        );
    }
    text
}

fn reached_from_everywhere(hosts: &[Host]) -> Option<&Host> {
    hosts.iter().find(|it| !it.is_local()).or(hosts.first())
}

/// Each catalog by a name of its own: as oc-mirror v2 makes it of the last part of the repository and the
/// tag, or of the whole path where two would have the same.
fn named<'a>(
    prefix: &str,
    catalogs: impl Iterator<Item = &'a Catalog>,
) -> impl Iterator<Item = (String, &'a Catalog)> {
    let mut by_name: BTreeMap<String, &Catalog> = BTreeMap::new();
    for catalog in catalogs {
        let path = catalog.repository.as_str();
        let last = path.rsplit('/').next().unwrap_or(path);
        let short = label(&format!("{prefix}-{last}-{}", catalog.tag));
        let whole = || label(&format!("{prefix}-{path}-{}", catalog.tag));
        let name = if by_name.contains_key(&short) { whole() } else { short };
        by_name.insert(name, catalog);
    }
    by_name.into_iter()
}

/// The longest label (RFC 1035, section 2.3.4).
const LONGEST_LABEL: usize = 63;

/// A text as a label of RFC 1035, which such objects are named by.
fn label(text: &str) -> String {
    let plain = |it: char| if it.is_ascii_alphanumeric() { it.to_ascii_lowercase() } else { '-' };
    let label: String = text.chars().map(plain).take(LONGEST_LABEL).collect();
    label.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog(repository: &str, tag: &str, format: CatalogFormat) -> Catalog {
        let repository = RepositoryName::parse(repository).unwrap();
        Catalog { repository, tag: Tag::parse(tag).unwrap(), format }
    }

    fn hosts() -> [Host; 2] {
        ["localhost:22625", "api-int.a.b:22625"].map(|it| Host::parse(it).unwrap())
    }

    #[test]
    fn what_an_image_holds_by_its_labels() {
        let labelled = |label: &str| format!(r#"{{"config":{{"Labels":{{"a":"b","{label}":"/configs"}}}}}}"#);
        let index = "operators.operatorframework.io.index";
        for (config, expected) in [
            (labelled(&format!("{index}.configs.v1")), Some(CatalogFormat::Files)),
            (labelled(&format!("{index}.database.v1")), Some(CatalogFormat::Database)),
            (labelled("operators.operatorframework.io.bundle.package.v1"), None),
            (r#"{"config":{"Labels":null}}"#.to_owned(), None),
            (r#"{"config":null}"#.to_owned(), None),
            (r#"{"architecture":"amd64"}"#.to_owned(), None),
            ("[]".to_owned(), None),
            ("\u{0}".to_owned(), None),
        ] {
            assert_eq!(CatalogFormat::of_config(config.as_bytes()), expected, "{config}");
        }
    }

    #[test]
    fn catalogs_as_oc_mirror_writes_them() {
        let catalogs = [
            catalog("certified/old-index", "v4.9", CatalogFormat::Database),
            catalog("redhat/redhat-operator-index", "v4.21", CatalogFormat::Files),
        ];
        assert_eq!(
            catalog_sources(&catalogs, &hosts()),
            r#"---
apiVersion: operators.coreos.com/v1alpha1
kind: CatalogSource
metadata:
  name: cs-old-index-v4-9
  namespace: openshift-marketplace
spec:
  image: "api-int.a.b:22625/certified/old-index:v4.9"
  sourceType: grpc
---
apiVersion: operators.coreos.com/v1alpha1
kind: CatalogSource
metadata:
  name: cs-redhat-operator-index-v4-21
  namespace: openshift-marketplace
spec:
  image: "api-int.a.b:22625/redhat/redhat-operator-index:v4.21"
  sourceType: grpc
"#
        );
        assert_eq!(
            cluster_catalogs(&catalogs, &hosts()),
            r#"---
apiVersion: olm.operatorframework.io/v1
kind: ClusterCatalog
metadata:
  name: cc-redhat-operator-index-v4-21
spec:
  priority: 0
  source:
    image:
      ref: "api-int.a.b:22625/redhat/redhat-operator-index:v4.21"
    type: Image
"#
        );
    }

    #[test]
    fn where_there_are_none_there_is_nothing_to_say() {
        assert_eq!(catalog_sources(&[], &hosts()), "");
        assert_eq!(cluster_catalogs(&[], &hosts()), "");
    }

    #[test]
    fn every_catalog_has_a_name_of_its_own() {
        let files = CatalogFormat::Files;
        let catalogs = [catalog("a/index", "V_1", files), catalog("b/index", "v-1", files)];
        let names: Vec<_> = named("cc", catalogs.iter()).map(|(name, _)| name).collect();
        assert_eq!(names, ["cc-b-index-v-1", "cc-index-v-1"]);
        let long = catalog(&"x".repeat(80), "v1", files);
        let name = named("cc", [&long].into_iter()).next().map(|(name, _)| name.len());
        assert_eq!(name, Some(LONGEST_LABEL));
    }

    #[test]
    fn a_registry_known_only_as_local_is_better_than_none() {
        let only = Host::parse("[::1]:5000").unwrap();
        let catalogs = [catalog("i", "v1", CatalogFormat::Files)];
        assert!(catalog_sources(&catalogs, std::slice::from_ref(&only)).contains("\"[::1]:5000/i:v1\""));
    }
}
