//! What of a store belongs to a release.

use storage_layout::Digest;
use storage_layout::Entry;

use crate::maintenance::copy::PlanError;
use crate::maintenance::copy::Problem;
use crate::maintenance::copy::plan::Planner;
use crate::maintenance::documents::AttachedRelease;
use crate::maintenance::releases;
use crate::maintenance::releases::ReleaseStatus;
use crate::maintenance::verify::chain;
use crate::oci::Manifest;
use crate::oci::Role;
use crate::oci::children;
use crate::release::Member;
use crate::store::Error;

impl Planner<'_> {
    pub(super) fn releases(&mut self, names: &[String]) -> Result<(), PlanError> {
        let all = releases::survey(self.tree, |_| false)?;
        for name in names {
            let Some(release) = all.iter().find(|it| it.is_called(name)) else {
                let known: Vec<_> = all.iter().map(ReleaseStatus::name).collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                return Err(PlanError::NoRelease { name: name.clone(), known });
            };
            self.releases.push(AttachedRelease::from(release));
            self.release(release)?;
        }
        Ok(())
    }

    fn release(&mut self, release: &ReleaseStatus) -> Result<(), Error> {
        for member in &release.members {
            self.member(member)?;
        }
        for missing in &release.missing {
            self.lacking.insert(missing.lacks);
            self.problems.push(Problem::Incomplete { release: release.name(), lacks: missing.to_string() });
        }
        if let Some(why) = &release.unread {
            self.problems.push(Problem::Incomplete { release: release.name(), lacks: why.clone() });
        }
        Ok(())
    }

    /// An image of a release with all that it points at, as far as its repository lists it: of an index, the
    /// platforms that were mirrored.
    fn member(&mut self, member: &Member) -> Result<(), Error> {
        let mut pending = vec![member.digest];
        while let Some(manifest) = pending.pop() {
            let link = Entry::RevisionLink(member.repository.clone(), manifest);
            if self.links.contains_key(&link) || !self.tree.has(&link)? {
                continue;
            }
            self.link(link, manifest);
            for child in self.children(&manifest) {
                match child.role {
                    Role::Manifest | Role::Blob => pending.push(child.digest),
                    Role::Config | Role::Layer => self.layer(member, child.digest)?,
                }
            }
        }
        if let Some(tag) = &member.tag
            && self.tree.has(&Entry::TagCurrent(member.repository.clone(), tag.clone()))?
        {
            self.tags.insert((member.repository.clone(), tag.clone()), member.digest);
        }
        Ok(())
    }

    fn layer(&mut self, member: &Member, digest: Digest) -> Result<(), Error> {
        let link = Entry::LayerLink(member.repository.clone(), digest);
        if self.tree.has(&link)? {
            self.link(link, digest);
        }
        Ok(())
    }

    fn children(&mut self, manifest: &Digest) -> Vec<Child> {
        let content = match self.tree.manifest(manifest) {
            Ok(Some(content)) => content,
            Ok(None) => return Vec::new(),
            Err(error) => {
                self.problems.push(Problem::Blob { digest: *manifest, why: chain(&error) });
                self.lacking.insert(*manifest);
                return Vec::new();
            }
        };
        let Ok(parsed) = Manifest::parse(&content, None) else { return Vec::new() };
        children(&parsed).map(|it| Child { role: it.role, digest: it.descriptor.digest }).collect()
    }
}

struct Child {
    role: Role,
    digest: Digest,
}
