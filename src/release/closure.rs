//! What belongs to a release, and everything that it reaches.
//!
//! Knows what must be where for a release to be whole. Does not know what is there.

use std::collections::BTreeSet;

use storage_layout::Digest;
use storage_layout::RepositoryName;
use storage_layout::Tag;

use crate::reachability;
use crate::reachability::Edges;
use crate::reachability::Reachable;
use crate::release::COMPONENTS;
use crate::release::IMAGES;
use crate::release::Payload;
use crate::release::Release;
use crate::release::Tagged;
use crate::release::attached_to;
use crate::release::bundle::BundleName;
use crate::release::repository;

/// An image that belongs to a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// What it is to the release.
    pub part: Part,
    /// The repository that must list it.
    pub repository: RepositoryName,
    /// The manifest.
    pub digest: Digest,
    /// The tag that oc-mirror gives it, where that is a valid one. What pulls by digest does not need it.
    pub tag: Option<Tag>,
}

/// What an image is to its release.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The release image.
    Image,
    /// A component, by name.
    Component(String),
    /// A signature or other attachment of one of the above.
    Attachment,
    /// The bundle, whose tag makes the release known to the cluster.
    Bundle,
}

/// What belongs to a release, in the order in which it may become visible: the bundle last.
///
/// Without a `payload` (its layer is missing, say) the tags are all there is to go by. `attachments` are
/// candidates: the tags of [`IMAGES`] and [`COMPONENTS`]; what is attached to no member is left out.
pub fn members(
    release: &Release,
    payload: Option<&Payload>,
    attachments: &[(RepositoryName, Tagged)],
    bundle: Option<(&BundleName, Digest)>,
) -> Vec<Member> {
    let mut members = components(release, payload);
    members.push(Member {
        part: Part::Image,
        repository: repository(IMAGES),
        digest: release.image.digest,
        tag: Some(release.image.tag.clone()),
    });
    let signed: BTreeSet<_> = members.iter().map(|it| (it.repository.clone(), it.digest)).collect();
    let is_attached = |name: &RepositoryName, tagged: &Tagged| {
        attached_to(&tagged.tag).is_some_and(|it| signed.contains(&(name.clone(), it)))
    };
    let attached = attachments.iter().filter(|(name, tagged)| is_attached(name, tagged));
    members.extend(attached.map(|(name, tagged)| Member {
        part: Part::Attachment,
        repository: name.clone(),
        digest: tagged.digest,
        tag: Some(tagged.tag.clone()),
    }));
    members.extend(bundle.map(|(name, digest)| Member {
        part: Part::Bundle,
        repository: repository(super::BUNDLES),
        digest,
        tag: Some(name.tag().clone()),
    }));
    members
}

fn components(release: &Release, payload: Option<&Payload>) -> Vec<Member> {
    let member = |name: &String, digest, tag| Member {
        part: Part::Component(name.clone()),
        repository: repository(COMPONENTS),
        digest,
        tag,
    };
    let Some(payload) = payload else {
        let tagged = release.components.iter();
        return tagged.map(|(name, it)| member(name, it.digest, Some(it.tag.clone()))).collect();
    };
    let listed = payload.components().iter();
    let tag = |name: &String| Tag::parse(&format!("{}-{name}", release.image.tag)).ok();
    listed.map(|(name, it)| member(name, it.digest, tag(name))).collect()
}

/// Every manifest and blob that `members` reach.
///
/// # Errors
/// Whatever `edges` fails with.
pub fn closure<E>(
    members: &[Member],
    edges: impl FnMut(&Digest) -> Result<Edges, E>,
) -> Result<Reachable, E> {
    reachability::mark(members.iter().map(|it| it.digest), edges)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use storage_layout::Algorithm;

    use super::*;
    use crate::release::releases;

    fn d(byte: u8) -> Digest {
        Digest::from_bytes(Algorithm::Sha256, &[byte; 32]).unwrap()
    }

    fn tagged(tag: String, byte: u8) -> Tagged {
        Tagged { tag: Tag::parse(&tag).unwrap(), digest: d(byte) }
    }

    fn release() -> Release {
        let image = d(1);
        let hex = image.hex();
        let images = [tagged(hex.to_string(), 1)];
        let components = [tagged(format!("{hex}-etcd"), 11), tagged(format!("{hex}-gone"), 12)];
        releases(&images, &components).remove(0)
    }

    fn payload() -> Payload {
        let tags = [("etcd", 10), ("coredns", 13)].map(|(name, byte)| {
            format!(r#"{{"name":"{name}","from":{{"name":"quay.io/a/b@{}"}}}}"#, d(byte))
        });
        let text = format!(
            r#"{{"kind":"ImageStream","metadata":{{"name":"4.22.1"}},"spec":{{"tags":[{}]}}}}"#,
            tags.join(",")
        );
        Payload::parse(text.as_bytes()).unwrap()
    }

    fn summary(members: &[Member]) -> Vec<(Part, u8)> {
        members.iter().map(|it| (it.part.clone(), it.digest.first_byte())).collect()
    }

    fn component(name: &str) -> Part {
        Part::Component(name.to_owned())
    }

    #[test]
    fn the_payload_decides_over_the_tags() {
        let release = release();
        let members = members(&release, Some(&payload()), &[], None);
        assert_eq!(
            summary(&members),
            [(component("coredns"), 13), (component("etcd"), 10), (Part::Image, 1)]
        );
        let expected = format!("{}-etcd", d(1).hex());
        assert_eq!(members[1].tag.as_ref().unwrap().as_str(), expected);
    }

    #[test]
    fn without_a_payload_the_tags_decide() {
        let members = members(&release(), None, &[], None);
        assert_eq!(summary(&members), [(component("etcd"), 11), (component("gone"), 12), (Part::Image, 1)]);
    }

    #[test]
    fn signatures_of_members_and_the_bundle_belong_to_it() {
        let signature =
            |name, of: u8, byte| (repository(name), tagged(format!("sha256-{}.sig", d(of).hex()), byte));
        let attachments = [
            signature(COMPONENTS, 10, 50),
            signature(COMPONENTS, 99, 51),
            signature(IMAGES, 1, 52),
            signature(IMAGES, 10, 53),
        ];
        let bundle = BundleName::parse(&Tag::parse("ocp-release-bundle-4.22.1").unwrap()).unwrap();
        let members = members(&release(), Some(&payload()), &attachments, Some((&bundle, d(60))));
        let expected = [(Part::Attachment, 50), (Part::Attachment, 52), (Part::Bundle, 60)];
        assert_eq!(summary(&members)[3..], expected);
    }

    #[test]
    fn a_closure_is_all_that_the_members_reach() {
        let members = members(&release(), None, &[], None);
        let edges = |manifest: &Digest| {
            let blobs = if manifest.first_byte() == 12 {
                vec![]
            } else {
                vec![d(100), d(manifest.first_byte() + 100)]
            };
            Ok::<_, Infallible>(Edges { blobs, ..Edges::default() })
        };
        let mut reached: Vec<_> = closure(&members, edges).unwrap().iter().map(Digest::first_byte).collect();
        reached.sort_unstable();
        assert_eq!(reached, [1, 11, 12, 100, 101, 111]);
    }
}
