//! `larder serve`: everything put together, and run until told to stop.

use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Instant;

use anyhow::Context as _;
use clap::ArgMatches;
use http::HeaderName;
use http::HeaderValue;
use tokio::task::JoinSet;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use crate::cli::Exit;
use crate::cli::Failure;
use crate::cli::Persona;
use crate::cli::config::refused;
use crate::cli::log;
use crate::cli::settings::Settings;
use crate::cli::surroundings;
use crate::config;
use crate::config::Config;
use crate::config::Deletes;
use crate::config::Loaded;
use crate::config::Source;
use crate::credentials::Credentials;
use crate::http::Api;
use crate::http::Monitor;
use crate::http::Observed;
use crate::metrics::Metrics;
use crate::registry::Deletion;
use crate::registry::PullThrough;
use crate::registry::Registry;
use crate::registry::Rules;
use crate::registry::Sparse;
use crate::server::Listener;
use crate::server::Server;
use crate::server::Signals;
use crate::server::Workers;
use crate::server::notify;
use crate::store;
use crate::store::Store;

pub(super) mod files;
mod listeners;
pub(super) mod peers;
mod upkeep;

use files::Files;
use listeners::Listeners;
use peers::Peers;

/// Run the registry
///
/// Without arguments it serves, and takes pushes from, this host alone: at 127.0.0.1:22625, with content under
/// /var/lib/larder (root) or ~/.local/share/larder (everybody else). With CONFIG it takes the place of
/// `distribution serve CONFIG`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    settings: Settings,
}

/// How many threads run connections at most. They move bytes that the kernel has ready, so few are enough,
/// and the node's processors belong to others.
const MOST_THREADS: usize = 4;

pub(super) fn run(args: Args, persona: Persona, matches: &ArgMatches) -> Result<Exit, Failure> {
    if persona == Persona::Distribution && args.settings.file().is_none() {
        let failure = Failure::usage("a configuration file is needed");
        return Err(
            failure.with_hint("name one, or set `REGISTRY_CONFIGURATION_PATH`; `larder serve` needs none")
        );
    }
    let Loaded { config, notices } = args.settings.load(matches)?.map_err(refused)?;
    log::start(&config);
    for notice in notices {
        tracing::warn!("{notice}");
    }
    let threads = available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
    let workers = Workers::start(threads).context("cannot start threads")?;
    // This thread accepts connections and runs whatever is not a connection.
    let runtime = surroundings::runtime()?;
    runtime.block_on(serve(config, &workers))?;
    // What still reads from a medium that does not answer must not hold up the end.
    runtime.shutdown_background();
    Ok(Exit::Fine)
}

async fn serve(config: Config, workers: &Workers) -> Result<(), Failure> {
    let signals = Signals::install().context("cannot take over signals")?;
    let metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
    let mut files = Files::new(&metrics);
    let tls = files.tls(&config)?;
    let credentials = credentials(&config, &mut files, &metrics)?;
    let store = open_store(&config, &metrics).await?;
    let shutdown = CancellationToken::new();
    let peers = Peers::new(&config, &store, &mut files.watcher, &shutdown)?;
    let registry = registry(&config, store.clone(), &peers);
    let observed =
        Observed { metrics: metrics.clone(), files: files.watcher.reports(), started: Instant::now() };
    let settings = api_settings(&config, credentials, observed)?;
    let api = Api::with_jobs(registry.clone(), settings, Some(peers.jobs.clone()));
    let listeners = Listeners::open(&config, tls).await?;
    announce(&config, &listeners.clients);

    let mut tasks = answer(&config, listeners, &api, &registry, &metrics, workers, &shutdown);
    tasks.spawn(upkeep::purge_uploads(store.clone(), config.upload_purge.value, shutdown.clone()));
    tasks.spawn(upkeep::scrub(store.clone(), shutdown.clone()));
    let releases = api.releases().clone();
    tasks.spawn(async move {
        releases.resume().await;
        releases.go_on_soon();
    });
    tasks.spawn(notify::watchdog(shutdown.clone()));
    let force = files.watcher.force();
    tasks.spawn(files.watcher.run(shutdown.clone()));
    if let Err(error) = peers.jobs.resume().await {
        tracing::warn!(error = %error, "the jobs that were under way are not known any more");
    }
    notify::ready();
    signals.obey(&shutdown, &force).await;
    while tasks.join_next().await.is_some() {}
    peers.stopped().await;
    store.close().await;
    tracing::info!("stopped");
    Ok(())
}

/// Answers on every listener, until the shutdown.
fn answer(
    config: &Config,
    listeners: Listeners,
    api: &Api,
    registry: &Registry,
    metrics: &Metrics,
    workers: &Workers,
    shutdown: &CancellationToken,
) -> JoinSet<()> {
    let Listeners { clients, administration, metrics: monitoring } = listeners;
    let mut tasks = JoinSet::new();
    for listener in [Some(clients), administration].into_iter().flatten() {
        let server = Server::new(api.clone())
            .with_metrics(metrics.http.clone(), metrics.transport.clone())
            .with_workers(workers.clone())
            .with_drain(config.drain_timeout.value);
        tasks.spawn(server.serve(listener, shutdown.clone()));
    }
    if let Some(listener) = monitoring {
        let monitor = Monitor::new(registry.clone(), metrics.clone(), &config.metrics_path.value);
        let respond = move |request, _| {
            let monitor = monitor.clone();
            async move { monitor.respond(request).await }
        };
        tasks.spawn(Server::new(respond).serve(listener, shutdown.clone()));
    }
    tasks
}

async fn open_store(config: &Config, metrics: &Metrics) -> Result<Store, Failure> {
    let options = store::Options {
        roots: config.roots.value.clone(),
        access: match config.access.value {
            config::Access::ReadOnly => store::Access::ReadOnly,
            config::Access::ReadWrite => store::Access::ReadWrite,
        },
        metrics: metrics.store.clone(),
    };
    let opened = spawn_blocking(move || Store::open(&options)).await?;
    opened.map_err(|error| {
        let failure = Failure::new(error);
        match config.roots.source {
            Source::Default => failure.with_hint("name another place for content with `--root`"),
            _ => failure,
        }
    })
}

fn registry(config: &Config, store: Store, peers: &Peers) -> Registry {
    let deletion = match config.deletes.value {
        Deletes::Allowed => Deletion::Enabled,
        Deletes::Refused => Deletion::Disabled,
    };
    let rules = Rules { deletion, sparse: Sparse::Accept };
    let pull_through = peers.pull_through.clone().map(|it| it as Arc<dyn PullThrough>);
    Registry::with_pull_through(store, rules, pull_through)
}

fn api_settings(
    config: &Config,
    credentials: Credentials,
    observed: Observed,
) -> anyhow::Result<crate::http::Settings> {
    Ok(crate::http::Settings {
        credentials,
        external_url: config.external_url.as_ref().map(|url| url.value.clone()),
        headers: headers(config)?,
        prefix: config.prefix.value.clone(),
        catalog_limit: config.catalog_limit.value,
        observed,
    })
}

fn credentials(config: &Config, files: &mut Files, metrics: &Metrics) -> anyhow::Result<Credentials> {
    let sources = files.credentials(config)?;
    let secret = match &config.secret {
        Some(secret) => secret.value.as_bytes().to_vec(),
        None => random()?.to_vec(),
    };
    Ok(Credentials::new(sources, &secret, metrics.auth.clone()))
}

/// A secret that ends with the process, and with it every token.
fn random() -> anyhow::Result<[u8; 32]> {
    let mut secret = [0; 32];
    let len = rustix::rand::getrandom(&mut secret, rustix::rand::GetRandomFlags::empty())?;
    anyhow::ensure!(len == secret.len(), "the system has no randomness yet");
    Ok(secret)
}

/// The headers that every response carries.
pub(super) fn headers(config: &Config) -> anyhow::Result<Vec<(HeaderName, HeaderValue)>> {
    let parse = |(name, value): &(String, String)| {
        let what = || format!("`{name}: {value}` ({}) is not a header", config.headers.source);
        let name = HeaderName::try_from(name).with_context(what)?;
        Ok((name, HeaderValue::try_from(value).with_context(what)?))
    };
    config.headers.value.iter().map(parse).collect()
}

fn announce(config: &Config, listener: &Listener) {
    let address =
        listener.address().map_or_else(|| config.listen.value.to_string(), |address| address.to_string());
    let roots: Vec<_> = config.roots.value.iter().map(|root| root.display().to_string()).collect();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        address,
        tls = config.tls.is_some(),
        root = roots.join(":"),
        access = %config.access.value,
        anonymous = %config.auth.policy().anonymous_rights(),
        "serving"
    );
    notify::status(&format!("serving {address} from {}, {}", roots.join(":"), config.access.value));
    let nothing_was_said =
        [&config.roots.source, &config.listen.source].iter().all(|it| **it == Source::Default);
    if config.rules == config::Rules::Larder && nothing_was_said {
        tracing::info!("to push: `podman push --tls-verify=false IMAGE {address}/NAME`");
        tracing::info!("to pull: `podman pull --tls-verify=false {address}/NAME`");
    }
}
