//! `Part`: what goes from one repository.
//!
//! Knows that children of an index, and what is about a manifest (signatures, attestations), go with it
//! unless they have a tag of their own. Does not know what other repositories need.

use std::collections::BTreeSet;

use storage_layout::Digest;
use storage_layout::Entry;
use storage_layout::RepositoryName;
use storage_layout::Tag;

use crate::maintenance::gc::Listed;
use crate::maintenance::gc::edges;
use crate::maintenance::removal::plan::linked;
use crate::maintenance::tree::Tree;
use crate::reachability::Edges;
use crate::reachability::Graph;
use crate::reachability::Reachable;
use crate::reachability::Stored;
use crate::store::Source;

/// What is to go from a repository.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    /// These tags.
    pub(super) tags: BTreeSet<Tag>,
    /// These manifests, unless something that stays needs them.
    pub(super) manifests: BTreeSet<Digest>,
    /// Manifests of other releases: they stay.
    pub(super) others: BTreeSet<Digest>,
}

/// What goes from a repository.
#[derive(Debug, Default)]
pub(super) struct Part {
    /// Manifests.
    pub(super) gone: Reachable,
    /// Those, and all that they reach.
    pub(super) reached: Reachable,
    /// All that the manifests which stay reach.
    pub(super) needed: Reachable,
    /// The links that nothing needs any more.
    pub(super) links: Vec<Stored>,
    /// Something of what stays cannot be read.
    pub(super) unread: Option<String>,
}

impl Part {
    pub(super) fn of(tree: Tree<'_>, writable: &dyn Source, name: &RepositoryName, wishes: &Wishes) -> Self {
        let listed = Listed::of(tree, writable, name);
        let mut unread = listed.unread;
        let graph = read(tree, &listed.revisions);
        let stays_tagged = listed.tagged.iter().filter(|it| !wishes.tags.contains(&it.tag));
        let stays: BTreeSet<_> =
            stays_tagged.map(|it| it.digest).chain(wishes.others.iter().copied()).collect();
        let doomed = doomed(&graph, &listed.revisions, &wishes.manifests, &stays);
        let keepers: Vec<_> = listed.revisions.iter().copied().filter(|it| !doomed.contains(it)).collect();
        let mut needed = graph.reach(keepers);
        let gone: Reachable = doomed.into_iter().filter(|it| !needed.contains(it)).collect();
        if let Some(digest) = graph.unread().find(|it| !gone.contains(it)) {
            unread = Some(format!("manifest {digest} cannot be read"));
        }
        if unread.is_some() {
            // Nobody knows what it needs: all that is linked here, but for the manifests that are to go.
            needed.extend(listed.named.iter().filter(|it| !gone.contains(it)));
        }
        let mut reached = graph.reach(gone.iter().copied());
        for set in [&mut reached, &mut needed] {
            let held: Vec<_> = set.iter().filter_map(|it| listed.aliases.get(it)).copied().collect();
            set.extend(held);
        }
        let goes = |entry: &Entry| match entry {
            Entry::TagIndex(_, tag, _) if wishes.tags.contains(tag) => false,
            entry => linked(entry).is_some_and(|it| reached.contains(it) && !needed.contains(it)),
        };
        let links = listed.own.into_iter().filter(|it| goes(&it.entry)).collect();
        Self { gone, reached, needed, links, unread }
    }
}

/// What a repository's manifests point at.
fn read(tree: Tree<'_>, revisions: &[Digest]) -> Graph {
    let mut graph = Graph::new(revisions.iter().copied());
    while let Some(manifest) = graph.wanted() {
        match edges(tree, &manifest) {
            Ok(Some(edges)) => graph.insert(manifest, edges),
            // A platform that was not mirrored has no children.
            Ok(None) if !revisions.contains(&manifest) => graph.insert(manifest, Edges::default()),
            Ok(None) | Err(_) => graph.unreadable(manifest),
        }
    }
    graph
}

/// The manifests that go if `seeds` go: their children, and what is about them, as far as nothing of it is in
/// `stays`.
fn doomed(
    graph: &Graph,
    revisions: &[Digest],
    seeds: &BTreeSet<Digest>,
    stays: &BTreeSet<Digest>,
) -> Reachable {
    let listed: BTreeSet<_> = revisions.iter().copied().collect();
    let mut doomed = Reachable::new();
    let mut pending: Vec<_> = seeds.iter().copied().collect();
    loop {
        while let Some(manifest) = pending.pop() {
            if !listed.contains(&manifest) || stays.contains(&manifest) || !doomed.insert(manifest) {
                continue;
            }
            pending.extend(graph.edges(&manifest).into_iter().flat_map(|it| &it.manifests));
        }
        let subject = |manifest: &Digest| graph.edges(manifest).and_then(|it| it.subject);
        let about = listed.iter().filter(|it| subject(it).is_some_and(|of| doomed.contains(&of)));
        pending.extend(about.filter(|it| !doomed.contains(it) && !stays.contains(it)));
        if pending.is_empty() {
            return doomed;
        }
    }
}
