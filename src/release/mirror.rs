//! What a cluster must be told to pull a store's images from here.
//!
//! Knows ImageDigestMirrorSet, ImageTagMirrorSet and `registries.conf`, and the names that oc-mirror gives
//! its own so that these take their place. Does not know who applies them. The tree does not say which host
//! an image came from: a release's payload does for its components, for the rest the caller must.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt::Write;

use storage_layout::RepositoryName;

use crate::release::BUNDLES;
use crate::release::COMPONENTS;
use crate::release::IMAGES;

/// Where release images are pulled from where there is no mirror.
const RELEASE_IMAGES_SOURCE: &str = "quay.io/openshift-release-dev/ocp-release";
/// Where components are, for releases whose payload cannot be read.
const COMPONENTS_SOURCE: &str = "quay.io/openshift-release-dev/ocp-v4.0-art-dev";
/// Made by oc-mirror for the update service; nothing pulls it by its old name.
const GRAPH: &str = "openshift/graph-image";

/// A registry as an image reference spells it: `host` or `host:port`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Host(String);

impl Host {
    /// Parses a host name or address with an optional port; an IPv6 address stands in brackets.
    ///
    /// # Errors
    /// The text has another form.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (text, None),
        };
        let is_port = |it: &str| it.parse::<u16>().is_ok_and(|port| port > 0);
        let is_host = match host.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => {
                !host.is_empty()
                    && host.bytes().all(|it| it.is_ascii_alphanumeric() || matches!(it, b'.' | b'-'))
            }
        };
        if is_host && port.is_none_or(is_port) {
            Ok(Self(text.to_owned()))
        } else {
            Err(HostError(text.to_owned()))
        }
    }

    /// The host as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it means another registry on each node: `localhost`, or an address of the loopback.
    pub fn is_local(&self) -> bool {
        let host =
            self.0.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')).map_or(&*self.0, |it| it.0);
        let address = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || address.parse::<std::net::IpAddr>().is_ok_and(|it| it.is_loopback())
    }
}

/// A text is not a registry's host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{_0}` is not a registry's host, such as `api-int.ocp.example.com:22625`")]
pub struct HostError(String);

/// Which sources are mirrored where: everything below a source lies below the path of the same entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mirrors {
    release: BTreeMap<String, Scope>,
    operator: BTreeMap<String, Scope>,
}

/// Where a source is mirrored, and whether tags are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Scope {
    path: String,
    tags: bool,
}

impl Mirrors {
    /// The mirrors that a store makes: of releases, whose components come from `sources` (as their payloads
    /// say), and of every other repository, taken to come from `origin`. Each repository comes with whether
    /// clients ask for it by tag.
    pub fn new<'a>(
        repositories: impl IntoIterator<Item = (&'a RepositoryName, bool)>,
        sources: &BTreeSet<String>,
        origin: &Host,
    ) -> Self {
        let mut mirrors = Self::default();
        for (name, tags) in repositories {
            match name.as_str() {
                BUNDLES | GRAPH => {}
                IMAGES => mirrors.add_release(RELEASE_IMAGES_SOURCE, IMAGES),
                COMPONENTS if sources.is_empty() => mirrors.add_release(COMPONENTS_SOURCE, COMPONENTS),
                COMPONENTS => sources.iter().for_each(|it| mirrors.add_release(it, COMPONENTS)),
                name => mirrors.add_other(name, tags, origin),
            }
        }
        mirrors
    }

    fn add_release(&mut self, source: &str, path: &str) {
        self.release.insert(source.to_owned(), Scope { path: path.to_owned(), tags: false });
    }

    /// By namespace, as oc-mirror scopes operators: fewer rules, and images added later are covered.
    fn add_other(&mut self, name: &str, tags: bool, origin: &Host) {
        let path = name.rsplit_once('/').map_or(name, |(namespace, _)| namespace);
        let scope = Scope { path: path.to_owned(), tags: false };
        self.operator.entry(format!("{}/{path}", origin.as_str())).or_insert(scope).tags |= tags;
    }

    /// The ImageDigestMirrorSets, as YAML documents.
    pub fn digest_mirror_sets(&self, hosts: &[Host]) -> String {
        let release = mirror_set(Kind::Digest, "idms-release-0", self.release.iter(), hosts);
        let operator = mirror_set(Kind::Digest, "idms-operator-0", self.operator.iter(), hosts);
        release + &operator
    }

    /// The ImageTagMirrorSets, as YAML documents: for what is asked for by tag, catalogs above all.
    pub fn tag_mirror_sets(&self, hosts: &[Host]) -> String {
        let tagged = self.operator.iter().filter(|(_, scope)| scope.tags);
        mirror_set(Kind::Tag, "itms-operator-0", tagged, hosts)
    }

    /// A drop-in for `/etc/containers/registries.conf.d/` (containers-registries.conf(5), version 2).
    pub fn registries_conf(&self, hosts: &[Host]) -> String {
        let mut text = String::new();
        for (source, scope) in self.release.iter().chain(&self.operator) {
            let _ = write!(text, "[[registry]]\nprefix = \"\"\nlocation = \"{source}\"\n");
            for host in hosts {
                let _ =
                    write!(text, "\n[[registry.mirror]]\nlocation = \"{}/{}\"\n", host.as_str(), scope.path);
                if !scope.tags {
                    text.push_str("pull-from-mirror = \"digest-only\"\n");
                }
            }
            text.push('\n');
        }
        text
    }
}

/// Where the certificate authority of `host` is looked for by podman and CRI-O (containers-certs.d(5)).
pub fn certificate_path(host: &Host) -> String {
    format!("/etc/containers/certs.d/{}/ca.crt", host.as_str())
}

#[derive(Clone, Copy)]
enum Kind {
    Digest,
    Tag,
}

fn mirror_set<'a>(
    kind: Kind,
    name: &str,
    scopes: impl Iterator<Item = (&'a String, &'a Scope)>,
    hosts: &[Host],
) -> String {
    let (kind, list) = match kind {
        Kind::Digest => ("ImageDigestMirrorSet", "imageDigestMirrors"),
        Kind::Tag => ("ImageTagMirrorSet", "imageTagMirrors"),
    };
    let mut scopes = scopes.peekable();
    if scopes.peek().is_none() {
        return String::new();
    }
    let mut text = format!(
        "---\napiVersion: config.openshift.io/v1\nkind: {kind}\nmetadata:\n  name: {name}\nspec:\n  {list}:\n"
    );
    for (source, scope) in scopes {
        text.push_str("  - mirrors:\n");
        for host in hosts {
            // In quotes: an IPv6 address would begin a list.
            let _ = writeln!(text, "    - \"{}/{}\"", host.as_str(), scope.path);
        }
        let _ = writeln!(text, "    source: {source}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> RepositoryName {
        RepositoryName::parse(text).unwrap()
    }

    fn host(text: &str) -> Host {
        Host::parse(text).unwrap()
    }

    fn mirrors() -> Mirrors {
        let repositories = [
            (name(BUNDLES), true),
            (name(IMAGES), true),
            (name(COMPONENTS), true),
            (name(GRAPH), true),
            (name("metallb/operator"), false),
            (name("redhat/redhat-operator-index"), true),
            (name("redhat/other"), false),
            (name("busybox"), false),
        ];
        let origin = host("registry.redhat.io");
        Mirrors::new(repositories.iter().map(|(name, tags)| (name, *tags)), &BTreeSet::new(), &origin)
    }

    #[test]
    fn digest_mirrors_cover_releases_and_namespaces() {
        let text = mirrors().digest_mirror_sets(&[host("localhost:22625"), host("api-int.a.b:22625")]);
        assert_eq!(
            text,
            r#"---
apiVersion: config.openshift.io/v1
kind: ImageDigestMirrorSet
metadata:
  name: idms-release-0
spec:
  imageDigestMirrors:
  - mirrors:
    - "localhost:22625/openshift/release-images"
    - "api-int.a.b:22625/openshift/release-images"
    source: quay.io/openshift-release-dev/ocp-release
  - mirrors:
    - "localhost:22625/openshift/release"
    - "api-int.a.b:22625/openshift/release"
    source: quay.io/openshift-release-dev/ocp-v4.0-art-dev
---
apiVersion: config.openshift.io/v1
kind: ImageDigestMirrorSet
metadata:
  name: idms-operator-0
spec:
  imageDigestMirrors:
  - mirrors:
    - "localhost:22625/busybox"
    - "api-int.a.b:22625/busybox"
    source: registry.redhat.io/busybox
  - mirrors:
    - "localhost:22625/metallb"
    - "api-int.a.b:22625/metallb"
    source: registry.redhat.io/metallb
  - mirrors:
    - "localhost:22625/redhat"
    - "api-int.a.b:22625/redhat"
    source: registry.redhat.io/redhat
"#
        );
    }

    #[test]
    fn tag_mirrors_cover_what_is_pulled_by_tag() {
        let text = mirrors().tag_mirror_sets(&[host("localhost:22625")]);
        assert!(text.contains("kind: ImageTagMirrorSet\nmetadata:\n  name: itms-operator-0\n"), "{text}");
        assert!(text.contains("    source: registry.redhat.io/redhat\n"), "{text}");
        assert!(!text.contains("metallb"), "{text}");
        assert_eq!(Mirrors::default().tag_mirror_sets(&[host("localhost")]), "");
    }

    #[test]
    fn registries_conf_tells_digests_from_tags() {
        let text = mirrors().registries_conf(&[host("[::1]:22625")]);
        let rule = |source: &str, rest: &str| {
            format!(
                "[[registry]]\nprefix = \"\"\nlocation = \"{source}\"\n\n[[registry.mirror]]\n\
                 location = \"[::1]:22625/{rest}\n"
            )
        };
        let digests = "metallb\"\npull-from-mirror = \"digest-only\"\n";
        assert!(text.contains(&rule("registry.redhat.io/metallb", digests)), "{text}");
        assert!(text.contains(&rule("registry.redhat.io/redhat", "redhat\"\n")), "{text}");
    }

    #[test]
    fn components_come_from_where_the_payload_says() {
        let source = BTreeSet::from(["registry.ci.openshift.org/ocp/4.22".to_owned()]);
        let components = name(COMPONENTS);
        let mirrors = Mirrors::new([(&components, true)], &source, &host("registry.redhat.io"));
        let sources: Vec<_> = mirrors.release.keys().collect();
        assert_eq!(sources, ["registry.ci.openshift.org/ocp/4.22"]);
    }

    #[test]
    fn hosts_that_every_node_has() {
        for (text, local) in [
            ("localhost:22625", true),
            ("localhost", true),
            ("127.0.0.1:5000", true),
            ("[::1]", true),
            ("[::1]:5000", true),
            ("api-int.a.b:22625", false),
            ("10.0.0.1", false),
            ("localhost.a", false),
        ] {
            assert_eq!(host(text).is_local(), local, "{text}");
        }
    }

    #[test]
    fn grammar_of_hosts() {
        for good in ["localhost", "localhost:22625", "10.0.0.1:5000", "[::1]:22625", "[fe80::1]", "a-b.c"] {
            assert!(Host::parse(good).is_ok(), "{good}");
        }
        for bad in
            ["", ":5000", "a:", "a:0", "a:65536", "::1", "[::1", "a/b", "https://a", "a b", "a\"b", "[x]:1"]
        {
            assert!(Host::parse(bad).is_err(), "{bad}");
        }
    }
}
