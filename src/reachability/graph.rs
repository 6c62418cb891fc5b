//! `Graph`: manifests and what they point at, filled in by whoever can read them.
//!
//! Knows which manifests are still wanted, and what is reached from which roots. Does not know how one is
//! read: the caller asks [`Graph::wanted`] and answers with [`Graph::insert`], at whatever pace its medium
//! allows.

use std::collections::HashMap;
use std::collections::HashSet;

use storage_layout::Digest;

use crate::oci::Manifest;
use crate::oci::Role;
use crate::oci::children;

/// What one manifest points at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edges {
    /// Manifests below it: an index's.
    pub manifests: Vec<Digest>,
    /// Blobs: a config, layers.
    pub blobs: Vec<Digest>,
    /// The manifest that it is about. Not kept by it; keeps it.
    pub subject: Option<Digest>,
}

impl Edges {
    /// What a manifest points at. An index's entry of a type not known here may be a manifest all the same,
    /// and is asked for as one: keeping too much can be mended.
    pub fn of(manifest: &Manifest) -> Self {
        let mut edges = Self { subject: manifest.subject().map(|it| it.digest), ..Self::default() };
        for child in children(manifest) {
            match child.role {
                Role::Config | Role::Layer => edges.blobs.push(child.descriptor.digest),
                Role::Manifest | Role::Blob => edges.manifests.push(child.descriptor.digest),
            }
        }
        edges
    }
}

/// Which of a repository's manifests count as wanted for their own sake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// All that the repository lists: what is pulled by digest needs no tag.
    Listed,
    /// Those that a tag points at, and those about them (signatures, attestations).
    Tagged,
}

/// Manifests with their edges; those that could not be read, without.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    edges: HashMap<Digest, Option<Edges>>,
    wanted: Vec<Digest>,
    asked: HashSet<Digest>,
}

/// What was reached.
pub type Reachable = HashSet<Digest>;

/// Everything reached from `roots`, the roots included.
///
/// # Errors
/// Whatever `edges` fails with: an answer that lacks a branch would be wrong.
pub fn mark<E>(
    roots: impl IntoIterator<Item = Digest>,
    mut edges: impl FnMut(&Digest) -> Result<Edges, E>,
) -> Result<Reachable, E> {
    let roots: Vec<_> = roots.into_iter().collect();
    let mut graph = Graph::new(roots.iter().copied());
    while let Some(manifest) = graph.wanted() {
        let found = edges(&manifest)?;
        graph.insert(manifest, found);
    }
    Ok(graph.reach(roots))
}

impl Graph {
    /// A graph in which `manifests` are still to be read.
    pub fn new(manifests: impl IntoIterator<Item = Digest>) -> Self {
        let mut graph = Self::default();
        graph.want(manifests);
        graph
    }

    /// Asks for more manifests; those that are known already are not asked for again.
    pub fn want(&mut self, manifests: impl IntoIterator<Item = Digest>) {
        for manifest in manifests {
            if self.asked.insert(manifest) {
                self.wanted.push(manifest);
            }
        }
    }

    /// A manifest that is still to be read; `None` when the graph is complete.
    pub fn wanted(&mut self) -> Option<Digest> {
        self.wanted.pop()
    }

    /// What a manifest points at. The manifests among it are wanted next.
    pub fn insert(&mut self, manifest: Digest, edges: Edges) {
        self.want(edges.manifests.iter().copied());
        self.edges.insert(manifest, Some(edges));
    }

    /// The manifest cannot be read, so that nobody knows what it points at.
    pub fn unreadable(&mut self, manifest: Digest) {
        self.edges.insert(manifest, None);
    }

    /// The manifests that cannot be read.
    pub fn unread(&self) -> impl Iterator<Item = &Digest> {
        self.edges.iter().filter(|(_, edges)| edges.is_none()).map(|(manifest, _)| manifest)
    }

    /// What a manifest points at, where it could be read.
    pub fn edges(&self, manifest: &Digest) -> Option<&Edges> {
        self.edges.get(manifest)?.as_ref()
    }

    /// Everything reached from `roots` downwards, the roots included.
    pub fn reach(&self, roots: impl IntoIterator<Item = Digest>) -> Reachable {
        let mut reached = Reachable::new();
        // A digest can be reached as a blob first (an artifact may carry a manifest as a layer): what was
        // followed is told apart from what was seen.
        let mut followed = HashSet::new();
        let mut pending: Vec<_> = roots.into_iter().collect();
        while let Some(manifest) = pending.pop() {
            reached.insert(manifest);
            if !followed.insert(manifest) {
                continue;
            }
            if let Some(edges) = self.edges(&manifest) {
                reached.extend(&edges.blobs);
                pending.extend(&edges.manifests);
            }
        }
        reached
    }

    /// Of the manifests that a repository lists, those to be kept. `tagged` are the ones that its tags point
    /// at.
    pub fn keep(&self, keep: Keep, listed: &[Digest], tagged: &[Digest]) -> Reachable {
        match keep {
            Keep::Listed => listed.iter().copied().collect(),
            Keep::Tagged => self.keep_tagged(listed, tagged),
        }
    }

    /// What is about something kept is kept, and what that points at, and what is about that, to the end.
    fn keep_tagged(&self, listed: &[Digest], tagged: &[Digest]) -> Reachable {
        let mut about: HashMap<Digest, Vec<Digest>> = HashMap::new();
        for manifest in listed {
            if let Some(subject) = self.edges(manifest).and_then(|it| it.subject) {
                about.entry(subject).or_default().push(*manifest);
            }
        }
        let mut kept = Reachable::new();
        let mut pending = tagged.to_vec();
        while let Some(manifest) = pending.pop() {
            if !kept.insert(manifest) {
                continue;
            }
            pending.extend(about.get(&manifest).into_iter().flatten());
            pending.extend(self.edges(&manifest).into_iter().flat_map(|it| &it.manifests));
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use storage_layout::Algorithm;

    use super::*;

    fn d(byte: u8) -> Digest {
        Digest::from_bytes(Algorithm::Sha256, &[byte; 32]).unwrap()
    }

    fn image(blobs: &[u8]) -> Edges {
        Edges { blobs: blobs.iter().map(|it| d(*it)).collect(), ..Edges::default() }
    }

    fn index(manifests: &[u8]) -> Edges {
        Edges { manifests: manifests.iter().map(|it| d(*it)).collect(), ..Edges::default() }
    }

    fn about(subject: u8, blobs: &[u8]) -> Edges {
        Edges { subject: Some(d(subject)), ..image(blobs) }
    }

    /// 1 is an index of 2 and 3; 4 shares a layer with 2; 5 signs 1, and 6 attests 5; 7 stands alone.
    fn edges(manifest: &Digest) -> Result<Edges, &'static str> {
        Ok(match manifest.first_byte() {
            1 => index(&[2, 3]),
            2 => image(&[20, 21]),
            3 => image(&[30, 21]),
            4 => image(&[40, 20]),
            5 => about(1, &[50]),
            6 => about(5, &[60]),
            7 => image(&[70]),
            8 => index(&[8, 1]),
            9 => image(&[2]),
            _ => return Err("no such manifest"),
        })
    }

    fn sorted(reached: &Reachable) -> Vec<u8> {
        let mut bytes: Vec<_> = reached.iter().map(Digest::first_byte).collect();
        bytes.sort_unstable();
        bytes
    }

    #[test]
    fn what_roots_reach() {
        for (roots, expected) in [
            (&[][..], &[][..]),
            (&[7], &[7, 70]),
            (&[1], &[1, 2, 3, 20, 21, 30]),
            (&[4, 7], &[4, 7, 20, 40, 70]),
            // A subject is not kept by what is about it.
            (&[5], &[5, 50]),
            // A cycle, which no honest digests can make, ends.
            (&[8], &[1, 2, 3, 8, 20, 21, 30]),
            // A manifest carried as a layer is a blob to its carrier ...
            (&[9], &[2, 9]),
            // ... and a manifest to whoever lists it.
            (&[9, 1], &[1, 2, 3, 9, 20, 21, 30]),
            (&[1, 9], &[1, 2, 3, 9, 20, 21, 30]),
        ] {
            let reached = mark(roots.iter().map(|it| d(*it)), edges).unwrap();
            assert_eq!(sorted(&reached), expected, "{roots:?}");
        }
    }

    #[test]
    fn a_manifest_that_cannot_be_read_is_an_error_not_a_leaf() {
        assert_eq!(mark([d(1), d(99)], edges), Err("no such manifest"));
    }

    #[test]
    fn what_a_repository_keeps() {
        let listed: Vec<_> = [1, 2, 3, 4, 5, 6, 7].map(d).into();
        let mut graph = Graph::new(listed.iter().copied());
        while let Some(manifest) = graph.wanted() {
            graph.insert(manifest, edges(&manifest).unwrap());
        }
        for (keep, tagged, expected) in [
            (Keep::Listed, &[][..], &[1, 2, 3, 4, 5, 6, 7][..]),
            (Keep::Tagged, &[], &[]),
            (Keep::Tagged, &[7], &[7]),
            // The children of a tagged index, its signature and the signature's attestation.
            (Keep::Tagged, &[1], &[1, 2, 3, 5, 6]),
            (Keep::Tagged, &[5], &[5, 6]),
        ] {
            let tagged: Vec<_> = tagged.iter().map(|it| d(*it)).collect();
            assert_eq!(sorted(&graph.keep(keep, &listed, &tagged)), expected, "{keep:?} {tagged:?}");
        }
    }

    #[test]
    fn a_manifest_is_asked_for_once() {
        let mut graph = Graph::new([d(1), d(2), d(1)]);
        let mut asked = Vec::new();
        while let Some(manifest) = graph.wanted() {
            asked.push(manifest.first_byte());
            match manifest.first_byte() {
                3 => graph.unreadable(manifest),
                _ => graph.insert(manifest, edges(&manifest).unwrap()),
            }
        }
        asked.sort_unstable();
        assert_eq!(asked, [1, 2, 3]);
        assert_eq!(graph.unread().collect::<Vec<_>>(), [&d(3)]);
    }
}
