//! `larder mirror-config`: what a cluster must be told to pull from here.

use std::collections::BTreeSet;

use clap::ValueEnum;
use storage_layout::RepositoryName;

use crate::cli::Exit;
use crate::cli::Failure;
use crate::cli::content::Content;
use crate::cli::output;
use crate::cli::surroundings;
use crate::maintenance::catalogs::catalogs;
use crate::maintenance::releases::releases;
use crate::release::Host;
use crate::release::Mirrors;
use crate::release::attached_to;
use crate::release::catalog_sources;
use crate::release::certificate_path;
use crate::release::cluster_catalogs;
use crate::store::Access;
use crate::store::Store;

/// Print what a cluster must be told to pull a store's images from here
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    content: Content,
    /// A name of this registry, in the order in which it is to be tried; repeatable
    #[arg(long, value_name = "HOST:PORT", default_value = "localhost:22625", value_parser = Host::parse)]
    registry: Vec<Host>,
    /// Where images come from that are no part of a release: the tree does not say
    #[arg(long, value_name = "HOST", default_value = "registry.redhat.io", value_parser = Host::parse)]
    origin: Host,
    /// What to print; both mirror sets if nothing is named. Catalogs are named by the first `--registry` that
    /// is not local to each node
    #[arg(long, value_enum)]
    kind: Option<Kind>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// ImageDigestMirrorSet
    Idms,
    /// ImageTagMirrorSet
    Itms,
    /// A CatalogSource for each operator catalog in the store
    CatalogSource,
    /// A ClusterCatalog for each operator catalog in the store
    ClusterCatalog,
    /// A file for /etc/containers/registries.conf.d
    #[value(name = "registries.conf", alias = "registries-conf")]
    RegistriesConf,
}

/// How many repositories are asked for at a time.
const PAGE: usize = 1000;

pub(super) fn run(args: &Args) -> Result<Exit, Failure> {
    let store = args.content.open(Access::ReadOnly)?;
    match args.kind {
        Some(Kind::CatalogSource) => {
            return output::print(&catalog_sources(&catalogs(&store.sources())?, &args.registry));
        }
        Some(Kind::ClusterCatalog) => {
            return output::print(&cluster_catalogs(&catalogs(&store.sources())?, &args.registry));
        }
        Some(Kind::Idms | Kind::Itms | Kind::RegistriesConf) | None => mirrors(args, &store),
    }
}

/// What has a registry's images pulled from here.
fn mirrors(args: &Args, store: &Store) -> Result<Exit, Failure> {
    let sources: BTreeSet<_> = releases(&store.sources())?.into_iter().flat_map(|it| it.sources).collect();
    let repositories = surroundings::runtime()?.block_on(repositories(store))?;
    let named = repositories.iter().map(|(name, tags)| (name, *tags));
    let mirrors = Mirrors::new(named, &sources, &args.origin);
    output::print(&match args.kind {
        Some(Kind::Idms) => mirrors.digest_mirror_sets(&args.registry),
        Some(Kind::Itms) => mirrors.tag_mirror_sets(&args.registry),
        Some(Kind::RegistriesConf) => {
            let authorities = args.registry.iter().map(certificate_path).collect::<Vec<_>>().join(", ");
            format!("# the authority of its certificate belongs in {authorities}\n")
                + &mirrors.registries_conf(&args.registry)
        }
        _ => mirrors.digest_mirror_sets(&args.registry) + &mirrors.tag_mirror_sets(&args.registry),
    })
}

/// All repositories, and whether a client asks for anything in them by tag.
async fn repositories(store: &Store) -> Result<Vec<(RepositoryName, bool)>, Failure> {
    let mut all: Vec<(RepositoryName, bool)> = Vec::new();
    loop {
        let last = all.last().map(|(name, _)| name.as_str().to_owned());
        let page = store.repositories(last.as_deref(), PAGE).await?;
        let is_last = page.len() < PAGE;
        for name in page {
            let tags = store.tags(&name).await?;
            let has_tags = tags.iter().flat_map(|it| it.iter()).any(|tag| attached_to(tag).is_none());
            all.push((name, has_tags));
        }
        if is_last {
            return Ok(all);
        }
    }
}
